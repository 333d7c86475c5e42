package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/raftnode/memnet"
)

// TestVirtualLayersOnce: another try of a request gets the first answer, a refusal too, through every node and
// after restarts; another request with its id is refused; if_revision is compared.
func TestVirtualLayersOnce(t *testing.T) {
	beside(t, ofVirtualTime)
	withLayers(t, nil, func(t *testing.T, c *virtual) {
		ctx, cl := c.patiently(), c.clientFor(t)
		c.set(cl, "a", serving)
		c.rule(cl, client.Rule{Name: "one", Pattern: "*", MinServing: 1})
		s, n := notServing, int64(1)
		set := &rollcallv1.SetOverrideRequest{Pattern: "b/*", Status: &s, RequestId: "set", Reason: "r"}
		refused := &rollcallv1.SetOverrideRequest{Pattern: "a", Status: &s, RequestId: "refused"}
		clear := &rollcallv1.ClearOverrideRequest{Pattern: "b/*", RequestId: "clear"}
		rule := &rollcallv1.SetRuleRequest{Name: "two", Pattern: "b.*", MinServing: &n, RequestId: "rule"}
		remove := &rollcallv1.RemoveRuleRequest{Name: "two", RequestId: "remove"}
		type try struct {
			set   *rollcallv1.SetOverrideResponse
			err   string
			clear *rollcallv1.ClearOverrideResponse
			rule  *rollcallv1.SetRuleResponse
			gone  *rollcallv1.RemoveRuleResponse
		}
		do := func(node *virtualNode) (a try) {
			admin := rollcallv1.NewAdminClient(node.dial())
			var errs [4]error
			a.set, errs[0] = admin.SetOverride(ctx, set)
			_, err := admin.SetOverride(ctx, refused)
			a.err = fmt.Sprint(err)
			a.clear, errs[1] = admin.ClearOverride(ctx, clear)
			a.rule, errs[2] = admin.SetRule(ctx, rule)
			a.gone, errs[3] = admin.RemoveRule(ctx, remove)
			if err := errors.Join(errs[:]...); err != nil {
				t.Fatal(err)
			}
			return a
		}
		first := do(c.nodes[0])
		if !strings.Contains(first.err, "breaks one") {
			t.Error(first.err)
		}
		revision := c.caughtUp()
		for range 2 {
			for _, node := range c.nodes {
				again := do(node)
				if !proto.Equal(again.set, first.set) || again.err != first.err || !proto.Equal(again.clear, first.clear) ||
					!proto.Equal(again.rule, first.rule) || !proto.Equal(again.gone, first.gone) {
					t.Errorf("through %s:\n%v\nfirst\n%v", node.cfg.Name, again, first)
				}
			}
			for _, node := range c.nodes {
				node.restart()
			}
		}
		if now := c.caughtUp(); now != revision {
			t.Errorf("the tries made revision %d of %d", now, revision)
		}
		admin := rollcallv1.NewAdminClient(c.nodes[1].dial())
		for what, change := range map[string]func() error{
			"another pattern": func() error {
				r := proto.CloneOf(set)
				r.Pattern = "c/*"
				_, err := admin.SetOverride(ctx, r)
				return err
			},
			"another end": func() error {
				r := proto.CloneOf(set)
				r.Forever = true
				_, err := admin.SetOverride(ctx, r)
				return err
			},
			"break-glass": func() error {
				r := proto.CloneOf(set)
				r.BreakGlass = []string{"*"}
				_, err := admin.SetOverride(ctx, r)
				return err
			},
			"a clear for a set": func() error {
				r := proto.CloneOf(clear)
				r.RequestId = "set"
				_, err := admin.ClearOverride(ctx, r)
				return err
			},
			"a report for a rule": func() error {
				_, err := c.nodes[1].set(&rollcallv1.SetServingStatusRequest{Service: "x", Status: &s, RequestId: "rule"})
				return err
			},
			"another bound": func() error {
				r := proto.CloneOf(rule)
				r.MinServing = proto.Int64(2)
				_, err := admin.SetRule(ctx, r)
				return err
			},
			"another rule": func() error {
				r := proto.CloneOf(remove)
				r.Name = "one"
				_, err := admin.RemoveRule(ctx, r)
				return err
			},
		} {
			err := change()
			if err == nil || !strings.Contains(err.Error(), "was used for another request") {
				t.Errorf("%s: %v", what, err)
			}
		}

		// Compare and set.
		made := c.override(cl, "c", notServing, client.WriteOptions{IfRevision: proto.Int64(0)})
		for _, wrong := range []int64{0, made.GetRevision() - 1, made.GetRevision() + 1} {
			_, err := cl.SetOverride(ctx, "c", serving, client.WriteOptions{IfRevision: &wrong})
			if e := errorOf(t, err); e.Reason != "REVISION_MISMATCH" || e.CurrentRevision != made.GetRevision() {
				t.Errorf("if_revision %d: %v", wrong, err)
			}
			if _, err = cl.ClearOverride(ctx, "c", client.WriteOptions{IfRevision: &wrong}); errorOf(t, err).Reason != "REVISION_MISMATCH" {
				t.Errorf("if_revision %d: %v", wrong, err)
			}
		}
		right := made.GetRevision()
		if _, err := cl.ClearOverride(ctx, "c", client.WriteOptions{IfRevision: &right}); err != nil {
			t.Error(err)
		}
		c.agree()
	})
}

// TestVirtualLayersNeedTheirLevel: one new node and two old ones refuse overrides and rules, whoever leads; then,
// with all new, they work.
func TestVirtualLayersNeedTheirLevel(t *testing.T) {
	beside(t, ofVirtualTime)
	synctest.Test(t, func(t *testing.T) {
		c := newVirtual(t, 3, nil)
		defer c.close()
		for _, n := range c.nodes {
			n.cfg.Faults.MaxLevel, n.cfg.Version = logv1.LevelLayers-1, "v0.9.0"
			n.start()
		}
		c.waitReady()
		for i, n := range c.nodes {
			n.cfg.Faults.MaxLevel, n.cfg.Version = 0, ""
			n.restart()
			if i == len(c.nodes)-1 {
				break
			}
			time.Sleep(10 * time.Second)
			cl := c.client(n)
			c.set(cl, "a", serving) // what the older ones can fold goes on
			before := c.caughtUp()
			for what, change := range map[string]func() error{
				"SetOverride": func() error {
					_, err := cl.SetOverride(c.patiently(), "a", notServing, client.WriteOptions{})
					return err
				},
				"a dry run":     func() error { _, err := cl.Shutdown(c.patiently(), client.WriteOptions{DryRun: true}); return err },
				"ClearOverride": func() error { _, err := cl.Resume(c.patiently(), client.WriteOptions{AllowMissing: true}); return err },
				"SetRule": func() error {
					_, err := cl.SetRule(c.patiently(), client.Rule{Name: "r", Pattern: "*", MinServing: 1}, client.WriteOptions{})
					return err
				},
				"RemoveRule": func() error {
					_, err := cl.RemoveRule(c.patiently(), "r", client.WriteOptions{AllowMissing: true})
					return err
				},
				"break_glass": func() error {
					_, err := cl.Set(c.patiently(), "a", notServing, client.WriteOptions{Reason: "r", BreakGlass: []string{"*"}})
					return err
				},
			} {
				e := errorOf(t, change())
				if e.Code != codes.FailedPrecondition || e.Reason != client.ReasonUpgradeIncomplete || e.Written != client.WrittenNo || !strings.Contains(e.Message, "n3") {
					t.Errorf("%s with %d new nodes: %v", what, i+1, e)
				}
			}
			if now := c.caughtUp(); now != before {
				t.Errorf("something was written")
			}
			if len(n.overrides()) > 0 || len(n.rules()) > 0 {
				t.Error("there are overrides or rules")
			}
			cl.Close()
		}
		c.awaitLevel(logv1.LevelLayers)
		shown := c.layered(c.clientFor(t))
		c.wantLayered("all are new", shown)
	})
}

// TestVirtualLayersOnceUnderFaults: while leaders are cut off, every override that was acknowledged is one event,
// and one whose outcome is unknown at most one.
func TestVirtualLayersOnceUnderFaults(t *testing.T) {
	beside(t, ofVirtualTime)
	withLayers(t, nil, func(t *testing.T, c *virtual) {
		ctx, cancel := context.WithCancel(context.Background())
		var (
			setting sync.WaitGroup
			mu      sync.Mutex
			acked   = map[string]bool{} // by request id; false: unknown
		)
		for w := range 3 {
			cl := c.client(c.nodes[w], c.nodes[(w+1)%3], c.nodes[(w+2)%3])
			setting.Go(func() {
				defer cl.Close()
				for i := 0; ctx.Err() == nil; i++ {
					id := fmt.Sprintf("w%d-%d", w, i)
					attempt, done := context.WithTimeout(context.Background(), 3*time.Second)
					o := client.WriteOptions{RequestID: id, Reason: id, TTL: client.Forever} // each is a change, by its reason
					var err error
					if i%2 == 0 {
						_, err = cl.SetOverride(attempt, fmt.Sprintf("w%d/*", w), []client.Status{serving, notServing}[i/2%2], o)
					} else {
						_, err = cl.SetRule(attempt, client.Rule{Name: fmt.Sprint("w", w), Pattern: "nobody", MinServing: int64(i)}, client.WriteOptions{RequestID: id})
					}
					done()
					if err == nil || client.IsUnknown(err) {
						mu.Lock()
						acked[id] = err == nil
						mu.Unlock()
					}
					time.Sleep(20 * time.Millisecond)
				}
			})
		}
		for range 6 {
			time.Sleep(2 * time.Second)
			c.net.Isolate(memnet.Reset, c.leader().cfg.Name)
			time.Sleep(2 * time.Second)
			c.net.Heal()
		}
		cancel()
		setting.Wait()
		c.caughtUp()
		events := map[string]int{}
		for e, err := range c.clientFor(t).ListEvents(c.patiently(), client.ListEventsOptions{}) {
			must(t, err)
			if strings.HasPrefix(e.GetRequestId(), "w") {
				events[e.GetRequestId()]++
			}
		}
		done := 0
		for id, known := range acked {
			if n := events[id]; n > 1 || known && n != 1 {
				t.Errorf("%s: acknowledged is %v, and there are %d events", id, known, n)
			}
			if known {
				done++
			}
			delete(events, id)
		}
		for id := range events {
			t.Errorf("%s: it was surely not written, and is an event", id)
		}
		if done < 100 {
			t.Errorf("only %d changes were acknowledged", done)
		}
		c.agree()
	})
}
