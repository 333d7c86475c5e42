package client_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

// revocations are the requests that the nodes received.
func (f *fakeCluster) revocations() (all []*rollcallv1.RevokeLeaseRequest) {
	for _, n := range f.nodes {
		for _, c := range n.seen("RevokeLease") {
			all = append(all, c.request.(*rollcallv1.RevokeLeaseRequest))
		}
	}
	return all
}

// TestCloseIsOneRevocation: what was reported is as OnStop says, and nothing is renewed any more.
func TestCloseIsOneRevocation(t *testing.T) {
	for onStop, want := range map[client.OnStop]client.Status{
		client.StopNotServing: notServing, client.StopWithdraw: missing, client.StopLeave: serving,
	} {
		t.Run(onStop.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := startBuffered(t, 3)
				k := keep(t, f, f.client(t), client.KeepOptions{OnStop: onStop, StopReason: "deployed anew"})
				for i := range 10 {
					k.report(t, fmt.Sprint("s/", i), serving)
				}
				time.Sleep(time.Minute)
				began := time.Now()
				for range 3 {
					if err := k.Close(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				if took := time.Since(began); took > 100*time.Millisecond {
					t.Errorf("it took %v", took)
				}
				for i := range 10 {
					wantStatus(t, f, fmt.Sprint("s/", i), want)
				}
				if got := f.revocations(); len(got) != 1 || got[0].GetReason() != "deployed anew" {
					t.Errorf("%v", got)
				}
				renewals := len(f.renewals())
				time.Sleep(time.Minute)
				if len(f.renewals()) != renewals || k.State() != client.LeaseClosed || k.ID() != "" || !k.Until().IsZero() {
					t.Errorf("%d renewals after Close; %v, %q", len(f.renewals())-renewals, k.State(), k.ID())
				}
				if err := k.Report(t.Context(), "s/1", serving, ""); !errors.Is(err, client.ErrLeaseClosed) {
					t.Errorf("a report after Close: %v", err)
				}
				wantTold(t, k, "granted, reported")
			})
		})
	}
}

// TestCloseWritesWhatItMust: reports that are not written yet.
func TestCloseWritesWhatItMust(t *testing.T) {
	for onStop, want := range map[client.OnStop][3]client.Status{ // of one to be withdrawn, one reported anew, one new
		client.StopNotServing: {missing, notServing, missing},
		client.StopWithdraw:   {missing, missing, missing},
		client.StopLeave:      {missing, unknown, serving},
	} {
		t.Run(onStop.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := startBuffered(t, 3)
				k := keep(t, f, f.client(t), client.KeepOptions{OnStop: onStop})
				k.report(t, "old", serving)
				k.report(t, "again", serving)
				err := k.Submit(client.Report{Service: "old", Status: missing}, client.Report{Service: "again", Status: unknown}, client.Report{Service: "new", Status: serving})
				if err != nil {
					t.Fatal(err)
				}
				if err := k.Close(t.Context()); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				got := [3]client.Status{f.current("old"), f.current("again"), f.current("new")}
				// What is on its way when Close begins may be written before the revocation.
				if onStop == client.StopNotServing && got[2] == notServing || onStop == client.StopWithdraw && got[2] == missing {
					got[2] = want[2]
				}
				if got != want {
					t.Errorf("got %v, want %v", got, want)
				}
			})
		})
	}
}

// TestCloseInEachState ends in bounded time, and leaves no goroutine: the bubble would not end.
func TestCloseInEachState(t *testing.T) {
	refuse := func(f *fakeCluster) {
		for _, n := range f.nodes {
			n.onWrite = func(context.Context, int) error { return refusal(codes.Unavailable, "NOT_WRITTEN", nil) }
		}
	}
	hang := func(f *fakeCluster) {
		for _, n := range f.nodes {
			f.do(func() { n.hung = true })
		}
	}
	kill := func(f *fakeCluster) {
		for _, n := range f.nodes {
			n.kill()
		}
	}
	for name, tt := range map[string]struct {
		before, after func(f *fakeCluster) // the lease was granted and has reported
		pause         time.Duration
		onStop        client.OnStop
		most          time.Duration // that it may take
		fails, lost   bool
		quiet         bool // nothing is on its way when Close begins, which could find out first that the lease is lost
	}{
		"at once":                              {most: time.Second},
		"no quorum yet":                        {before: refuse, most: time.Second},
		"no node yet":                          {before: kill, pause: time.Minute, most: time.Second},
		"hung nodes from the start":            {before: hang, pause: time.Minute, most: time.Second},
		"held":                                 {after: func(*fakeCluster) {}, most: time.Second},
		"no quorum any more":                   {after: refuse, pause: time.Second, most: 10 * time.Second, fails: true},
		"no node any more":                     {after: kill, pause: time.Second, most: time.Second, fails: true},
		"no node any more, some to leave":      {after: kill, onStop: client.StopLeave, pause: time.Second, most: 10 * time.Second, fails: true},
		"all hang":                             {after: hang, pause: time.Second, most: 10 * time.Second, fails: true},
		"overdue":                              {after: hang, pause: time.Minute, most: 10 * time.Second, fails: true},
		"lost, and nobody knows":               {after: func(f *fakeCluster) { f.expire(fmt.Sprintf("%016x", 1)) }, most: time.Second},
		"lost, and nobody knows, to withdraw":  {after: func(f *fakeCluster) { f.expire(fmt.Sprintf("%016x", 1)) }, onStop: client.StopWithdraw, most: time.Second, fails: true, lost: true, quiet: true},
		"lost, and not granted anew":           {after: func(f *fakeCluster) { refuse(f); f.expire(fmt.Sprintf("%016x", 1)) }, pause: time.Minute, most: time.Second},
		"lost, and not granted anew, to leave": {after: func(f *fakeCluster) { refuse(f); f.expire(fmt.Sprintf("%016x", 1)) }, onStop: client.StopLeave, pause: time.Minute, most: 10 * time.Second, fails: true, lost: true},
		"lost, and nobody knows, to leave":     {after: func(f *fakeCluster) { f.expire(fmt.Sprintf("%016x", 1)) }, onStop: client.StopLeave, most: time.Second},
		"not granted yet, to leave":            {onStop: client.StopLeave, most: time.Second},
		"no quorum yet, to leave":              {before: refuse, onStop: client.StopLeave, pause: time.Minute, most: 10 * time.Second, fails: true},
		"lost, and granted anew":               {after: func(f *fakeCluster) { f.expire(fmt.Sprintf("%016x", 1)) }, pause: time.Minute, onStop: client.StopWithdraw, most: time.Second},
		"a report on its way that nobody answers (leave)": {after: func(f *fakeCluster) { hang(f) }, onStop: client.StopLeave, pause: 0, most: 10 * time.Second, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := startBuffered(t, 3)
				if tt.before != nil {
					tt.before(f)
				}
				k := keep(t, f, f.client(t), client.KeepOptions{OnStop: tt.onStop})
				if tt.after != nil {
					k.report(t, "a", serving)
					tt.after(f)
				}
				if !tt.quiet {
					if err := k.Submit(client.Report{Service: "b", Status: serving}); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(tt.pause)
				began := time.Now()
				var errs [2]error
				var wg sync.WaitGroup
				for i := range errs { // the second waits for the first
					wg.Go(func() { errs[i] = k.Close(t.Context()) })
				}
				wg.Wait()
				if took := time.Since(began); took > tt.most {
					t.Errorf("it took %v", took)
				}
				if errs[0] != errs[1] || (errs[0] != nil) != tt.fails || client.IsLeaseLost(errs[0]) != tt.lost {
					t.Errorf("errors %v, %v", errs[0], errs[1])
				}
				f.do(func() {
					for _, n := range f.nodes {
						n.hung = false
					}
				})
			})
		})
	}
}

// TestCloseOfTheClientEndsItsLeases: the goroutines, and who waits.
func TestCloseOfTheClientEndsItsLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 3)
		for _, n := range f.nodes {
			n.onWrite = func(ctx context.Context, _ int) error {
				lag(ctx, time.Hour)
				return nil
			}
		}
		c := f.client(t)
		k := keep(t, f, c, client.KeepOptions{})
		reported := make(chan error)
		go func() { reported <- k.Report(t.Context(), "a", serving, "") }()
		time.Sleep(time.Second)
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-reported; !errors.Is(err, client.ErrClosed) {
			t.Errorf("the report: %v", err)
		}
		if err := k.Submit(client.Report{Service: "a", Status: serving}); !errors.Is(err, client.ErrClosed) {
			t.Errorf("a later report: %v", err)
		}
		if err := k.Close(t.Context()); err != nil { // nothing was granted
			t.Errorf("Close: %v", err)
		}
	})
}

// TestTenThousandLeasesShareAStream, and have no goroutine each.
func TestTenThousandLeasesShareAStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		count := 10_000
		if raceEnabled {
			count = 1_000
		}
		f := startBuffered(t, 3)
		c := f.client(t)
		var leases []*client.Lease
		for i := range count {
			l, err := c.KeepLease(client.LeaseOptions{TTL: ttl}, client.KeepOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if i%100 == 0 {
				if err := l.Submit(client.Report{Service: fmt.Sprint("s/", i), Status: serving}); err != nil {
					t.Fatal(err)
				}
			}
			leases = append(leases, l)
		}
		time.Sleep(ttl)
		synctest.Wait()
		if n := runtime.NumGoroutine(); n > 200 {
			t.Errorf("%d goroutines", n)
		}
		last := f.using(t)
		last.kill()
		time.Sleep(2 * ttl)
		ids := 0
		for _, r := range f.renewals() {
			ids += len(r.request.(*rollcallv1.KeepAliveRequest).GetLeaseIds())
		}
		if messages := len(f.renewals()); f.streams() > 3 || messages > 6500 || // at most one in 5 ms
			ids < 6*count {
			t.Errorf("%d streams, %d messages, %d renewals", f.streams(), messages, ids)
		}
		if len(f.leases.live) != count {
			t.Errorf("%d leases live", len(f.leases.live))
		}
		var wg sync.WaitGroup
		for _, l := range leases {
			wg.Go(func() { _ = l.Close(t.Context()) })
		}
		wg.Wait()
		if len(f.leases.live) != 0 {
			t.Errorf("%d leases are left", len(f.leases.live))
		}
	})
}
