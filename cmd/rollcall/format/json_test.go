package format

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

func TestSecondsAreExact(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0", time.Second: "1", 10 * time.Second: "10", 100 * time.Second: "100", 1: "0.000000001", -time.Millisecond: "-0.001",
		1_929_370_214: "1.929370214", 90 * time.Minute: "5400", -90 * time.Second: "-90", time.Hour*24*365*200 + 1: "6307200000.000000001",
	} {
		b, err := Marshal(Seconds(d))
		if err != nil || string(b) != want {
			t.Errorf("%d: %s, want %s; %v", d, b, want, err)
		}
	}
}

func TestMessagesInJSON(t *testing.T) {
	for want, m := range map[string]Message{
		`{"ready":false,"revision":0,"term":0,"applied_index":0,"lag_entries":0,"leader_age_seconds":0.12,"version":"","error":"","max_level":0,"hold_level":0}`: {&rollcallv1.MemberStatus{LeaderAge: durationpb.New(120 * time.Millisecond)}},
		`{"name":"n1","api_address":"","peer_address":"","voter":false}`:                                                                                         {&rollcallv1.Member{Name: "n1"}},
		`{"revision":1,"commit_revision":1,"type":"member-changed","reason":"","request_id":"","member":{"name":"n1","api_address":"","peer_address":""}}`:       {&rollcallv1.Event{Revision: 1, CommitRevision: 1, Type: rollcallv1.EventType_EVENT_TYPE_MEMBER_CHANGED, Member: &rollcallv1.Member{Name: "n1"}}},
		`{"registry_bytes":1,"log_bytes":0,"snapshot_bytes":0}`:                                                                                                  {&rollcallv1.Storage{RegistryBytes: 1}},
	} {
		b, err := Marshal(m)
		if err != nil || string(b) != want {
			t.Errorf("%s\nwant\n%s; %v", b, want, err)
		}
	}
}

func TestBytesHaveTwoOrThreeDigits(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0B", 900: "900B", 1023: "1023B", 1024: "1.0KiB", 32 << 10: "32KiB", 10_188: "9.9KiB", 10_200: "10KiB", 1_048_000: "1023KiB", 1_048_570: "1.0MiB",
		41 << 30: "41GiB", 1<<63 - 1: "8.0EiB",
	} {
		if got := Bytes(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}
