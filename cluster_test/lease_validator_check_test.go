package cluster_test

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// TestP10ValidatorCanFail: each way in which leases can break P10 is found, and what a registry may do is not. All
// leases have a TTL of 10 s; numbers are seconds.
func TestP10ValidatorCanFail(t *testing.T) {
	begin := time.Now()
	at := func(seconds float64) time.Time { return begin.Add(time.Duration(seconds * float64(time.Second))) }
	const ttl = 10 * time.Second
	end := func(kind rollcallv1.EventType, revoked bool) *rollcallv1.Event {
		return &rollcallv1.Event{Type: kind, LeaseId: "a", Lease: &rollcallv1.Lease{Ttl: durationpb.New(ttl), Revoked: revoked}}
	}
	expired := end(rollcallv1.EventType_EVENT_TYPE_EXPIRED, false)
	ended := end(rollcallv1.EventType_EVENT_TYPE_LEASE_ENDED, false)
	revoked := end(rollcallv1.EventType_EVENT_TYPE_LEASE_ENDED, true)
	grant := func(r *leaseRecord) { r.granted("a", ttl, at(0), at(0.1)) }
	for _, tt := range []struct {
		name    string
		now     float64
		message string // of the error
		do      func(r *leaseRecord)
	}{
		{"renewed, then expired", 30, "", func(r *leaseRecord) {
			grant(r)
			r.renewed("a", at(5), at(5.1))
			r.saw(expired, at(15.6))
			r.saw(ended, at(15.6))
			r.answeredLost("a", at(16))
		}},
		{"lives", 10.9, "", grant},
		{"revoked early", 30, "", func(r *leaseRecord) {
			grant(r)
			r.revoking("a", at(3))
			r.saw(revoked, at(3.1))
			r.revoked("a", at(3.2))
		}},
		{"revoked, of which nobody told the caller", 30, "", func(r *leaseRecord) {
			grant(r)
			r.revoking("a", at(3))
			r.saw(revoked, at(3.1))
		}},
		{"a renewal that nobody acknowledged counts, or does not", 30, "", func(r *leaseRecord) {
			grant(r)
			r.attempted("a", at(9))
			r.saw(ended, at(10.1))
			r.granted("b", ttl, at(0), at(0.1))
			r.attempted("b", at(9))
			r.saw(&rollcallv1.Event{Type: ended.GetType(), LeaseId: "b"}, at(19.9))
		}},
		{"a new leader gives a whole TTL", 30, "", func(r *leaseRecord) {
			grant(r)
			r.disturb(at(8), at(9))
			r.saw(ended, at(19.5))
		}},
		{"two new leaders give two", 60, "", func(r *leaseRecord) {
			grant(r)
			r.disturb(at(18), at(19))
			r.disturb(at(8), at(9))
			r.saw(ended, at(29.9))
		}},
		{"seen late on one node, in time on another", 30, "", func(r *leaseRecord) {
			grant(r)
			r.saw(ended, at(25))
			r.saw(ended, at(10.5))
		}},

		{"the leader does not count the renewal", 30, "had expired 5s after a renewal was sent", func(r *leaseRecord) {
			grant(r)
			r.renewed("a", at(5), at(5.1))
			r.saw(ended, at(10))
		}},
		{"an old leader acknowledges without a round, the next one has begun", 30, "had expired 9.5s after a renewal", func(r *leaseRecord) {
			grant(r)
			r.disturb(at(4), at(5)) // the next gives a whole TTL from here
			r.renewed("a", at(5.5), at(5.51))
			r.saw(expired, at(15))
		}},
		{"an old leader acknowledges what has expired elsewhere", 30, "had expired -5s after a renewal", func(r *leaseRecord) {
			grant(r)
			r.saw(ended, at(11))
			r.renewed("a", at(16), at(16.1))
		}},
		{"an expiry is under way while a write renews", 30, "had expired 100ms after a renewal", func(r *leaseRecord) {
			grant(r)
			r.renewed("a", at(10), at(10.2)) // a write that names it; the expiry has no seen_revision
			r.saw(ended, at(10.1))
		}},
		{"a new leader keeps the old deadlines", 30, "had expired 1s after a renewal", func(r *leaseRecord) {
			grant(r)
			r.renewed("a", at(9), at(9.1)) // of which the new leader does not know
			r.disturb(at(9.2), at(9.9))
			r.saw(ended, at(10))
		}},
		{"a clock that leaps counts as time lived", 30, "had expired 2s after a renewal", func(r *leaseRecord) {
			grant(r)
			r.saw(expired, at(2))
		}},
		{"late", 30, "expired 400ms too late, 11.4s after its last renewal", func(r *leaseRecord) {
			grant(r)
			r.renewed("a", at(5), at(5.1))
			r.saw(ended, at(16.5))
		}},
		{"late after a new leader", 30, "expired 500ms too late", func(r *leaseRecord) {
			grant(r)
			r.disturb(at(8), at(9))
			r.saw(ended, at(20.5))
		}},
		{"a new leader that came after it was due does not excuse it", 30, "expired 8.9s too late", func(r *leaseRecord) {
			grant(r)
			r.disturb(at(12), at(13))
			r.saw(ended, at(20))
		}},
		{"never", 30, "lives 18.9s after it should have expired", grant},
		{"said to be lost", 9, "was said to be lost, and lives", func(r *leaseRecord) {
			grant(r)
			r.answeredLost("a", at(8))
		}},
		{"a revoke that did nothing", 9, "was revoked, and lives", func(r *leaseRecord) {
			grant(r)
			r.revoking("a", at(8))
			r.revoked("a", at(8.1))
		}},
		{"revoked by nobody", 30, "was revoked by nobody", func(r *leaseRecord) {
			grant(r)
			r.saw(revoked, at(10.5))
		}},
		{"renewed after it was revoked", 30, "was renewed 1s after it had been revoked", func(r *leaseRecord) {
			grant(r)
			r.revoking("a", at(3))
			r.saw(revoked, at(3.1))
			r.revoked("a", at(3.2))
			r.renewed("a", at(4.2), at(4.3))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newLeaseRecord()
			tt.do(r)
			err := r.check(leasePromise{late: time.Second, now: at(tt.now)})
			if (err == nil) != (tt.message == "") || err != nil && !strings.Contains(err.Error(), tt.message) {
				t.Errorf("%v, want %q", err, tt.message)
			}
		})
	}
}

// TestP10ValidatorKnowsRepeatedWrites: a write that is tried again may be answered with what became of its first
// try, so it is a renewal of when that was sent.
func TestP10ValidatorKnowsRepeatedWrites(t *testing.T) {
	begin := time.Now()
	r := newLeaseRecord()
	write := &rollcallv1.SetServingStatusRequest{Service: "s", LeaseId: "a", RequestId: "r"}
	r.note(write, nil, errNotAcknowledged, begin, begin.Add(time.Second))
	r.note(write, &rollcallv1.SetServingStatusResponse{}, nil, begin.Add(2*time.Second), begin.Add(3*time.Second))
	if got, _ := r.last("a"); !got.Equal(begin) {
		t.Errorf("renewed %s after the first try", got.Sub(begin))
	}
	write = &rollcallv1.SetServingStatusRequest{Service: "s", LeaseId: "a", RequestId: "r2"}
	r.note(write, &rollcallv1.SetServingStatusResponse{}, nil, begin.Add(4*time.Second), begin.Add(5*time.Second))
	if got, _ := r.last("a"); !got.Equal(begin.Add(4 * time.Second)) {
		t.Errorf("renewed %s after the first try of another write", got.Sub(begin))
	}
}

// TestRecordsOfOtherProcesses: what one record tells, another one hears.
func TestRecordsOfOtherProcesses(t *testing.T) {
	now := time.Now().Round(0) // without what only this process can compare
	var told strings.Builder
	r, heard := newLeaseRecord(), newLeaseRecord()
	r.sink = &told
	r.granted("a", 3*time.Second, now, now.Add(1))
	r.renewed("a", now.Add(2), now.Add(3))
	r.attempted("a", now.Add(5))
	r.answeredLost("a", now.Add(6))
	r.revoking("a", now.Add(7))
	r.revoked("a", now.Add(8))
	for line := range strings.Lines(told.String()) {
		must(t, heard.hear(line))
	}
	want, got := *r.leases["a"], *heard.leases["a"]
	if !got.sent.Equal(want.sent) || !got.acked.Equal(want.acked) || !got.tried.Equal(want.tried) || !got.lost.Equal(want.lost) ||
		!got.revoking.Equal(want.revoking) || !got.revoked.Equal(want.revoked) || got.ttl != want.ttl {
		t.Errorf("heard %+v, want %+v", got, want)
	}
	if err := heard.hear("granted"); err == nil {
		t.Error("half a line is heard")
	}
}
