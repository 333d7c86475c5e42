package client_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcallhq/rollcall/client"
)

// TestAnOverloadedClusterIsNotDoubled: hedges are bounded when all endpoints are slow.
func TestAnOverloadedClusterIsNotDoubled(t *testing.T) {
	for _, method := range []string{"Check", "SetServingStatus"} {
		synctest.Test(t, func(t *testing.T) {
			f := startBuffered(t, 3)
			f.write(event{"a", serving, ""})
			for _, n := range f.nodes {
				n.onRead = func(ctx context.Context, _ string) error { lag(ctx, time.Second); return ctx.Err() }
			}
			cfg := f.config()
			cfg.UnaryWrites = true
			c := newClient(t, cfg)
			const calls = 400
			var wg sync.WaitGroup
			for i := range calls {
				time.Sleep(10 * time.Millisecond)
				wg.Go(func() {
					if method == "Check" {
						wantCheck(t, c, "a", serving)
					} else if err := set(t.Context(), c, client.WriteOptions{}); err != nil {
						t.Error(i, err)
					}
				})
			}
			wg.Wait()
			made := 0
			for _, n := range f.nodes {
				made += len(n.seen(method))
			}
			if made <= calls || made > calls+calls/10+10 {
				t.Errorf("%d calls were made of %d %s", made, calls, method)
			}
		})
	}
}

// TestAnEndpointThatAnswersOthersIsNotSilent: not to wait for it costs tokens, although it was outrun.
func TestAnEndpointThatAnswersOthersIsNotSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 2)
		f.write(event{"a", serving, ""})
		c := f.client(t)
		f.nodes[0].onRead = func(ctx context.Context, method string) error {
			if method == "Check" {
				lag(ctx, time.Second)
			}
			return ctx.Err()
		}
		ctx := client.WithEndpoints(t.Context(), c.Endpoints()...) // always n1 first
		began := time.Now()
		var all sync.WaitGroup
		var hedged, late atomic.Int64
		for range hedgeTokens + 5 {
			all.Go(func() {
				if _, err := c.Check(ctx, "a"); err != nil {
					t.Error(err)
				}
				if time.Since(began) == hedge {
					hedged.Add(1)
				}
				if time.Since(began) == time.Second {
					late.Add(1)
				}
			})
		}
		time.Sleep(hedge / 2)
		if _, err := c.Get(ctx, "a"); err != nil {
			t.Error(err)
		}
		all.Wait()
		if hedged.Load() != hedgeTokens || late.Load() != 5 {
			t.Errorf("%d were answered at once by the second endpoint, %d by the first", hedged.Load(), late.Load())
		}
	})
}

// TestAnEndpointThatWasSilentIsHeardAgain: from its next answer on, not to wait for it costs tokens again.
func TestAnEndpointThatWasSilentIsHeardAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 3)
		f.write(event{"a", serving, ""})
		c := f.client(t)
		ctx := client.WithEndpoints(t.Context(), c.Endpoints()...) // always n1 first
		check := func() {
			if _, err := c.Check(ctx, "a"); err != nil {
				t.Error(err)
			}
		}
		check() // and connected
		f.do(func() { f.nodes[0].hung = true })
		for range 30 { // free of charge after the first one
			began := time.Now()
			check()
			tookAbout(t, began, hedge, 0)
		}
		f.do(func() { f.nodes[0].hung = false })
		time.Sleep(time.Minute)
		before := len(f.nodes[0].seen("Check"))
		check()
		wantCalls(t, f.nodes[0], "Check", before+1)
		f.do(func() {
			for _, n := range f.nodes {
				n.calls, n.onRead = nil, func(ctx context.Context, _ string) error { lag(ctx, time.Second); return ctx.Err() }
			}
		})
		var all sync.WaitGroup
		for range 100 {
			all.Go(check)
		}
		all.Wait()
		made := 0
		for _, n := range counts(f, "Check") {
			made += n
		}
		if made != 110 {
			t.Errorf("%d calls were made of 100", made)
		}
	})
}

// TestHedgesComeBack: a client that hedged a lot may again after calls that were answered in time.
func TestHedgesComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 2)
		f.write(event{"a", serving, ""})
		c := f.client(t)
		ctx := client.WithEndpoints(t.Context(), c.Endpoints()...) // always n1 first
		check := func(late bool) time.Duration {
			wait := time.Duration(0)
			if late {
				wait = time.Second
			}
			f.do(func() {
				f.nodes[0].onRead = func(ctx context.Context, _ string) error { lag(ctx, wait); return ctx.Err() }
			})
			if late {
				// It answers in the end, so that it is not known to be silent.
				go c.Check(client.WithEndpoints(t.Context(), c.Endpoints()[0]), "a")
			}
			began := time.Now()
			if _, err := c.Check(ctx, "a"); err != nil {
				t.Error(err)
			}
			took := time.Since(began)
			time.Sleep(5 * time.Second)
			return took
		}
		hedged := func(times int) (n int) {
			for range times {
				if check(true) == hedge {
					n++
				}
			}
			return n
		}
		// Ten at first. The calls of n1 alone, and those that were not hedged, bring back a tenth each.
		if n := hedged(20); n != 12 {
			t.Errorf("%d of 20 were hedged at first", n)
		}
		for range 29 {
			check(false)
		}
		if n := hedged(5); n != 4 {
			t.Errorf("%d of 5 were hedged later", n)
		}
	})
}

// TestCallsThatWaitForAHungNodeAreNotBounded: once another node has outrun it, they cost the cluster nothing more.
func TestCallsThatWaitForAHungNodeAreNotBounded(t *testing.T) {
	for name, unary := range map[string]bool{"each a call": true, "over a stream": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := startBuffered(t, 3)
				cfg := f.config()
				cfg.UnaryWrites = unary
				c := newClient(t, cfg)
				if !unary {
					openStream(t, f, c)
				}
				wantCheck(t, c, "", serving)
				before := len(f.requestIDs())
				f.do(func() { f.nodes[0].hung = true })
				began := time.Now()
				requireNone(t, crowd(t.Context(), c, 500, client.WriteOptions{}))
				tookAbout(t, began, hedge, 2*hedge/4)
				if ids := f.requestIDs(); len(ids)-before != 500 {
					t.Errorf("%d request ids", len(ids)-before)
				}
				f.do(func() { f.nodes[0].hung = false })
			})
		})
	}
}
