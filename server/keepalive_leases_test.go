package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/freshness"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

type keepAliveStream = grpc.BidiStreamingClient[rollcallv1.KeepAliveRequest, rollcallv1.KeepAliveResponse]

func openKeepAlive(t *testing.T, ctx context.Context, n *testNode) keepAliveStream {
	t.Helper()
	stream, err := n.admin().KeepAlive(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// ask sends a message and returns the answer.
func ask(t *testing.T, stream keepAliveStream, ids ...string) *rollcallv1.KeepAliveResponse {
	t.Helper()
	if err := stream.Send(&rollcallv1.KeepAliveRequest{LeaseIds: ids}); err != nil {
		t.Fatal(err)
	}
	res, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// told is an answer as text.
func told(m *rollcallv1.KeepAliveResponse) string {
	return fmt.Sprintf("%q lost %q waiting %q after %v", m.GetRenewedLeaseIds(), m.GetLostLeaseIds(), m.GetWaitingLeaseIds(), m.GetRenewAfter().AsDuration())
}

// TestKeepAlive: each message gets one answer, in order, whoever leads.
func TestKeepAlive(t *testing.T) {
	for _, leader := range []string{"n1", "n2"} {
		bubble(t, leader+" leads", func(t *testing.T) {
			c := newTestCluster(t, 2)
			c.elect(leader)
			n := c.nodes["n1"]
			n.leases.put(3*time.Second, "short")
			n.leases.put(30*time.Second, "long", "lost 1", "lost 2")
			stream := openKeepAlive(t, timeout(t, time.Minute), n)
			for i, test := range []struct {
				ids  []string
				want string
			}{
				{[]string{"long"}, `["long"] lost [] waiting [] after 10s`},
				{[]string{"long", "short"}, `["long" "short"] lost [] waiting [] after 1s`},
				{[]string{"long", "lost 2", "short", "lost 1"}, `["long" "short"] lost ["lost 2" "lost 1"] waiting [] after 1s`},
				{[]string{"lost 1", "long"}, `["long"] lost ["lost 1"] waiting [] after 10s`},
				{[]string{"lost 1"}, `[] lost ["lost 1"] waiting [] after 0s`},
				{nil, `[] lost [] waiting [] after 0s`}, // a ping
				{[]string{"long", "long", "lost 1", "lost 1", "long"}, `["long"] lost ["lost 1"] waiting [] after 10s`},
				{[]string{"granted a moment ago"}, `["granted a moment ago"] lost [] waiting [] after 333.333333ms`}, // this node has not applied it
				{[]string{"long", "granted a moment ago"}, `["long" "granted a moment ago"] lost [] waiting [] after 333.333333ms`},
				{[]string{strings.Repeat("x", 64)}, `["` + strings.Repeat("x", 64) + `"] lost [] waiting [] after 333.333333ms`},
			} {
				res := ask(t, stream, test.ids...)
				if told(res) != test.want {
					t.Errorf("%q: %s, want %s", test.ids, told(res), test.want)
				}
				if first := res.GetClusterId() != ""; first != (i == 0) {
					t.Errorf("message %d names the cluster %q", i, res.GetClusterId())
				}
			}
			// Messages that are sent ahead are answered in order.
			for i := range 50 {
				if err := stream.Send(&rollcallv1.KeepAliveRequest{LeaseIds: []string{fmt.Sprint(i)}}); err != nil {
					t.Fatal(err)
				}
			}
			if err := stream.CloseSend(); err != nil {
				t.Fatal(err)
			}
			for i := range 50 {
				if res, err := stream.Recv(); err != nil || !slices.Equal(res.GetRenewedLeaseIds(), []string{fmt.Sprint(i)}) {
					t.Fatalf("message %d: %v, %v", i, res, err)
				}
			}
			if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
				t.Errorf("at the end: %v", err)
			}
		})
	}
}

// TestKeepAliveRefusesBadMessages: with one sentence, and nothing is asked of the leader.
func TestKeepAliveRefusesBadMessages(t *testing.T) {
	many := make([]string, 10_001)
	for i := range many {
		many[i] = fmt.Sprint(i)
	}
	n := single(t)
	for name, test := range map[string]struct {
		ids  []string
		says string
	}{
		"10,001 ids":  {many, "lease_ids has 10001 entries; at most 10000 are allowed"},
		"an empty id": {[]string{"a", ""}, "lease_ids[1] is empty"},
		"a long id":   {[]string{strings.Repeat("x", 65)}, "lease_ids[0] is 65 bytes"},
		"two lines":   {[]string{"a", "b", "c\nd"}, "it is a control character"},
		"many":        {slices.Repeat([]string{""}, 9_000), "lease_ids[0] is empty"},
	} {
		stream := openKeepAlive(t, patient(t), n)
		_ = stream.Send(&rollcallv1.KeepAliveRequest{LeaseIds: test.ids}) // Recv says why not
		_, err := stream.Recv()
		checkError(t, err, want{codes.InvalidArgument, rpcerror.ReasonInvalidArgument, "", nil, ""})
		if !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if calls, _ := n.lessor.count(); calls != 0 {
		t.Errorf("the lessor was asked %d times", calls)
	}
	if res := ask(t, openKeepAlive(t, patient(t), n), many[:10_000]...); len(res.GetRenewedLeaseIds()) != 10_000 {
		t.Errorf("of 10,000 ids %d are renewed", len(res.GetRenewedLeaseIds()))
	}
}

// TestKeepAliveSurvivesElections: ids wait for a bounded time, and the stream goes on.
func TestKeepAliveSurvivesElections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 3)
		n := c.nodes["n1"]
		for _, node := range c.nodes {
			node.leases.put(time.Minute, "a", "b")
			node.leases.put(time.Second, "short")
		}
		stream := openKeepAlive(t, timeout(t, time.Minute), n)
		timed := func(want string, took time.Duration, ids ...string) {
			t.Helper()
			start := time.Now()
			if res := ask(t, stream, ids...); told(res) != want {
				t.Errorf("got %s, want %s", told(res), want)
			}
			// Ids are gathered for a while, and how far real work has gone within a virtual moment is not told.
			if is := time.Since(start); is < took || is > took+30*time.Millisecond {
				t.Errorf("took %v, want %v", is, took)
			}
		}
		const waits = `[] lost [] waiting ["a" "b"] after 0s`
		const renewed = `["a" "b"] lost [] waiting [] after 20s`
		timed(waits, time.Second, "a", "b")                                           // nobody leads yet
		timed(`[] lost [] waiting ["short"] after 0s`, 125*time.Millisecond, "short") // sooner than its client goes elsewhere
		timed(`[] lost [] waiting [] after 0s`, 0)

		time.AfterFunc(500*time.Millisecond, func() { c.elect("n2") })
		timed(renewed, 500*time.Millisecond, "a", "b")
		timed(renewed, 5*time.Millisecond, "a", "b")

		// A leader that does not answer; then another is elected.
		c.nodes["n2"].lessor.onRenew(func(ctx context.Context, _ []string) ([]string, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		timed(waits, time.Second, "a", "b")
		time.AfterFunc(300*time.Millisecond, func() { c.elect("n3") })
		timed(renewed, 300*time.Millisecond, "a", "b")

		// One that does not lead any more, though this node believes it does: it is asked again.
		c.nodes["n3"].lessor.onRenew(func(context.Context, []string) ([]string, error) { return nil, errNotLeading })
		time.AfterFunc(230*time.Millisecond, func() { c.nodes["n3"].lessor.onRenew(nil) })
		timed(renewed, 305*time.Millisecond, "a", "b")

		// This node leads, and its term has not begun.
		n.agreement.change(func(st *NodeStatus) { st.Leader, st.Leading = "n1", false })
		time.AfterFunc(100*time.Millisecond, func() { c.elect("n1") })
		timed(renewed, 100*time.Millisecond, "a", "b")

		// The leader cannot be reached.
		c.elect("n2")
		c.refuseDials("n2", errRefused)
		c.nodes["n2"].lessor.onRenew(nil)
		n.Server.pool.Close()
		timed(waits, time.Second, "a", "b")
	})
}

// TestRenewalsAreGathered: those of many streams within a few milliseconds are one question to the leader, and no
// question has more than 10,000 ids.
func TestRenewalsAreGathered(t *testing.T) {
	for _, leader := range []string{"n1", "n2"} {
		bubble(t, leader+" leads", func(t *testing.T) {
			c := newTestCluster(t, 2)
			c.elect(leader)
			n, l := c.nodes["n1"], &c.nodes[leader].lessor
			var most atomic.Int64
			l.onRenew(func(_ context.Context, ids []string) ([]string, error) {
				if n := int64(len(ids)); n > limits.MaxRenewedAtOnce {
					most.Store(n)
				}
				return []string{"7", "13"}, nil
			})
			var streams []keepAliveStream
			for range 100 {
				streams = append(streams, openKeepAlive(t, timeout(t, time.Minute), n))
			}
			for i, s := range streams {
				if err := s.Send(&rollcallv1.KeepAliveRequest{LeaseIds: []string{fmt.Sprint(i)}}); err != nil {
					t.Fatal(err)
				}
			}
			for i, s := range streams {
				res, err := s.Recv()
				if err != nil || len(res.GetRenewedLeaseIds())+len(res.GetLostLeaseIds()) != 1 || (len(res.GetLostLeaseIds()) == 1) != (i == 7 || i == 13) {
					t.Errorf("stream %d: %v, %v", i, res, err)
				}
			}
			if calls, ids := l.count(); calls != 1 || len(ids) != 100 {
				t.Errorf("%d questions with %d ids", calls, len(ids))
			}
			large := make([]string, 6_000)
			for i := range large {
				large[i] = fmt.Sprint("large ", i)
			}
			for _, s := range streams[:5] {
				if err := s.Send(&rollcallv1.KeepAliveRequest{LeaseIds: large}); err != nil {
					t.Fatal(err)
				}
			}
			for _, s := range streams[:5] {
				if res, err := s.Recv(); err != nil || len(res.GetRenewedLeaseIds()) != 6_000 {
					t.Errorf("%d renewed, %v", len(res.GetRenewedLeaseIds()), err)
				}
			}
			if calls, ids := l.count(); calls != 6 || len(ids) != 100+5*6_000 || most.Load() != 0 {
				t.Errorf("%d questions with %d ids; one has %d", calls, len(ids), most.Load())
			}
		})
	}
}

// TestKeepAliveEnds: when the node stops, when its registry is not the cluster's, when it belongs to none, or to
// another one than is asked for; and not before.
func TestKeepAliveEnds(t *testing.T) {
	for name, test := range map[string]struct {
		do   func(t *testing.T, n *testNode)
		want want
	}{
		"the node stops": {func(t *testing.T, n *testNode) {
			if err := n.Stop(timeout(t, time.Minute)); err != nil {
				t.Error(err)
			}
		}, want{codes.Unavailable, rpcerror.ReasonStopping, "", nil, "stopping"}},
		"the registry differs": {func(_ *testing.T, n *testNode) { n.Diverged(42) },
			want{codes.Unavailable, rpcerror.ReasonDiverged, "", map[string]string{rpcerror.MetaIndex: "42"}, ""}},
	} {
		bubble(t, name, func(t *testing.T) {
			n := single(t)
			ctx := timeout(t, time.Minute)
			idle, waiting, silent := openKeepAlive(t, ctx, n), openKeepAlive(t, ctx, n), openKeepAlive(t, ctx, n)
			ask(t, idle, "a")
			n.lessor.onRenew(func(ctx context.Context, _ []string) ([]string, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			})
			if err := waiting.Send(&rollcallv1.KeepAliveRequest{LeaseIds: []string{"b"}}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			n.BeginDrain()
			synctest.Wait()
			if n.watches.open.Load() != 3 || n.watches.leases.Load() != 3 {
				t.Errorf("%d streams are open while the node drains", n.watches.leases.Load())
			}
			start := time.Now()
			test.do(t, n)
			for name, s := range map[string]keepAliveStream{"idle": idle, "waiting": waiting, "silent": silent} {
				_, err := s.Recv()
				checkError(t, err, test.want)
				if took := time.Since(start); took > 100*time.Millisecond {
					t.Errorf("%s: it ended after %v", name, took)
				}
			}
			synctest.Wait()
			if n.watches.open.Load() != 0 || n.watches.leases.Load() != 0 {
				t.Error("streams that have ended are counted")
			}
		})
	}
	t.Run("no cluster, another cluster", func(t *testing.T) {
		n := single(t)
		wrong := metadata.AppendToOutgoingContext(patient(t), freshness.MetadataCluster, "b00c")
		_, err := openKeepAlive(t, wrong, n).Recv()
		checkError(t, err, want{codes.FailedPrecondition, rpcerror.ReasonClusterChanged, "", map[string]string{rpcerror.MetaClusterID: "3f9a"}, ""})
		right := openKeepAlive(t, metadata.AppendToOutgoingContext(patient(t), freshness.MetadataCluster, "3f9a"), n)
		if res := ask(t, right, "a"); res.GetClusterId() != "3f9a" {
			t.Errorf("got %v", res)
		}
		read := metadata.AppendToOutgoingContext(patient(t), freshness.MetadataMinRevision, "1")
		_, err = openKeepAlive(t, read, n).Recv()
		checkError(t, err, want{codes.InvalidArgument, rpcerror.ReasonInvalidArgument, "", nil, "means nothing"})
		n.registry.mu.Lock()
		n.registry.unformed = true
		n.registry.mu.Unlock()
		_, err = openKeepAlive(t, patient(t), n).Recv()
		checkError(t, err, want{codes.Unavailable, rpcerror.ReasonNoCluster, "", nil, ""})
		n.Diverged(7)
		_, err = openKeepAlive(t, patient(t), n).Recv()
		checkError(t, err, want{codes.Unavailable, rpcerror.ReasonDiverged, "", nil, ""})
	})
}

// TestPeerRenew: only a leader renews for another member, as many as fit into a message, and while it is stopping.
func TestPeerRenew(t *testing.T) {
	n := single(t)
	conn, err := n.pool.Get("n1")
	if err != nil {
		t.Fatal(err)
	}
	p := peerv1.NewPeerClient(conn)
	renewRequest := func(ids ...string) *peerv1.RenewRequest { return &peerv1.RenewRequest{LeaseIds: ids} }
	timesRequest := func(ids ...string) *peerv1.LeaseTimesRequest { return &peerv1.LeaseTimesRequest{LeaseIds: ids} }
	ctx := patient(t)
	many := make([]string, 10_001)
	if res, err := p.Renew(ctx, renewRequest("a", "lost b")); err != nil || !slices.Equal(res.GetLostLeaseIds(), []string{"lost b"}) {
		t.Errorf("%v, %v", res, err)
	}
	_, err = p.Renew(ctx, renewRequest(many...))
	checkError(t, err, want{codes.InvalidArgument, rpcerror.ReasonInvalidArgument, "", nil, "10001"})
	_, err = p.LeaseTimes(ctx, timesRequest(many...))
	checkError(t, err, want{codes.InvalidArgument, rpcerror.ReasonInvalidArgument, "", nil, "10001"})
	if res, err := p.LeaseTimes(ctx, timesRequest("a", "lost b")); err != nil || len(res.GetTimes()) != 2 || !res.GetTimes()[0].GetKnown() || res.GetTimes()[1].GetKnown() {
		t.Errorf("%v, %v", res, err)
	}
	n.BeginDrain()
	if _, err := p.Renew(ctx, renewRequest("a")); err != nil {
		t.Errorf("while it is stopping: %v", err)
	}
	n.agreement.change(func(st *NodeStatus) { st.Leader, st.Leading = "n2", false })
	_, err = p.Renew(ctx, renewRequest("a"))
	checkError(t, err, want{codes.Unavailable, rpcerror.ReasonNoLeader, "", nil, `"n2"`})
	_, err = p.LeaseTimes(ctx, timesRequest("a"))
	checkError(t, err, want{codes.Unavailable, rpcerror.ReasonNoLeader, "", nil, ""})
	n.agreement.change(func(st *NodeStatus) { st.Leader, st.Leading = "n1", true })
	n.Diverged(9)
	_, err = p.Renew(ctx, renewRequest("a"))
	checkError(t, err, want{codes.Unavailable, rpcerror.ReasonDiverged, "", nil, ""})
	_, err = p.LeaseTimes(ctx, timesRequest("a"))
	checkError(t, err, want{codes.Unavailable, rpcerror.ReasonDiverged, "", nil, ""})
}

// TestALeaderThatDiffersRenewsNothing for other nodes either.
func TestALeaderThatDiffersRenewsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 2)
		c.elect("n2")
		c.nodes["n2"].Diverged(9)
		res := ask(t, openKeepAlive(t, timeout(t, time.Minute), c.nodes["n1"]), "a")
		if told(res) != `[] lost [] waiting ["a"] after 0s` {
			t.Errorf("got %s", told(res))
		}
	})
}

// vanishing is the connection of a client that does not send any more once it is gone.
type vanishing struct {
	net.Conn
	gone *atomic.Bool
}

func (c vanishing) Write(b []byte) (int, error) {
	if c.gone.Load() {
		return len(b), nil
	}
	return c.Conn.Write(b)
}
