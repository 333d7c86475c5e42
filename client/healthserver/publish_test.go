package healthserver

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/checks"
)

// newPublishing returns a Server that publishes to a fake, on a registry that thinks nothing.
func newPublishing(t *testing.T, p Publish, opts ...Option) (*Server, *fakeLease) {
	t.Helper()
	src := newFakeSource()
	src.say(map[string]opinion{service: absent(), instance: report(client.Serving, "lease-1")})
	l := &fakeLease{}
	return mustNew(t, append(opts, withRegistry(src, l), WithInstance(address), WithPublish(p))...), l
}

func wantReports(t *testing.T, l *fakeLease, want ...client.Status) {
	t.Helper()
	if got := l.statuses(); !slices.Equal(got, want) {
		t.Errorf("published %v, want %v", got, want)
	}
}

func TestPublishesWhatTheProcessSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, l := newPublishing(t, Publish{})
		wantReports(t, l) // not before Run
		run(t, s)
		synctest.Wait()
		wantReports(t, l, client.Serving) // grpc-go's server says so from the start
		for _, step := range []struct{ says, want client.Status }{
			{client.NotServing, client.NotServing},
			{client.Unknown, client.Unknown},
			{client.Serving, client.Serving},
			{client.ServiceUnknown, client.Unknown},
			{client.Serving, client.Serving},
			{42, client.Unknown},
		} {
			time.Sleep(time.Minute)
			s.SetServingStatus("", step.says)
			s.SetServingStatus("cart", client.NotServing) // another name is not published
			synctest.Wait()
			if got := l.statuses(); got[len(got)-1] != step.want {
				t.Errorf("%v is published as %v, want %v", step.says, got[len(got)-1], step.want)
			}
		}
		if got := len(l.statuses()); got != 7 {
			t.Errorf("%d reports", got)
		}
		for _, r := range l.reports {
			if r.Service != instance || r.Reason == "" {
				t.Errorf("published %+v", r)
			}
		}
	})
}

// The registry's opinion is not published: it would come back as the process's own.
func TestTheOpinionIsNotPublished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, l := newPublishing(t, Publish{})
		run(t, s)
		s.source.(*fakeSource).say(map[string]opinion{service: report(client.NotServing, "")})
		synctest.Wait()
		wantStatus(t, s, "", client.NotServing)
		time.Sleep(time.Hour)
		wantReports(t, l, client.Serving)
		s.SetServingStatus("", client.Unknown) // beneath
		time.Sleep(time.Hour)
		s.SetServingStatus("", client.Serving)
		time.Sleep(time.Hour)
		wantReports(t, l, client.Serving, client.Unknown, client.Serving)
	})
}

func TestPublishesOnceASecondAtMostAndTheNewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, l := newPublishing(t, Publish{})
		run(t, s)
		synctest.Wait()
		time.Sleep(time.Hour)
		s.SetServingStatus("", client.NotServing) // at once, after silence
		synctest.Wait()
		wantReports(t, l, client.Serving, client.NotServing)
		for range 1000 { // ten seconds of flapping
			time.Sleep(5 * time.Millisecond)
			s.SetServingStatus("", client.Serving)
			time.Sleep(5 * time.Millisecond)
			s.SetServingStatus("", client.NotServing)
		}
		s.SetServingStatus("", client.Unknown)
		time.Sleep(publishInterval)
		synctest.Wait()
		for i := 1; i < len(l.times); i++ {
			if d := l.times[i].Sub(l.times[i-1]); d < publishInterval {
				t.Errorf("reports %d and %d are %v apart", i-1, i, d)
			}
		}
		if got := l.statuses(); got[len(got)-1] != client.Unknown || len(got) < 3 {
			t.Errorf("published %v", got)
		}
	})
}

// A status that is back before it could be published is none.
func TestAFlapWithinASecondIsNotPublished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, l := newPublishing(t, Publish{})
		run(t, s)
		synctest.Wait()
		s.SetServingStatus("", client.NotServing)
		time.Sleep(publishInterval / 2)
		s.SetServingStatus("", client.Serving)
		time.Sleep(time.Hour)
		wantReports(t, l, client.Serving)
	})
}

func TestTermsOfPublishing(t *testing.T) {
	for _, test := range []struct {
		name string
		p    Publish
		want client.LeaseOptions
	}{
		{"defaults", Publish{}, client.LeaseOptions{TTL: 10 * time.Second, ForgetAfter: 24 * time.Hour}},
		{"all", Publish{TTL: time.Minute, ForgetAfter: time.Hour, OnStop: client.StopWithdraw}, client.LeaseOptions{TTL: time.Minute, ForgetAfter: time.Hour}},
		{"never forgotten", Publish{ForgetAfter: client.Forever}, client.LeaseOptions{TTL: 10 * time.Second}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, l := newPublishing(t, test.p)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				_ = s.Run(ctx)
				if l.terms != test.want || l.options.OnStop != test.p.OnStop {
					t.Errorf("the lease has %+v and %v", l.terms, l.options.OnStop)
				}
				if !l.isClosed() {
					t.Error("Run did not end the lease")
				}
			})
		})
	}
}

// counts is an Observer.
type counts struct {
	mu                 sync.Mutex
	done, failed, lost int
}

func (c *counts) Published(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.done++
	} else {
		c.failed++
	}
}

func (c *counts) LeaseLost() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lost++
}

func TestTheObserverIsToldOfTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c counts
		s, l := newPublishing(t, Publish{}, WithObserver(&c))
		run(t, s)
		synctest.Wait()
		for _, e := range []client.LeaseEvent{
			{Type: client.LeaseFailed, Err: errors.New("refused")}, {Type: client.LeaseGranted}, {Type: client.LeaseReported},
			{Type: client.LeaseBecameOverdue}, {Type: client.LeaseRenewedAgain}, {Type: client.LeaseWasLost}, {Type: client.LeaseReported},
		} {
			l.options.OnEvent(e)
		}
		if c.done != 2 || c.failed != 1 || c.lost != 1 {
			t.Errorf("counted %d done, %d failed, %d lost", c.done, c.failed, c.lost)
		}
	})
}

// What a checks.Runner says goes to the registry with its reason, and only with a change of the status.
func TestReasonsArePublished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, l := newPublishing(t, Publish{})
		run(t, s)
		say := func(do func()) {
			do()
			synctest.Wait()
			time.Sleep(time.Minute)
		}
		say(func() {})
		say(func() { _ = s.Report("", client.NotServing, "database") })
		say(func() { _ = s.Report("", client.NotServing, "database, disk") }) // a new reason alone
		say(func() { _ = s.Report("cart", client.Serving, "of another name") })
		say(func() { s.SetServingStatus("", client.Serving) })
		say(func() {
			if err := s.Report("", client.NotServing, strings.Repeat("x", 1025)); err == nil {
				t.Error("a reason of 1025 bytes is accepted")
			}
		})
		wantStatus(t, s, "cart", client.Serving)
		say(s.Resume)
		say(func() { s.Stop(t.Context(), nil) })
		var got []string
		for _, r := range l.reports {
			got = append(got, r.Status.String()+": "+r.Reason)
		}
		want := []string{
			"SERVING: the process says so", "NOT_SERVING: database", "SERVING: the process says so", "NOT_SERVING: the process says so",
			"SERVING: the process says so", "NOT_SERVING: the process stops",
		}
		if !slices.Equal(got, want) {
			t.Errorf("published %q, want %q", got, want)
		}
	})
}

var _ checks.ReasonReporter = (*Server)(nil)
