package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

const (
	unknown    = healthpb.HealthCheckResponse_UNKNOWN
	serving    = healthpb.HealthCheckResponse_SERVING
	notServing = healthpb.HealthCheckResponse_NOT_SERVING
	noService  = healthpb.HealthCheckResponse_SERVICE_UNKNOWN
)

// caughtUp waits until every running node is at the leader's revision.
func (c *processes) caughtUp() {
	c.t.Helper()
	c.leader()
	eventually(c.t, "all nodes at one revision", func(ctx context.Context) bool {
		revisions := map[int64]bool{}
		for _, p := range c.nodes {
			if !p.running() {
				continue
			}
			resp, err := rollcallv1.NewClusterClient(p.dial()).GetStatus(ctx, &rollcallv1.GetStatusRequest{LocalOnly: true})
			if err != nil || resp.GetLeader() == "" {
				return false
			}
			revisions[resp.GetRevision()] = true
		}
		return len(revisions) == 1
	})
}

// TestProcessP1Durable kills every process with SIGKILL, several times, under load.
func TestProcessP1Durable(t *testing.T) {
	beside(t, ofProcesses)
	c := startProcesses(t, processOptions{})
	for range 3 {
		l := startLoad(t, c.client(), 8)
		l.wait(200)
		c.killAll()
		l.stop()
		c.start()
		c.waitReady()
		c.caughtUp()
		for _, p := range c.nodes {
			l.verify(p)
		}
	}
}

// TestProcessRandomKills kills and stops what it likes, when it likes; -soak makes it long.
func TestProcessRandomKills(t *testing.T) {
	beside(t, ofProcesses)
	c := startProcesses(t, processOptions{proxies: true})
	rounds := 5
	end := time.Now().Add(*soak)
	for round := 0; round < rounds || time.Now().Before(end); round++ {
		l := startLoad(t, c.client(), 8)
		l.wait(int64(20 + rand.IntN(200)))
		victims := c.nodes
		switch action := rand.IntN(6); action {
		case 0:
			t.Logf("round %d: kill all", round)
			c.killAll()
		case 1, 2:
			p := c.leader()
			victims = []*process{p}
			t.Logf("round %d: kill the leader, %s", round, p.name)
			p.kill()
			l.wait(20)
		case 3:
			p := c.nodes[rand.IntN(len(c.nodes))]
			victims = []*process{p}
			t.Logf("round %d: kill %s and start it at once", round, p.name)
			p.kill()
		case 4:
			p := c.leader()
			t.Logf("round %d: SIGSTOP the leader, %s, until another leads", round, p.name)
			p.signal(syscall.SIGSTOP)
			l.wait(20)
			p.signal(syscall.SIGCONT)
			victims = nil
		case 5:
			p := c.nodes[rand.IntN(len(c.nodes))]
			t.Logf("round %d: cut the links into %s", round, p.name)
			p.proxy.setCut(true)
			l.wait(50)
			p.proxy.setCut(false)
			victims = nil
		}
		for _, p := range victims {
			p.start()
		}
		l.wait(20)
		l.stop()
		c.waitReady()
		c.caughtUp()
		for _, p := range c.nodes {
			l.verify(p)
		}
		if t.Failed() {
			return
		}
	}
}

// TestProcessLeaderKilled reads from the two other nodes all the while: no read may fail.
func TestProcessLeaderKilled(t *testing.T) {
	beside(t, ofProcesses)
	c := startProcesses(t, processOptions{})
	ctx := context.Background()
	c.set("payments", serving)
	c.caughtUp()
	leader := c.leader()
	readers, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for _, p := range c.others(leader) {
		wg.Go(func() {
			for readers.Err() == nil {
				resp, err := healthpb.NewHealthClient(p.dial()).Check(ctx, &healthpb.HealthCheckRequest{Service: "payments"})
				if err != nil || resp.GetStatus() != serving {
					t.Errorf("Check on %s: %v %v", p.name, resp.GetStatus(), err)
					return
				}
			}
		})
	}
	killed := time.Now()
	leader.kill()
	// Endpoints of the living only: what is measured is the cluster, not the client.
	c.set("orders", serving, c.others(leader)...)
	t.Logf("writes resumed %s after the leader was killed", time.Since(killed).Round(time.Millisecond))
	stop()
	wg.Wait()
	leader.start()
	c.waitReady()
	c.caughtUp()
	if got := leader.check(ctx, "orders"); got != serving {
		t.Errorf("the killed leader, back, shows %s", got)
	}
}

func TestProcessFollowerKilled(t *testing.T) {
	beside(t, ofProcesses)
	c := startProcesses(t, processOptions{})
	follower := c.others(c.leader())[0]
	l := startLoad(t, c.client(), 4)
	l.wait(50)
	follower.kill()
	l.wait(200)
	follower.start()
	l.wait(50)
	l.stop()
	c.waitReady()
	c.caughtUp()
	for _, p := range c.nodes {
		l.verify(p)
	}
}

// TestProcessP7FailStatic starts one node alone, without a quorum.
func TestProcessP7FailStatic(t *testing.T) {
	beside(t, ofProcesses)
	c := startProcesses(t, processOptions{})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c.set("payments", serving)
	c.caughtUp()
	for _, p := range c.nodes {
		p.stop()
	}
	alone := c.nodes[1]
	alone.start()
	alone.waitStatus("payments", serving)
	for service, want := range map[string]healthpb.HealthCheckResponse_ServingStatus{
		"payments":           serving,
		rollcallv1.OwnLive:   serving,
		rollcallv1.OwnReads:  serving,
		rollcallv1.OwnReady:  notServing,
		rollcallv1.OwnLeader: notServing,
	} {
		if got := alone.check(ctx, service); got != want {
			t.Errorf("Check(%q) alone is %s, want %s", service, got, want)
		}
	}
	list, err := healthpb.NewHealthClient(alone.dial()).List(ctx, &healthpb.HealthListRequest{})
	if err != nil || list.GetStatuses()["payments"].GetStatus() != serving {
		t.Errorf("List alone: %v %v", list, err)
	}
	watchCtx, endWatch := context.WithCancel(ctx)
	defer endWatch()
	watch, err := healthpb.NewHealthClient(alone.dial()).Watch(watchCtx, &healthpb.HealthCheckRequest{Service: "payments"})
	if err != nil {
		t.Fatal(err)
	}
	if first, err := watch.Recv(); err != nil || first.GetStatus() != serving {
		t.Errorf("Watch alone: %v %v", first, err)
	}

	// A write fails as surely not written, within the caller's deadline.
	write, cancelWrite := context.WithTimeout(ctx, time.Second)
	defer cancelWrite()
	_, err = c.client(alone).Set(write, "payments", notServing, client.WriteOptions{})
	var e *client.Error
	if !errors.As(err, &e) || e.Written != client.WrittenNo {
		t.Errorf("a write without a quorum: %v, want one that is surely not written", err)
	}
	// And without a deadline, by itself, to a stock client.
	s := serving
	_, err = rollcallv1.NewAdminClient(alone.dial()).SetServingStatus(ctx, &rollcallv1.SetServingStatusRequest{Service: "payments", Status: &s})
	if status.Code(err) != codes.Unavailable || !strings.Contains(fmt.Sprint(status.Convert(err).Details()), "NOT_WRITTEN") {
		t.Errorf("a write without a quorum: %v %v, want UNAVAILABLE with NOT_WRITTEN", err, status.Convert(err).Details())
	}

	c.nodes[0].start()
	alone.waitStatus(rollcallv1.OwnReady, serving)
	c.set("payments", notServing, alone)
	// The stream that was opened without a quorum follows.
	if next, err := watch.Recv(); err != nil || next.GetStatus() != notServing {
		t.Errorf("the watch opened alone then says %v %v", next, err)
	}
}

// TestProcessP1WipedNode takes a node's disk away while another is down: it must not vote.
func TestProcessP1WipedNode(t *testing.T) {
	beside(t, ofProcesses)
	c := startProcesses(t, processOptions{})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c.caughtUp()
	// n1 and n2 hold a write that n3 does not have.
	c.nodes[2].stop()
	c.set("payments", serving)
	c.nodes[0].stop()
	wiped := c.nodes[1]
	wiped.stop()
	if err := os.RemoveAll(wiped.data); err != nil {
		t.Fatal(err)
	}
	// With n1 down, n2 and n3 would be a majority.
	c.nodes[2].start()
	c.nodes[2].waitStatus(rollcallv1.OwnReads, serving)
	wiped.start()
	eventually(t, "the wiped node to say what to do", func(context.Context) bool {
		return strings.Contains(wiped.log.String(), `run \"rollcall member replace n2\"`)
	})
	if got := wiped.check(ctx, ""); got != notServing {
		t.Errorf("the wiped node says \"\" %s", got)
	}
	if got := c.nodes[2].check(ctx, rollcallv1.OwnLeader); got != notServing {
		t.Errorf("n3 says rollcall.leader %s with a wiped node as its only peer", got)
	}
	c.nodes[0].start()
	c.leader()
	c.nodes[2].waitStatus("payments", serving)
}
