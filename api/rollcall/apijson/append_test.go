package apijson

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

func TestAppendWritesWhatThePlainEncoderWrites(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, empty := range everyMessage(t) {
		for i := range 40 {
			m := proto.Clone(empty)
			if i > 0 {
				fill(r, m.ProtoReflect(), 4)
			}
			got, err := Append([]byte("before"), m)
			if err != nil {
				t.Fatalf("%T: %v", m, err)
			}
			if want := "before" + string(reference(m)); string(got) != want {
				t.Fatalf("%T:\n%s\nwant\n%s", m, got, want)
			}
			if marshaled, err := Marshal(Message{m}); err != nil || string(marshaled) != string(got[len("before"):]) {
				t.Fatalf("%T as a json.Marshaler:\n%s\nwant\n%s; %v", m, marshaled, got, err)
			}
		}
	}
}

func TestTextsAreEscapedAsEncodingJSONEscapesThem(t *testing.T) {
	texts := []string{"", "a\xffb", "\xed\xa0\x80", "\xf0\x9f", "a\u2028\u2029b", "\ufffd", "<a href='x'>&amp;", "tab\tend"}
	for r := range rune(0x300) {
		texts = append(texts, "x"+string(r)+"y")
	}
	for _, s := range texts {
		want, err := Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if got := appendText(nil, s); string(got) != string(want) {
			t.Errorf("%q: %s, want %s", s, got, want)
		}
	}
}

func TestTheLongestDurationsAreNumbers(t *testing.T) {
	for d, want := range map[time.Duration]string{math.MinInt64: "-9223372036.854775808", math.MaxInt64: "9223372036.854775807"} {
		if got := appendSeconds(nil, d); string(got) != want || !json.Valid(got) {
			t.Errorf("%d: %s, want %s", int64(d), got, want)
		}
	}
}

func TestAnEnumOfANewerNodeIsANumber(t *testing.T) {
	b, err := Append(nil, &rollcallv1.StatusChange{Status: healthpb.HealthCheckResponse_ServingStatus(9).Enum()})
	if want := `{"service":"","status":9,"lease_id":""}`; err != nil || string(b) != want {
		t.Errorf("%s, want %s; %v", b, want, err)
	}
}

func benchmarkEvents() *rollcallv1.WatchEventsResponse {
	resp := &rollcallv1.WatchEventsResponse{Revision: 123456}
	for i := range int64(100) {
		resp.Events = append(resp.Events, &rollcallv1.Event{
			Revision: 123000 + i, CommitRevision: 123000 + i, Type: rollcallv1.EventType_EVENT_TYPE_REPORTED,
			Time:   timestamppb.New(time.Unix(1_790_000_000, 123456789)),
			Actor:  &rollcallv1.Actor{Name: "deployer", Verified: true, Peer: "10.1.2.3:45678"},
			Reason: "deploy 42", RequestId: "bc008298-0515-4bb0-933c-6cfacedaf9f8", Service: "shop/cart-17",
			PreviousStatus: healthpb.HealthCheckResponse_SERVING, Status: healthpb.HealthCheckResponse_NOT_SERVING,
			EffectiveStatus: healthpb.HealthCheckResponse_NOT_SERVING,
		})
	}
	return resp
}

func benchmarkServices() *rollcallv1.WatchServicesResponse {
	resp := &rollcallv1.WatchServicesResponse{Revision: 123456}
	for range 100 {
		resp.Services = append(resp.Services, &rollcallv1.ServiceRecord{
			Service: "shop/cart-17", Status: healthpb.HealthCheckResponse_SERVING, StatusTime: timestamppb.New(time.Unix(1_790_000_000, 123456789)),
			Report: &rollcallv1.Report{
				Status: healthpb.HealthCheckResponse_SERVING, Reason: "deploy 42", Actor: &rollcallv1.Actor{Name: "deployer", Peer: "10.1.2.3:45678"},
				Time: timestamppb.New(time.Unix(1_790_000_000, 123456789)), Revision: 123000,
			},
		})
	}
	return resp
}

// BenchmarkAppend writes messages with 100 events or records into one buffer, as a stream does. Beside it the ways that
// cost more: Message as encoding/json calls it, and the plain encoder.
func BenchmarkAppend(b *testing.B) {
	for name, m := range map[string]proto.Message{"events": benchmarkEvents(), "services": benchmarkServices()} {
		size := int64(len(reference(m)))
		b.Run(name+"/append", func(b *testing.B) {
			b.SetBytes(size)
			b.ReportAllocs()
			var buffer []byte
			for b.Loop() {
				var err error
				if buffer, err = Append(buffer[:0], m); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/marshal", func(b *testing.B) {
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Marshal(Message{m}); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/plain", func(b *testing.B) {
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				reference(m)
			}
		})
	}
}
