package fsm

import (
	"sync/atomic"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/fsm/layers"
)

// checked is what Check reads beside the published reports. Only raft's goroutine writes to it.
//
// A reader reads the epoch, then the layers, then the report, and the epoch again. If the epoch differs it begins
// anew. The writer publishes the reports of before a change of the layers, then the layers, then the next epoch,
// and only then later reports. So with the same epoch twice, the report and the layers belonged together at one
// moment between. Two reads without the epoch could pair a report with layers that never were there with it.
// Comparing the layers instead of an epoch could take one value that was replaced and came back for no change.
type checked struct {
	_      [64]byte // what is written often shares no cache line with these
	epoch  atomic.Uint64
	layers atomic.Pointer[layers.Layers]
	step   func() // for tests: called between what show does
	_      [40]byte
}

// The lowest bits of the epoch say what Check has to look at beside the reports. The others count.
const (
	epochLayers uint64 = 1 << iota // there are overrides
	epochView                      // the reports are being replaced: read the view instead
	epochStep
)

// show makes l the layers that Check sees. What was reported before l must be published, and nothing of what
// comes after.
func (c *checked) show(l *layers.Layers) {
	if l.Live() == 0 {
		l = nil
	}
	if l == nil && c.epoch.Load()&(epochLayers|epochView) == 0 {
		return // there were none before
	}
	c.pause()
	c.layers.Store(l)
	c.pause()
	next := c.epoch.Load()/epochStep*epochStep + epochStep
	if l != nil {
		next |= epochLayers
	}
	c.epoch.Store(next)
	c.pause()
}

func (c *checked) pause() {
	if c.step != nil {
		c.step()
	}
}

// readView has Check read the view until show is called.
func (c *checked) readView() {
	c.epoch.Store(c.epoch.Load()/epochStep*epochStep + epochStep | epochView)
}

// Status is what Check answers: the status of name, and whether there is one. The node's own names
// are included.
func (f *FSM) Status(name string) (servingStatus, bool) {
	for {
		epoch := f.check.epoch.Load()
		if epoch&(epochLayers|epochView) != 0 {
			return f.layeredStatus(name, nil)
		}
		status, ok := f.published.Get(name)
		if f.check.epoch.Load() == epoch {
			return status, ok
		}
	}
}

// layeredStatus is Status while there are overrides, or while the reports are being replaced. Tests have something
// happen between what it reads.
func (f *FSM) layeredStatus(name string, between func()) (servingStatus, bool) {
	if between == nil {
		between = nothing
	}
	for {
		epoch := f.check.epoch.Load()
		between()
		if epoch&epochView != 0 && !rollcallv1.IsOwn(name) {
			return f.view.Load().status(name)
		}
		over := f.check.layers.Load()
		between()
		status, ok := f.published.Get(name)
		between()
		if ok {
			if o := over.Decides(name); o != nil {
				status = o.Says()
			}
		}
		if f.check.epoch.Load() == epoch {
			return status, ok
		}
	}
}

func nothing() {}

// status is what a view shows of a service.
func (v *view) status(name string) (servingStatus, bool) {
	r := v.get(name)
	if r == nil {
		return serviceUnknown, false
	}
	if o := v.layers.Decides(name); o != nil {
		return o.Says(), true
	}
	return r.status, true
}

// watched is what a watch sends: SERVICE_UNKNOWN if there is no service of that name.
func (f *FSM) watched(name string) servingStatus {
	if status, ok := f.Status(name); ok {
		return status
	}
	return serviceUnknown
}
