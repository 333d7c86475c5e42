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

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

// TestReportThatMeetsALostLease: the write learns of it first.
func TestReportThatMeetsALostLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 3)
		k := keep(t, f, f.client(t), client.KeepOptions{})
		k.report(t, "a", serving)
		k.report(t, "b", serving)
		f.expire(k.ID())
		k.report(t, "a", unknown)
		time.Sleep(time.Second)
		if a, b := f.statuses("a"), f.statuses("b"); a != "SERVING NOT_SERVING UNKNOWN" || b != "SERVING NOT_SERVING SERVING" {
			t.Errorf("a was %s, b was %s", a, b)
		}
	})
}

func TestManyReportsOfAServiceBecomeFewWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 3)
		for _, n := range f.nodes {
			n.onWrite = func(ctx context.Context, _ int) error {
				lag(ctx, 100*time.Millisecond)
				return nil
			}
		}
		k := keep(t, f, f.client(t), client.KeepOptions{})
		k.report(t, "a", serving)
		for i := range 1000 {
			if err := k.Submit(client.Report{Service: "a", Status: []client.Status{serving, notServing}[i%2]}, client.Report{Service: fmt.Sprint("b/", i%10), Status: serving}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
		k.report(t, "a", unknown)
		if got := len(strings.Fields(f.statuses("a"))); got > 15 {
			t.Errorf("%d writes", got)
		}
		wantStatus(t, f, "a", unknown)
		wantStatus(t, f, "b/9", serving)
		// What is so already is not written again.
		before := len(f.events)
		k.report(t, "a", unknown)
		if len(f.events) != before {
			t.Error("a report that changes nothing was written")
		}
	})
}

// TestReportsOfDifferentReasons: each keeps its own.
func TestReportsOfDifferentReasons(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 1)
		k := keep(t, f, f.client(t), client.KeepOptions{})
		var reports []client.Report
		for i := range 200 {
			reports = append(reports, client.Report{Service: fmt.Sprint("s/", i), Status: serving, Reason: fmt.Sprint("reason ", i)})
		}
		if err := k.ReportBatch(within(t, 10*time.Second), reports); err != nil {
			t.Fatal(err)
		}
		for _, r := range reports {
			if got := f.record(r.Service, int64(len(f.events))).GetReport(); got.GetReason() != r.Reason {
				t.Errorf("%s: %v", r.Service, got)
			}
		}
	})
}

// TestBatchesOfReportsStayUnderTheLimits: of changes, and of bytes.
func TestBatchesOfReportsStayUnderTheLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 1)
		k := keep(t, f, f.client(t), client.KeepOptions{})
		var reports []client.Report
		for i := range 12_000 {
			reports = append(reports, client.Report{Service: fmt.Sprint("s/", i), Status: serving, Reason: strings.Repeat("w", 1000)})
		}
		if err := k.ReportBatch(within(t, time.Minute), reports); err != nil {
			t.Fatal(err)
		}
		all := 0
		for _, c := range f.nodes[0].seen("BatchSetServingStatus") {
			n := len(c.request.(*rollcallv1.BatchSetServingStatusRequest).GetChanges())
			if all += n; n > 10_000 || n*1200 > 4<<20 {
				t.Errorf("a batch of %d", n)
			}
		}
		if all != 12_000 {
			t.Errorf("%d changes", all)
		}
	})
}

// TestRefusedReportDoesNotHinderOthers: it is tried again, and written when the node allows it.
func TestRefusedReportDoesNotHinderOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 1)
		k := keep(t, f, f.client(t), client.KeepOptions{})
		k.report(t, "first", serving)
		var allowed atomic.Bool
		refuse := func(services ...string) error {
			if slices.Contains(services, "s/7") && !allowed.Load() {
				return refusal(codes.FailedPrecondition, "RULE_BROKEN", map[string]string{"written": "no"})
			}
			return nil
		}
		f.nodes[0].onWrite = func(context.Context, int) error {
			f.mu.Lock()
			calls := f.nodes[0].calls
			f.mu.Unlock()
			switch r := calls[len(calls)-1].request.(type) {
			case *rollcallv1.SetServingStatusRequest:
				return refuse(r.GetService())
			case *rollcallv1.BatchSetServingStatusRequest:
				var services []string
				for _, c := range r.GetChanges() {
					services = append(services, c.GetService())
				}
				return refuse(services...)
			}
			return nil
		}
		var reports []client.Report
		for i := range 20 {
			reports = append(reports, client.Report{Service: fmt.Sprint("s/", i), Status: serving})
		}
		e := failure(t, k.ReportBatch(within(t, time.Minute), reports))
		if e.Reason != client.ReasonRuleBroken {
			t.Errorf("%v", e)
		}
		for i := range 20 {
			if i != 7 {
				wantStatus(t, f, fmt.Sprint("s/", i), serving)
			}
		}
		before := len(f.nodes[0].seen("SetServingStatus"))
		time.Sleep(10 * time.Minute)
		if tries := len(f.nodes[0].seen("SetServingStatus")) - before; tries < 5 || tries > 30 {
			t.Errorf("%d tries in ten minutes", tries)
		}
		k.report(t, "later", serving) // at once
		allowed.Store(true)
		time.Sleep(time.Minute)
		wantStatus(t, f, "s/7", serving)
		if got := k.told(); !strings.Contains(got, "failed") || !strings.HasSuffix(got, "reported") {
			t.Errorf("told %s", got)
		}
	})
}

// TestNewerReportDoesNotOvertakeAnOlderOne: while it is not known what became of that.
func TestNewerReportDoesNotOvertakeAnOlderOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 2)
		k := keep(t, f, f.client(t), client.KeepOptions{})
		k.report(t, "a", serving)
		release := make(chan struct{})
		var held atomic.Int32
		for _, n := range f.nodes {
			n.onWrite = func(ctx context.Context, _ int) error {
				if held.Add(1) == 1 {
					<-release // its caller has left long ago
				}
				return nil
			}
		}
		if err := k.Submit(client.Report{Service: "a", Status: unknown}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		k.report(t, "a", notServing)
		close(release)
		time.Sleep(time.Second)
		if got := f.statuses("a"); got != "SERVING UNKNOWN NOT_SERVING" {
			t.Errorf("a was %s", got)
		}
	})
}

// TestOutcomeThatStaysUnknown: a grant and a report are asked for again, each as the same request.
func TestOutcomeThatStaysUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 3)
		until := time.Now().Add(35 * time.Second)
		for _, n := range f.nodes {
			n.onAnswer = func(context.Context, int) error {
				if time.Now().Before(until) {
					return refusal(codes.Unavailable, "OUTCOME_UNKNOWN", nil)
				}
				return nil
			}
		}
		l, err := f.client(t).KeepLease(client.LeaseOptions{TTL: time.Hour}, client.KeepOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Report(within(t, time.Minute), "a", serving, ""); err != nil {
			t.Fatal(err)
		}
		until = time.Now().Add(35 * time.Second)
		if err := l.Submit(client.Report{Service: "a", Status: unknown}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if err := l.Report(within(t, time.Minute), "a", notServing, ""); err != nil {
			t.Fatal(err)
		}
		if got := f.statuses("a"); got != "SERVING UNKNOWN NOT_SERVING" || f.leases.granted != 1 {
			t.Errorf("a was %s, under %d leases", got, f.leases.granted)
		}
		if err := l.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestReportWhoseLeaseIsLostMeanwhile: it was written, and turned before its answer came.
func TestReportWhoseLeaseIsLostMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 3)
		k := keep(t, f, f.client(t), client.KeepOptions{})
		k.report(t, "a", serving)
		for len(f.renewals()) == 0 {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(ttl/3*9/10 - 200*time.Millisecond)
		for _, n := range f.nodes {
			n.onAnswer = func(ctx context.Context, _ int) error {
				lag(ctx, 1500*time.Millisecond)
				return nil
			}
		}
		if err := k.Submit(client.Report{Service: "a", Status: unknown}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		f.expire(k.ID())
		time.Sleep(ttl)
		if got := f.statuses("a"); got != "SERVING UNKNOWN NOT_SERVING UNKNOWN" {
			t.Errorf("a was %s", got)
		}
	})
}
