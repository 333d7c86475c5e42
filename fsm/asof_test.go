package fsm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/fsm/history"
)

// TestPointsInTime compares what is said of every revision and time with what the registry showed then.
func TestPointsInTime(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		limits := history.DefaultLimits()
		limits.Visited = rapid.IntRange(1, 4).Draw(rt, "visited")
		h := harnessWith(t, Config{RegistryFile: newMemRegistryFile(), limits: limits})
		ctx := context.Background()
		shown := map[int64]*view{0: h.view.Load()} // by revision
		var times []int64                          // of the revisions from 1 on
		now := int64(1)                            // log time is never 0
		for range rapid.IntRange(1, 15).Draw(rt, "writes") {
			now += int64(rapid.IntRange(0, 2).Draw(rt, "later"))
			names := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "a1", "b", "b/1", "b/2", "c"}), 1, 4, rapid.ID).Draw(rt, "names")
			var cs []*logv1.Change
			for _, name := range names {
				cs = append(cs, change(name, rapid.SampledFrom([]logv1.Status{serving, notServing, gone}).Draw(rt, "status")))
			}
			h.do(t, now, writeFor(rapid.StringMatching("[ab]").Draw(rt, "reason"), cs...))
			shown[h.Revision()] = h.view.Load()
			for int64(len(times)) < h.Revision() {
				times = append(times, now)
			}
		}
		newest := h.Revision()
		oldest := int64(1)
		if newest > 0 && rapid.Bool().Draw(rt, "compacted") {
			for _, e := range h.registryFile.events {
				if e.Revision == e.CommitRevision && rapid.Bool().Draw(rt, "horizon behind it") {
					oldest = e.Revision + 1
				}
			}
			all := h.registryFile.events
			h.do(t, now, compact(oldest))
			if rapid.Bool().Draw(rt, "the registry file has not heard of it") {
				h.registryFile.events, h.registryFile.meta.Horizon = all, 1
			}
		}
		durable := rapid.Int64Range(oldest-1, newest).Draw(rt, "durable")
		h.registryFile.durable = func() int64 { return durable }
		h.history.NoteChange(time.Unix(0, 0)) // readings are not throttled
		h.registryFile.onAwait = func(revision int64) { durable = max(durable, revision) }
		check := func(asked, revision int64, err error) {
			want := asked
			for shown[want] == nil {
				want--
			}
			if asked < oldest-1 {
				var compacted *logv1.CompactedError
				if !errors.As(err, &compacted) || compacted.Oldest != oldest {
					rt.Fatalf("revision %d, with %d the oldest: %d, %v", asked, oldest, revision, err)
				}
				return
			}
			if err != nil || revision != want {
				rt.Fatalf("revision %d is said to be %d, %v; it was %d", asked, revision, err, want)
			}
			v := shown[want]
			var want1 []*rollcallv1.ServiceRecord
			prefix := rapid.SampledFrom([]string{"", "a", "b/", "x"}).Draw(rt, "prefix")
			patterns := rapid.SampledFrom([][]string{{"*"}, {"a", "b/*"}, {"b"}, {"b/*", "a", "a/*"}}).Draw(rt, "patterns")
			within := pattern.Beginnings(prefix).And(pattern.Cover(patterns...))
			statuses := rapid.SampledFrom([][]servingStatus{nil, {isServing}}).Draw(rt, "statuses")
			v.services.Scan(func(r *record) bool {
				if within.Has(r.name) && (statuses == nil || slices.Contains(statuses, v.shown(r))) {
					want1 = append(want1, v.public(r))
				}
				return true
			})
			var got []*rollcallv1.ServiceRecord
			for after := ""; ; {
				page, next, err := h.ListServicesAt(ctx, revision, within, after, rapid.IntRange(1, 4).Draw(rt, "limit"), statuses)
				if err != nil {
					rt.Fatal(err)
				}
				got = append(got, page...)
				if after = next; next == "" {
					break
				}
			}
			same := func(a, b *rollcallv1.ServiceRecord) bool { return proto.Equal(a, b) }
			if !slices.EqualFunc(got, want1, same) {
				rt.Fatalf("at %d:\n%v, want\n%v", revision, got, want1)
			}
			one, err := h.GetServiceAt(ctx, "b", revision)
			var was *rollcallv1.ServiceRecord
			if r := v.get("b"); r != nil {
				was = v.public(r)
			}
			if err != nil || !proto.Equal(one, was) {
				rt.Fatalf("b at %d is %v, %v; it was %v", revision, one, err, was)
			}
		}
		for asked := range newest + 1 {
			revision, err := h.VisibleRevision(ctx, asked)
			check(asked, revision, err)
		}
		for at := int64(0); at <= now+1; at++ {
			want := int64(0)
			for i, when := range times {
				if when <= at {
					want = int64(i) + 1
				}
			}
			if want == oldest-1 && oldest > 1 {
				continue // whether the revision before the horizon was of then is not known any more
			}
			revision, err := h.RevisionAt(ctx, at)
			check(want, revision, err)
		}
	})
}

// TestReadEvents compares pages with a plain filter.
func TestReadEvents(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		limits := history.DefaultLimits()
		limits.Visited = rapid.IntRange(1, 6).Draw(rt, "visited")
		h := harnessWith(t, Config{RegistryFile: newMemRegistryFile(), limits: limits})
		for i := range rapid.IntRange(0, 10).Draw(rt, "writes") {
			h.do(t, int64(i), batchOf("s", rapid.IntRange(1, 4).Draw(rt, "size"), serving), batchOf("s", 2, notServing))
		}
		newest := h.Revision()
		oldest := rapid.Int64Range(1, newest+1).Draw(rt, "oldest")
		all := h.registryFile.events
		h.do(t, 99, compact(oldest))
		if rapid.Bool().Draw(rt, "the registry file has not heard of it") {
			h.registryFile.events, h.registryFile.meta.Horizon = all, 1
		}
		durable := rapid.Int64Range(oldest-1, newest).Draw(rt, "durable")
		h.registryFile.durable = func() int64 { return durable }
		h.history.NoteChange(time.Unix(0, 0)) // readings are not throttled
		if rapid.Bool().Draw(rt, "dropped by the ring") {
			h.history.Reset(newest)
			h.registryFile.onAwait = func(revision int64) { durable = max(durable, revision) }
		}
		q := logv1.EventQuery{
			From:       rapid.Int64Range(0, newest+2).Draw(rt, "from"),
			To:         rapid.Int64Range(0, newest+2).Draw(rt, "to"),
			Key:        rapid.SampledFrom([]string{"", "s/1"}).Draw(rt, "service"),
			Descending: rapid.Bool().Draw(rt, "descending"),
			PageBytes:  rapid.SampledFrom([]int{0, 1, 150}).Draw(rt, "bytes"),
		}
		if q.Key != "" {
			q.Kind = logv1.Kind_KIND_SERVICE
		}
		odd := rapid.Bool().Draw(rt, "odd ones")
		keep := func(e *logv1.Event) bool { return !odd || e.GetRevision()%2 == 1 }
		var want, got []int64
		for _, e := range h.registryFile.events {
			if e.Revision >= max(q.From, oldest) && (q.To == 0 || e.Revision <= q.To) && (q.Key == "" || e.Key == q.Key) && keep(e) {
				want = append(want, e.Revision)
			}
		}
		if q.Descending {
			slices.Reverse(want)
		}
		for next := q; ; {
			page, err := h.ReadEvents(context.Background(), next, rapid.IntRange(1, 4).Draw(rt, "limit"), keep)
			if q.From > 0 && q.From < oldest {
				var compacted *logv1.CompactedError
				if !errors.As(err, &compacted) || compacted.Oldest != oldest || compacted.Asked != q.From {
					rt.Fatalf("%+v with %d the oldest: %v", q, oldest, err)
				}
				return
			}
			if err != nil {
				rt.Fatal(err)
			}
			for _, e := range page.Events {
				got = append(got, e.GetRevision())
			}
			if page.Next == 0 {
				break
			}
			if q.Descending {
				next.To = page.Next
			} else {
				next.From = page.Next
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			rt.Fatalf("%+v: %v, want %v", q, got, want)
		}
	})
}
