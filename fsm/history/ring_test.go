package history

import (
	"testing"

	"pgregory.net/rapid"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

func eventsFrom(revision int64, n int) []*logv1.Event {
	events := make([]*logv1.Event, n)
	for i := range events {
		events[i] = &logv1.Event{Revision: revision + int64(i)}
	}
	return events
}

// TestRing: what it holds has no gaps, reaches back to at least what the registry file does not hold and
// at least its size, unless that is more than the bound.
func TestRing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		size := rapid.IntRange(1, 8).Draw(rt, "size")
		start := rapid.Int64Range(0, 5).Draw(rt, "start")
		r := newRing(size, start)
		last, durable := start, start
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			n := rapid.IntRange(0, 10).Draw(rt, "events")
			durable = rapid.Int64Range(durable, last).Draw(rt, "durable")
			r.append(eventsFrom(last+1, n), durable)
			last += int64(n)

			if len(r.events) > RingSlack*size {
				rt.Fatalf("ring of %d holds %d", size, len(r.events))
			}
			reach := max(min(last-int64(size), durable), last-int64(RingSlack*size), start)
			if _, ok := r.after(reach, 1); !ok {
				rt.Fatalf("at %d, durable %d: does not reach back to %d", last, durable, reach)
			}
			after := rapid.Int64Range(0, last+2).Draw(rt, "after")
			limit := rapid.IntRange(0, 20).Draw(rt, "limit")
			events, ok := r.after(after, limit)
			if first := last - int64(len(r.events)); ok != (after >= first) {
				rt.Fatalf("after(%d) is %v, ring holds from %d", after, ok, first+1)
			}
			if !ok {
				continue
			}
			if want := min(int64(limit), max(last-after, 0)); int64(len(events)) != want {
				rt.Fatalf("after(%d, %d) returns %d events, want %d", after, limit, len(events), want)
			}
			for i, e := range events {
				if e == nil || e.Revision != after+int64(i)+1 {
					rt.Fatalf("after(%d)[%d] is %v", after, i, e)
				}
			}
		}
		r.reset(last + 3)
		if _, ok := r.after(last, 1); ok {
			rt.Fatal("a reset ring still reaches back")
		}
	})
}
