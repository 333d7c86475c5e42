package fsm

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

var genService = rapid.Custom(func(t *rapid.T) *record {
	text := rapid.SampledFrom([]string{"", "x", "shop/cart", string(make([]byte, 200))})
	number := rapid.OneOf(rapid.Just(int64(0)), rapid.Int64())
	return &record{
		name:       "a",
		revision:   number.Draw(t, "revision"),
		statusTime: number.Draw(t, "status time"),
		status:     servingStatus(rapid.IntRange(0, 2).Draw(t, "status")),
		origin: &origin{
			reason: text.Draw(t, "reason"), requestID: text.Draw(t, "request id"), leaseID: text.Draw(t, "lease"), time: number.Draw(t, "time"),
			actor: internActor(&logv1.Actor{
				Name: text.Draw(t, "actor"), Peer: text.Draw(t, "peer"), Verified: rapid.Bool().Draw(t, "verified"),
				OnBehalfOf: text.Draw(t, "on behalf of"), Credential: text.Draw(t, "credential"), StaticAdmin: rapid.Bool().Draw(t, "static"),
			}),
		},
	}
})

// TestServiceBytes: what is written by hand is what protobuf's own encoding is, and what an event says of
// the record.
func TestServiceBytes(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := genService.Draw(rt, "service")
		p := r.log(&actorLog{})
		p.Service = ""
		want, err := p.MarshalVT()
		if err != nil {
			rt.Fatal(err)
		}
		have := appendValue([]byte("before"), r)
		if !bytes.Equal(have[len("before"):], want) || r.SizeVT() != len(want) {
			rt.Fatalf("bytes are %x of size %d, want %x", have, r.SizeVT(), want)
		}
		if after := DefaultKinds().After(r.event()); !bytes.Equal(after, want) {
			rt.Fatalf("its event says %x, want %x", after, want)
		}
		back, ok := logv1.ParseService(want)
		if !ok || back.Revision != r.revision || back.StatusTime != r.statusTime || servingStatus(back.Status) != r.status {
			rt.Fatalf("parsed %+v, %v", back, ok)
		}
	})
}

// event is the one that makes r.
func (r *record) event() *logv1.Event {
	by := r.origin.actor.Value()
	actor := new(logv1.Actor)
	by.fill(actor)
	return &logv1.Event{
		Kind: logv1.Kind_KIND_SERVICE, Key: r.name, Revision: r.revision, Time: r.origin.time, Reason: r.origin.reason,
		RequestId: r.origin.requestID, LeaseId: r.origin.leaseID, Status: logv1.Status(r.status), StatusTime: r.statusTime,
		Actor: actor,
	}
}

// TestStoredResults: an answer that is remembered reads as it did first.
func TestStoredResults(t *testing.T) {
	var e resultEncoder // one, as its memory is used again
	rapid.Check(t, func(rt *rapid.T) {
		r := Result{revision: rapid.Int64().Draw(rt, "revision"), time: rapid.Int64().Draw(rt, "time")}
		for range rapid.IntRange(0, 4).Draw(rt, "services") {
			o := outcome{name: rapid.SampledFrom([]string{"a", "b/c"}).Draw(rt, "name")}
			before, after := genService.Draw(rt, "before"), genService.Draw(rt, "after")
			switch rapid.IntRange(0, 3).Draw(rt, "what") {
			case 0:
				o.before, o.after = before, after
			case 1:
				o.before, o.after = after, after
			case 2:
				o.before = before
			}
			if o.after != nil {
				o.after.name = o.name
				if n := len(r.outcomes); n > 0 && r.outcomes[n-1].after != nil && rapid.Bool().Draw(rt, "same origin") {
					o.after.origin = r.outcomes[n-1].after.origin
				}
			}
			r.outcomes = append(r.outcomes, o)
		}
		if rapid.Bool().Draw(rt, "refused") {
			r.refusal = mismatch("a", 5, 7)
		}
		want := r.Proto()
		have, err := decodeResult(e.encode(&r, "x"), "x")
		if err != nil || !proto.Equal(have, want) {
			rt.Fatalf("decoded %v, %v; want %v", have, err, want)
		}
	})
}
