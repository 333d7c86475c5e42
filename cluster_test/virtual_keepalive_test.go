package cluster_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/raftnode/memnet"
)

func (n *virtualNode) admin() rollcallv1.AdminClient { return rollcallv1.NewAdminClient(n.dial()) }

// grant returns the id of a new lease.
func (n *virtualNode) grant(ttl time.Duration) string {
	n.c.t.Helper()
	res, err := n.admin().GrantLease(n.c.patiently(), &rollcallv1.GrantLeaseRequest{Ttl: durationpb.New(ttl), Actor: "agent"})
	if err != nil {
		n.c.t.Fatalf("grant through %s: %v", n.cfg.Name, err)
	}
	return res.GetLeaseId()
}

// leaseStream is a KeepAlive through one node.
type leaseStream struct {
	t *testing.T
	grpc.BidiStreamingClient[rollcallv1.KeepAliveRequest, rollcallv1.KeepAliveResponse]
}

func (n *virtualNode) keepAlive() leaseStream {
	n.c.t.Helper()
	stream, err := n.admin().KeepAlive(n.c.ctx)
	if err != nil {
		n.c.t.Fatalf("keep alive through %s: %v", n.cfg.Name, err)
	}
	return leaseStream{n.c.t, stream}
}

func (s leaseStream) renew(ids ...string) *rollcallv1.KeepAliveResponse {
	s.t.Helper()
	if err := s.Send(&rollcallv1.KeepAliveRequest{LeaseIds: ids}); err != nil {
		s.t.Fatal(err)
	}
	res, err := s.Recv()
	if err != nil {
		s.t.Fatal(err)
	}
	return res
}

func (n *virtualNode) listLeases(req *rollcallv1.ListLeasesRequest) *rollcallv1.ListLeasesResponse {
	n.c.t.Helper()
	res, err := rollcallv1.NewRegistryClient(n.dial()).ListLeases(n.c.patiently(), req)
	if err != nil {
		n.c.t.Fatalf("list leases of %s: %v", n.cfg.Name, err)
	}
	return res
}

// TestVirtualKeepAliveThroughAnyNode: leases that were granted through any node are renewed through any, many on one
// stream, and nothing about it stands in the log. Ids that name no lease are lost, and leave nothing behind.
func TestVirtualKeepAliveThroughAnyNode(t *testing.T) {
	beside(t, ofVirtualTime)
	withLayers(t, nil, func(t *testing.T, c *virtual) {
		const ttl = 3 * time.Second
		var ids []string
		for i := range 30 {
			ids = append(ids, c.nodes[i%3].grant(ttl))
		}
		slices.Sort(ids)
		cl := c.clientFor(t)
		for i, id := range ids {
			if _, err := cl.Set(c.patiently(), fmt.Sprint("svc/", i), serving, client.WriteOptions{LeaseID: id}); err != nil {
				t.Fatal(err)
			}
		}
		revision := c.caughtUp()
		index := c.leader().status().GetMembers()[0].GetAppliedIndex()
		var streams []leaseStream
		for _, n := range c.nodes {
			streams = append(streams, n.keepAlive())
		}
		strangers := make([]string, 5_000)
		for i := range strangers {
			strangers[i] = fmt.Sprintf("%016x", i)
		}
		begun := time.Now()
		for round := 0; time.Since(begun) < 5*ttl; round++ {
			for i, s := range streams {
				some := ids[(round+i)%3*10 : (round+i)%3*10+10]
				res := s.renew(append(slices.Clone(some), strangers[round], "no lease has this name")...)
				if !slices.Equal(res.GetRenewedLeaseIds(), some) || len(res.GetLostLeaseIds()) != 2 || len(res.GetWaitingLeaseIds()) != 0 || res.GetRenewAfter().AsDuration() != ttl/3 {
					t.Fatalf("round %d through %s: %v", round, c.nodes[i].cfg.Name, res)
				}
				if (res.GetClusterId() != "") != (round == 0) {
					t.Errorf("message %d names the cluster %q", round, res.GetClusterId())
				}
			}
			time.Sleep(ttl / 3)
		}
		if res := streams[0].renew(strangers...); len(res.GetLostLeaseIds()) != len(strangers) {
			t.Errorf("of %d ids that nobody has %d are lost", len(strangers), len(res.GetLostLeaseIds()))
		}
		if now := c.caughtUp(); now != revision {
			t.Errorf("renewing made %d events", now-revision)
		}
		// A leader may write entries of its own; one a second would be too many.
		if now := c.leader().status().GetMembers()[0].GetAppliedIndex(); now > index+5 {
			t.Errorf("%v of renewals wrote %d log entries", 5*ttl, now-index)
		}
		for _, n := range c.nodes {
			res := n.listLeases(&rollcallv1.ListLeasesRequest{All: true})
			var listed []string
			for _, l := range res.GetLeases() {
				listed = append(listed, l.GetLeaseId())
				if l.GetServiceCount() != 1 || l.GetTimeLeft() == nil || l.GetTimeLeft().AsDuration() > ttl || l.GetTtl().AsDuration() != ttl || l.GetActor().GetName() != "agent" {
					t.Errorf("%s lists %v", n.cfg.Name, l)
				}
			}
			if !slices.Equal(listed, ids) {
				t.Errorf("%s lists %d leases, want %d", n.cfg.Name, len(listed), len(ids))
			}
			if res := n.listLeases(&rollcallv1.ListLeasesRequest{LeaseId: ids[7]}); len(res.GetLeases()) != 1 || res.GetLeases()[0].GetServiceCount() != 1 {
				t.Errorf("%s lists of one id %v", n.cfg.Name, res)
			}
		}
		// Nobody renews any more, but one of them.
		streams[1].renew(ids...)
		start := time.Now()
		for time.Since(start) < ttl-100*time.Millisecond {
			streams[2].renew(ids[0])
			time.Sleep(100 * time.Millisecond)
			if n := c.nodes[0]; n.check("svc/29") != serving {
				t.Fatalf("the report of a lease ended %v after its renewal", time.Since(start))
			}
		}
		streams[2].renew(ids[0])
		time.Sleep(ttl + time.Second - time.Since(start))
		if res := streams[2].renew(ids...); !slices.Equal(res.GetRenewedLeaseIds(), ids[:1]) || len(res.GetLostLeaseIds()) != 29 {
			// 30 leases, of which 29 are late at once: the guard holds them.
			guard := c.nodes[0].listLeases(&rollcallv1.ListLeasesRequest{}).GetGuard()
			if !guard.GetEngaged() {
				t.Errorf("after the TTL: %d renewed, %d lost; %v", len(res.GetRenewedLeaseIds()), len(res.GetLostLeaseIds()), guard)
			}
		}
	})
}

// TestVirtualKeepAliveSurvivesElections: a stream through a follower goes on while the leader is stopped and another is
// elected; every message is answered; no lease ends, though it is longer without a leader than its client would wait.
// The stream of the node that stops ends, so that its client moves.
func TestVirtualKeepAliveSurvivesElections(t *testing.T) {
	beside(t, ofVirtualTime)
	withLayers(t, nil, func(t *testing.T, c *virtual) {
		const ttl = 2 * time.Second
		id := c.nodes[0].grant(ttl)
		if _, err := c.clientFor(t).Set(c.patiently(), "svc", serving, client.WriteOptions{LeaseID: id}); err != nil {
			t.Fatal(err)
		}
		for name, cut := range map[string]func(leader *virtualNode){
			"the leader stops":        func(leader *virtualNode) { leader.stop() },
			"the leader falls silent": func(leader *virtualNode) { c.net.Isolate(memnet.Stall, leader.cfg.Name) },
			"the leader is cut off":   func(leader *virtualNode) { c.net.Isolate(memnet.Reset, leader.cfg.Name) },
		} {
			leader := c.leader()
			through := c.others(leader)[0] // it may be the next leader
			stream, moved := through.keepAlive(), leader.keepAlive()
			moved.renew(id)
			cut(leader)
			renewed, waited := 0, 0
			for begun := time.Now(); time.Since(begun) < 10*time.Second; {
				start := time.Now()
				res := stream.renew(id)
				switch took := time.Since(start); {
				case len(res.GetLostLeaseIds()) > 0:
					t.Fatalf("%s: the lease was lost after %v", name, time.Since(begun))
				case took > ttl/6:
					t.Errorf("%s: an answer took %v: the client would take the node for dead", name, took)
				case len(res.GetWaitingLeaseIds()) > 0:
					waited++
				default:
					renewed++
				}
				time.Sleep(100 * time.Millisecond)
			}
			if renewed < 50 {
				t.Errorf("%s: renewed %d times, waited %d times", name, renewed, waited)
			}
			if through.check("svc") != serving {
				t.Errorf("%s: the report ended", name)
			}
			if leader.node == nil {
				if _, err := moved.Recv(); status.Code(err) != codes.Unavailable {
					t.Errorf("the stream of the node that stopped: %v", err)
				}
				leader.start()
			}
			c.net.Heal()
			// The nodes may take longer than the lease lives until all of them are ready: its reporter goes on.
			c.until("all nodes to be ready", func() bool {
				if lost := stream.renew(id).GetLostLeaseIds(); len(lost) > 0 {
					t.Fatalf("after %s: the lease was lost", name)
				}
				return !slices.ContainsFunc(c.nodes, func(n *virtualNode) bool { return n.check(rollcallv1.OwnReady) != serving })
			})
		}
	})
}

// TestVirtualLeasesThroughTheAPI: a lease holds what is attached to it; another live one takes over; the end of one
// leaves what its caller asks for.
func TestVirtualLeasesThroughTheAPI(t *testing.T) {
	beside(t, ofVirtualTime)
	withLayers(t, nil, func(t *testing.T, c *virtual) {
		n := c.others(c.leader())[0]
		ctx := c.patiently()
		first, second := n.grant(time.Hour), n.grant(time.Hour)
		set := func(service, lease string) error {
			_, err := n.admin().SetServingStatus(ctx, &rollcallv1.SetServingStatusRequest{Service: service, Status: serving.Enum(), LeaseId: lease})
			return err
		}
		refused := func(what string, err error, code codes.Code, words string) {
			t.Helper()
			if status.Code(err) != code || !strings.Contains(err.Error(), words) {
				t.Errorf("%s: %v, want %v with %q", what, err, code, words)
			}
		}
		for _, service := range []string{"a", "b", "c"} {
			if err := set(service, first); err != nil {
				t.Fatal(err)
			}
		}
		refused("a write without the lease", set("a", ""), codes.FailedPrecondition, "lease "+first+" holds the report")
		refused("a write with no such lease", set("a", "0123456789abcdef"), codes.NotFound, `lease "0123456789abcdef" does not exist`)
		_, err := n.admin().DeleteService(ctx, &rollcallv1.DeleteServiceRequest{Service: "b"})
		refused("a delete without the lease", err, codes.FailedPrecondition, first)
		if _, err := n.admin().DeleteService(ctx, &rollcallv1.DeleteServiceRequest{Service: "b", LeaseId: first}); err != nil {
			t.Error(err)
		}
		if err := set("c", second); err != nil {
			t.Errorf("a take-over: %v", err)
		}
		preview, err := n.admin().RevokeLease(ctx, &rollcallv1.RevokeLeaseRequest{LeaseId: first, ValidateOnly: true})
		if err != nil || preview.GetMatchedCount() != 1 || preview.GetRevision() != 0 || preview.GetEnding() {
			t.Errorf("a dry run: %v, %v", preview, err)
		}
		if res, err := n.admin().RevokeLease(ctx, &rollcallv1.RevokeLeaseRequest{LeaseId: first}); err != nil || res.GetMatchedCount() != 1 || res.GetEnding() || res.GetRevision() == 0 {
			t.Errorf("a revoke: %v, %v", res, err)
		}
		if res, err := n.admin().RevokeLease(ctx, &rollcallv1.RevokeLeaseRequest{LeaseId: second, KeepReports: true}); err != nil || res.GetMatchedCount() != 1 {
			t.Errorf("a revoke that keeps reports: %v, %v", res, err)
		}
		c.caughtUp()
		for service, want := range map[string]client.Status{"a": notServing, "c": serving} {
			for _, m := range c.nodes {
				if got := m.check(service); got != want {
					t.Errorf("%s on %s is %v, want %v", service, m.cfg.Name, got, want)
				}
			}
		}
		_, err = n.admin().RevokeLease(ctx, &rollcallv1.RevokeLeaseRequest{LeaseId: first})
		refused("a second revoke", err, codes.NotFound, first)
		if res, err := n.admin().RevokeLease(ctx, &rollcallv1.RevokeLeaseRequest{LeaseId: first, AllowMissing: true}); err != nil || res.GetMatchedCount() != 0 {
			t.Errorf("a second revoke that may find none: %v, %v", res, err)
		}
		if res, err := n.admin().ReleaseLeaseGuard(ctx, &rollcallv1.ReleaseLeaseGuardRequest{}); err != nil || res.GetChanged() || res.GetGuard().GetEngaged() {
			t.Errorf("a release of a guard that holds nothing: %v, %v", res, err)
		}
		same := &rollcallv1.GrantLeaseRequest{Ttl: durationpb.New(time.Minute), RequestId: "once"}
		one, err := n.admin().GrantLease(ctx, same)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := c.nodes[0].admin().GrantLease(ctx, same); err != nil || again.GetLeaseId() != one.GetLeaseId() {
			t.Errorf("the same request made %q and %q, %v", one.GetLeaseId(), again.GetLeaseId(), err)
		}
		c.caughtUp()
		before := len(n.listLeases(&rollcallv1.ListLeasesRequest{}).GetLeases())
		if dry, err := n.admin().GrantLease(ctx, &rollcallv1.GrantLeaseRequest{Ttl: durationpb.New(time.Minute), ValidateOnly: true}); err != nil || dry.GetLeaseId() != "" {
			t.Errorf("a dry run: %v, %v", dry, err)
		}
		if after := len(n.listLeases(&rollcallv1.ListLeasesRequest{}).GetLeases()); after != before || before != 1 {
			t.Errorf("%d leases before a dry run, %d after it", before, after)
		}
	})
}
