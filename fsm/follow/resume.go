package follow

// worthResuming is how many events are always read to go on from a state. With more, it begins anew if there are fewer
// services than that: to read and send them is less work.
const worthResuming = 1_000

// begin sets where the first page begins: after how.Resume if that is certain to be right.
func (s *Scan) begin(v Cut) {
	s.beginAnew(v)
	from := s.how.Resume
	switch missed := v.Revision() - from; {
	case from <= 0:
		return
	case missed < 0:
		return // of a state that this node has not reached
	case from < v.RightsSince():
		return // it may have been sent more, or less, than it would be now
	case missed > 0 && from+1 < s.f.cfg.Registry.Horizon():
		return
	case missed > max(worthResuming, int64(v.ServiceCount())):
		return
	}
	// All that has one of the prefixes was sent, as of from.
	s.cursor, s.current = from, len(s.prefixes)
}

// beginAnew has nothing be scanned.
func (s *Scan) beginAnew(v Cut) {
	s.begun, s.cursor, s.current = true, v.Revision(), 0
}

// resumed reports whether begin went on from a state. It is asked before the first page is read.
func (s *Scan) resumed() bool { return s.current > 0 }
