package cluster_test

import (
	"context"
	"flag"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/durationpb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

var leasePause = flag.Duration("lease-pause", 0, "how long TestProcessLeaseLongPause stops the leader's process, and all processes; 0: it is skipped")

// promised fails the test if the record contradicts P10. How late a lease ends depends on the machine, too, so
// that is looked at where nothing is disturbed.
func (w *leaseWatch) promised(t *testing.T) {
	t.Helper()
	var err error
	eventually(t, "the events of leases that have ended", func(context.Context) bool {
		err = w.record.check(leasePromise{})
		return err == nil || !strings.Contains(err.Error(), ", and lives")
	})
	if err != nil {
		t.Error(err)
	}
}

// TestProcessLeaseReporterKilled: a reporter is killed with SIGKILL. What it reported is NOT_SERVING on every node
// after its TTL, and within a second of that; what others reported stays.
func TestProcessLeaseReporterKilled(t *testing.T) {
	beside(t, ofProcesses)
	c := startProcesses(t, processOptions{})
	record, stalls := newLeaseRecord(), startStallMeter(t)
	w := c.watchLeases(record, "shop/cart", "shop/pay", "bank/ledger")
	begin := time.Now()
	well := startReporter(t, record, 3*time.Second, c.endpoints(), "bank/ledger")
	for i, ttl := range []time.Duration{time.Second, 2 * time.Second, 1500 * time.Millisecond} {
		p := c.nodes[i] // through each of them once
		reported := time.Now()
		r := startReporter(t, record, ttl, []string{p.api}, "shop/cart", "shop/pay")
		for _, p := range c.nodes {
			w.until(t, p.name, "shop/pay", serving, reported)
		}
		// It has renewed, so the grant is not what counts.
		eventually(t, "a renewal", func(context.Context) bool {
			acknowledged, _ := record.last(r.lease)
			return time.Since(reported) > ttl && time.Since(acknowledged) < ttl/2
		})
		r.kill()
		acknowledged, tried := record.last(r.lease)
		for _, p := range c.nodes {
			for _, service := range r.services {
				at := w.until(t, p.name, service, notServing, acknowledged)
				if at.Before(acknowledged.Add(ttl)) {
					t.Errorf("%s, TTL %s: %s on %s ended %s after the last renewal that was acknowledged", r.lease, ttl, service, p.name, at.Sub(acknowledged))
				}
				if late := at.Sub(tried) - ttl - time.Second - stalls.since(tried); late > 0 {
					t.Errorf("%s, TTL %s: %s on %s ended %s after the last renewal, %s too late", r.lease, ttl, service, p.name, at.Sub(tried), late)
				}
				t.Logf("TTL %s: %s on %s: %s after the last renewal", ttl, service, p.name, at.Sub(acknowledged).Round(time.Millisecond))
			}
		}
	}
	for _, p := range c.nodes {
		for _, s := range w.from(p.name, "bank/ledger", begin) {
			if s.status == notServing {
				t.Errorf("whose reporter lives: %s", s)
			}
		}
	}
	// The last word of one that stops in order needs no TTL.
	stopped := time.Now()
	well.stop()
	for _, p := range c.nodes {
		w.until(t, p.name, "bank/ledger", notServing, stopped)
	}
	w.promised(t)
}

// TestProcessLeaseOutlivesNodes: nodes are killed, stopped and continued, one and all, also the one that a reporter
// uses and the one that leads. What it reports never flaps, on any node.
func TestProcessLeaseOutlivesNodes(t *testing.T) {
	beside(t, ofProcesses)
	const ttl = 3 * time.Second
	c := startProcesses(t, processOptions{})
	record := newLeaseRecord()
	w := c.watchLeases(record, "shop/cart")
	r := startReporter(t, record, ttl, c.endpoints(), "shop/cart")
	for _, p := range c.nodes {
		w.until(t, p.name, "shop/cart", serving, time.Time{})
	}
	reported := time.Now()
	renewed := func() {
		t.Helper()
		since := time.Now()
		eventually(t, "a renewal", func(context.Context) bool {
			acknowledged, _ := record.last(r.lease)
			return acknowledged.After(since)
		})
	}
	for _, p := range c.nodes { // the one that it uses is among them, and the one that leads
		p.kill()
		pause(t.Context(), ttl/2)
		renewed()
		p.start()
		c.waitReady()
	}
	w.steady(t, reported)
	leader := c.leader()
	leader.signal(syscall.SIGSTOP)
	pause(t.Context(), 5*time.Second)
	leader.signal(syscall.SIGCONT)
	renewed()
	pause(t.Context(), ttl/2) // in which the old leader could expire what it knows of
	w.steady(t, reported)
	for _, p := range c.nodes {
		p.signal(syscall.SIGSTOP)
	}
	pause(t.Context(), 5*time.Second)
	for _, p := range c.nodes {
		p.signal(syscall.SIGCONT)
	}
	renewed()
	pause(t.Context(), ttl/2)
	w.steady(t, reported)
	if !record.end(r.lease).IsZero() {
		t.Errorf("lease %s ended while its reporter lived", r.lease)
	}

	// It ends all the same, when its reporter and the leader die at once.
	r.kill()
	c.leader().kill()
	acknowledged, _ := record.last(r.lease)
	for _, p := range c.nodes {
		if p.running() {
			at := w.until(t, p.name, "shop/cart", notServing, acknowledged)
			t.Logf("the reporter and the leader died: NOT_SERVING on %s %s after the last renewal", p.name, at.Sub(acknowledged).Round(time.Millisecond))
		}
	}
	w.promised(t)
}

// TestProcessLeasePausedLeader: renewals wait for a leader whose process is stopped, while another one leads and lets
// the lease expire. When the process runs again it must not acknowledge them.
func TestProcessLeasePausedLeader(t *testing.T) {
	beside(t, ofProcesses)
	const ttl = time.Second
	c := startProcesses(t, processOptions{})
	record := newLeaseRecord()
	c.set("shop/cart", serving)
	w := c.watchLeases(record, "shop/cart")
	for range 3 {
		leader := c.leader()
		conn, err := grpc.NewClient(leader.api, append(record.ofCalls(), grpc.WithTransportCredentials(insecure.NewCredentials()))...)
		if err != nil {
			t.Fatal(err)
		}
		admin := rollcallv1.NewAdminClient(conn)
		var lease string
		eventually(t, "a lease and its report", func(ctx context.Context) bool {
			res, err := admin.GrantLease(ctx, &rollcallv1.GrantLeaseRequest{Ttl: durationpb.New(ttl)})
			if err != nil {
				return false
			}
			lease = res.GetLeaseId()
			_, err = admin.SetServingStatus(ctx, &rollcallv1.SetServingStatusRequest{Service: "shop/cart", Status: serving.Enum(), LeaseId: lease})
			return err == nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		stream, err := admin.KeepAlive(ctx)
		if err != nil {
			t.Fatal(err)
		}
		leader.signal(syscall.SIGSTOP)
		stopped := time.Now()
		answered := make(chan struct{})
		go func() { // its answers, if there are any
			defer close(answered)
			for {
				if _, err := stream.Recv(); err != nil {
					return
				}
			}
		}()
		other := c.others(leader)[0].name
		var expired time.Time
		for expired.IsZero() && time.Since(stopped) < patience {
			if err := stream.Send(&rollcallv1.KeepAliveRequest{LeaseIds: []string{lease}}); err != nil {
				t.Fatal(err)
			}
			pause(ctx, 20*time.Millisecond)
			for _, s := range w.from(other, "shop/cart", stopped) {
				if s.status == notServing {
					expired = s.at
				}
			}
		}
		leader.signal(syscall.SIGCONT)
		c.waitReady()
		w.until(t, leader.name, "shop/cart", notServing, stopped)
		cancel()
		<-answered
		conn.Close()
		t.Logf("expired %s after the leader was stopped", expired.Sub(stopped).Round(time.Millisecond))
	}
	w.promised(t)
}

// TestProcessLeaseAfterARestart: all processes are killed. The lease of a reporter that lives goes on, and that of
// one that has died gets a whole TTL from the next leader. In a cluster restored from a backup all get one.
func TestProcessLeaseAfterARestart(t *testing.T) {
	beside(t, ofProcesses)
	const ttl = 3 * time.Second
	c := startProcesses(t, processOptions{})
	record := newLeaseRecord()
	w := c.watchLeases(record, "shop/cart", "shop/pay")
	startReporter(t, record, ttl, c.endpoints(), "shop/cart")
	dead := startReporter(t, record, ttl, c.endpoints(), "shop/pay")
	c.caughtUp()
	for _, p := range c.nodes {
		w.until(t, p.name, "shop/cart", serving, time.Time{})
	}
	reported := time.Now()
	file := filepath.Join(t.TempDir(), "backup")
	mustRun(t, "snapshot", "save", file, "-e", c.nodes[0].api)

	c.killAll()
	dead.kill()
	pause(t.Context(), ttl/2) // down for some of the TTL, which it is given again
	started := time.Now()
	c.start()
	for _, p := range c.nodes {
		if at := w.until(t, p.name, "shop/pay", notServing, started); at.Before(started.Add(ttl)) {
			t.Errorf("after a restart shop/pay on %s ended after %s, of a TTL of %s", p.name, at.Sub(started), ttl)
		}
		for _, s := range w.from(p.name, "shop/cart", reported) {
			if s.status == notServing {
				t.Errorf("whose reporter lives: %s", s)
			}
		}
	}
	w.promised(t)

	fresh := newProcesses(t, processOptions{})
	token := ""
	for _, p := range fresh.nodes {
		args := []string{"snapshot", "restore", file, "--node", p.name, "--data", p.data, "--log-store", *logStore}
		for _, m := range p.members {
			args = append(args, "--member", m)
		}
		if token != "" {
			args = append(args, "--token", token)
		}
		if out := mustRun(t, args...); token == "" {
			token = regexp.MustCompile(`--token (\w+)`).FindStringSubmatch(out)[1]
		}
	}
	restored := newLeaseRecord()
	w = fresh.watchLeases(restored, "shop/cart", "shop/pay")
	started = time.Now()
	fresh.start()
	// While they live, their reports are held.
	cl := fresh.client()
	eventually(t, "shop/cart to be held by its lease", func(ctx context.Context) bool {
		_, err := cl.Set(ctx, "shop/cart", serving, client.WriteOptions{})
		if err == nil {
			t.Fatal("a write that names no lease took the report of one that lives")
		}
		return client.IsLeaseHeld(err)
	})
	for _, p := range fresh.nodes {
		for _, service := range []string{"shop/cart", "shop/pay"} {
			if at := w.until(t, p.name, service, notServing, started); at.Before(started.Add(ttl)) {
				t.Errorf("after it was restored %s on %s ended after %s, of a TTL of %s", service, p.name, at.Sub(started), ttl)
			}
		}
	}
	fresh.set("shop/cart", serving)
	eventually(t, "all members to agree", func(context.Context) bool {
		exit, _ := rollcall(t, "verify", "-e", fresh.nodes[2].api)
		return exit == 0
	})
	w.promised(t)
}

// TestProcessLeaseLongPause: the leader, and then all nodes, are stopped for much longer than any TTL.
func TestProcessLeaseLongPause(t *testing.T) {
	if *leasePause == 0 {
		t.Skip("takes long: -lease-pause=60s")
	}
	c := startProcesses(t, processOptions{})
	record := newLeaseRecord()
	w := c.watchLeases(record, "shop/cart", "shop/pay")
	for service, ttl := range map[string]time.Duration{"shop/cart": 3 * time.Second, "shop/pay": 10 * time.Second} {
		startReporter(t, record, ttl, c.endpoints(), service)
	}
	c.caughtUp()
	for _, p := range c.nodes {
		w.until(t, p.name, "shop/cart", serving, time.Time{})
		w.until(t, p.name, "shop/pay", serving, time.Time{})
	}
	reported := time.Now()
	for _, stopped := range [][]*process{{c.leader()}, c.nodes} {
		for _, p := range stopped {
			p.signal(syscall.SIGSTOP)
		}
		pause(t.Context(), *leasePause)
		for _, p := range stopped {
			p.signal(syscall.SIGCONT)
		}
		c.waitReady()
		pause(t.Context(), 12*time.Second) // longer than either TTL
		w.steady(t, reported)
	}
	w.promised(t)
}
