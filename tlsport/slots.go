package tlsport

import (
	"slices"
	"sync"
	"time"
)

const (
	// MaxHandshakes is how many handshakes a port works on at once. Each costs memory and the time of a processor.
	MaxHandshakes = 64
	// HandshakeTimeout is how long a handshake may take, the wait for a slot included.
	HandshakeTimeout = 5 * time.Second
	// slotTime is how long a handshake keeps its slot while others wait for one. A handshake takes a few milliseconds
	// and one round trip.
	slotTime = 500 * time.Millisecond
)

// slots hands out the right to work on a handshake. Of those that wait, the newest comes first: among many that never
// finish, one that came just now is served soon.
type slots struct {
	mu      sync.Mutex  // guards what follows
	held    []*slot     // the longest first; at most MaxHandshakes
	waiting []*slot     // the newest last
	timer   *time.Timer // takes slots back that are held for too long; nil: nobody waits
	closed  bool        // no slot is handed out any more
}

type slot struct {
	takeBack func()        // ends the handshake that holds the slot
	given    chan struct{} // closed when it is handed out
	begun    time.Time     // when it was
}

// take waits for a slot, until timeout or until gone is closed. takeBack must end the handshake soon; it is called while others
// wait and the slot has been held for slotTime. take returns nil if there is no slot in time, or none any more.
func (s *slots) take(timeout time.Duration, gone <-chan struct{}, takeBack func()) *slot {
	t := &slot{takeBack: takeBack, given: make(chan struct{})}
	s.mu.Lock()
	switch {
	case s.closed:
		s.mu.Unlock()
		return nil
	case len(s.held) < MaxHandshakes:
		s.give(t)
		s.mu.Unlock()
		return t
	}
	s.waiting = append(s.waiting, t)
	s.arm()
	s.mu.Unlock()
	late := time.NewTimer(timeout)
	defer late.Stop()
	select {
	case <-t.given:
	case <-late.C:
	case <-gone:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.waiting, t); i >= 0 {
		s.waiting = slices.Delete(s.waiting, i, i+1)
		return nil
	}
	if t.begun.IsZero() { // closed
		return nil
	}
	return t
}

// give hands out a slot. mu is held.
func (s *slots) give(t *slot) {
	t.begun = time.Now()
	s.held = append(s.held, t)
	close(t.given)
}

// put gives a slot back.
func (s *slots) put(t *slot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.held, t)
	s.held = slices.Delete(s.held, i, i+1)
	if n := len(s.waiting); n > 0 {
		next := s.waiting[n-1]
		s.waiting = slices.Delete(s.waiting, n-1, n)
		s.give(next)
	}
}

// arm sets the timer for the slot that has been held the longest. mu is held.
func (s *slots) arm() {
	if s.timer == nil && len(s.waiting) > 0 {
		s.timer = time.AfterFunc(max(0, time.Until(s.held[0].begun.Add(slotTime))), s.takeBack)
	}
}

// takeBack ends the handshakes that have held their slot for slotTime.
func (s *slots) takeBack() {
	s.mu.Lock()
	s.timer = nil
	var late []*slot
	if len(s.waiting) > 0 {
		now := time.Now()
		for _, t := range s.held {
			if now.Sub(t.begun) >= slotTime {
				late = append(late, t)
			}
		}
		// Those that are ended now put theirs back in a moment. The next look is when a slot that is handed out then
		// can be late.
		s.timer = time.AfterFunc(slotTime/4, s.takeBack)
	}
	s.mu.Unlock()
	for _, t := range late {
		t.takeBack()
	}
}

// close hands out no slot any more, and ends the waits.
func (s *slots) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, t := range s.waiting {
		close(t.given)
	}
	s.waiting = nil
	if s.timer != nil {
		s.timer.Stop()
	}
}
