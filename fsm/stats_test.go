package fsm

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// counted recounts the services of a status.
func counted(f *FSM, st servingStatus) int64 {
	n := int64(0)
	f.view.Load().services.Scan(func(r *record) bool {
		if r.status == st {
			n++
		}
		return true
	})
	return n
}

func checkCounts(t *testing.T, f *FSM) {
	t.Helper()
	for st, got := range f.Stats().Services {
		if want := counted(f, st); got != want {
			t.Errorf("%d services are counted as %v, there are %d", got, st, want)
		}
	}
}

func TestServicesAreCountedByStatus(t *testing.T) {
	h := newHarness(t)
	h.SetOwn("rollcall.live", isServing)
	statuses := []logv1.Status{unknown, serving, notServing, gone}
	for range 50 {
		var cmds []*logv1.Command
		for range 1 + rand.IntN(20) {
			cmds = append(cmds, write(change(fmt.Sprint("svc", rand.IntN(10)), statuses[rand.IntN(len(statuses))])))
		}
		h.do(t, 0, cmds...)
		checkCounts(t, h.FSM)
	}
	h.set(t, "last", serving)
	if h.Stats().Services[isServing] < 1 {
		t.Error("nothing is counted")
	}

	again := harnessOn(t, h.registryFile)
	if got, want := again.Stats().Services[isServing], counted(h.FSM, isServing); got != want {
		t.Errorf("%d are SERVING after a restart, want %d", got, want)
	}

	behind := newHarness(t)
	behind.set(t, "elsewhere", notServing)
	if err := behind.Restore(h.snapshot(t)); err != nil {
		t.Fatal(err)
	}
	checkCounts(t, behind.FSM)
	if got := behind.Stats().Restores; got != 1 {
		t.Errorf("%d restores are counted", got)
	}
}

func TestWatchersAndWakesAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		ctx, cancel := context.WithCancel(context.Background())
		for _, name := range []string{"a", "a", "b"} {
			go watchStatus(ctx, h.FSM, name, func(servingStatus) error { return nil })
		}
		synctest.Wait()
		if s := h.Stats(); s.Watchers != 3 || s.Wakes != 0 {
			t.Errorf("%d watchers and %d wakes, want 3 and 0", s.Watchers, s.Wakes)
		}
		h.set(t, "a", serving)
		h.set(t, "c", serving) // that nobody watches
		synctest.Wait()
		if s := h.Stats(); s.Wakes != 1 {
			t.Errorf("%d wakes, want 1", s.Wakes)
		}
		cancel()
		synctest.Wait()
		if s := h.Stats(); s.Watchers != 0 {
			t.Errorf("%d watchers are left", s.Watchers)
		}
	})
}

// TestBrokenGlassIsCounted: what was refused, or broke nothing, is not.
func TestBrokenGlassIsCounted(t *testing.T) {
	h := newHarness(t)
	h.set(t, "a", serving)
	h.do(t, 0, atLeast("one", "*", 1))
	h.do(t, 0, over("*", notServing))                                // refused
	h.do(t, 0, because(over("b", notServing), "fire", "one"))        // breaks nothing
	h.do(t, 0, because(over("*", notServing), "fire", "other"))      // refused
	h.do(t, 0, because(over("*", notServing), "fire", "one"))        // breaks it
	h.do(t, 0, atLeast("broken", "*", 5))                            // from the first
	h.do(t, 0, because(write(change("c", notServing)), "fire", "*")) // breaks nothing
	if got := h.Stats().BreakGlass; got != 1 {
		t.Errorf("%d changes broke rules with break-glass", got)
	}
}
