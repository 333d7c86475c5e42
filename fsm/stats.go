package fsm

import (
	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/fsm/layers"
)

// Stats are the numbers that a node counts, at one moment.
type Stats struct {
	// Services by reported status, the node's own names not among them.
	Services map[servingStatus]int64
	Watchers int64  // watches of single names
	Wakes    uint64 // times that the watchers of a name were woken
	Restores uint64 // snapshots that took the place of the registry

	Overrides int // that have not ended
	// Overridden are the services over which an override decides, by the status that it shows.
	Overridden map[servingStatus]int64
	Rules      []*rollcallv1.Rule // by name, with what they count
	BreakGlass uint64             // changes that broke rules with break_glass, applied since this node's start
}

// Stats takes the same time however many services and watchers there are. It looks at each override and rule.
func (f *FSM) Stats() Stats {
	s := Stats{
		Services:   make(map[servingStatus]int64, serviceUnknown),
		Watchers:   f.watches.Watches(),
		Wakes:      f.watches.Wakes(),
		Restores:   f.restores.Load(),
		BreakGlass: f.brokeGlass.Load(),
	}
	for status := range serviceUnknown { // no service has this status
		s.Services[status] = f.published.Count(status)
	}
	v := f.view.Load()
	s.Overrides, s.Overridden = v.layers.Live(), v.overridden()
	s.Rules, _ = f.ListRules()
	return s
}

// overridden counts the services over which an override decides, by the status that it shows. It counts what a
// pattern covers without what more specific ones cover, by ranks.
func (v *view) overridden() map[servingStatus]int64 {
	counts := make(map[servingStatus]int64, serviceUnknown)
	for status := range serviceUnknown {
		counts[status] = 0
	}
	if o := v.layers.Find(pattern.Switch); o != nil {
		counts[o.Says()] = v.matched(pattern.Switch)
		return counts
	}
	v.layers.Scan(func(o *layers.Override) bool {
		n := v.matched(o.Pattern)
		v.layers.Inner(o.Pattern, func(inner *layers.Override) { n -= v.matched(inner.Pattern) })
		counts[o.Says()] += n
		return true
	})
	return counts
}
