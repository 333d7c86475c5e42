package history

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// readers read through a throttle in virtual time, until the test ends.
type readers struct {
	*throttle
	ctx context.Context
	wg  sync.WaitGroup

	mu    sync.Mutex
	spent time.Duration         // by all
	turns map[any]int           // by connection
	most  map[any]time.Duration // the longest that one of a connection waited
}

// newReaders returns readers of a registry that changes all the time if busy.
func newReaders(t *testing.T, busy bool) *readers {
	ctx, cancel := context.WithCancel(t.Context())
	r := &readers{throttle: newThrottle(), ctx: ctx, turns: map[any]int{}, most: map[any]time.Duration{}}
	if busy {
		r.changed.Store(time.Now().UnixNano())
		r.wg.Go(func() {
			for tick := time.NewTicker(BusyFor / 4); ; {
				select {
				case <-tick.C:
					r.changed.Store(time.Now().UnixNano())
				case <-ctx.Done():
					tick.Stop()
					return
				}
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		r.wg.Wait()
		time.Sleep(maxRest + 1) // the rests end
		r.throttle.mu.Lock()
		defer r.throttle.mu.Unlock()
		for l := range r.lanes {
			if state := &r.lanes[l]; state.taken != 0 || state.waiting.Len() != 0 {
				t.Errorf("lane %d has %d turns taken and %d waiting when all have gone", l, state.taken, state.waiting.Len())
			}
		}
		for c, s := range r.sources.known {
			if s.waiting != 0 {
				t.Errorf("%v has %d waiting when all have gone", c, s.waiting)
			}
		}
	})
	return r
}

// read is one reading that takes cost.
func (r *readers) read(ctx context.Context, connection any, what reading, cost time.Duration) error {
	start := time.Now()
	return r.do(WithSource(ctx, connection), what, func() (int, error) {
		waited := time.Since(start)
		time.Sleep(cost)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.spent += cost
		r.turns[connection]++
		r.most[connection] = max(r.most[connection], waited)
		return 0, nil
	})
}

// loop has n readers of a connection read again and again.
func (r *readers) loop(n int, connection any, what reading, cost time.Duration) {
	for range n {
		r.wg.Go(func() {
			for r.ctx.Err() == nil {
				_ = r.read(r.ctx, connection, what, cost)
			}
		})
	}
}

// TestReadingsTakeATwentieth of one processor, whoever reads, and use it.
func TestReadingsTakeATwentieth(t *testing.T) {
	for name, start := range map[string]func(*readers){
		"followers": func(r *readers) { r.loop(10, "f", reading{follower: true}, time.Millisecond) },
		"calls":     func(r *readers) { r.loop(10, "c", reading{most: 1}, time.Millisecond) },
		"both": func(r *readers) {
			r.loop(10, "f", reading{follower: true}, time.Millisecond)
			for i := range 50 {
				r.loop(1, i, reading{most: 1}, time.Millisecond/10)
			}
		},
		"one of each": func(r *readers) {
			r.loop(1, "f", reading{follower: true}, 2*time.Millisecond)
			r.loop(1, "c", reading{}, time.Millisecond/10)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newReaders(t, true)
				start(r)
				const long = time.Minute
				time.Sleep(long)
				r.mu.Lock()
				defer r.mu.Unlock()
				if share := float64(r.spent) / float64(long); share > 0.052 || share < 0.02 {
					t.Errorf("readings took %.3f of a processor", share)
				}
			})
		})
	}
}

// TestConnectionsTakeTurns: a connection with very many followers leaves as much to one with a single one.
func TestConnectionsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReaders(t, true)
		r.loop(99, "many", reading{follower: true}, time.Millisecond)
		r.loop(1, "one", reading{follower: true}, time.Millisecond)
		r.loop(3, "few", reading{follower: true}, time.Millisecond)
		time.Sleep(time.Minute)
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, c := range []string{"one", "few"} {
			if r.turns["many"] > r.turns[c]+2 || r.turns[c] > r.turns["many"]+2 {
				t.Errorf("turns: %v", r.turns)
			}
		}
	})
}

// TestWhoHasReadMuchWaitsBehindWhoHasNot: a connection whose calls read all they can is behind one that reads
// now and then, and is let in front again soon after it stopped.
func TestWhoHasReadMuchWaitsBehindWhoHasNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReaders(t, true)
		r.loop(100, "followers", reading{follower: true}, 4*time.Millisecond)
		ctx, stop := context.WithCancel(r.ctx)
		for range 50 {
			r.wg.Go(func() {
				for ctx.Err() == nil {
					_ = r.read(ctx, "greedy", reading{most: 1000}, 2*time.Millisecond)
				}
			})
		}
		for range 100 {
			time.Sleep(100 * time.Millisecond)
			if err := r.read(r.ctx, "modest", reading{most: 1}, time.Millisecond/10); err != nil {
				t.Fatal(err)
			}
		}
		r.mu.Lock()
		modest, greedy := r.most["modest"], r.most["greedy"]
		r.most = map[any]time.Duration{}
		r.mu.Unlock()
		if modest > maxRest {
			t.Errorf("the modest one waited %v", modest)
		}
		if greedy < time.Second {
			t.Errorf("the greedy one waited %v only", greedy)
		}
		stop()
		time.Sleep(3 * time.Second)
		if err := r.read(r.ctx, "greedy", reading{most: 1}, time.Millisecond); err != nil {
			t.Fatal(err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if waited := r.most["greedy"]; waited > maxRest {
			t.Errorf("three seconds later it still waits, for %v", waited)
		}
	})
}

// TestQuietReading: while nothing changes, no call waits that reads little, and those that read much, and
// followers that are behind, leave processors free.
func TestQuietReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReaders(t, false)
		r.loop(250, "followers", reading{follower: true}, 5*time.Millisecond)
		r.loop(250, "greedy", reading{most: 1000}, 5*time.Millisecond)
		for range 20 {
			time.Sleep(50 * time.Millisecond)
			for i := range 50 {
				r.wg.Go(func() { _ = r.read(r.ctx, i, reading{most: 1}, time.Millisecond/10) })
			}
		}
		time.Sleep(time.Millisecond)
		r.mu.Lock()
		defer r.mu.Unlock()
		for i := range 50 {
			if r.most[i] != 0 || r.turns[i] != 20 {
				t.Errorf("a call waited %v; %d calls", r.most[i], r.turns[i])
			}
		}
		// But for the first calls of the greedy one, of which nothing was known.
		at := max(1, runtime.GOMAXPROCS(0)/2)
		if n := r.turns["followers"] + r.turns["greedy"] - 250; n < 190*at || n > 203*at+2 {
			t.Errorf("%d turns of 5 ms in a second, want %d at a time", n, at)
		}
		if f, g := r.turns["followers"], r.turns["greedy"]-250; f < g-2*at || g < f-2*at {
			t.Errorf("the followers had %d turns, the greedy calls %d", f, g)
		}
	})
}

// TestThrottledReadersLeave: who waits for a turn goes when its caller does, and no turn is lost or made by it,
// whether the registry changes or not.
func TestThrottledReadersLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReaders(t, false)
		for i := range 200 {
			random := rand.New(rand.NewPCG(1, uint64(i)))
			r.wg.Go(func() {
				for r.ctx.Err() == nil {
					ctx, cancel := context.WithTimeout(r.ctx, time.Duration(random.IntN(50))*time.Millisecond)
					what := reading{follower: random.IntN(2) == 0, most: random.IntN(1000)}
					err := r.read(ctx, random.IntN(10), what, time.Duration(random.IntN(1000))*time.Microsecond)
					if err != nil && !errors.Is(err, ctx.Err()) {
						t.Error(err)
					}
					cancel()
					time.Sleep(time.Duration(random.IntN(100)) * time.Millisecond)
				}
			})
		}
		for range 20 {
			r.changed.Store(time.Now().UnixNano())
			time.Sleep(3 * BusyFor)
			for l := range r.lanes {
				r.throttle.mu.Lock()
				if r.lanes[l].taken < 0 {
					t.Errorf("lane %d has %d turns", l, r.lanes[l].taken)
				}
				r.throttle.mu.Unlock()
			}
		}
	})
}

// TestIdleConnectionsAreForgotten: what is remembered of connections has a bound.
func TestIdleConnectionsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReaders(t, true)
		for i := range 1000 {
			if err := r.read(r.ctx, i, reading{most: 1}, time.Microsecond); err != nil {
				t.Fatal(err)
			}
			time.Sleep(50 * time.Millisecond)
		}
		r.throttle.mu.Lock()
		defer r.throttle.mu.Unlock()
		if n := len(r.sources.known); n > 200 {
			t.Errorf("%d connections are remembered", n)
		}
	})
}
