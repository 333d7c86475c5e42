package client_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/rollcallhq/rollcall/client"
)

// kept is a Lease and what it told.
type kept struct {
	*client.Lease
	f *fakeCluster

	mu     sync.Mutex
	events []client.LeaseEvent
}

const ttl = 9 * time.Second

// keep keeps a lease of ttl, and closes it after the test.
func keep(t *testing.T, f *fakeCluster, c *client.Client, o client.KeepOptions) *kept {
	t.Helper()
	k := &kept{f: f}
	o.OnEvent = func(e client.LeaseEvent) {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.events = append(k.events, e)
	}
	l, err := c.KeepLease(client.LeaseOptions{TTL: ttl}, o)
	if err != nil {
		t.Fatal(err)
	}
	k.Lease = l
	t.Cleanup(func() { _ = l.Close(context.Background()) })
	return k
}

// told is the types of the events, repeated ones once: a report that comes while others are written may share their
// event.
func (k *kept) told() string {
	synctest.Wait()
	k.mu.Lock()
	defer k.mu.Unlock()
	var types []string
	for _, e := range k.events {
		types = append(types, e.Type.String())
	}
	return strings.Join(slices.Compact(types), ", ")
}

func (k *kept) report(t *testing.T, service string, s client.Status) {
	t.Helper()
	if err := k.Report(within(t, 10*time.Second), service, s, "why"); err != nil {
		t.Fatal(err)
	}
}

// current is what the cluster says of a service.
func (f *fakeCluster) current(service string) client.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r := f.record(service, int64(len(f.events))); r != nil {
		return r.GetStatus()
	}
	return missing
}

// statuses are all that a service had, the oldest first.
func (f *fakeCluster) statuses(service string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []string
	for _, e := range f.events {
		if e.service == service {
			all = append(all, e.status.String())
		}
	}
	return strings.Join(all, " ")
}

// renewals are the messages that the nodes received, in order.
func (f *fakeCluster) renewals() (all []call) {
	for _, n := range f.nodes {
		all = append(all, n.seen("renew")...)
	}
	slices.SortStableFunc(all, func(a, b call) int { return a.at.Compare(b.at) })
	return all
}

func (f *fakeCluster) streams() (all int) {
	for _, n := range f.nodes {
		all += len(n.seen("KeepAlive"))
	}
	return all
}

// using is the node that received the last renewal, or that will receive the first.
func (f *fakeCluster) using(t *testing.T) *fakeNode {
	t.Helper()
	var latest *fakeNode
	var at time.Time
	for _, n := range f.nodes {
		for _, c := range n.seen("renew") {
			if c.at.After(at) {
				latest, at = n, c.at
			}
		}
	}
	if latest == nil {
		t.Fatal("no node was asked for a renewal")
	}
	return latest
}

func wantStatus(t *testing.T, f *fakeCluster, service string, want client.Status) {
	t.Helper()
	if got := f.current(service); got != want {
		t.Errorf("%s is %v, want %v", service, got, want)
	}
}

func wantTold(t *testing.T, k *kept, want string) {
	t.Helper()
	if got := k.told(); got != want {
		t.Errorf("told %q, want %q", got, want)
	}
}

func TestLeaseIsRenewedAfterAThirdOfItsTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 3)
		k := keep(t, f, f.client(t), client.KeepOptions{})
		k.report(t, "a", serving)
		granted := time.Now()
		time.Sleep(10 * time.Minute)
		last, gaps := granted, map[time.Duration]bool{}
		for _, r := range f.renewals() {
			gap := r.at.Sub(last)
			if last = r.at; gap < ttl/3*9/10 || gap > ttl/3*11/10+20*time.Millisecond {
				t.Errorf("renewed after %v", gap)
			}
			gaps[gap] = true
		}
		if len(gaps) < 100 {
			t.Errorf("only %d different gaps in 200", len(gaps))
		}
		if got := f.streams(); got != 1 {
			t.Errorf("%d streams", got)
		}
		if until := time.Until(k.Until()); until < ttl*6/10 || until > ttl {
			t.Errorf("lives for %v", until)
		}
		wantStatus(t, f, "a", serving)
		wantTold(t, k, "granted, reported")
	})
}

// TestLeaseLivesOnThroughAnotherNode: whatever becomes of the node that renews, the next is asked in time.
func TestLeaseLivesOnThroughAnotherNode(t *testing.T) {
	for name, fault := range map[string]func(f *fakeCluster, n *fakeNode){
		"hangs":                     func(f *fakeCluster, n *fakeNode) { f.do(func() { n.hung = true }) },
		"takes renewals in silence": func(f *fakeCluster, n *fakeNode) { f.do(func() { n.mute = true }) },
		"dies":                      func(_ *fakeCluster, n *fakeNode) { n.kill() },
		"drains":                    func(_ *fakeCluster, n *fakeNode) { n.drain() },
		"loses its connections":     func(_ *fakeCluster, n *fakeNode) { n.breakConnections() },
		"belongs to another cluster": func(f *fakeCluster, n *fakeNode) {
			f.do(func() { n.stray = "feed" })
			n.breakConnections()
		},
	} {
		t.Run("the node "+name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := startBuffered(t, 3)
				k := keep(t, f, f.client(t), client.KeepOptions{})
				k.report(t, "a", serving)
				for range 2 { // of three nodes
					time.Sleep(ttl)
					last := f.using(t)
					before := len(last.seen("renew"))
					fault(f, last)
					at := time.Now()
					sent := len(last.seen("renew"))
					time.Sleep(ttl)
					after := f.renewals()
					if again := len(last.seen("renew")) - sent; again > 1 && name != "loses its connections" && name != "drains" {
						t.Errorf("it was asked %d times after that", again)
					}
					i := slices.IndexFunc(after, func(c call) bool {
						return c.at.After(at) && !slices.ContainsFunc(last.seen("renew"), func(d call) bool { return d.at.Equal(c.at) })
					})
					if i < 0 && name != "loses its connections" {
						t.Fatalf("no other node was asked; %d renewals there before, %d after", before, len(last.seen("renew")))
					}
					if i >= 0 {
						if wait := after[i].at.Sub(after[i-1].at); wait > ttl/3*11/10+ttl/6+50*time.Millisecond {
							t.Errorf("the next node was asked after %v", wait)
						}
					}
				}
				time.Sleep(time.Minute)
				if got := f.statuses("a"); got != "SERVING" {
					t.Errorf("a was %s", got)
				}
				wantTold(t, k, "granted, reported")
			})
		})
	}
}

// TestStreamThatIsNeverAnswered is given up in time, and what is sent on it is bounded.
func TestStreamThatIsNeverAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 1)
		f.nodes[0].stuckStreams = 1
		c := f.client(t)
		k := keep(t, f, c, client.KeepOptions{})
		k.report(t, "a", serving)
		for range 100 {
			keep(t, f, c, client.KeepOptions{})
		}
		time.Sleep(ttl / 3 * 12 / 10)
		if messages := len(f.renewals()); messages > 4 {
			t.Errorf("%d messages wait for an answer", messages)
		}
		time.Sleep(time.Minute)
		wantTold(t, k, "granted, reported")
		if f.streams() != 2 || len(f.leases.live) != 101 {
			t.Errorf("%d streams, %d leases live", f.streams(), len(f.leases.live))
		}
	})
}

// TestLateAnswersCount: from when the renewal was sent, which is all that a node promises.
func TestLateAnswersCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 3)
		late := ttl / 4 // the next endpoint is asked before the answer comes
		f.do(func() {
			for _, n := range f.nodes {
				n.late = late
			}
		})
		k := keep(t, f, f.client(t), client.KeepOptions{})
		k.report(t, "a", serving)
		for range 1000 {
			time.Sleep(100 * time.Millisecond)
			// When the last renewal arrived whose answer has come for certain, or may have.
			var least, most time.Time
			for _, r := range f.renewals() {
				if time.Since(r.at) > late+20*time.Millisecond {
					least = r.at
				}
				if time.Since(r.at) >= late {
					most = r.at
				}
			}
			if until := k.Until(); !least.IsZero() && (until.Before(least.Add(ttl-20*time.Millisecond)) || until.After(most.Add(ttl))) {
				t.Fatalf("it is said to live until %v or %v after the renewal", until.Sub(least), until.Sub(most))
			}
		}
		wantTold(t, k, "granted, reported")
	})
}

// TestSlowGrant: the lease has lived since its grant was asked for, as far as the reporter may know.
func TestSlowGrant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 1)
		f.nodes[0].onAnswer = func(ctx context.Context, _ int) error {
			lag(ctx, 1900*time.Millisecond)
			return nil
		}
		began := time.Now()
		k := keep(t, f, f.client(t), client.KeepOptions{})
		time.Sleep(1950 * time.Millisecond)
		if lives := k.Until().Sub(began); k.ID() == "" || lives > ttl || lives < ttl-10*time.Millisecond {
			t.Errorf("it is said to live until %v after the request", lives)
		}
		time.Sleep(2 * time.Second)
		if len(f.renewals()) != 1 {
			t.Errorf("%d renewals", len(f.renewals()))
		}
	})
}

// TestLeaseOutlivesAnElection: renewals wait, and are tried again, elsewhere and without hurry.
func TestLeaseOutlivesAnElection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 3)
		k := keep(t, f, f.client(t), client.KeepOptions{})
		k.report(t, "a", serving)
		time.Sleep(ttl)
		before := len(f.renewals())
		f.elect(true)
		time.Sleep(time.Minute)
		wantTold(t, k, "granted, reported, overdue")
		if s := k.State(); s != client.LeaseOverdue || time.Until(k.Until()) > 0 {
			t.Errorf("%v until %v", s, k.Until())
		}
		if tries := len(f.renewals()) - before; tries < 50 || tries > 200 {
			t.Errorf("%d tries in a minute", tries)
		}
		for _, n := range f.nodes {
			if len(n.seen("renew")) == 0 {
				t.Errorf("%s was never asked", n.name)
			}
		}
		f.elect(false)
		time.Sleep(2 * time.Second)
		wantTold(t, k, "granted, reported, overdue, renewed again")
		if s := k.State(); s != client.LeaseHeld {
			t.Errorf("%v", s)
		}
		if got := f.statuses("a"); got != "SERVING" {
			t.Errorf("a was %s", got)
		}
	})
}

// TestLostLeaseIsReplacedAndEverythingReportedOnce: the newest of each service, and not what was withdrawn.
func TestLostLeaseIsReplacedAndEverythingReportedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 3)
		k := keep(t, f, f.client(t), client.KeepOptions{})
		for i := range 100 {
			k.report(t, fmt.Sprint("s/", i), serving)
		}
		k.report(t, "s/1", unknown)
		if err := k.Withdraw(within(t, time.Second), "s/2"); err != nil {
			t.Fatal(err)
		}
		id, before := k.ID(), len(f.nodes[0].seen("BatchSetServingStatus"))
		f.expire(id)
		wantStatus(t, f, "s/0", notServing)
		time.Sleep(ttl / 2)
		for i := range 100 {
			want := "SERVING NOT_SERVING SERVING"
			switch i {
			case 1:
				want = "SERVING UNKNOWN NOT_SERVING UNKNOWN"
			case 2:
				want = "SERVING SERVICE_UNKNOWN"
			}
			if got := f.statuses(fmt.Sprint("s/", i)); got != want {
				t.Errorf("s/%d was %s", i, got)
			}
		}
		batches := 0
		for _, n := range f.nodes {
			batches += len(n.seen("BatchSetServingStatus"))
		}
		if batches-before != 1 || k.ID() == id || k.ID() == "" {
			t.Errorf("%d batches under lease %s after %s", batches-before, k.ID(), id)
		}
		if got := k.told(); !strings.HasSuffix(got, "reported, lost, granted, reported") {
			t.Errorf("told %s", got)
		}
		k.report(t, "s/3", notServing)
		if f.leases.attached["s/3"] != k.ID() {
			t.Error("a report goes on under the lost lease")
		}
	})
}

// TestLeaseWithoutAQuorum: it goes on trying, and the newest report is written in the end.
func TestLeaseWithoutAQuorum(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 3)
		var notWritten atomic.Bool
		notWritten.Store(true)
		for _, n := range f.nodes {
			n.onWrite = func(context.Context, int) error {
				if notWritten.Load() {
					return refusal(codes.Unavailable, "NOT_WRITTEN", nil)
				}
				return nil
			}
		}
		k := keep(t, f, f.client(t), client.KeepOptions{})
		e := failure(t, k.Report(within(t, 30*time.Second), "a", serving, ""))
		if !errors.Is(e, context.DeadlineExceeded) || !strings.Contains(e.Message, "not_written") {
			t.Errorf("%v", e)
		}
		for range 100 {
			if err := k.Submit(client.Report{Service: "a", Status: unknown}, client.Report{Service: "b", Status: serving}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(10 * time.Minute)
		if s := k.State(); s != client.LeaseNone {
			t.Errorf("%v", s)
		}
		calls := 0
		for _, n := range f.nodes {
			calls += len(n.seen("GrantLease"))
		}
		if calls < 300 || calls > 10_000 {
			t.Errorf("%d calls in ten minutes", calls)
		}
		notWritten.Store(false)
		time.Sleep(5 * time.Second)
		if a, b := f.statuses("a"), f.statuses("b"); a != "UNKNOWN" || b != "SERVING" {
			t.Errorf("a was %s, b was %s", a, b)
		}
		if f.leases.granted != 1 {
			t.Errorf("%d leases", f.leases.granted)
		}
	})
}

// TestLeaseDuringAnUpgrade: what needs a level that is still to come waits, as in an outage.
func TestLeaseDuringAnUpgrade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 3)
		raised := time.Now().Add(time.Minute)
		for _, n := range f.nodes {
			n.onWrite = func(context.Context, int) error {
				if time.Now().Before(raised) {
					return refusal(codes.FailedPrecondition, "UPGRADE_INCOMPLETE", map[string]string{"written": "no"})
				}
				return nil
			}
		}
		k := keep(t, f, f.client(t), client.KeepOptions{})
		began := time.Now()
		if err := k.Report(within(t, 2*time.Minute), "a", serving, ""); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > time.Minute+3*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

// TestLeaseThatIsRefused: who waits is told, and it is tried again.
func TestLeaseThatIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 3)
		var allowed atomic.Bool
		for _, n := range f.nodes {
			n.onWrite = func(context.Context, int) error {
				if !allowed.Load() {
					return refusal(codes.PermissionDenied, "PERMISSION", map[string]string{"written": "no"})
				}
				return nil
			}
		}
		k := keep(t, f, f.client(t), client.KeepOptions{})
		time.Sleep(time.Hour)
		tries := 0
		for _, n := range f.nodes {
			tries += len(n.seen("GrantLease"))
		}
		if tries < 60 || tries > 130 {
			t.Errorf("%d tries in an hour", tries)
		}
		if e := failure(t, k.Report(within(t, 2*time.Minute), "a", serving, "")); e.Code != codes.PermissionDenied {
			t.Errorf("%v", e)
		}
		allowed.Store(true)
		time.Sleep(time.Minute)
		wantStatus(t, f, "a", serving)
	})
}

// TestLeaseWhoseNodesAreAllAway: nothing can be connected to.
func TestLeaseWhoseNodesAreAllAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 3)
		k := keep(t, f, f.client(t), client.KeepOptions{})
		k.report(t, "a", serving)
		time.Sleep(ttl)
		for _, n := range f.nodes {
			n.kill()
		}
		time.Sleep(10 * time.Minute)
		wantStatus(t, f, "a", notServing)
		wantTold(t, k, "granted, reported, overdue") // nobody says that it is lost
		for _, n := range f.nodes {
			n.start()
		}
		time.Sleep(5 * time.Second)
		wantStatus(t, f, "a", serving)
		wantTold(t, k, "granted, reported, overdue, lost, granted, reported")
	})
}

// TestLostAnswerOfAGrant: the lease of the first try is the one that is kept.
func TestLostAnswerOfAGrant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 3)
		for _, n := range f.nodes {
			n.onAnswer = func(_ context.Context, count int) error {
				if count == 1 {
					n.breakConnections()
					return refusal(codes.Unavailable, "", nil)
				}
				return nil
			}
		}
		k := keep(t, f, f.client(t), client.KeepOptions{})
		k.report(t, "a", serving)
		time.Sleep(time.Minute)
		if f.leases.granted != 1 || f.current("a") != serving {
			t.Errorf("%d leases, a is %v", f.leases.granted, f.current("a"))
		}
	})
}

// TestLeaseMovesToANewCluster: one that was founded anew, or restored, on the same addresses.
func TestLeaseMovesToANewCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 3)
		k := keep(t, f, f.client(t), client.KeepOptions{})
		k.report(t, "a", serving)
		time.Sleep(ttl)
		f.do(func() {
			for id := range f.leases.live {
				f.leases.live[id].expiry.Stop()
				delete(f.leases.live, id)
			}
		})
		f.restore("feed")
		time.Sleep(ttl)
		wantStatus(t, f, "a", serving)
		wantTold(t, k, "granted, reported, lost, granted, reported")
	})
}

func TestOneClusterOnlyMayGrant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 3)
		k := keep(t, f, f.client(t), client.KeepOptions{Cluster: "feed"})
		e := failure(t, k.Report(within(t, 30*time.Second), "a", serving, ""))
		if !errors.Is(e, client.ErrClusterChanged) && e.Reason != client.ReasonClusterChanged {
			t.Errorf("%v", e)
		}
		if f.leases.granted != 0 {
			t.Error("another cluster granted it")
		}
	})
}

// TestSlowOnEventDelaysNothing else, and what waits for it is bounded.
func TestSlowOnEventDelaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 3)
		release := make(chan struct{})
		told := 0
		l, err := f.client(t).KeepLease(client.LeaseOptions{TTL: ttl}, client.KeepOptions{OnEvent: func(client.LeaseEvent) {
			told++
			<-release
		}})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 200 {
			if err := l.Report(within(t, 10*time.Second), "a", []client.Status{serving, unknown}[i%2], ""); err != nil {
				t.Fatal(err)
			}
			time.Sleep(ttl)
		}
		if err := l.Close(within(t, time.Second)); err != nil {
			t.Error(err)
		}
		wantStatus(t, f, "a", notServing)
		close(release)
		synctest.Wait()
		if told > 66 {
			t.Errorf("%d events", told)
		}
	})
}

func TestKeepOptionsAreChecked(t *testing.T) {
	c := newClient(t, client.DefaultConfig())
	for _, tt := range []struct {
		terms client.LeaseOptions
		o     client.KeepOptions
		want  string
	}{
		{client.LeaseOptions{}, client.KeepOptions{}, "TTL"},
		{client.LeaseOptions{TTL: 999 * time.Millisecond}, client.KeepOptions{}, "TTL"},
		{client.LeaseOptions{TTL: 25 * time.Hour}, client.KeepOptions{}, "TTL"},
		{client.LeaseOptions{TTL: ttl, ForgetAfter: time.Millisecond}, client.KeepOptions{}, "ForgetAfter"},
		{client.LeaseOptions{TTL: ttl, ForgetAfter: -1}, client.KeepOptions{}, "ForgetAfter"},
		{client.LeaseOptions{TTL: ttl, OnExpiry: client.Status(9).Enum()}, client.KeepOptions{}, "OnExpiry"},
		{client.LeaseOptions{TTL: ttl}, client.KeepOptions{OnStop: 3}, "OnStop"},
		{client.LeaseOptions{TTL: ttl}, client.KeepOptions{Reason: strings.Repeat("x", 1025)}, "Reason"},
		{client.LeaseOptions{TTL: ttl}, client.KeepOptions{StopReason: "\xff"}, "StopReason"},
		{client.LeaseOptions{TTL: ttl}, client.KeepOptions{Actor: strings.Repeat("x", 257)}, "Actor"},
	} {
		_, err := c.KeepLease(tt.terms, tt.o)
		if e := failure(t, err); e.Code != codes.InvalidArgument || !strings.Contains(e.Message, tt.want) {
			t.Errorf("%+v: %v", tt, e)
		}
	}
	l, err := c.KeepLease(client.LeaseOptions{TTL: ttl, OnExpiry: client.ServiceUnknown.Enum()}, client.KeepOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []client.Report{{Service: "", Status: serving}, {Service: "a", Status: 9}, {Service: "a", Reason: strings.Repeat("x", 1025)}, {Service: "rollcall.x", Status: serving}} {
		if e := failure(t, l.Submit(client.Report{Service: "fine", Status: serving}, r)); e.Code != codes.InvalidArgument {
			t.Errorf("%+v: %v", r, e)
		}
	}
	if err := l.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
