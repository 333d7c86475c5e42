package fsm

import (
	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	"github.com/rollcallhq/rollcall/fsm/layers"
)

// Stats are the numbers that a node counts, at one moment.
type Stats struct {
	// Services by reported status, the node's own names not among them.
	Services map[servingStatus]int64
	Watchers int64  // watches of single names
	Wakes    uint64 // times that the watchers of a name were woken
	Restores uint64 // snapshots that took the place of the registry
	// BreakGlass are the changes that broke rules because break_glass let them, applied since the start.
	BreakGlass uint64
}

// Stats takes the same time however many services and watchers there are.
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
	return s
}

// LayerStats are the numbers that a node counts of overrides and leases, of one cut.
type LayerStats struct {
	Overrides int // that have not ended
	// Overridden are the services over which an override decides, by the status that it shows.
	Overridden  map[servingStatus]int64
	Leases      int // that live or are ending
	LeasesEnded int // whose reports wait to be forgotten
	// LeaseGuard says whether the lease guard is engaged.
	LeaseGuard bool
	// Leases that ended because they were not renewed, and that their reporters ended, applied since the start.
	LeasesExpired, LeasesRevoked uint64
}

// LayerStats takes the longer the more overrides there are, however many services: some 10 ms for 10,000. It counts
// what a pattern covers without what more specific ones cover.
func (f *FSM) LayerStats() LayerStats {
	v := f.view.Load()
	ended := int(v.leaseCounts.ended)
	s := LayerStats{
		Overrides:     v.layers.Live(),
		Overridden:    make(map[servingStatus]int64, serviceUnknown),
		Leases:        v.tables.find(leaseKind).records.Len() - ended,
		LeasesEnded:   ended,
		LeaseGuard:    v.leaseGuard().GetEngaged(),
		LeasesExpired: f.expired.Load(),
		LeasesRevoked: f.revoked.Load(),
	}
	for status := range serviceUnknown {
		s.Overridden[status] = 0
	}
	if o := v.layers.Find(pattern.Switch); o != nil {
		s.Overridden[o.Says()] = v.matched(pattern.Switch)
		return s
	}
	v.layers.Scan(func(o *layers.Override) bool {
		n := v.matched(o.Pattern)
		v.layers.Inner(o.Pattern, func(inner *layers.Override) { n -= v.matched(inner.Pattern) })
		s.Overridden[o.Says()] += n
		return true
	})
	return s
}
