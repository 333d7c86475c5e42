package fsm

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/raft"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/fsm/layers"
)

// drain is a registry in which a/b is SERVING all the time: by its report, or by an override while its report is
// NOT_SERVING. Each step is a batch; what comes in one batch differs from turn to turn.
type drain struct {
	*harness
	steps [][]*logv1.Command
	next  int
}

func newDrain(t *testing.T) *drain {
	down, up := write(change("a/b", notServing)), write(change("a/b", serving))
	set, end := over("a/*", serving), clearOver("a/*")
	shutdown, resume := over("**", serving), clearOver("**")
	d := &drain{harness: newHarness(t), steps: [][]*logv1.Command{
		{set}, {down}, {up}, {end},
		{set, down}, {up, end},
		{shutdown, down, up, resume, set, down}, {up, end},
		{set, down, shutdown, end}, {up, resume},
	}}
	d.set(t, "a/b", serving)
	return d
}

// step applies the next batch.
func (d *drain) step(t *testing.T) {
	var logs []*raft.Log
	for _, c := range d.steps[d.next] {
		d.index++
		logs = append(logs, logOf(t, d.index, 1, &logv1.Entry{Commands: []*logv1.Command{c}}))
	}
	d.next = (d.next + 1) % len(d.steps)
	for _, answer := range d.ApplyBatch(logs) {
		if r := results(t, answer)[0]; r.Refusal != nil {
			t.Errorf("%v", r)
		}
	}
}

// torn returns whether read returns what never was, if up to four batches are applied each time it says between.
func torn(t *testing.T, read func(d *drain, between func()) servingStatus) bool {
	t.Helper()
	d := newDrain(t)
	for way := range 5 * 5 * 5 {
		for begin := range len(d.steps) {
			for d.next != begin {
				d.step(t)
			}
			left := way
			status := read(d, func() {
				for range left % 5 {
					d.step(t)
				}
				left /= 5
			})
			if status != isServing {
				return true
			}
		}
	}
	return false
}

// TestNoCheckShowsWhatNeverWas: a service that was SERVING all the time is never shown otherwise, whatever is
// applied between what Check reads. Ways that look as good do show it.
func TestNoCheckShowsWhatNeverWas(t *testing.T) {
	if torn(t, func(d *drain, between func()) servingStatus {
		status, _ := d.layeredStatus("a/b", between)
		return status
	}) {
		t.Error("Check shows it")
	}
	show := func(d *drain, over *layers.Layers, status servingStatus) servingStatus {
		if o := over.Decides("a/b"); o != nil {
			return o.Says()
		}
		return status
	}
	for name, read := range map[string]func(*drain, func()) servingStatus{
		"the layers and the report, each read once": func(d *drain, between func()) servingStatus {
			over := d.check.layers.Load()
			between()
			status, _ := d.published.Get("a/b")
			return show(d, over, status)
		},
		"the report and the layers, each read once": func(d *drain, between func()) servingStatus {
			status, _ := d.published.Get("a/b")
			between()
			return show(d, d.check.layers.Load(), status)
		},
		"the same layers before and after": func(d *drain, between func()) servingStatus {
			for {
				over := d.check.layers.Load()
				between()
				status, _ := d.published.Get("a/b")
				between()
				if d.check.layers.Load() == over {
					return show(d, over, status)
				}
			}
		},
	} {
		if !torn(t, read) {
			t.Errorf("%s: this test does not find that it is wrong", name)
		}
	}
}

// TestNothingIsPublishedThatNeverWas: also between what one batch publishes.
func TestNothingIsPublishedThatNeverWas(t *testing.T) {
	d := newDrain(t)
	looks := 0
	d.check.step = func() {
		looks++
		if s := d.watched("a/b"); s != isServing {
			t.Errorf("before step %d: %v", d.next, s)
		}
	}
	for range len(d.steps) {
		d.step(t)
	}
	if looks < 20 {
		t.Errorf("looked %d times", looks)
	}
}

// TestChecksAcrossWhatIsPublished: a Check that begins between two things that a batch publishes, and goes on when
// one batch or two have been applied, shows nothing that never was.
func TestChecksAcrossWhatIsPublished(t *testing.T) {
	tried := 0
	for gap := range 3 { // of the Check
		for begin := range 20 { // so many things are published before it begins
			for more := range 2 {
				d := newDrain(t)
				goOn, shown := make(chan struct{}), make(chan servingStatus, 1)
				published := 0
				d.check.step = func() {
					if published++; published != begin {
						return
					}
					there := make(chan struct{})
					at := 0
					go func() {
						status, _ := d.layeredStatus("a/b", func() {
							if at == gap {
								close(there)
								<-goOn
							}
							at++
						})
						shown <- status
					}()
					<-there
				}
				for published < begin {
					d.step(t)
				}
				if begin == 0 {
					continue
				}
				for range more {
					d.step(t)
				}
				close(goOn)
				tried++
				if status := <-shown; status != isServing {
					t.Errorf("gap %d, begun after %d: %v", gap, begin, status)
				}
			}
		}
	}
	if tried < 100 {
		t.Errorf("tried %d ways", tried)
	}
}

// TestChecksBesideChanges is the same with readers that run beside, for the race detector.
func TestChecksBesideChanges(t *testing.T) {
	d := newDrain(t)
	var stop atomic.Bool
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for !stop.Load() {
				r, _ := d.GetService("a/b")
				if s := d.watched("a/b"); s != isServing || r.GetStatus() != isServing {
					t.Errorf("%v, %v", s, r)
				}
				runtime.Gosched()
			}
		})
	}
	for range 50 * len(d.steps) {
		d.step(t)
	}
	stop.Store(true)
	readers.Wait()
}

// TestCheckWhileARestoreReplacesTheReports: until the new registry is there as a whole, the old one is shown.
func TestCheckWhileARestoreReplacesTheReports(t *testing.T) {
	from := newHarness(t)
	for i := range 2000 {
		from.set(t, fmt.Sprint("a/", i), notServing)
	}
	from.do(t, 0, over("a/*", serving))
	h := newHarness(t)
	for i := range 2000 {
		h.set(t, fmt.Sprint("a/", i), serving)
	}
	var stop atomic.Bool
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for i := 0; !stop.Load(); i++ {
				if s, ok := h.Status(fmt.Sprint("a/", i%2000)); s != isServing || !ok {
					t.Errorf("a/%d is %v, %v", i%2000, s, ok)
					return
				}
			}
		})
	}
	h.check.step = func() { // when the reports are there and the layers are not, and after
		if s, ok := h.Status("a/7"); s != isServing || !ok {
			t.Errorf("within the restore it is %v, %v", s, ok)
		}
	}
	if err := h.Restore(from.snapshot(t)); err != nil {
		t.Error(err)
	}
	h.check.step = nil
	stop.Store(true)
	readers.Wait()
	if s, ok := h.Status("a/7"); s != isServing || !ok {
		t.Errorf("afterwards it is %v, %v", s, ok)
	}
	h.SetOwn("rollcall.reads", isServing)
	h.check.readView()
	if s, ok := h.Status("rollcall.reads"); s != isServing || !ok {
		t.Errorf("the node's own name is %v, %v", s, ok)
	}
}

// TestCheckAllocatesNothing with overrides as without.
func TestCheckAllocatesNothing(t *testing.T) {
	h := newHarness(t)
	h.set(t, "shop/cart", serving)
	for _, p := range []string{"", "other", "shop/*", "*", "**", "shop/cart"} {
		if p != "" {
			h.do(t, 0, over(p, notServing))
		}
		if n := testing.AllocsPerRun(100, func() { h.Status("shop/cart"); h.Status("none/such") }); n != 0 {
			t.Errorf("with %q: %v allocations", p, n)
		}
	}
}
