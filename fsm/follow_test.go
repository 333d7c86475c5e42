package fsm

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/fsm/history"
)

// received is what one follower of events was given.
type received struct {
	t       testing.TB
	from    int64
	events  []*logv1.Event
	at      int64 // of the last event
	whole   int64 // all up to here was given
	calls   int
	largest int // page
}

// take checks what every page must hold: it goes on where the one before ended. It ends a write, or is a
// part of one that is larger than a page.
func (r *received) take(events []*logv1.Event, at int64) error {
	r.calls++
	if r.calls == 1 {
		r.at, r.whole = at, at
		if len(events) != 0 {
			r.t.Errorf("the first call holds %d events", len(events))
		}
		if r.from != 0 && at != r.from-1 {
			r.t.Errorf("from %d begins at %d", r.from, at)
		}
	}
	for _, e := range events {
		if r.at++; e.GetRevision() != r.at {
			r.t.Fatalf("revision %d follows %d", e.GetRevision(), r.at-1)
		}
	}
	if n := len(events); n > 0 && events[n-1].GetCommitRevision() == r.at {
		r.whole = r.at
	} else if n > 0 {
		for _, e := range events {
			if e.GetCommitRevision() != events[n-1].GetCommitRevision() {
				r.t.Fatalf("a page ends at %d, within a write to %d, and holds what is whole before", r.at, events[n-1].GetCommitRevision())
			}
		}
	}
	if r.whole != at {
		r.t.Fatalf("what is whole to %d is said to go to %d", r.whole, at)
	}
	r.events = append(r.events, events...)
	r.largest = max(r.largest, len(events))
	return nil
}

var errEnough = errors.New("enough")

// follow runs FollowEvents until it has all up to revision.
func (h *harness) follow(t testing.TB, from, revision int64) (*received, error) {
	t.Helper()
	r := &received{t: t, from: from}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := h.FollowEvents(ctx, from, logv1.Following{Quiet: time.Hour}, func(events []*logv1.Event, at int64) error {
		if err := r.take(events, at); err != nil {
			return err
		}
		if at >= revision {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return r, err
}

// batchOf is one atomic write of n services.
func batchOf(prefix string, n int, st logv1.Status) *logv1.Command {
	var cs []*logv1.Change
	for i := range n {
		cs = append(cs, change(fmt.Sprintf("%s/%d", prefix, i), st))
	}
	return write(cs...)
}

// TestP6FollowersGetEveryEvent: from any revision, whether it stands in the ring or only in the registry file,
// a follower gets the events that the fold made, in pages that split no write.
func TestP6FollowersGetEveryEvent(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		j := newMemRegistryFile()
		ring := rapid.IntRange(1, 40).Draw(rt, "ring")
		behind := int64(rapid.IntRange(0, max(history.RingSlack*ring-12, 0)).Draw(rt, "registry file behind by"))
		j.durable = func() int64 {
			j.mu.Lock()
			defer j.mu.Unlock()
			for i := int64(len(j.events)) - behind; i > 0; i-- {
				if j.events[i-1].GetCommitRevision() == i {
					return i // it ends a write
				}
			}
			return 0
		}
		limits := history.DefaultLimits()
		limits.Page = history.PageLimits{Count: rapid.IntRange(1, 10).Draw(rt, "page"), Bytes: rapid.IntRange(1, 2000).Draw(rt, "bytes")}
		f, err := New(Config{RegistryFile: j, RingEvents: ring, limits: limits})
		if err != nil {
			rt.Fatal(err)
		}
		defer f.Close()
		h := &harness{FSM: f, registryFile: j}
		for i := range rapid.IntRange(1, 30).Draw(rt, "writes") {
			h.do(t, int64(i), batchOf(fmt.Sprint(i), rapid.IntRange(1, 12).Draw(rt, "size"), serving))
		}
		revision := h.Revision()
		from := rapid.Int64Range(1, revision).Draw(rt, "from")
		r, err := h.follow(t, from, revision)
		if err != nil {
			rt.Fatal(err)
		}
		if len(r.events) != int(revision-from+1) {
			rt.Fatalf("%d events from %d to %d", len(r.events), from, revision)
		}
		for _, e := range r.events {
			if want := j.events[e.GetRevision()-1]; !proto.Equal(e, want) {
				rt.Fatalf("revision %d is %v, want %v", e.GetRevision(), e, want)
			}
		}
		if r.largest > limits.Page.Count {
			rt.Errorf("a page of %d holds %d", limits.Page.Count, r.largest)
		}
	})
}

func TestP6FollowersWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		h.set(t, "a", serving)
		ctx, cancel := context.WithCancel(t.Context())
		type follower struct {
			received
			done chan error
		}
		var all []*follower
		for i := range 600 { // more than one shard
			w := &follower{received: received{t: t, from: []int64{0, 2, 5}[i%3]}, done: make(chan error, 1)}
			all = append(all, w)
			go func() { w.done <- h.FollowEvents(ctx, w.from, logv1.Following{Quiet: time.Hour}, w.take) }()
		}
		synctest.Wait()
		h.set(t, "a", notServing)
		h.do(t, 0, batchOf("b", 5, serving)) // revisions 3 to 7
		synctest.Wait()
		for i, w := range all {
			want := []int64{2, 2, 5}[i%3]
			if len(w.events) == 0 || w.events[0].GetRevision() != want || w.at != 7 {
				t.Fatalf("from %d: %d events to %d", w.from, len(w.events), w.at)
			}
		}
		cancel()
		for _, w := range all {
			if err := <-w.done; !errors.Is(err, context.Canceled) {
				t.Errorf("ended with %v", err)
			}
		}
		if n := h.watches.Subscribers(); n != 0 {
			t.Errorf("%d subscribers are left", n)
		}
	})
}

// A follower that is told nothing is told where it is.
func TestFollowersAreCalledWhenItIsQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		ctx, cancel := context.WithCancel(t.Context())
		r := &received{t: t}
		done := make(chan error, 1)
		go func() { done <- h.FollowEvents(ctx, 0, logv1.Following{Quiet: 10 * time.Second}, r.take) }()
		time.Sleep(25 * time.Second)
		synctest.Wait()
		if r.calls != 3 {
			t.Errorf("%d calls in 25 s, want 3", r.calls)
		}
		h.set(t, "a", serving)
		time.Sleep(9 * time.Second)
		synctest.Wait()
		if r.calls != 4 {
			t.Errorf("%d calls, want one more for the event and none for the quiet since", r.calls)
		}
		cancel()
		<-done
	})
}

func TestP6BelowTheHorizon(t *testing.T) {
	j := newMemRegistryFile()
	h := harnessOn(t, j)
	for range 5 {
		h.set(t, "a", serving)
		h.set(t, "a", notServing)
	}
	h.do(t, 0, compact(4))
	for from, oldest := range map[int64]int64{1: 4, 3: 4, 4: 0, 10: 0} {
		_, err := h.follow(t, from, 10)
		var compacted *logv1.CompactedError
		switch {
		case oldest == 0 && err != nil:
			t.Errorf("from %d: %v", from, err)
		case oldest != 0 && (!errors.As(err, &compacted) || compacted.Oldest != oldest || compacted.Asked != from):
			t.Errorf("from %d: %v, want the oldest to be %d", from, err, oldest)
		}
	}
	// One that falls behind the horizon, and out of the ring, while it follows.
	h.history.Reset(h.Revision())
	r := &received{t: t, from: 5}
	err := h.FollowEvents(t.Context(), 5, logv1.Following{Quiet: time.Hour}, func(events []*logv1.Event, at int64) error {
		h.do(t, 0, compact(6))
		return r.take(events, at)
	})
	var compacted *logv1.CompactedError
	if !errors.As(err, &compacted) || compacted.Asked != 5 || compacted.Oldest != 6 || len(r.events) != 0 {
		t.Errorf("the one that fell behind got %v and %v", r.events, err)
	}
}

// A snapshot jumps over what the ring holds: followers go on from the events that came with it.
func TestP6FollowersLiveThroughARestore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ahead, behind := newHarness(t), newHarness(t)
		for i := range 10 {
			cmd := batchOf(fmt.Sprint(i), 3, serving)
			ahead.do(t, int64(i), cmd)
			if i < 4 {
				behind.do(t, int64(i), cmd)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		r := &received{t: t, from: 5}
		done := make(chan error, 1)
		go func() { done <- behind.FollowEvents(ctx, 5, logv1.Following{Quiet: time.Hour}, r.take) }()
		services := &mirror{t: t, state: map[string]int64{}}
		servicesDone := make(chan error, 1)
		go func() {
			servicesDone <- behind.FollowServices(ctx, nil, logv1.Following{Quiet: time.Hour}, nil, services.take)
		}()
		synctest.Wait()
		if r.at != 12 || services.revision != 12 {
			t.Fatalf("before, they are at %d and %d", r.at, services.revision)
		}
		var fails atomic.Int64
		behind.registryFile.onRead = func() error { // as the registry file does while it is replaced
			if fails.Add(1)%2 == 1 {
				return errors.New("the registry file is being replaced")
			}
			return nil
		}
		if err := behind.Restore(ahead.snapshot(t)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute) // readings are throttled
		synctest.Wait()
		if r.at != 30 || services.revision != 30 || fails.Load() < 2 {
			t.Errorf("after, they are at %d and %d; %d readings", r.at, services.revision, fails.Load())
		}
		services.compare(behind.FSM, nil)
		cancel()
		<-done
		<-servicesDone
	})
}
