package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/node"
	"github.com/rollcallhq/rollcall/raftnode/memnet"
)

// TestVirtualP3ExactlyOnce counts by compare-and-set from many clients, while leaders are cut off and
// nodes restart. The clients try again by themselves; each acknowledged increment is there once and
// nothing else is.
func TestVirtualP3ExactlyOnce(t *testing.T) {
	beside(t, ofVirtualTime)
	for _, how := range []struct {
		name   string
		faults func(c *virtual)
	}{
		{"leaders cut off", func(c *virtual) {
			// Slow disks: what the leader sent is stored after it was cut off, and its next one keeps it.
			for _, n := range c.nodes {
				n.storeDelay.Store(int64(30 * time.Millisecond))
			}
			for i := range 8 {
				time.Sleep(time.Second + time.Duration(13*i)*time.Millisecond)
				c.net.Isolate([]memnet.Cut{memnet.Stall, memnet.Reset}[i%2], c.leader().cfg.Name)
				time.Sleep(2 * time.Second)
				c.net.Heal()
			}
		}},
		{"nodes restart", func(c *virtual) {
			for range c.nodes {
				time.Sleep(time.Second)
				leader := c.leader()
				// A leader whose disk hangs has writes in hand when it is cut off, and stops.
				leader.storeDelay.Store(int64(400 * time.Millisecond))
				time.Sleep(500 * time.Millisecond)
				c.net.Isolate(memnet.Reset, leader.cfg.Name)
				leader.stop()
				c.net.Heal()
				leader.storeDelay.Store(0)
				time.Sleep(time.Second)
				leader.start()
			}
		}},
	} {
		t.Run(how.name, func(t *testing.T) {
			inVirtualTime(t, func(cfg *node.Config) {
				cfg.SnapshotInterval, cfg.SnapshotThreshold, cfg.TrailingLogs = time.Second, 50, 10
			}, func(t *testing.T, c *virtual) {
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				var (
					wg    sync.WaitGroup
					mu    sync.Mutex
					acked = map[string]int{}
				)
				for i := range 6 {
					cl := c.client(c.nodes[i%3], c.nodes[(i+1)%3], c.nodes[(i+2)%3])
					defer cl.Close()
					service := fmt.Sprintf("counter/%d", i%2)
					wg.Go(func() {
						for ctx.Err() == nil {
							n, err := c.increment(cl, service)
							mu.Lock()
							if err == nil {
								acked[service]++
							} else if e := (*client.Error)(nil); !errors.As(err, &e) || e.Written == client.WrittenUnknown {
								t.Errorf("increment to %d: %v", n, err)
							}
							mu.Unlock()
							time.Sleep(30 * time.Millisecond)
						}
					})
				}
				how.faults(c)
				time.Sleep(2 * time.Second)
				cancel()
				wg.Wait()
				c.caughtUp()
				total := 0
				for _, n := range c.nodes {
					for service, want := range acked {
						if got := n.services()[service].GetReport().GetReason(); got != strconv.Itoa(want) {
							t.Errorf("%s holds %s at %s; %d increments were acknowledged", n.cfg.Name, service, got, want)
						}
					}
				}
				for _, want := range acked {
					total += want
				}
				if total < 100 {
					t.Errorf("only %d increments were acknowledged", total)
				}
				t.Logf("%d increments", total)
			})
		})
	}
}

// increment tries to count one further from what some node shows. The number stands in the reason.
func (c *virtual) increment(cl *client.Client, service string) (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var (
		count    int
		expected int64
	)
	if got, err := cl.Get(ctx, service); err == nil {
		expected = got.GetService().GetReport().GetRevision()
		if count, err = strconv.Atoi(got.GetService().GetReport().GetReason()); err != nil {
			return 0, err
		}
	}
	count++
	_, err := cl.Set(ctx, service, serving, client.WriteOptions{IfRevision: &expected, Reason: strconv.Itoa(count)})
	return count, err
}

// set asks one node, as a stock client does.
func (n *virtualNode) set(req *rollcallv1.SetServingStatusRequest) (*rollcallv1.SetServingStatusResponse, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return rollcallv1.NewAdminClient(n.dial()).SetServingStatus(ctx, req)
}

// TestVirtualP3FirstAnswer asks again, through every node, after everything that could make one forget:
// other writes, a restart of all, a snapshot; then after ten minutes, when it may.
func TestVirtualP3FirstAnswer(t *testing.T) {
	beside(t, ofVirtualTime)
	inVirtualTime(t, func(cfg *node.Config) {
		cfg.SnapshotInterval, cfg.SnapshotThreshold, cfg.TrailingLogs = time.Second, 20, 5
	}, func(t *testing.T, c *virtual) {
		ctx, cancel := context.WithTimeout(context.Background(), virtualPatience)
		defer cancel()
		one, s := int64(99), serving
		done := &rollcallv1.SetServingStatusRequest{Service: "a", Status: &s, Actor: "ann", RequestId: "done"}
		refused := &rollcallv1.SetServingStatusRequest{Service: "a", Status: &s, RequestId: "refused", IfRevision: &one}
		first, err := c.nodes[0].set(done)
		if err != nil {
			t.Fatal(err)
		}
		_, firstRefusal := c.nodes[1].set(refused)
		if status.Code(firstRefusal) != codes.FailedPrecondition {
			t.Fatal(firstRefusal)
		}
		ask := func(when string) {
			t.Helper()
			before := c.caughtUp()
			for _, n := range c.nodes {
				if got, err := n.set(done); err != nil || !proto.Equal(got, first) {
					t.Errorf("%s, through %s: %v, %v; first %v", when, n.cfg.Name, got, err, first)
				}
				if _, err := n.set(refused); status.Convert(err).Message() != status.Convert(firstRefusal).Message() {
					t.Errorf("%s, through %s: refused with %v; first %v", when, n.cfg.Name, err, firstRefusal)
				}
				other := proto.CloneOf(done)
				other.Reason = "another"
				if _, err := n.set(other); status.Code(err) != codes.InvalidArgument || reason(err) != "REQUEST_ID_REUSED" ||
					!strings.Contains(err.Error(), `request_id "done"`) {
					t.Errorf("%s, through %s: another request with the id: %v", when, n.cfg.Name, err)
				}
			}
			if after := c.caughtUp(); after != before {
				t.Errorf("%s: revision %d became %d", when, before, after)
			}
		}
		ask("at once")
		cl := c.client()
		defer cl.Close()
		if _, err := cl.Set(ctx, "a", notServing, client.WriteOptions{}); err != nil {
			t.Fatal(err)
		}
		ask("after another write")
		for _, n := range c.nodes {
			n.stop()
		}
		for _, n := range c.nodes {
			n.start()
		}
		c.waitReady()
		ask("after a restart of all")

		// A node that is away for longer than the log reaches back has it from a snapshot, and leads.
		away := c.others(c.leader())[0]
		c.net.Isolate(memnet.Stall, away.cfg.Name)
		near := c.client(c.others(away)...)
		defer near.Close()
		for i := range 100 {
			if _, err := near.Set(ctx, fmt.Sprintf("other/%d", i), serving, client.WriteOptions{}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(50 * time.Millisecond)
		}
		c.net.Heal()
		c.until("to catch up", func() bool { return away.check("other/99") == serving })
		for c.leader() != away {
			leader := c.leader()
			leader.stop()
			leader.start()
			c.waitReady()
		}
		ask("of a leader that has it from a snapshot")

		time.Sleep(10 * time.Minute)
		if got, err := away.set(done); err != nil || !got.GetChanged() || got.GetRevision() == first.GetRevision() {
			t.Errorf("after ten minutes: %v, %v", got, err)
		}
	})
}

// TestVirtualP3SlowFirstTry sends two tries of one request at the same time through different nodes,
// many times: one takes effect, both get its answer.
func TestVirtualP3SlowFirstTry(t *testing.T) {
	beside(t, ofVirtualTime)
	inVirtualTime(t, func(cfg *node.Config) { cfg.RequestIDs = 10 }, func(t *testing.T, c *virtual) {
		before := c.caughtUp()
		const rounds = 30
		for i := range rounds {
			zero, s := int64(0), serving
			req := &rollcallv1.SetServingStatusRequest{Service: fmt.Sprint("s", i), Status: &s, RequestId: fmt.Sprint(i), IfRevision: &zero}
			var (
				wg      sync.WaitGroup
				answers [3]*rollcallv1.SetServingStatusResponse
			)
			for k, n := range c.nodes {
				wg.Go(func() {
					var err error
					if answers[k], err = n.set(req); err != nil {
						t.Errorf("round %d through %s: %v", i, n.cfg.Name, err)
					}
				})
			}
			wg.Wait()
			for _, a := range answers[1:] {
				if !proto.Equal(a, answers[0]) {
					t.Errorf("round %d: %v and %v", i, answers[0], a)
				}
			}
		}
		if after := c.caughtUp(); after != before+rounds {
			t.Errorf("%d requests made %d events", rounds, after-before)
		}
		// Ten ids are kept, on every node's word: the first has left, the last has not.
		again := func(i int) error {
			zero, s := int64(0), serving
			_, err := c.nodes[i%3].set(&rollcallv1.SetServingStatusRequest{Service: fmt.Sprint("s", i), Status: &s, RequestId: fmt.Sprint(i), IfRevision: &zero})
			return err
		}
		if err := again(rounds - 10); err != nil {
			t.Errorf("the tenth last: %v", err)
		}
		if err := again(rounds - 11); status.Code(err) != codes.FailedPrecondition {
			t.Errorf("the eleventh last: %v", err)
		}
	})
}
