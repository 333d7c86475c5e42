package client_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcallhq/rollcall/client"
)

// watched is what one Watch gave.
type watched struct {
	stop context.CancelFunc

	mu      sync.Mutex // guards what follows
	updates []client.Update
	err     error
	ended   bool
}

// watch runs a Watch until it ends by itself or the test does.
func watch(t *testing.T, c *client.Client, service string) *watched {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &watched{stop: cancel}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for u, err := range c.Watch(ctx, service) {
			w.mu.Lock()
			if w.err = err; err == nil {
				w.updates = append(w.updates, u)
			}
			w.mu.Unlock()
		}
		w.mu.Lock()
		w.ended = true
		w.mu.Unlock()
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return w
}

// told is the statuses given until the bubble rests.
func (w *watched) told() string {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	var s []string
	for _, u := range w.updates {
		s = append(s, u.Status.String())
	}
	return strings.Join(s, " ")
}

func (w *watched) want(t *testing.T, want string) {
	t.Helper()
	if got := w.told(); got != want {
		t.Errorf("the watch gave %q, want %q", got, want)
	}
}

func TestWatchFollowsAServiceIntoAndOutOfExistence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 1)
		f.write(event{service: "other", status: serving})
		w := watch(t, f.client(t), "a")
		w.want(t, "SERVICE_UNKNOWN")
		f.write(event{service: "a", status: serving, reason: "new"})
		w.want(t, "SERVICE_UNKNOWN SERVING")
		f.write(event{service: "a", status: serving, reason: "only the reason"})
		f.write(event{service: "a", status: missing})
		w.want(t, "SERVICE_UNKNOWN SERVING SERVICE_UNKNOWN")
		for i, want := range []int64{1, 2, 4} {
			if got := w.updates[i].Revision; got != want {
				t.Errorf("update %d is of revision %d, want %d", i, got, want)
			}
		}
		if u := w.updates[1]; u.Record.GetReport().GetReason() != "new" || u.Service != "a" || u.Endpoint != "passthrough:///n1" {
			t.Errorf("got %+v", u)
		}
		if w.updates[0].Record != nil || w.updates[2].Record != nil {
			t.Error("a service that does not exist has a record")
		}
		w.stop()
		w.told()
		if e := failure(t, w.err); e.Code != codes.Canceled || !errors.Is(w.err, context.Canceled) {
			t.Errorf("ended with %v", w.err)
		}
	})
}

func TestWatchMovesOnAndNeitherRepeatsNorGoesBack(t *testing.T) {
	leave := map[string]func(*fakeNode){
		"killed":  (*fakeNode).kill,
		"drained": (*fakeNode).drain,
		"hung":    func(n *fakeNode) { n.cluster.do(func() { n.hung = true }) },
	}
	for name, leave := range leave {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := startBuffered(t, 2)
				f.write(event{service: "a", status: notServing})
				f.lagging = true
				f.write(event{service: "a", status: serving})
				f.do(func() { f.nodes[0].applied = 2 })

				w := watch(t, f.client(t), "a")
				w.want(t, "SERVING")
				leave(f.nodes[0])
				time.Sleep(time.Minute)
				w.want(t, "SERVING") // n2 is at NOT_SERVING still
				f.do(func() { f.nodes[1].applied = 2 })
				time.Sleep(time.Minute)
				w.want(t, "SERVING")
				f.write(event{service: "a", status: unknown})
				f.do(func() { f.nodes[1].applied = 3 })
				w.want(t, "SERVING UNKNOWN")
				if w.updates[1].Endpoint != "passthrough:///n2" {
					t.Errorf("from %s", w.updates[1].Endpoint)
				}
				f.do(func() { f.nodes[0].hung = false })
			})
		})
	}
}

// A node that ignores what it is asked by metadata is passed over.
func TestWatchDoesNotBelieveANodeThatIsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 2)
		f.nodes[1].deaf = true
		f.write(event{service: "a", status: notServing})
		f.lagging = true
		f.write(event{service: "a", status: serving})
		f.do(func() { f.nodes[0].applied = 2 })
		w := watch(t, f.client(t), "a")
		w.want(t, "SERVING")
		f.nodes[0].kill()
		time.Sleep(time.Minute)
		w.want(t, "SERVING")
	})
}

// The same for a service that does not exist: its revision is the node's.
func TestWatchDoesNotGoBackBeforeADeletion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 2)
		f.write(event{service: "a", status: serving})
		f.lagging = true
		f.write(event{service: "a", status: missing})
		f.do(func() { f.nodes[0].applied = 2 })
		w := watch(t, f.client(t), "a")
		w.want(t, "SERVICE_UNKNOWN")
		f.nodes[0].kill()
		time.Sleep(time.Minute)
		w.want(t, "SERVICE_UNKNOWN")
		f.do(func() { f.nodes[1].applied = 2 })
		time.Sleep(time.Minute)
		w.want(t, "SERVICE_UNKNOWN")
	})
}

func TestWatchNoticesAStoppedProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 2)
		w := watch(t, f.client(t), "a")
		w.want(t, "SERVICE_UNKNOWN")
		f.do(func() { f.nodes[0].hung = true })
		f.write(event{service: "a", status: serving})
		w.want(t, "SERVICE_UNKNOWN")
		time.Sleep(16 * time.Second) // keepalive: 10 s of silence, and 5 s for the answer
		w.want(t, "SERVICE_UNKNOWN SERVING")
		f.do(func() { f.nodes[0].hung = false })
	})
}

// The record that is read may be ahead of the stream. If the status then goes back to what the stream
// said last, the stream is silent; the watch must not be.
func TestWatchIsNotLeftBehindByItsOwnRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 1)
		f.write(event{service: "a", status: unknown})
		w := watch(t, f.client(t), "a")
		w.want(t, "UNKNOWN")
		f.do(func() { f.nodes[0].readLag, f.nodes[0].watchLag = time.Second, 10*time.Second })
		synctest.Wait()
		f.write(event{service: "a", status: notServing})
		time.Sleep(10*time.Second + time.Second/2) // the stream said NOT_SERVING; the look is under way
		f.write(event{service: "a", status: serving})
		time.Sleep(time.Second) // it saw SERVING; the stream is yet to look
		f.write(event{service: "a", status: notServing})
		time.Sleep(time.Minute)
		w.want(t, "UNKNOWN SERVING NOT_SERVING")
	})
}

func TestWatchWaitsWhileNoNodeAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 2)
		f.write(event{service: "a", status: serving})
		w := watch(t, f.client(t), "a")
		w.want(t, "SERVING")
		f.nodes[0].kill()
		f.nodes[1].kill()
		f.write(event{service: "a", status: notServing})
		time.Sleep(5 * time.Minute)
		w.want(t, "SERVING")
		f.nodes[1].start()
		time.Sleep(2 * 6 * time.Second) // the longest pause before each of two endpoints
		w.want(t, "SERVING NOT_SERVING")
	})
}

func TestWatchDoesNotHammer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 2)
		for _, n := range f.nodes {
			n.onRead = func(context.Context, string) error { return refusal(codes.Unavailable, "STOPPING", nil) }
		}
		watch(t, f.client(t), "a")
		time.Sleep(time.Minute)
		if n := len(f.nodes[0].seen("Watch")); n < 20 || n > 80 {
			t.Errorf("a node was asked %d times in a minute", n)
		}
	})
}

// TestWatchesSpreadTheirReturn: the pauses before a stream grow to 1 s, after a minute to 5 s, each anything up to that.
func TestWatchesSpreadTheirReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 1)
		f.write(event{service: "a", status: serving})
		w := watch(t, f.client(t), "a")
		time.Sleep(10 * time.Second)
		lost := time.Now()
		f.do(func() {
			f.nodes[0].onRead = func(context.Context, string) error { return refusal(codes.Unavailable, "STOPPING", nil) }
		})
		f.nodes[0].drain()
		time.Sleep(5 * time.Minute)
		var early, late []time.Duration // pauses
		last := lost
		for _, c := range f.nodes[0].seen("Watch")[1:] {
			pause := c.at.Sub(last)
			if c.at.Before(lost.Add(time.Minute)) {
				early = append(early, pause)
			} else {
				late = append(late, pause)
			}
			last = c.at
		}
		for i, bound := range []time.Duration{50, 100, 200, 400, 800} {
			if early[i] >= bound*time.Millisecond {
				t.Errorf("pause %d is %v", i+1, early[i])
			}
		}
		for name, tt := range map[string]struct {
			pauses   []time.Duration
			most     time.Duration
			atLeast  int
			atMost   int
			longOnes time.Duration
		}{
			"early": {early[5:], time.Second, 70, 200, 700 * time.Millisecond},
			"late":  {late[1:], 5 * time.Second, 60, 180, 3500 * time.Millisecond},
		} {
			short, long := slices.Min(tt.pauses), slices.Max(tt.pauses)
			if long > tt.most || long < tt.longOnes || short > tt.most/5 || len(tt.pauses) < tt.atLeast || len(tt.pauses) > tt.atMost {
				t.Errorf("%s: %d pauses from %v to %v", name, len(tt.pauses), short, long)
			}
		}
		// A stream that was stable begins all over.
		f.nodes[0].kill()
		f.do(func() { f.nodes[0].onRead = nil })
		f.nodes[0].start()
		time.Sleep(20 * time.Second)
		again := time.Now()
		before := len(f.nodes[0].seen("Watch"))
		f.nodes[0].drain()
		synctest.Wait()
		time.Sleep(50 * time.Millisecond)
		if n := len(f.nodes[0].seen("Watch")); n == before {
			t.Errorf("no stream within %v of the end of a stable one", time.Since(again))
		}
		f.do(func() {
			f.nodes[0].onRead = func(context.Context, string) error { return refusal(codes.Unavailable, "STOPPING", nil) }
		})
		before = len(f.nodes[0].seen("Watch"))
		time.Sleep(50 * time.Second)
		if n := len(f.nodes[0].seen("Watch")) - before; n < 60 {
			t.Errorf("%d streams in 50 s after a stable one", n)
		}
		w.want(t, "SERVING")
	})
}

func TestWatchOfOwnNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 2)
		w := watch(t, f.client(t), "")
		w.want(t, "SERVING")
		f.do(func() { f.nodes[0].own[""] = notServing })
		w.want(t, "SERVING NOT_SERVING")
		f.nodes[0].kill()
		time.Sleep(time.Second)
		w.want(t, "SERVING NOT_SERVING SERVING")
		for _, u := range w.updates {
			if u.Record != nil || u.Revision != 0 {
				t.Errorf("got %+v", u)
			}
		}
		wantCalls(t, f.nodes[0], "GetService", 0)
		wantCalls(t, f.nodes[1], "GetService", 0)
	})
}

func TestWatchSendsTheRevisionItHasSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 2)
		f.write(event{service: "x", status: serving}, event{service: "a", status: serving}, event{service: "x", status: unknown})
		w := watch(t, f.client(t), "a")
		w.want(t, "SERVING")
		f.nodes[0].kill()
		time.Sleep(time.Second)
		synctest.Wait()
		if first := f.nodes[0].seen("Watch"); len(first) != 1 || first[0].minRevision != 0 {
			t.Errorf("n1: %+v", first)
		}
		if second := f.nodes[1].seen("Watch"); len(second) != 1 || second[0].minRevision != 3 {
			t.Errorf("n2: %+v", second)
		}
		wantCalls(t, f.nodes[1], "GetService", 0) // its stream said nothing new
		f.write(event{service: "a", status: unknown})
		w.want(t, "SERVING UNKNOWN")
		if look := f.nodes[1].seen("GetService"); len(look) != 1 || look[0].minRevision != 3 {
			t.Errorf("n2: %+v", look)
		}
	})
}

func TestWatchEndsOnFinalRefusals(t *testing.T) {
	for _, code := range []codes.Code{codes.InvalidArgument, codes.Unimplemented, codes.PermissionDenied, codes.Unauthenticated} {
		for _, method := range []string{"Watch", "GetService"} {
			t.Run(fmt.Sprint(method, " ", code), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := startBuffered(t, 2)
					f.nodes[0].onRead = func(_ context.Context, m string) error {
						if m == method {
							return refusal(code, "X", nil)
						}
						return nil
					}
					w := watch(t, f.client(t), "a")
					w.want(t, "")
					if e := failure(t, w.err); !w.ended || e.Code != code {
						t.Errorf("got %v", w.err)
					}
				})
			})
		}
	}
}

func TestLeavingTheLoopEndsTheStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 1)
		c := f.client(t)
		updates := c.Watch(t.Context(), "a")
		for range 2 { // it may be ranged over again, from the start
			n := 0
			for u, err := range updates {
				if err != nil || u.Status != missing {
					t.Errorf("got %v, %v", u, err)
				}
				n++
				break
			}
			if n != 1 {
				t.Errorf("got %d updates", n)
			}
		}
		// goleak and the bubble see to it that nothing is left.
	})
}

// The first answer comes, and the loop is left, at the moment at which patience ends.
func TestLeavingTheLoopAtTheLastMoment(t *testing.T) {
	for range 50 {
		synctest.Test(t, func(t *testing.T) {
			f := startBuffered(t, 1)
			f.nodes[0].onRead = func(ctx context.Context, method string) error {
				if method == "Watch" {
					lag(ctx, 2*time.Second)
				}
				return nil
			}
			for range f.client(t).Watch(within(t, time.Minute), "") {
				break
			}
		})
	}
}

func TestSlowConsumerMissesNoLastStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 1)
		ctx := within(t, 10*time.Minute)
		var got []string
		for u, err := range f.client(t).Watch(ctx, "a") {
			if err != nil {
				break
			}
			got = append(got, u.Status.String())
			if len(got) == 1 {
				for range 100 {
					f.write(event{service: "a", status: serving})
					f.write(event{service: "a", status: notServing})
					time.Sleep(time.Second)
				}
			}
		}
		if want := []string{"SERVICE_UNKNOWN", "NOT_SERVING"}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

func TestCloseEndsAWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 2)
		c := f.client(t)
		w := watch(t, c, "a")
		w.want(t, "SERVICE_UNKNOWN")
		c.Close()
		w.told()
		if e := failure(t, w.err); !w.ended || e.Code != codes.Canceled || !errors.Is(w.err, client.ErrClosed) {
			t.Errorf("ended %v with %v", w.ended, w.err)
		}
	})
}

func TestWaitFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 2)
		c := f.client(t)
		f.write(event{service: "a", status: notServing})
		time.AfterFunc(time.Minute, func() { f.write(event{service: "a", status: serving, reason: "up"}) })
		u, err := c.WaitFor(t.Context(), "a", serving)
		if err != nil || u.Record.GetReport().GetReason() != "up" {
			t.Errorf("got %v, %v", u, err)
		}
		u, err = c.WaitFor(within(t, time.Second), "a", healthpb.HealthCheckResponse_NOT_SERVING)
		if e := failure(t, err); e.Code != codes.DeadlineExceeded || !errors.Is(err, context.DeadlineExceeded) || e.Op != "wait" {
			t.Errorf("got %v", err)
		}
		if u.Status != serving {
			t.Errorf("the last update is %v", u)
		}
	})
}
