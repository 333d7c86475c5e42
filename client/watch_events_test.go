package client_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

// taken is what a watch gave, each in short.
type taken struct {
	stop context.CancelFunc

	mu  sync.Mutex // guards what follows
	all []string
	err error
}

// take runs a watch until it ends by itself or the test does.
func take[T any](t *testing.T, seq func(context.Context) iter.Seq2[T, error], short func(T) string) *taken {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &taken{stop: cancel}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for v, err := range seq(ctx) {
			w.mu.Lock()
			if w.err = err; err == nil {
				w.all = append(w.all, short(v))
			}
			w.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return w
}

// want waits until the bubble rests for long enough to move to another node.
func (w *taken) want(t *testing.T, want string) {
	t.Helper()
	time.Sleep(10 * time.Second)
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if got := strings.Join(w.all, " "); got != want {
		t.Fatalf("it gave %q, want %q (%v)", got, want, w.err)
	}
}

func takeEvents(t *testing.T, c *client.Client, o client.WatchEventsOptions) *taken {
	t.Helper()
	return take(t, func(ctx context.Context) iter.Seq2[client.EventBatch, error] { return c.WatchEvents(ctx, o) }, func(b client.EventBatch) string {
		var revisions []string
		for _, e := range b.Events {
			revisions = append(revisions, fmt.Sprint(e.GetRevision()))
		}
		return fmt.Sprintf("%s<=%d", strings.Join(revisions, ","), b.Revision)
	})
}

func takeServices(t *testing.T, c *client.Client, prefixes ...string) *taken {
	t.Helper()
	return take(t, func(ctx context.Context) iter.Seq2[client.ServicesUpdate, error] {
		return c.WatchServices(ctx, prefixes...)
	}, shortUpdate)
}

func shortUpdate(u client.ServicesUpdate) string {
	var parts []string
	for _, r := range u.Services {
		parts = append(parts, fmt.Sprintf("%s=%d", r.GetService(), r.GetReport().GetRevision()))
	}
	for _, name := range slices.Sorted(slices.Values(u.Deleted)) {
		parts = append(parts, "-"+name)
	}
	if u.Reset {
		parts = append([]string{"reset:"}, parts...)
	}
	s := fmt.Sprintf("%s@%d", strings.Join(parts, ","), u.Revision)
	if u.Synced {
		s += "!"
	}
	return s
}

// TestWatchEventsMoves: nodes die, hang, break and drain under a watch, and others are behind; it gets
// every event once.
func TestWatchEventsMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 3)
		f.write(event{"a", serving, ""}, event{"b", serving, ""}, event{"a", notServing, ""}, event{"a", missing, ""})
		all := takeEvents(t, f.client(t), client.WatchEventsOptions{From: 1})
		onlyB := takeEvents(t, f.client(t), client.WatchEventsOptions{From: 1, Prefixes: []string{"b"}})
		now := takeEvents(t, f.client(t), client.WatchEventsOptions{})
		all.want(t, "<=0 1,2,3<=3 4<=4")
		onlyB.want(t, "<=0 2<=4")
		now.want(t, "<=4")
		f.nodes[0].kill()
		f.write(event{"b", notServing, ""})
		all.want(t, "<=0 1,2,3<=3 4<=4 5<=5")
		onlyB.want(t, "<=0 2<=4 5<=5")
		now.want(t, "<=4 5<=5")
		f.do(func() { f.lagging = true })
		f.write(event{"b", serving, ""})
		f.do(func() { f.nodes[1].applied = 6 })
		all.want(t, "<=0 1,2,3<=3 4<=4 5<=5 6<=6")
		f.nodes[1].drain()
		all.want(t, "<=0 1,2,3<=3 4<=4 5<=5 6<=6") // n3 is behind
		f.do(func() { f.lagging, f.nodes[2].applied = false, 6 })
		f.write(event{"a", serving, ""})
		all.want(t, "<=0 1,2,3<=3 4<=4 5<=5 6<=6 7<=7")
		f.nodes[0].start()
		f.do(func() { f.nodes[2].hung = true })
		f.write(event{"b", missing, ""})
		time.Sleep(time.Minute)
		all.want(t, "<=0 1,2,3<=3 4<=4 5<=5 6<=6 7<=7 8<=8")
		onlyB.want(t, "<=0 2<=4 5<=5 6<=6 8<=8")
		now.want(t, "<=4 5<=5 6<=6 7<=7 8<=8")
		f.do(func() { f.nodes[2].hung = false })
	})
}

// TestP6AWriteInPartsIsGivenWhole: also when nodes end in the middle of it.
func TestP6AWriteInPartsIsGivenWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 2)
		f.write(event{"a", serving, ""}, event{"a", notServing, ""})
		all := takeEvents(t, f.client(t), client.WatchEventsOptions{From: 1})
		onlyA := takeEvents(t, f.client(t), client.WatchEventsOptions{From: 1, Prefixes: []string{"a"}})
		all.want(t, "<=0 1,2<=2")
		f.do(func() {
			f.whole = [2]int64{3, 9}
			for _, n := range f.nodes {
				n.stuck = true
			}
		})
		f.write(event{"a", serving, ""}, event{"b", serving, ""}, event{"c", serving, ""}, event{"d", serving, ""},
			event{"e", serving, ""}, event{"f", serving, ""}, event{"g", serving, ""}, event{"a", missing, ""})
		all.want(t, "<=0 1,2<=2") // a part of it came
		f.do(func() { f.nodes[1].stuck = false })
		f.nodes[0].kill()
		all.want(t, "<=0 1,2<=2 3,4,5,6,7,8,9,10<=10")
		onlyA.want(t, "<=0 1,2<=2 3,10<=10")
	})
}

func TestWatchEventsBelowTheHorizon(t *testing.T) {
	f := startBuffered(t, 2)
	f.write(event{"a", serving, ""}, event{"a", notServing, ""}, event{"a", serving, ""})
	f.do(func() { f.oldest = 3 })
	c := f.client(t)
	check := func(what string, err error) {
		t.Helper()
		e := (*client.Error)(nil)
		if !errors.As(err, &e) || e.Code != codes.OutOfRange || e.Reason != client.ReasonCompacted || e.OldestRevision != 3 {
			t.Errorf("%s: %v", what, err)
		}
	}
	for b, err := range c.WatchEvents(t.Context(), client.WatchEventsOptions{From: 2}) {
		if err == nil {
			t.Errorf("given %v", b)
		}
		check("watch", err)
	}
	for e, err := range c.ListEvents(t.Context(), client.ListEventsOptions{From: 2}) {
		if err == nil {
			t.Errorf("given %v", e)
		}
		check("list", err)
	}
	_, err := c.GetAt(t.Context(), "a", client.AtRevision(1))
	check("get", err)
}

func TestListEvents(t *testing.T) {
	f := startBuffered(t, 2)
	f.write(event{"a", serving, ""}, event{"b/1", serving, ""}, event{"a", notServing, ""}, event{"a", missing, ""}, event{"c", serving, ""})
	c := f.client(t)
	deleted := []rollcallv1.EventType{rollcallv1.EventType_EVENT_TYPE_DELETED}
	for _, tt := range []struct {
		o    client.ListEventsOptions
		want []int64
	}{
		{client.ListEventsOptions{}, []int64{1, 2, 3, 4, 5}},
		{client.ListEventsOptions{NewestFirst: true}, []int64{5, 4, 3, 2, 1}},
		{client.ListEventsOptions{Service: "a"}, []int64{1, 3, 4}},
		{client.ListEventsOptions{Prefixes: []string{"b", "c"}}, []int64{2, 5}},
		{client.ListEventsOptions{From: 2, To: 4}, []int64{2, 3, 4}},
		{client.ListEventsOptions{Since: time.Unix(3, 0), Until: time.Unix(4, 0)}, []int64{3, 4}},
		{client.ListEventsOptions{Actor: "bob"}, nil},
		{client.ListEventsOptions{Types: deleted}, []int64{4}},
	} {
		for size := range 3 {
			tt.o.PageSize = size
			var got []int64
			for e, err := range c.ListEvents(t.Context(), tt.o) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, e.GetRevision())
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("%+v: %v, want %v", tt.o, got, tt.want)
			}
		}
	}
}

// TestWatchServicesMoves: what changed while the watch was between two nodes is told, what vanished too,
// and what did not is not told again.
func TestWatchServicesMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 3)
		empty := takeServices(t, f.client(t), "none")
		f.write(event{"a", serving, ""}, event{"b", serving, ""}, event{"c", serving, ""})
		w := takeServices(t, f.client(t))
		told := "a=1@3 b=2@3 c=3@3 @3!"
		w.want(t, told)
		f.write(event{"b", notServing, ""})
		told += " b=4@4!"
		w.want(t, told)
		f.nodes[0].kill()
		f.write(event{"a", missing, ""}, event{"d", serving, ""})
		told += " d=6,-a@6!"
		w.want(t, told)
		f.nodes[1].breakConnections() // and back, or on: nothing is new
		w.want(t, told)
		// A node that is behind is waited for, and not believed.
		f.do(func() { f.lagging = true })
		f.write(event{"d", missing, ""})
		f.do(func() { f.nodes[1].applied, f.nodes[2].applied = 7, 7 })
		told += " -d@7!"
		w.want(t, told)
		f.nodes[0].start() // at revision 4 or so
		f.nodes[1].drain()
		f.nodes[2].drain()
		w.want(t, told)
		f.do(func() { f.nodes[0].applied = 7 })
		w.want(t, told)
		f.do(func() { f.lagging = false })
		f.write(event{"d", serving, ""})
		told += " d=8@8!"
		w.want(t, told)
		empty.stop()
		if !strings.HasPrefix(empty.all[0], "@") || !strings.HasSuffix(empty.all[0], "!") {
			t.Errorf("what does not exist begins with %v", empty.all)
		}
	})
}

func TestGetAndListAt(t *testing.T) {
	f := startBuffered(t, 2)
	f.write(event{"a", serving, ""}, event{"b", serving, ""}, event{"a", missing, ""}, event{"b", notServing, ""})
	f.do(func() { f.nodes[0].applied = 3 })
	c := f.client(t)
	for _, at := range []*rollcallv1.At{client.AtRevision(2), client.AtTime(time.Unix(2, 0))} {
		resp, err := c.GetAt(t.Context(), "a", at)
		if err != nil || resp.GetRevision() != 2 || resp.GetService().GetReport().GetRevision() != 1 {
			t.Errorf("%v %v", resp, err)
		}
		var names []string
		var page client.ListPage
		for r, err := range c.List(t.Context(), client.ListOptions{At: at, PageSize: 1, Page: &page}) {
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, r.GetService())
		}
		if !slices.Equal(names, []string{"a", "b"}) || page.Revision != 2 || page.First != 2 {
			t.Errorf("%v were there, as of %d", names, page.Revision)
		}
	}
	// The first node is not there yet, the second is.
	if resp, err := c.GetAt(t.Context(), "b", client.AtRevision(4)); err != nil || resp.GetService().GetStatus() != notServing {
		t.Errorf("%v %v", resp, err)
	}
	_, err := c.GetAt(t.Context(), "b", client.AtRevision(5))
	if e := (*client.Error)(nil); !errors.As(err, &e) || e.Reason != client.ReasonAhead {
		t.Errorf("%v", err)
	}
}
