package server

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/forward"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

func TestChangesReachTheLeaderFromAnyNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 3)
		c.elect("n2")
		ctx := timeout(t, 5*time.Second)
		for _, name := range c.names {
			res, err := c.nodes[name].admin().SetServingStatus(ctx, &rollcallv1.SetServingStatusRequest{
				Service: "via-" + name, Status: serving.Enum(), Reason: "r", Actor: "ann",
			})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			rec := res.GetService()
			if rec.GetService() != "via-"+name || rec.GetStatus() != serving || !res.GetChanged() {
				t.Errorf("%s: %v", name, res)
			}
			if a := rec.GetReport().GetActor(); a.GetName() != "ann" || a.GetVerified() || a.GetPeer() == "" {
				t.Errorf("%s: actor %v", name, a)
			}
		}
		if got := c.nodes["n2"].agreement.count(); got != 3 {
			t.Errorf("the leader proposed %d times, want 3", got)
		}
	})
}

func TestForwardedRefusalsAreRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 2)
		c.elect("n2")
		c.nodes["n2"].agreement.onPropose(func(context.Context, *logv1.Command) (*logv1.Result, error) {
			return &logv1.Result{Refusal: &logv1.Refusal{Reason: logv1.Refusal_REASON_REVISION_MISMATCH, Kind: logv1.Kind_KIND_SERVICE, Key: "a", CurrentRevision: 7}}, nil
		})
		_, err := c.nodes["n1"].admin().SetServingStatus(timeout(t, 5*time.Second), setRequest("a", serving))
		checkError(t, err, want{codes.FailedPrecondition, rpcerror.ReasonRevisionMismatch, rpcerror.WrittenNo, map[string]string{rpcerror.MetaCurrentRevision: "7"}, "7"})
	})
}

// incomplete is how the room below refuses what the cluster's feature level does not hold.
type incomplete struct{ members []string }

func (incomplete) Error() string {
	return "the change needs feature level 2 and the cluster is at level 1: n3 runs v1.0.0"
}

func (e incomplete) UpgradeIncomplete() (needed, level uint32, members []string) {
	return 2, 1, e.members
}

// TestUpgradeIncomplete: what the cluster's feature level does not hold is refused at once, is surely not
// written, and is never sent to a leader that cannot read it.
func TestUpgradeIncomplete(t *testing.T) {
	refuse := func(string, *logv1.Command) error { return incomplete{[]string{"n3", "n4"}} }
	propose := func(context.Context, *logv1.Command) (*logv1.Result, error) {
		return nil, incomplete{[]string{"n3", "n4"}}
	}
	refused := want{codes.FailedPrecondition, rpcerror.ReasonUpgradeIncomplete, rpcerror.WrittenNo,
		map[string]string{rpcerror.MetaLevel: "1", rpcerror.MetaNeededLevel: "2", rpcerror.MetaMembers: "n3,n4"}, "n3 runs v1.0.0"}
	for _, tt := range []struct {
		name     string
		on       string
		follower func(string, *logv1.Command) error
		proposed int
	}{
		{"by the leader", "n2", nil, 1},
		{"by the leader, forwarded", "n1", nil, 1},
		{"by the follower", "n1", refuse, 0},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			c := newTestCluster(t, 2)
			c.elect("n2")
			c.nodes["n1"].agreement.checkLevel = tt.follower
			c.nodes["n2"].agreement.checkLevel = refuse
			c.nodes["n2"].agreement.onPropose(propose)
			start := time.Now()
			_, err := c.nodes[tt.on].admin().SetServingStatus(timeout(t, 5*time.Second), setRequest("a", serving))
			checkError(t, err, refused)
			_, err = c.nodes[tt.on].admin().SetServingStatus(timeout(t, 5*time.Second), &rollcallv1.SetServingStatusRequest{
				Service: "a", Status: serving.Enum(), ValidateOnly: true,
			})
			checkError(t, err, refused)
			if took := time.Since(start); took > time.Second {
				t.Errorf("took %v", took)
			}
			if got := c.nodes["n2"].agreement.count(); got != tt.proposed {
				t.Errorf("proposed %d times, want %d", got, tt.proposed)
			}
		})
	}
}

// TestBrokenAfterSentIsUnknown: the leader got the command, then the connection broke.
func TestBrokenAfterSentIsUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 2)
		c.elect("n2")
		var mu sync.Mutex
		var conns []net.Conn
		c.wrap = func(_ string, conn net.Conn) net.Conn {
			mu.Lock()
			defer mu.Unlock()
			conns = append(conns, conn)
			return conn
		}
		leader := c.nodes["n2"].agreement
		leader.onPropose(func(_ context.Context, cmd *logv1.Command) (*logv1.Result, error) {
			res := leader.apply(cmd) // it is written
			mu.Lock()
			defer mu.Unlock()
			for _, conn := range conns {
				conn.Close()
			}
			return res, nil
		})
		_, err := c.nodes["n1"].admin().SetServingStatus(timeout(t, 5*time.Second), setRequest("a", serving))
		checkError(t, err, want{codes.Unknown, rpcerror.ReasonOutcomeUnknown, rpcerror.WrittenUnknown, nil, "same request_id"})
		if got := leader.count(); got != 1 {
			t.Errorf("proposed %d times: an unknown outcome was tried again", got)
		}
		// What nobody can lose: a dry run.
		leader.onPropose(nil)
		if _, err := c.nodes["n1"].admin().SetServingStatus(timeout(t, 5*time.Second), &rollcallv1.SetServingStatusRequest{
			Service: "a", Status: serving.Enum(), ValidateOnly: true,
		}); err != nil {
			t.Errorf("dry run after the break: %v", err)
		}
		if got := leader.count(); got != 1 {
			t.Errorf("a dry run was proposed")
		}
	})
}

func TestForwardedOutcomes(t *testing.T) {
	block := func(ctx context.Context, _ *logv1.Command) (*logv1.Result, error) {
		<-ctx.Done()
		return nil, unknownErr{ctx.Err()}
	}
	for name, tt := range map[string]struct {
		propose func(context.Context, *logv1.Command) (*logv1.Result, error)
		want    want
		tries   int
	}{
		"the leader does not know either": {
			func(context.Context, *logv1.Command) (*logv1.Result, error) {
				return nil, unknownErr{errors.New("leadership lost")}
			},
			want{codes.Unknown, rpcerror.ReasonOutcomeUnknown, rpcerror.WrittenUnknown, nil, "leadership lost"}, 1,
		},
		"the leader is too slow": {block, want{codes.DeadlineExceeded, rpcerror.ReasonOutcomeUnknown, rpcerror.WrittenUnknown, nil, "outcome unknown"}, 1},
		"the leader panics":      {nil, want{codes.Unknown, rpcerror.ReasonOutcomeUnknown, rpcerror.WrittenUnknown, nil, "defect"}, 0},
	} {
		bubble(t, name, func(t *testing.T) {
			c := newTestCluster(t, 2)
			c.elect("n2")
			c.nodes["n2"].agreement.onPropose(tt.propose)
			c.nodes["n2"].agreement.panics = tt.propose == nil
			start := time.Now()
			// An hour is more than a forwarded call may work.
			_, err := c.nodes["n1"].admin().SetServingStatus(timeout(t, time.Hour), setRequest("a", serving))
			checkError(t, err, tt.want)
			if got := c.nodes["n2"].agreement.count(); got != tt.tries {
				t.Errorf("proposed %d times, want %d", got, tt.tries)
			}
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

func TestForwardedCallLeavesTimeToAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 2)
		c.elect("n2")
		var left time.Duration
		c.nodes["n2"].agreement.onPropose(func(ctx context.Context, cmd *logv1.Command) (*logv1.Result, error) {
			d, _ := ctx.Deadline()
			left = time.Until(d)
			return c.nodes["n2"].agreement.apply(cmd), nil
		})
		for callers, most := range map[time.Duration]time.Duration{
			time.Hour: 5 * time.Second, 2 * time.Second: 1900 * time.Millisecond, 500 * time.Millisecond: 450 * time.Millisecond,
		} {
			if _, err := c.nodes["n1"].admin().SetServingStatus(timeout(t, callers), setRequest("a", serving)); err != nil {
				t.Fatal(err)
			}
			if left > most || left < most*8/10 {
				t.Errorf("of the caller's %v the leader had %v, want %v", callers, left, most)
			}
		}
	})
}

func TestNotWrittenIsTriedAgainUntilItIs(t *testing.T) {
	for name, tt := range map[string]struct {
		before func(c *testCluster)
		after  func(c *testCluster)
	}{
		"no leader, then one": {
			func(*testCluster) {},
			func(c *testCluster) { c.elect("n2") },
		},
		"this node becomes the leader": {
			func(*testCluster) {},
			func(c *testCluster) { c.elect("n1") },
		},
		"the leader has not begun its term": {
			func(c *testCluster) {
				for _, n := range c.nodes {
					n.agreement.change(func(st *NodeStatus) { st.Leader = "n2" })
				}
			},
			// The follower is told of no change.
			func(c *testCluster) {
				c.nodes["n2"].agreement.change(func(st *NodeStatus) { st.Leading = true })
			},
		},
		"this node has not begun its term": {
			func(c *testCluster) {
				c.nodes["n1"].agreement.change(func(st *NodeStatus) { st.Leader = "n1" })
			},
			func(c *testCluster) { c.elect("n1") },
		},
		"the leader cannot be reached, then another leads": {
			func(c *testCluster) {
				c.elect("n3")
				c.refuseDials("n3", errRefused)
			},
			func(c *testCluster) { c.elect("n2") },
		},
		"the leader cannot be reached, then it can": {
			func(c *testCluster) {
				c.elect("n3")
				c.refuseDials("n3", errRefused)
			},
			func(c *testCluster) { c.refuseDials("n3", nil) },
		},
		"the leader hands over": {
			func(c *testCluster) {
				c.elect("n3")
				c.nodes["n3"].agreement.onPropose(func(context.Context, *logv1.Command) (*logv1.Result, error) {
					return nil, notWrittenErr{errors.New("transfer in progress")}
				})
			},
			func(c *testCluster) { c.elect("n2") },
		},
		"the leader drains": {
			func(c *testCluster) {
				c.elect("n3")
				c.nodes["n3"].BeginDrain()
			},
			func(c *testCluster) { c.elect("n2") },
		},
	} {
		bubble(t, name, func(t *testing.T) {
			c := newTestCluster(t, 3)
			tt.before(c)
			done := make(chan error, 1)
			go func() {
				_, err := c.nodes["n1"].admin().SetServingStatus(timeout(t, 30*time.Second), setRequest("a", serving))
				done <- err
			}()
			time.Sleep(2 * time.Second)
			select {
			case err := <-done:
				t.Fatalf("did not wait: %v", err)
			default:
			}
			changed := time.Now()
			tt.after(c)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if took := time.Since(changed); took > 2*time.Second {
				t.Errorf("took %v after the change", took)
			}
		})
	}
}

// A follower hears of a leader with its first heartbeat, before its term has begun: the leader answers
// as soon as it has, and does not send the follower away to try again later.
func TestForwardedCallsWaitForTheTermToBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 2)
		for _, n := range c.nodes {
			n.agreement.change(func(st *NodeStatus) { st.Leader = "n2" })
		}
		done := make(chan error, 1)
		go func() {
			_, err := c.nodes["n1"].admin().SetServingStatus(timeout(t, 30*time.Second), setRequest("a", serving))
			done <- err
		}()
		time.Sleep(20 * time.Millisecond)
		begun := time.Now()
		c.nodes["n2"].agreement.change(func(st *NodeStatus) { st.Leading = true })
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took != 0 {
			t.Errorf("answered %v after the term had begun", took)
		}
	})
}

// P7: without a quorum a write fails within the caller's deadline, or 5 s, and says that it was not
// written.
func TestWithoutALeaderAChangeIsNotWritten(t *testing.T) {
	for name, tt := range map[string]struct {
		prepare func(c *testCluster)
		message string
	}{
		"no leader": {func(*testCluster) {}, "no leader is known"},
		"unreachable leader": {func(c *testCluster) {
			c.elect("n2")
			c.refuseDials("n2", errRefused)
		}, "leader n2 cannot be reached: connection refused"},
		"loop": {func(c *testCluster) { // each believes that the other leads
			c.nodes["n1"].agreement.change(func(st *NodeStatus) { st.Leader = "n2" })
			c.nodes["n2"].agreement.change(func(st *NodeStatus) { st.Leader = "n1" })
		}, "n2 does not lead"},
	} {
		for limit, most := range map[time.Duration]time.Duration{0: 5 * time.Second, time.Second: time.Second, 20 * time.Millisecond: 20 * time.Millisecond} {
			bubble(t, name+"/"+limit.String(), func(t *testing.T) {
				c := newTestCluster(t, 2)
				tt.prepare(c)
				ctx := context.Background()
				if limit > 0 {
					ctx = timeout(t, limit)
				}
				start := time.Now()
				_, err := c.nodes["n1"].admin().SetServingStatus(ctx, setRequest("a", serving))
				w := want{codes.Unavailable, rpcerror.ReasonNotWritten, rpcerror.WrittenNo, nil, tt.message}
				if limit == 20*time.Millisecond {
					w.message = "" // too short to forward at all
				}
				checkError(t, err, w)
				if took := time.Since(start); took > most {
					t.Errorf("took %v", took)
				}
				for name, n := range c.nodes {
					if n.agreement.count() != 0 {
						t.Errorf("%s proposed", name)
					}
				}
			})
		}
	}
}

func TestDrainFreesWaitingChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1)
		done := make(chan error, 1)
		go func() {
			_, err := c.nodes["n1"].admin().SetServingStatus(timeout(t, time.Minute), setRequest("a", serving))
			done <- err
		}()
		synctest.Wait()
		start := time.Now()
		c.nodes["n1"].BeginDrain()
		checkError(t, <-done, want{codes.Unavailable, rpcerror.ReasonNotWritten, rpcerror.WrittenNo, nil, "stopping"})
		if took := time.Since(start); took > 0 {
			t.Errorf("took %v", took)
		}
	})
}

// forwardCommand sends one command on a stream of its own.
func forwardCommand(ctx context.Context, conn *grpc.ClientConn, cmd *logv1.Command) error {
	l := forward.NewStream(conn, 10_000, nil)
	defer l.Close()
	res, _, err := l.Do(ctx, &peerv1.ForwardedCommand{Command: cmd}, time.Minute, time.Time{})
	if err != nil || res.GetResult() != nil {
		return err
	}
	var failure spb.Status
	if err := proto.Unmarshal(res.GetFailure(), &failure); err != nil {
		return err
	}
	return status.ErrorProto(&failure)
}

func TestPeerForward(t *testing.T) {
	c := newTestCluster(t, 1)
	c.elect("n1")
	n := c.nodes["n1"]
	conn, err := grpc.NewClient("passthrough:///p", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return n.peerLis.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx := patient(t)
	for name, cmd := range map[string]*logv1.Command{
		"none":            nil,
		"no kind":         {},
		"term start":      {Kind: &logv1.Command_TermStart{TermStart: &logv1.TermStart{Term: 9}}},
		"empty write":     {Kind: &logv1.Command_Write{}},
		"nameless member": {Kind: &logv1.Command_AnnounceMember{}},
	} {
		err := forwardCommand(ctx, conn, cmd)
		t.Run(name, func(t *testing.T) {
			checkError(t, err, want{codes.InvalidArgument, rpcerror.ReasonInvalidArgument, rpcerror.WrittenNo, nil, "command"})
		})
	}
	announce := &logv1.Command{Kind: &logv1.Command_AnnounceMember{AnnounceMember: &logv1.AnnounceMember{Member: &logv1.Member{Name: "n1"}}}}
	if err := forwardCommand(ctx, conn, announce); err != nil {
		t.Error(err)
	}
	if _, err := rollcallv1.NewAdminClient(conn).SetServingStatus(ctx, setRequest("a", serving)); err == nil {
		t.Error("the peer port answers Admin")
	}
	n.BeginDrain()
	checkError(t, forwardCommand(ctx, conn, announce), want{codes.Unavailable, rpcerror.ReasonNotWritten, rpcerror.WrittenNo, nil, "stopping"})
}

func TestServerProposeForwards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 2)
		c.elect("n2")
		cmd := &logv1.Command{Kind: &logv1.Command_AnnounceMember{AnnounceMember: &logv1.AnnounceMember{Member: &logv1.Member{Name: "n1"}}}}
		if _, err := c.nodes["n1"].Propose(timeout(t, 5*time.Second), cmd); err != nil {
			t.Fatal(err)
		}
		if c.nodes["n2"].agreement.count() != 1 {
			t.Error("the leader did not get it")
		}
		c.nodes["n1"].BeginDrain()
		_, err := c.nodes["n1"].Propose(timeout(t, 5*time.Second), cmd)
		var not interface{ NotWritten() bool }
		if !errors.As(err, &not) || !not.NotWritten() {
			t.Errorf("got %v, want NotWritten", err)
		}
	})
}
