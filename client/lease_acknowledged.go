package client

// Acknowledged is a report that the cluster acknowledged.
type Acknowledged struct {
	LeaseID  string // that it was attached to
	Cluster  string // whose revision Revision is
	Revision int64  // of the cluster when it had the report; what it shows as of an earlier one may not have it yet
}

// Acknowledged returns what the cluster acknowledged of the newest report of a service. ok is false while that is not
// written. Another reporter may have changed it since then: if the cluster shows, as of that revision or a later one, a
// report of another lease, or none, one has. See Rewrite.
func (l *Lease) Acknowledged(service string) (w Acknowledged, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.services[service]
	if s == nil || !l.clean(s) {
		return Acknowledged{}, false
	}
	return s.acknowledged, true
}

// Rewrite writes the newest reports of services again, though the cluster has acknowledged them: for a service that
// another reporter took over, which is gone now. It does not wait. Services that the Lease does not report are left
// out, and so is everything once it is being closed.
func (l *Lease) Rewrite(services ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closing || l.life.Err() != nil {
		return
	}
	for _, name := range services {
		if s := l.services[name]; s != nil && l.clean(s) {
			s.doneLease = ""
			l.queue(s)
		}
	}
	if len(l.dirty) > 0 {
		l.startWork()
	}
}
