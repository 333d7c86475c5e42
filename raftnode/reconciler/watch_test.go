package reconciler

import (
	"testing"
	"time"
)

func TestWatch(t *testing.T) {
	var w Watch
	start := time.Unix(1e9, 0)
	n4 := Server{Name: "n4", Directory: "d4"}
	// look has a server look at n4 every 250 ms, up to a time after the start.
	now := start
	look := func(until time.Duration, behind uint64, age time.Duration) (p Progress) {
		for ; now.Sub(start) < until; now = now.Add(250 * time.Millisecond) {
			p = w.Look(n4, behind, now.Add(-age), now)
		}
		return p
	}
	if p := look(SteadyFor, 3, 0); p.Steady || !p.Known || p.Behind != 3 {
		t.Errorf("just before its time: %+v", p)
	}
	if p := look(SteadyFor+time.Second, Near, Fresh); !p.Steady {
		t.Errorf("at its time: %+v", p)
	}
	if p := w.Look(Server{Name: "n4", Directory: "other"}, 0, now, now); p.Steady {
		t.Error("another directory of that name is steady")
	}
	if p := w.Look(n4, Near+1, now, now); p.Steady || p.Behind != Near+1 {
		t.Errorf("it lags: %+v", p)
	}
	if p := w.Look(n4, 0, now, now); p.Steady {
		t.Error("it has only now caught up again")
	}
	look(20*time.Second, 0, 0)
	if p := w.Look(n4, 0, now.Add(-Fresh-1), now); p.Steady {
		t.Error("it is silent")
	}
	look(40*time.Second, 0, 0)
	now = now.Add(unseen)
	if p := w.Look(n4, 0, now, now); p.Steady {
		t.Error("nobody looked for long")
	}
	look(60*time.Second, 0, 0)
	w.Forget()
	if p := w.Look(n4, 0, now, now); p.Steady {
		t.Error("forgotten")
	}
}
