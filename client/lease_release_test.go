package client_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcallhq/rollcall/client"
)

// TestReleaseHandsAServiceOver: to another lease, without a change in between; the old one does not report it anew
// when it is lost, and its end does not touch it.
func TestReleaseHandsAServiceOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 3)
		c := f.client(t)
		from, to := keep(t, f, c, client.KeepOptions{OnStop: client.StopWithdraw}), keep(t, f, c, client.KeepOptions{})
		from.report(t, "a", serving)
		from.report(t, "b", serving)
		if err := from.Release(t.Context(), "a", "c"); err != nil {
			t.Fatal(err)
		}
		to.report(t, "a", unknown)
		f.expire(from.ID())
		time.Sleep(time.Minute)
		if a, b := f.statuses("a"), f.statuses("b"); a != "SERVING UNKNOWN" || b != "SERVING NOT_SERVING SERVING" {
			t.Errorf("a was %s, b was %s", a, b)
		}
		if err := from.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantStatus(t, f, "a", unknown)
		wantStatus(t, f, "b", missing)
	})
}

// TestReleaseDropsWhatIsNotWritten, and waits for what is being written: it could overtake the next reporter's.
func TestReleaseDropsWhatIsNotWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 3)
		slow := func(pause time.Duration) {
			f.do(func() {
				for _, n := range f.nodes {
					n.onWrite = func(ctx context.Context, _ int) error {
						lag(ctx, pause)
						return nil
					}
				}
			})
		}
		k := keep(t, f, f.client(t), client.KeepOptions{})
		k.report(t, "a", serving)
		slow(time.Second)
		if err := k.Submit(client.Report{Service: "a", Status: notServing}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // it is being written
		if err := k.Submit(client.Report{Service: "a", Status: unknown}, client.Report{Service: "b", Status: serving}); err != nil {
			t.Fatal(err)
		}
		waiting := make(chan error, 1)
		go func() { waiting <- k.Report(t.Context(), "b", serving, "x") }()
		synctest.Wait()
		begun := time.Now()
		short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := k.Release(short, "a"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Release returns %v while a write is under way", err)
		}
		if err := k.Release(t.Context(), "a", "b"); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took < 900*time.Millisecond || took > 1100*time.Millisecond {
			t.Errorf("Release took %v", took)
		}
		if err := <-waiting; err == nil {
			t.Error("a report that was dropped counts as written")
		}
		slow(0)
		time.Sleep(time.Minute)
		if a, b := f.statuses("a"), f.statuses("b"); a != "SERVING NOT_SERVING" || b != "" {
			t.Errorf("a was %q, b was %q", a, b)
		}
		// What was released can be reported again.
		k.report(t, "a", serving)
		if a := f.statuses("a"); a != "SERVING NOT_SERVING SERVING" {
			t.Errorf("a was %q", a)
		}
	})
}

// TestReleaseThenReportAgain: a report that comes while Release still waits is written, and kept.
func TestReleaseThenReportAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 3)
		k := keep(t, f, f.client(t), client.KeepOptions{})
		k.report(t, "a", serving)
		f.do(func() {
			for _, n := range f.nodes {
				n.onWrite = func(ctx context.Context, _ int) error {
					lag(ctx, time.Second)
					return nil
				}
			}
		})
		if err := k.Submit(client.Report{Service: "a", Status: notServing}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // it is being written
		released := make(chan error, 1)
		go func() { released <- k.Release(t.Context(), "a") }()
		synctest.Wait()
		if err := k.Submit(client.Report{Service: "a", Status: unknown}); err != nil {
			t.Fatal(err)
		}
		if err := <-released; err != nil {
			t.Error(err)
		}
		time.Sleep(10 * time.Second)
		f.expire(k.ID())
		time.Sleep(time.Minute)
		if a := f.statuses("a"); a != "SERVING NOT_SERVING UNKNOWN NOT_SERVING UNKNOWN" {
			t.Errorf("a was %s", a)
		}
	})
}

// TestReleaseAtTheEnd waits for nothing.
func TestReleaseAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 3)
		k := keep(t, f, f.client(t), client.KeepOptions{OnStop: client.StopLeave})
		k.report(t, "a", serving)
		for _, n := range f.nodes {
			f.do(func() { n.hung = true })
		}
		if err := k.Submit(client.Report{Service: "a", Status: notServing}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		released := make(chan error, 1)
		go func() { released <- k.Release(t.Context(), "a") }()
		synctest.Wait()
		if err := k.Close(t.Context()); err == nil {
			t.Error("Close returns nil though all hang")
		}
		if err := <-released; err != nil {
			t.Errorf("Release returns %v", err)
		}
		f.do(func() {
			for _, n := range f.nodes {
				n.hung = false
			}
		})
	})
}
