package fsm

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
)

// watcher is a WatchStatus under way.
type watcher struct {
	got  chan servingStatus // unbuffered: a value is sent when the test asks for it
	done chan error
}

// watchStatus is a watch with a goroutine: it calls send, which may wait, until ctx ends or send fails.
func watchStatus(ctx context.Context, f *FSM, name string, send func(servingStatus) error) error {
	statuses := make(chan servingStatus, 1) // one is under way at most: a second would block the waker
	ready, stop := f.WatchStatus(name, nil, func(s servingStatus) { statuses <- s })
	defer stop()
	for {
		ready()
		select {
		case s := <-statuses:
			if err := send(s); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func startWatch(ctx context.Context, f *FSM, name string) *watcher {
	w := &watcher{got: make(chan servingStatus), done: make(chan error, 1)}
	go func() {
		w.done <- watchStatus(ctx, f, name, func(s servingStatus) error {
			select {
			case w.got <- s:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	return w
}

func (w *watcher) want(t testing.TB, want servingStatus) {
	t.Helper()
	select {
	case got := <-w.got:
		if got != want {
			t.Fatalf("watcher was sent %v, want %v", got, want)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("watcher was not sent %v", want)
	}
}

func (w *watcher) end(t testing.TB) {
	t.Helper()
	if err := <-w.done; !errors.Is(err, context.Canceled) {
		t.Errorf("WatchStatus returned %v, want context.Canceled", err)
	}
}

func TestWatchFollowsAServiceThroughItsLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		ctx, cancel := context.WithCancel(t.Context())
		w := startWatch(ctx, h.FSM, "a")
		w.want(t, serviceUnknown)
		quiet := func(why string) {
			t.Helper()
			synctest.Wait()
			select {
			case s := <-w.got:
				t.Fatalf("%s: watcher was sent %v", why, s)
			default:
			}
		}
		h.set(t, "b", serving)
		quiet("another service")
		h.set(t, "a", serving)
		w.want(t, isServing)
		h.set(t, "a", serving)
		quiet("the same status")
		h.do(t, 1, writeFor("why", change("a", serving)))
		quiet("a new reason")
		h.do(t, 1, write(change("a", notServing)), write(change("a", serving)))
		quiet("there and back in one batch")
		h.set(t, "a", gone)
		w.want(t, serviceUnknown)
		h.set(t, "a", notServing)
		w.want(t, isNotServing)
		cancel()
		w.end(t)
		if n := h.watches.Topics(); n != 0 {
			t.Errorf("%d topics are left", n)
		}
	})
}

func TestWatchIsNotWokenByAReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		h.set(t, "a", serving)
		_, stop := h.WatchStatus("a", nil, func(servingStatus) {})
		defer stop()
		h.do(t, 1, writeFor("why", change("a", serving)))
		if n := h.Stats().Wakes; n != 0 {
			t.Errorf("woken by a new reason")
		}
		h.set(t, "a", notServing)
		if n := h.Stats().Wakes; n != 1 {
			t.Errorf("%d wakes, want 1", n)
		}
	})
}

func TestOwnNames(t *testing.T) {
	h := newHarness(t)
	ctx, cancel := context.WithCancel(t.Context())
	for _, name := range []string{"", "rollcall.live"} {
		w := startWatch(ctx, h.FSM, name)
		w.want(t, serviceUnknown)
		h.SetOwn(name, isServing)
		w.want(t, isServing)
		h.SetOwn(name, isServing)
		h.SetOwn(name, isNotServing)
		w.want(t, isNotServing)
		if s, ok := h.Status(name); !ok || s != isNotServing {
			t.Errorf("Status(%q) is %v, %v", name, s, ok)
		}
		if r, _ := h.GetService(name); r != nil {
			t.Errorf("GetService(%q) shows %v", name, r)
		}
		defer w.end(t)
	}
	defer cancel()
	h.SetOwn("shop", isServing)
	if _, ok := h.Status("shop"); ok {
		t.Error("SetOwn set a name of the registry")
	}
	if all, more := h.ListStatuses(pattern.Everything, 9); len(all) != 0 || more {
		t.Errorf("ListStatuses shows %v", all)
	}
	if page := h.ListServices(pattern.Everything, "", 9, nil, false); len(page.Records) != 0 {
		t.Errorf("ListServices shows %v", page.Records)
	}
	if h.ServiceCount() != 0 {
		t.Errorf("ServiceCount is %d", h.ServiceCount())
	}
}

// TestP5WatchConverges: many services flip at random while they are watched at various speeds. Each
// stream starts at once, never repeats a status, never goes back (statuses sent are a subsequence of
// those set) and ends with the latest.
func TestP5WatchConverges(t *testing.T) {
	const services, watchersEach, flips = 4, 40, 400
	h := newHarness(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()

	var mu sync.Mutex
	history := make([][]servingStatus, services) // of each service, as set
	for i := range history {
		history[i] = []servingStatus{serviceUnknown}
	}
	flipping, finish := context.WithCancel(ctx) // until all flips are applied

	var watchers sync.WaitGroup
	for i := range services {
		for k := range watchersEach {
			watchers.Go(func() {
				wctx, stop := context.WithCancel(ctx)
				defer stop()
				var sent []servingStatus
				reached := make(chan servingStatus, 1)
				var inner sync.WaitGroup
				inner.Go(func() { // ends the watch once it has sent the final status
					<-flipping.Done()
					for s := range reached {
						if s == isServing {
							stop()
						}
					}
				})
				err := watchStatus(wctx, h.FSM, fmt.Sprint("s", i), func(s servingStatus) error {
					sent = append(sent, s)
					if k%4 == 0 { // slow: several flips happen meanwhile
						_ = h.WaitRevision(flipping, h.Revision()+int64(rand.IntN(20)))
					}
					select {
					case <-reached:
					default:
					}
					reached <- s
					return nil
				})
				close(reached)
				inner.Wait()
				if !errors.Is(err, context.Canceled) || ctx.Err() != nil {
					t.Errorf("s%d: ended with %v having sent %v", i, err, sent)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				checkConverged(t, history[i], sent)
			})
		}
	}
	for range flips {
		i := rand.IntN(services)
		st := []logv1.Status{unknown, notServing, gone}[rand.IntN(3)]
		r := h.set(t, fmt.Sprint("s", i), st)
		if r.Services[0].Changed {
			mu.Lock()
			history[i] = append(history[i], servingStatus(st))
			mu.Unlock()
		}
	}
	for i := range services {
		// The latest, which no flip set, on the heels of whatever came before.
		h.set(t, fmt.Sprint("s", i), serving)
		mu.Lock()
		history[i] = append(history[i], isServing)
		mu.Unlock()
	}
	finish()

	ended := make(chan struct{})
	go func() { watchers.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		cancel()
		<-ended
		t.Error("some watchers never got the latest status")
	}
	if n := h.watches.Topics(); n != 0 {
		t.Errorf("%d topics are left", n)
	}
}

func checkConverged(t *testing.T, history, sent []servingStatus) {
	t.Helper()
	at := 0
	for i, s := range sent {
		if i > 0 && s == sent[i-1] {
			t.Errorf("status repeated: %v", sent)
		}
		for at < len(history) && history[at] != s {
			at++
		}
		if at == len(history) {
			t.Fatalf("sent %v, which is no subsequence of %v", sent, history)
		}
	}
	if sent[len(sent)-1] != history[len(history)-1] {
		t.Errorf("last sent is %v, want %v", sent[len(sent)-1], history[len(history)-1])
	}
}

// TestP5NoWakeUpIsLost: a change that comes while a status is sent, and one that comes right as the
// watch becomes ready again, are not missed.
func TestP5NoWakeUpIsLost(t *testing.T) {
	for round := range 200 {
		synctest.Test(t, func(t *testing.T) {
			h := newHarness(t)
			var sent []servingStatus
			var left sync.WaitGroup
			sending := make(chan struct{}, 9)
			var ready, stop func()
			ready, stop = h.WatchStatus("a", nil, func(s servingStatus) {
				sent = append(sent, s)
				sending <- struct{}{}
				left.Go(ready) // by somebody else, as gRPC does
			})
			ready()
			for i := range 3 {
				if i > 0 || round%2 == 0 {
					<-sending
				}
				h.set(t, "a", []logv1.Status{serving, notServing, serving}[i])
			}
			synctest.Wait()
			stop()
			left.Wait()
			if sent[len(sent)-1] != isServing {
				t.Fatalf("sent %v, and not the latest", sent)
			}
		})
	}
}

// TestOneStatusUnderWay: until a watch is ready nothing is sent, then only the latest; once it has
// stopped nothing is sent at all.
func TestOneStatusUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		var sent []servingStatus
		ready, stop := h.WatchStatus("a", nil, func(s servingStatus) { sent = append(sent, s) })
		want := func(when string, want ...servingStatus) {
			t.Helper()
			synctest.Wait()
			if !slices.Equal(sent, want) {
				t.Errorf("%s: sent %v, want %v", when, sent, want)
			}
		}
		want("before it is ready")
		ready()
		want("first", serviceUnknown)
		h.set(t, "a", serving)
		h.set(t, "a", notServing)
		want("on the way", serviceUnknown)
		ready()
		want("the latest", serviceUnknown, isNotServing)
		h.set(t, "a", serving)
		h.set(t, "a", notServing)
		ready()
		want("there and back", serviceUnknown, isNotServing)
		h.set(t, "a", serving)
		want("at once when nothing is on the way", serviceUnknown, isNotServing, isServing)
		h.set(t, "a", notServing)
		stop()
		ready()
		h.set(t, "a", gone)
		want("stopped", serviceUnknown, isNotServing, isServing)
	})
}

// TestP8TenThousandWatchers of one name all hear of a change, one stuck watcher hurts nobody, and
// names that do not exist leave nothing behind.
func TestP8TenThousandWatchers(t *testing.T) {
	const n = 10_000
	h := newHarness(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()

	stuck := startWatch(ctx, h.FSM, "a") // nobody takes what it sends
	var first, second, ended sync.WaitGroup
	first.Add(n)
	second.Add(n)
	for range n {
		ended.Go(func() {
			_ = watchStatus(ctx, h.FSM, "a", func(s servingStatus) error {
				switch s {
				case serviceUnknown:
					first.Done()
				case isServing:
					second.Done()
				}
				return nil
			})
		})
	}
	first.Wait()
	h.set(t, "a", serving)
	second.Wait()
	cancel()
	ended.Wait()
	if err := <-stuck.done; !errors.Is(err, context.Canceled) {
		t.Errorf("stuck watcher: %v", err)
	}
	if got := h.watches.Topics(); got != 0 {
		t.Errorf("%d topics are left", got)
	}
}

func TestWatchEndsWithTheErrorOfSend(t *testing.T) {
	h := newHarness(t)
	broken := errors.New("stream is broken")
	if err := watchStatus(t.Context(), h.FSM, "a", func(servingStatus) error { return broken }); err != broken {
		t.Errorf("WatchStatus: %v", err)
	}
	if n := h.watches.Topics(); n != 0 {
		t.Errorf("%d topics are left", n)
	}
}

// TestOverridesWakeWhoIsAffected: watches get the effective status, and those whose effective status stays the
// same are not woken, however many there are and whatever the reports do.
func TestOverridesWakeWhoIsAffected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		var mu sync.Mutex
		sent := map[string][]servingStatus{}
		watch := func(name string) {
			var ready func()
			ready, stop := h.WatchStatus(name, nil, func(s servingStatus) {
				mu.Lock()
				defer mu.Unlock()
				sent[name] = append(sent[name], s)
				ready()
			})
			ready()
			t.Cleanup(stop)
		}
		for i := range 500 {
			h.set(t, fmt.Sprint("shop/", i), serving)
			watch(fmt.Sprint("shop/", i))
		}
		h.set(t, "shop/down", notServing)
		h.set(t, "pay/a", serving)
		watch("shop/down")
		watch("shop/none")
		watch("pay/a")
		watch("rollcall.reads")
		h.SetOwn("rollcall.reads", isServing)
		expect := func(why string, wakes uint64, also ...*logv1.Command) {
			t.Helper()
			synctest.Wait()
			clear(sent)
			before := h.Stats().Wakes
			for _, c := range also {
				if r := h.do(t, 1, c)[0]; r.Refusal != nil {
					t.Fatal(r)
				}
			}
			synctest.Wait()
			if n := h.Stats().Wakes - before; n != wakes || len(sent) != int(wakes) {
				t.Errorf("%s: woke %d, sent to %d; want %d", why, n, len(sent), wakes)
			}
			for name, s := range sent {
				if want, _ := h.Status(name); len(s) != 1 || s[0] != want {
					t.Errorf("%s: %s was sent %v, it is %v", why, name, s, want)
				}
			}
		}
		expect("shop/*", 500, over("shop/*", notServing))
		expect("the same again", 0, because(over("shop/*", notServing), "why"))
		expect("more specific", 1, over("shop/7", serving))
		expect("shutdown", 2, over("**", notServing))
		expect("of no one", 0, over("other/*", serving))
		expect("beneath the shutdown", 0, clearOver("shop/7"), over("shop/8", serving))
		expect("resume", 2, clearOver("**"))
		expect("the end", 499, clearOver("shop/*"))
		expect("all is as before", 0, clearOver("shop/8"))
	})
}
