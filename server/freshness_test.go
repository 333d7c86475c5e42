package server

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	"github.com/rollcallhq/rollcall/server/freshness"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// asking returns a context that asks for key: value.
func asking(ctx context.Context, kv ...string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, kv...)
}

func ageOf(t *testing.T, header metadata.MD) time.Duration {
	t.Helper()
	v := header.Get(freshness.MetadataAge)
	if len(v) != 1 {
		t.Fatalf("%s is %v", freshness.MetadataAge, v)
	}
	ms, err := strconv.Atoi(v[0])
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(ms) * time.Millisecond
}

func TestLinearizableReads(t *testing.T) {
	for _, leader := range []string{"n1", "n2"} {
		for call, do := range readCalls {
			bubble(t, call+" while "+leader+" leads", func(t *testing.T) {
				c := newTestCluster(t, 2)
				n := c.nodes["n1"]
				c.elect(leader)
				n.registry.set("svc", serving)
				c.nodes[leader].agreement.onReadIndex(func(context.Context) (uint64, error) {
					time.Sleep(30 * time.Millisecond)
					return 7, nil
				})
				var header metadata.MD
				done := make(chan error, 1)
				ctx := asking(timeout(t, 5*time.Second), freshness.MetadataConsistency, "linearizable")
				go func() { done <- do(ctx, n, grpc.Header(&header)) }()
				time.Sleep(time.Second)
				synctest.Wait()
				select {
				case err := <-done:
					t.Fatalf("did not wait for the index: %v", err)
				default:
				}
				n.registry.apply(7)
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				if got := ageOf(t, header); got != time.Second {
					t.Errorf("age is %v, want that of the round's start", got)
				}
				if header.Get(freshness.MetadataNode)[0] != "n1" || len(header.Get(freshness.MetadataRevision)) != 1 {
					t.Errorf("%v", header)
				}
			})
		}
	}
}

func TestFreshnessThatIsNotReached(t *testing.T) {
	for name, tt := range map[string]struct {
		prepare func(c *testCluster)
		message string
	}{
		"no leader": {func(c *testCluster) {
			c.nodes["n1"].agreement.change(func(st *NodeStatus) { st.Leader = "" })
		}, "no leader is known"},
		"leader without a quorum": {func(c *testCluster) {
			c.nodes["n2"].agreement.onReadIndex(func(ctx context.Context) (uint64, error) { return 0, errors.New("no quorum answers") })
		}, "leader n2: no quorum answers"},
		"leader without a term": {func(c *testCluster) {
			c.nodes["n1"].agreement.change(func(st *NodeStatus) { st.Leader = "n1" })
		}, "leader n1 has not begun its term"},
		"leader away": {func(c *testCluster) { c.refuseDials("n2", errRefused) }, "leader n2 cannot be reached: connection refused"},
		"behind": {func(c *testCluster) {
			c.nodes["n2"].agreement.onReadIndex(func(context.Context) (uint64, error) { return 9, nil })
		}, "applied log index 1 of 9"},
	} {
		for key, value := range map[string]string{freshness.MetadataConsistency: "linearizable", freshness.MetadataMaxStaleness: "2s"} {
			bubble(t, name+"/"+key, func(t *testing.T) {
				c := newTestCluster(t, 2)
				n := c.nodes["n1"]
				c.elect("n2")
				n.registry.set("svc", serving)
				tt.prepare(c)
				time.Sleep(2100 * time.Millisecond)
				for call, do := range readCalls {
					for _, d := range []time.Duration{0, 400 * time.Millisecond} {
						ctx := context.Background()
						if d > 0 {
							ctx = timeout(t, d)
						}
						err := do(asking(ctx, key, value), n)
						checkError(t, err, want{codes.Unavailable, rpcerror.ReasonNotFresh, "", nil, tt.message})
						if err == nil {
							t.Errorf("%s did not fail", call)
						}
					}
				}
				// Others are served as ever.
				if err := readCalls["Check"](timeout(t, time.Second), n); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// A reader waits for the election in its time, and asks the one that was elected.
func TestFreshnessFollowsTheLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 3)
		n := c.nodes["n1"]
		c.elect("n2")
		c.nodes["n2"].agreement.onReadIndex(func(ctx context.Context) (uint64, error) { // deposed, and does not know
			<-ctx.Done()
			return 0, ctx.Err()
		})
		n.registry.set("svc", serving)
		go func() {
			time.Sleep(time.Second)
			n.agreement.change(func(st *NodeStatus) { st.Leader = "" })
			time.Sleep(time.Second)
			c.elect("n3")
		}()
		begin := time.Now()
		if err := readCalls["Check"](asking(timeout(t, 5*time.Second), freshness.MetadataConsistency, "linearizable"), n); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took != 2*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestMaxStaleness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 2)
		n := c.nodes["n1"]
		c.elect("n2")
		n.registry.set("svc", serving)
		read := func(max string) time.Duration {
			t.Helper()
			var header metadata.MD
			ctx := asking(timeout(t, 5*time.Second), freshness.MetadataMaxStaleness, max)
			if err := readCalls["Check"](ctx, n, grpc.Header(&header)); err != nil {
				t.Fatal(err)
			}
			return ageOf(t, header)
		}
		time.Sleep(1500 * time.Millisecond)
		if age := read("2s"); age != 1500*time.Millisecond || n.freshness.Rounds() != 0 {
			t.Errorf("fresh enough: age %v after %d rounds", age, n.freshness.Rounds())
		}
		if age := read("1s"); age != 0 || n.freshness.Rounds() != 1 {
			t.Errorf("too stale: age %v after %d rounds", age, n.freshness.Rounds())
		}
		// Whatever the round takes, it is as fresh as the call.
		c.nodes["n2"].agreement.onReadIndex(func(context.Context) (uint64, error) { time.Sleep(300 * time.Millisecond); return 1, nil })
		if age := read("0s"); age != 300*time.Millisecond {
			t.Errorf("age %v", age)
		}
	})
}

func TestAgeIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := single(t)
		n.registry.set("svc", serving)
		for call, do := range readCalls {
			for key, value := range map[string]string{freshness.MetadataConsistency: "local", freshness.MetadataRequireLeader: "true", freshness.MetadataMinRevision: "0", freshness.MetadataMaxStaleness: "1h"} {
				var header metadata.MD
				n.setFresh(time.Now().Add(-1500*time.Millisecond - 1))
				if err := do(asking(timeout(t, time.Second), key, value), n, grpc.Header(&header)); err != nil {
					t.Fatalf("%s %s: %v", call, key, err)
				}
				if got := ageOf(t, header); got != 1501*time.Millisecond {
					t.Errorf("%s %s: age %v", call, key, got)
				}
				if key == freshness.MetadataMaxStaleness {
					continue
				}
				n.setFresh(time.Time{})
				var second metadata.MD
				if err := do(asking(timeout(t, time.Second), key, value), n, grpc.Header(&second)); err != nil || len(second.Get(freshness.MetadataAge)) != 0 || len(second.Get(freshness.MetadataRevision)) != 1 {
					t.Errorf("%s %s, not known to be fresh: %v, %v", call, key, second, err)
				}
			}
		}
	})
}

func TestRequireLeader(t *testing.T) {
	for call, do := range readCalls {
		bubble(t, call, func(t *testing.T) {
			c := newTestCluster(t, 2)
			n := c.nodes["n1"]
			n.registry.set("svc", serving)
			ctx := asking(context.Background(), freshness.MetadataRequireLeader, "true")
			checkError(t, do(ctx, n), want{codes.Unavailable, rpcerror.ReasonNoLeader, "", nil, "knows no leader"})
			if err := do(asking(context.Background(), freshness.MetadataRequireLeader, "false"), n); err != nil {
				t.Errorf("not required: %v", err)
			}
			c.elect("n2")
			if err := do(ctx, n); err != nil {
				t.Errorf("with a leader: %v", err)
			}
		})
	}
	bubble(t, "an open watch", func(t *testing.T) {
		c := newTestCluster(t, 2)
		n := c.nodes["n1"]
		n.registry.set("svc", serving)
		lose := func() { n.agreement.change(func(st *NodeStatus) { st.Leader = "" }) }
		c.elect("n2")
		ended := make(chan error, 1)
		watch := func(ctx context.Context) {
			t.Helper()
			stream, err := n.health().Watch(ctx, &healthpb.HealthCheckRequest{Service: "svc"})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := stream.Recv(); err != nil {
				t.Fatal(err)
			}
			go func() {
				_, err := stream.Recv()
				ended <- err
			}()
		}
		other, cancel := context.WithCancel(context.Background())
		watch(other)
		for range 3 {
			watch(asking(context.Background(), freshness.MetadataRequireLeader, "true"))
			lose()
			time.Sleep(2900 * time.Millisecond)
			c.elect("n2") // in time
			time.Sleep(time.Minute)
			synctest.Wait()
			select {
			case err := <-ended:
				t.Fatalf("ended by an election: %v", err)
			default:
			}
			lose()
			begin := time.Now()
			checkError(t, <-ended, want{codes.Unavailable, rpcerror.ReasonNoLeader, "", nil, "knows no leader"})
			if took := time.Since(begin); took != 3*time.Second {
				t.Errorf("ended after %v", took)
			}
			time.Sleep(time.Minute)
			c.elect("n2")
			synctest.Wait() // for what the node did at this same moment
		}
		cancel()
		if err := <-ended; err == nil {
			t.Error("the watch of somebody else ended well")
		}
	})
}

// Reads that wait do not hold up a node that stops.
func TestStoppingEndsWaitingReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestCluster(t, 1).nodes["n1"]
		ended := make(chan error, 1)
		go func() {
			ended <- readCalls["ListServices"](asking(context.Background(), freshness.MetadataConsistency, "linearizable"), n)
		}()
		time.Sleep(time.Second)
		begin := time.Now()
		if err := n.Stop(context.Background()); err != nil || time.Since(begin) > 100*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		checkError(t, <-ended, want{codes.Unavailable, rpcerror.ReasonStopping, "", nil, "stopping"})
	})
}
