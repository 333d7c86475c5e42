package client_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/rollcallhq/rollcall/client"
)

// failures are the reasons that a Lease told, in order.
func (k *kept) failures() string {
	synctest.Wait()
	k.mu.Lock()
	defer k.mu.Unlock()
	var reasons []string
	for _, e := range k.events {
		if e.Type != client.LeaseFailed {
			continue
		}
		reason := "?"
		if e, ok := e.Err.(*client.Error); ok {
			reason = e.Reason
		}
		reasons = append(reasons, reason)
	}
	return strings.Join(reasons, " ")
}

func (k *kept) lastEvent() client.LeaseEvent {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.events[len(k.events)-1]
}

// A reporter whose caller is refused is told so at once, also when it has nothing to report, and goes on trying, slowly.
func TestALeaseWhoseCallerIsRefused(t *testing.T) {
	for reason, refuse := range refusals {
		synctest.Test(t, func(t *testing.T) {
			f := startGuarded(t, 3)
			file, token := newTokenFile(t)
			k := keep(t, f, f.guardedClient(t, file), client.KeepOptions{})
			k.report(t, "shop/cart", serving)
			time.Sleep(time.Minute)
			refuse(f, token)
			time.Sleep(time.Second)
			wantTold(t, k, "granted, reported, failed")
			if got := k.failures(); got != reason {
				t.Errorf("told %q, want %q", got, reason)
			}
			if k.lastEvent().Refused {
				t.Error("a renewal that is refused is told as a report that is")
			}
			if k.State() != client.LeaseHeld {
				t.Errorf("it is %v", k.State())
			}
			time.Sleep(time.Minute)
			wantTold(t, k, "granted, reported, failed, overdue")
			wantStatus(t, f, "shop/cart", notServing) // what OnExpiry says
			err := k.Report(within(t, time.Minute), "shop/cart", notServing, "")
			wantRefusal(t, err, reason)
			calls := len(f.allUsed())
			time.Sleep(time.Hour)
			if n := len(f.allUsed()) - calls; n < 100 || n > 400 {
				t.Errorf("%d calls in an hour", n)
			}
			f.allow()
			time.Sleep(2 * time.Minute)
			if got := k.told(); !strings.Contains(got, "lost, granted") || !strings.HasSuffix(got, "reported") {
				t.Errorf("told %q", got)
			}
			if got := f.statuses("shop/cart"); got != "SERVING NOT_SERVING NOT_SERVING" {
				t.Errorf("%s", got)
			}
		})
	}
}

// Who may report again before the TTL has passed has lost nothing, and is told so.
func TestALeaseWhoseCallerIsRefusedForAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startGuarded(t, 3)
		file, token := newTokenFile(t)
		k := keep(t, f, f.guardedClient(t, file), client.KeepOptions{})
		k.report(t, "shop/cart", serving)
		time.Sleep(time.Minute)
		refusals[client.ReasonDenied](f, token)
		time.Sleep(2 * time.Second)
		f.allow()
		time.Sleep(time.Minute)
		wantTold(t, k, "granted, reported, failed, renewed again")
		wantStatus(t, f, "shop/cart", serving)
		if got := f.statuses("shop/cart"); got != "SERVING" {
			t.Errorf("%s", got)
		}
	})
}

// A reporter that was refused for its token goes on within two seconds once there is another one: with its grant, with
// its reports and with its renewals.
func TestALeaseGoesOnWithAnotherToken(t *testing.T) {
	for name, test := range map[string]struct {
		refusedFor time.Duration
		told       []string // any of them: writes and renewals do not wait for each other
	}{
		"while it is held": {3 * time.Second, []string{"granted, reported, failed, renewed again, reported", "granted, reported, failed, reported, renewed again"}},
		"when it was lost": {time.Hour, []string{"granted, reported, failed, overdue, failed, lost, granted, reported"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := startGuarded(t, 3)
				file, token := newTokenFile(t)
				k := keep(t, f, f.guardedClient(t, file), client.KeepOptions{})
				k.report(t, "shop/cart", serving)
				time.Sleep(time.Minute)
				f.refuse(token, client.ReasonTokenRevoked)
				time.Sleep(time.Second)
				if err := k.Submit(client.Report{Service: "shop/cart", Status: unknown}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(test.refusedFor)
				file.exchange()
				time.Sleep(2 * time.Second)
				wantStatus(t, f, "shop/cart", unknown)
				if told := k.told(); !slices.Contains(test.told, told) {
					t.Errorf("told %q, want one of %q", told, test.told)
				}
			})
		})
	}
	t.Run("before its grant", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := startGuarded(t, 3)
			file, token := newTokenFile(t)
			f.refuse(token, client.ReasonTokenUnknown)
			k := keep(t, f, f.guardedClient(t, file), client.KeepOptions{})
			if err := k.Submit(client.Report{Service: "shop/cart", Status: serving}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
			wantTold(t, k, "failed")
			file.exchange()
			time.Sleep(2 * time.Second)
			wantStatus(t, f, "shop/cart", serving)
			wantTold(t, k, "failed, granted, reported")
		})
	})
}

// A token that is exchanged between the grant and a report may be another identity's, which is denied what it reports under
// the lease: it gets a lease of its own at once, and nothing has failed. What it is denied under its own has.
func TestALeaseOfTheTokenBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startGuarded(t, 1)
		file, _ := newTokenFile(t)
		k := keep(t, f, f.guardedClient(t, file), client.KeepOptions{})
		k.report(t, "shop/cart", serving)
		var denials atomic.Int32
		f.do(func() {
			f.nodes[0].onWrite = func(context.Context, int) error {
				if denials.Add(-1) < 0 {
					return nil
				}
				return refusal(codes.PermissionDenied, client.ReasonDenied, map[string]string{"written": "no", "identity": "token:ci", "verb": "report", "name": "*"})
			}
		})
		file.exchange()
		time.Sleep(2 * time.Second) // the file is read once a second
		denials.Store(1)
		began := time.Now()
		k.report(t, "shop/cart", notServing)
		wantTold(t, k, "granted, reported, lost, granted, reported")
		if took := time.Since(began); took > 0 {
			t.Errorf("it took %v", took)
		}
		file.exchange()
		time.Sleep(2 * time.Second)
		denials.Store(3) // of both, then of one each
		if err := k.ReportBatch(within(t, time.Minute), []client.Report{{Service: "shop/cart", Status: serving}, {Service: "shop/more", Status: serving}}); err != nil {
			t.Errorf("two of them: %v", err)
		}
		wantTold(t, k, "granted, reported, lost, granted, reported, lost, granted, reported")
		denials.Store(1)
		if err := k.Report(within(t, time.Minute), "shop/cart", notServing, ""); !client.IsDenied(err) {
			t.Errorf("denied under its own lease: %v", err)
		}
		wantTold(t, k, "granted, reported, lost, granted, reported, lost, granted, reported, failed")
	})
}

// A Lease that is closed while its caller is refused says so, and leaves the lease to expire.
func TestALeaseIsClosedWhileItsCallerIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startGuarded(t, 1)
		file, token := newTokenFile(t)
		k := keep(t, f, f.guardedClient(t, file), client.KeepOptions{})
		k.report(t, "shop/cart", serving)
		f.refuse(token, client.ReasonTokenRevoked)
		began := time.Now()
		err := k.Close(within(t, time.Minute))
		wantRefusal(t, err, client.ReasonTokenRevoked)
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %v", took)
		}
		time.Sleep(ttl + time.Second)
		wantStatus(t, f, "shop/cart", notServing)
	})
}

// Leases that many share a stream are all told when it is refused.
func TestManyLeasesWhoseCallerIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startGuarded(t, 3)
		file, token := newTokenFile(t)
		c := f.guardedClient(t, file)
		var all []*kept
		for range 50 {
			all = append(all, keep(t, f, c, client.KeepOptions{}))
		}
		time.Sleep(time.Minute)
		f.refuse(token, client.ReasonTokenRevoked)
		time.Sleep(time.Second)
		streams := f.streams()
		for _, k := range all {
			if got := k.failures(); got != client.ReasonTokenRevoked {
				t.Fatalf("told %q", got)
			}
		}
		time.Sleep(10 * time.Minute)
		if n := f.streams() - streams; n > 0 {
			t.Errorf("%d streams were accepted", n)
		}
		if n := len(f.used("KeepAlive")); n > 3000 {
			t.Errorf("%d streams were tried", n)
		}
		next := file.exchange()
		time.Sleep(3 * time.Second)
		for _, k := range all {
			if k.State() != client.LeaseHeld {
				t.Fatalf("it is %v", k.State())
			}
		}
		if last := f.used("KeepAlive"); !strings.HasSuffix(last[len(last)-1], next.ID()) {
			t.Errorf("the last stream was %s", last[len(last)-1])
		}
	})
}

// One report of many that is denied holds up no other, and is told by its service.
func TestOneReportIsDenied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startGuarded(t, 1)
		file, _ := newTokenFile(t)
		f.do(func() { f.access.forbids = "s3" })
		k := keep(t, f, f.guardedClient(t, file), client.KeepOptions{})
		var reports []client.Report
		for i := range 8 {
			reports = append(reports, client.Report{Service: fmt.Sprint("s", i), Status: serving})
		}
		wantRefusal(t, k.ReportBatch(within(t, time.Minute), reports), client.ReasonDenied)
		for i := range 8 {
			want := serving
			if i == 3 {
				want = missing
			}
			wantStatus(t, f, fmt.Sprint("s", i), want)
		}
		synctest.Wait()
		k.mu.Lock()
		for _, e := range k.events {
			if e.Type == client.LeaseFailed && (e.Service != "s3" || !e.Refused) {
				t.Errorf("%q is told: %v, refused %t", e.Service, e.Err, e.Refused)
			}
		}
		k.mu.Unlock()
		f.do(func() { f.access.forbids = "" })
		time.Sleep(time.Minute)
		wantStatus(t, f, "s3", serving)
	})
}
