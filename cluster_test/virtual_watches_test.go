package cluster_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/raftnode/memnet"
)

// TestVirtualP5SlowReader changes a status again while the one before is still on its way to a watcher
// that takes nothing: when it does take, it gets that one and then the latest.
func TestVirtualP5SlowReader(t *testing.T) {
	beside(t, ofVirtualTime)
	synctest.Test(t, func(t *testing.T) {
		c := newVirtual(t, 1, nil)
		defer c.close()
		n := c.nodes[0]
		n.start()
		c.waitReady()
		cl := c.client()
		defer cl.Close()
		c.set(cl, "payments", serving)

		conn, err := c.dialer(c.ctx, n.api)
		must(t, err)
		var (
			mu   sync.Mutex
			seen []client.Status
		)
		slow := newRaw(t, conn, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
		c.wg.Go(func() {
			var answers []byte
			for {
				f, err := slow.fr.ReadFrame()
				if err != nil {
					return
				}
				slow.mu.Lock()
				switch f := f.(type) {
				case *http2.SettingsFrame:
					if !f.IsAck() {
						slow.fr.WriteSettingsAck()
					}
				case *http2.PingFrame:
					if !f.IsAck() {
						slow.fr.WritePing(true, f.Data)
					}
				case *http2.DataFrame:
					answers = append(answers, f.Data()...)
				}
				slow.mu.Unlock()
				// An answer is seven bytes: a prefix of five, the field's tag, the status.
				for ; len(answers) >= 7; answers = answers[7:] {
					mu.Lock()
					seen = append(seen, client.Status(answers[6]))
					mu.Unlock()
				}
			}
		})
		defer conn.Close() // before c.close waits for the reading
		name := "payments"
		stream := slow.mustOpen(&name)
		c.until("the watch", func() bool { return n.node.OpenWatches() == 1 })
		synctest.Wait() // the first status waits for the window
		c.set(cl, "payments", notServing)
		synctest.Wait() // the second for the first to have left
		if _, err := cl.Delete(c.ctx, "payments", client.WriteOptions{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		slow.mu.Lock()
		must(t, slow.fr.WriteWindowUpdate(stream, 1<<10))
		slow.mu.Unlock()
		last := func() []client.Status {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(seen)
		}
		c.until("the latest status", func() bool {
			s := last()
			return len(s) > 0 && s[len(s)-1] == noService
		})
		if got := last(); !slices.Equal(got, []client.Status{serving, notServing, noService}) && !slices.Equal(got, []client.Status{serving, noService}) {
			t.Errorf("it saw %v", got)
		}
	})
}

// TestVirtualP5NeverGoesBack has the client's watch move from a node that stops to one that is behind:
// what that one shows is older than what the watch has seen, and it must not be given.
func TestVirtualP5NeverGoesBack(t *testing.T) {
	beside(t, ofVirtualTime)
	inVirtualTime(t, nil, func(t *testing.T, c *virtual) {
		ctx, cancel := context.WithCancel(c.ctx)
		defer cancel()
		writer := c.client()
		defer writer.Close()
		c.set(writer, "payments", serving)
		c.caughtUp()
		moving := c.client(c.nodes[0], c.nodes[1])
		defer moving.Close()
		var (
			mu      sync.Mutex
			updates []client.Update
		)
		seen := func() []client.Update {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(updates)
		}
		c.wg.Go(func() {
			for u, err := range moving.Watch(ctx, "payments") {
				if err != nil {
					return
				}
				mu.Lock()
				updates = append(updates, u)
				mu.Unlock()
			}
		})
		c.until("the watch", func() bool { return len(seen()) == 1 })
		on, stale := c.nodes[0], c.nodes[1]
		if seen()[0].Endpoint != on.api {
			on, stale = stale, on
		}
		c.net.Isolate(memnet.Stall, stale.cfg.Name)
		near := c.client(c.others(stale)...)
		defer near.Close()
		c.set(near, "payments", notServing)
		c.until("the watch to see it", func() bool { return len(seen()) == 2 })
		on.stop()
		for start := time.Now(); time.Since(start) < 30*time.Second; time.Sleep(100 * time.Millisecond) {
			if got := seen(); len(got) != 2 {
				t.Fatalf("from a node that is behind the watch got %s of revision %d, after %s of revision %d",
					got[2].Status, got[2].Revision, got[1].Status, got[1].Revision)
			}
			if got := stale.check("payments"); got != serving {
				t.Fatalf("the node that is behind shows %s", got)
			}
		}
		c.net.Heal()
		on.start()
		c.set(writer, "payments", unknown)
		c.until("the watch to go on", func() bool { return seen()[len(seen())-1].Status == unknown })
		got := seen()
		for i, u := range got[1:] {
			if prev := got[i]; u.Revision <= prev.Revision || u.Status == prev.Status {
				t.Errorf("the watch went from %s at revision %d to %s at revision %d", prev.Status, prev.Revision, u.Status, u.Revision)
			}
		}
	})
}
