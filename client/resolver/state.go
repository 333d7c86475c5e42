package resolver

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/view"
)

const (
	// emptyGrace is how long a list that is empty, only because no instance is known, is not given. A node that was
	// stopped and goes on can know nothing for a moment, and a registry that was wiped does until the instances have
	// reported again.
	emptyGrace = 3 * time.Second
	// rememberedAfter is how long the registry may say nothing until channels that come back get the list that the
	// channels before them had.
	rememberedAfter = 500 * time.Millisecond
	// silentAfter is how long calls wait for a registry that accepts connections and says nothing.
	silentAfter = 5 * time.Second
	// heldFor is how long instances are kept that another cluster does not know, once it knows any instance.
	heldFor = time.Minute
)

// state is all that is known of one service, and what follows from it; one goroutine at a time has it. It outlives
// the watches: a channel that was idle while the registry fell silent finds the list again, and what is held.
type state struct {
	service      string
	panicPercent int

	off        bool   // SERVICE itself is switched off
	offCluster string // that said so
	offHeard   bool   // by these watches
	seen       *observation
	heard      bool // seen, by these watches
	halves     []halfState
	began      time.Time // these watches

	// What was so in the cluster before, while the new one has not spoken of it.
	held      map[string]bool      // instances that were SERVING
	heldUntil time.Time            // zero: the new cluster knows no instance yet
	drained   map[string]time.Time // instances that an operator switched off, until when; zero: until one speaks again

	emptySince time.Time // since when no instance is known; zero: one is
	current    *list     // what these watches gave; nil: nothing yet
	remembered *list     // the last that was not of an error; nil: none
}

type halfState struct {
	seen      *observation
	connected bool
	spoke     bool  // seen is of the connection of now, and not of one before
	err       error // why its last watch ended; nil while connected
}

// list is what channels get. It does not change.
type list struct {
	addresses []string // sorted
	serving   int      // of them, those that are SERVING
	panicked  int      // of them, the others
	held      int      // of them, those that the cluster of today does not know
	keptOff   int      // SERVING instances that an operator switched off in a cluster before
	skipped   int      // instances that are not HOST:PORT
	err       error    // nothing is known, and why; then there is no list
}

func (l *list) equal(o *list) bool {
	return o != nil && l.err == nil && o.err == nil && l.serving == o.serving && l.panicked == o.panicked &&
		l.held == o.held && l.keptOff == o.keptOff && l.skipped == o.skipped && slices.Equal(l.addresses, o.addresses)
}

// start is called when watches begin.
func (s *state) start(now time.Time, halves int) {
	s.began, s.halves = now, make([]halfState, halves)
	s.offHeard, s.heard, s.emptySince, s.current = false, false, time.Time{}, nil
}

// opinion notes whether SERVICE itself is switched off. The view holds what another cluster has not spoken of; here
// that is done for a channel which was idle when the cluster changed, and has a new view.
func (s *state) opinion(o view.Opinion) {
	if !o.Heard {
		return
	}
	s.offHeard = true
	if s.off && !o.Off && o.Cluster != s.offCluster && o.Status == client.ServiceUnknown {
		return
	}
	s.off, s.offCluster = o.Off, o.Cluster
}

// take notes what a half tells.
func (s *state) take(now time.Time, e event) {
	h := &s.halves[e.half]
	switch {
	case e.err != nil:
		h.err, h.connected, h.spoke = e.err, false, false
	case e.connected != nil:
		h.spoke = false
		if h.connected = *e.connected; h.connected {
			h.err = nil
		}
	case e.seen != nil:
		h.seen, h.spoke = e.seen, true
	}
	for i := range s.halves {
		if h := &s.halves[i]; h.seen != nil && s.newer(h) {
			s.see(now, h.seen)
		}
	}
}

// newer reports whether what a half saw is to replace what is seen. Of another cluster it is when that half was told so
// over the connection that it has now, and no half hears the old one: what was seen over a connection before may be of a
// cluster that is gone.
func (s *state) newer(of *halfState) bool {
	switch o := of.seen; {
	case o == s.seen:
		return false
	case s.seen == nil:
		return true
	case o.cluster == s.seen.cluster:
		return o.revision >= s.seen.revision
	case !of.spoke:
		return false
	}
	return !slices.ContainsFunc(s.halves, func(h halfState) bool {
		return h.connected && h.seen != nil && h.seen.cluster == s.seen.cluster
	})
}

func (s *state) see(now time.Time, o *observation) {
	if s.seen != nil && s.seen.cluster != o.cluster {
		s.hold()
	}
	s.seen, s.heard = o, true
	maps.DeleteFunc(s.held, func(address string, _ bool) bool {
		_, spoken := o.instances[address]
		return spoken
	})
	// An instance that reports itself does not say that the operator's word of before is void.
	maps.DeleteFunc(s.drained, func(address string, _ time.Time) bool { return o.instances[address].decided })
	if len(s.held) > 0 && s.heldUntil.IsZero() && o.spokenOf() {
		s.heldUntil = now.Add(heldFor)
	}
}

// hold keeps what was seen, because another cluster has taken the place of the one that said so.
func (s *state) hold() {
	if s.held == nil {
		s.held, s.drained = map[string]bool{}, map[string]time.Time{}
	}
	for address, i := range s.seen.instances {
		_, drained := s.drained[address]
		switch {
		case i.drained:
			s.drained[address] = i.drainedUntil
		case i.serving && !i.skipped && !drained:
			s.held[address] = true
		}
	}
	s.heldUntil = time.Time{}
}

// next returns the list that channels are to have, nil for none yet, and when to ask again if nothing happens
// before; zero: not.
func (s *state) next(now time.Time) (*list, time.Time) {
	var wake time.Time
	if !s.heard || !s.offHeard {
		s.current, wake = s.unheard(now)
		return s.current, wake
	}
	l, wake := s.list(now)
	if len(l.addresses) == 0 && !s.off && !s.seen.spokenOf() {
		if s.emptySince.IsZero() {
			s.emptySince = now
		}
		if end := s.emptySince.Add(emptyGrace); now.Before(end) {
			return s.current, end
		}
	} else {
		s.emptySince = time.Time{}
	}
	if !l.equal(s.current) {
		s.current = l
	}
	s.remembered = s.current
	return s.current, wake
}

// unheard is next while the watches have said nothing.
func (s *state) unheard(now time.Time) (*list, time.Time) {
	if s.current != nil {
		return s.current, time.Time{}
	}
	var failures []error
	for _, h := range s.halves {
		if h.err != nil {
			failures = append(failures, h.err)
		}
	}
	failed := len(failures) == len(s.halves)
	patience := silentAfter
	if s.remembered != nil {
		patience = rememberedAfter
	}
	end := s.began.Add(patience)
	switch {
	case !failed && now.Before(end):
		return nil, end
	case s.remembered != nil:
		return s.remembered, time.Time{}
	case failed:
		return &list{err: fmt.Errorf("the registry cannot be asked for the instances of %s: %w", s.service, failures[0])}, time.Time{}
	}
	return &list{err: fmt.Errorf("the registry cannot be asked for the instances of %s: %w", s.service,
		errors.Join(append([]error{fmt.Errorf("no node has answered for %v", silentAfter)}, failures...)...))}, time.Time{}
}

// list makes the list of what is seen and held, and says when it will change by itself.
func (s *state) list(now time.Time) (*list, time.Time) {
	l := &list{}
	var wake time.Time
	until := func(end time.Time) bool { // reports whether end has not come, and wakes then
		if !now.Before(end) {
			return false
		}
		if wake.IsZero() || end.Before(wake) {
			wake = end
		}
		return true
	}
	if !s.heldUntil.IsZero() && !until(s.heldUntil) {
		clear(s.held)
		s.heldUntil = time.Time{}
	}
	maps.DeleteFunc(s.drained, func(_ string, end time.Time) bool { return !end.IsZero() && !until(end) })

	var others []string // not SERVING, and nobody switched them off
	for address, i := range s.seen.instances {
		_, drained := s.drained[address]
		switch {
		case i.skipped:
			l.skipped++
		case i.drained:
		case drained:
			if i.serving {
				l.keptOff++
			}
		case i.serving:
			l.addresses = append(l.addresses, address)
		default:
			others = append(others, address)
		}
	}
	for address := range s.held {
		l.addresses = append(l.addresses, address)
		l.held++
	}
	if s.off {
		l.addresses, l.held, others = nil, 0, nil
	}
	l.serving = len(l.addresses)
	if l.serving*100 < s.panicPercent*(l.serving+len(others)) {
		l.panicked = len(others)
		l.addresses = append(l.addresses, others...)
	}
	slices.Sort(l.addresses)
	return l, wake
}
