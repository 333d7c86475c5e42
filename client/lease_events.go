package client

// LeaseEventType says what happened to a Lease.
type LeaseEventType int

const (
	// LeaseGranted: there is a lease, for the first time or again.
	LeaseGranted LeaseEventType = iota + 1
	// LeaseReported: the newest reports of all services are written.
	LeaseReported
	// LeaseBecameOverdue: no renewal was acknowledged for the whole TTL. The lease may be lost, and what it
	// reported may have turned.
	LeaseBecameOverdue
	// LeaseRenewedAgain: it was overdue, or nodes refused to renew it, and lives.
	LeaseRenewedAgain
	// LeaseWasLost: it has ended. Its reports turned to what OnExpiry says; another lease is granted, and
	// everything is reported anew.
	LeaseWasLost
	// LeaseFailed: a grant, a report or a renewal was refused, or a grant or a report failed. It is tried again.
	LeaseFailed
)

func (t LeaseEventType) String() string {
	switch t {
	case LeaseGranted:
		return "granted"
	case LeaseReported:
		return "reported"
	case LeaseBecameOverdue:
		return "overdue"
	case LeaseRenewedAgain:
		return "renewed again"
	case LeaseWasLost:
		return "lost"
	case LeaseFailed:
		return "failed"
	}
	return "unknown"
}

// LeaseEvent is something that happened to a Lease.
type LeaseEvent struct {
	Type    LeaseEventType
	LeaseID string // "" if there is none
	// Revision is that of the grant, of LeaseGranted.
	Revision int64
	Service  string // of LeaseFailed, if it is about one
	Err      error  // of LeaseFailed; of LeaseBecameOverdue and LeaseWasLost what went wrong, if that is known
	// Refused, of LeaseFailed, says that those who waited for the reports were told Err: the grant or the report was
	// refused, which does not pass by itself. It is false where a renewal was refused: nobody waits for one.
	Refused bool
}

// maxWaitingEvents bounds what waits for OnEvent.
const maxWaitingEvents = 64

// tell has e told; l.mu is held.
func (l *Lease) tell(e LeaseEvent) {
	if l.o.OnEvent == nil {
		return
	}
	if len(l.events) == maxWaitingEvents {
		l.events = append(l.events[:0:0], l.events[1:]...)
	}
	l.events = append(l.events, e)
	if !l.telling {
		l.telling = true
		l.tellers.Add(1)
		go l.tellAll()
	}
}

func (l *Lease) tellAll() {
	defer l.tellers.Done()
	for {
		l.mu.Lock()
		events := l.events
		l.events = nil
		if len(events) == 0 {
			l.telling = false
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
		for _, e := range events {
			l.o.OnEvent(e)
		}
	}
}
