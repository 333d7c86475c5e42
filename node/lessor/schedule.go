package lessor

import "time"

// schedule says when leases are to be looked at. A renewal makes that later, and leaves the lease where it is: so it
// costs no more than a look now and then.
type schedule struct {
	buckets map[int64]*lease // by tick of lived time: the first one of a list
	tick    int64            // the last one that is empty, and all before it
}

// scheduled is the place of a lease.
type scheduled struct {
	at         int64 // the bucket; 0: none
	prev, next *lease
}

func newSchedule(now time.Duration) schedule {
	return schedule{buckets: map[int64]*lease{}, tick: int64(now / tickEvery)}
}

// put has a lease looked at when a time has come, or before.
func (s *schedule) put(e *lease, when time.Duration) {
	at := max(int64((when+tickEvery-1)/tickEvery), s.tick+1)
	if e.at != 0 && e.at <= at {
		return
	}
	s.remove(e)
	first := s.buckets[at]
	e.scheduled = scheduled{at: at, next: first}
	if first != nil {
		first.prev = e
	}
	s.buckets[at] = e
}

func (s *schedule) remove(e *lease) {
	if e.at == 0 {
		return
	}
	if e.next != nil {
		e.next.prev = e.prev
	}
	switch {
	case e.prev != nil:
		e.prev.next = e.next
	case e.next != nil:
		s.buckets[e.at] = e.next
	default:
		delete(s.buckets, e.at)
	}
	e.scheduled = scheduled{}
}

// next takes out a lease whose time has come; nil: there is none.
func (s *schedule) next(now time.Duration) *lease {
	for s.tick < int64(now/tickEvery) {
		if e := s.buckets[s.tick+1]; e != nil {
			s.remove(e)
			return e
		}
		s.tick++
	}
	return nil
}
