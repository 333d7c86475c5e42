package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	"github.com/rollcallhq/rollcall/client/internal/renewal"
)

// ErrLeaseClosed is wrapped by the errors of a Lease that was closed.
var ErrLeaseClosed = errors.New("the lease is closed")

// OnStop says what the reports of a Lease turn to when it is closed.
type OnStop int

const (
	StopNotServing OnStop = iota // they turn NOT_SERVING
	StopWithdraw                 // they are deleted
	StopLeave                    // they stay as they are, attached to nothing
)

func (s OnStop) String() string {
	switch s {
	case StopNotServing:
		return "not_serving"
	case StopWithdraw:
		return "withdraw"
	case StopLeave:
		return "leave"
	}
	return fmt.Sprintf("OnStop(%d)", int(s))
}

// KeepOptions are of KeepLease. The zero value is useful.
type KeepOptions struct {
	Reason string // of the grant; at most 1 KiB
	Actor  string // "" is Config.Actor
	// OnStop is what Close does with the reports.
	OnStop     OnStop
	StopReason string // "": "its reporter stopped"
	// Cluster is the only one that may grant the lease, and grant it anew; "": any, so that reports go on in a
	// cluster that was restored or founded anew on the same addresses.
	Cluster string
	// OnEvent is told what happens to the lease, one event at a time and in order. It delays neither renewals nor
	// reports. While it does not return the newest 64 events wait, and older ones are dropped. It must not call
	// Close, which waits for it.
	OnEvent func(LeaseEvent)
}

// Lease reports statuses that end by themselves when this process dies, hangs or is cut off. It is a lease that is
// kept: it is renewed, and if it is lost all the same another one is granted and everything is reported anew. Make
// one with [Client.KeepLease]. It is safe for use by many goroutines.
//
// A Lease does not fail: without a quorum it goes on trying, with pauses, and remembers the newest report of each
// service and nothing else.
//
// While the lease lives, a change that does not name it is refused for others with [ReasonLeaseHeld] (operators use
// overrides). A change that names another live lease takes the report over, and this Lease is not told. So of two
// Leases that report the same service the one that reported last has it, and each reports anew only when its own
// lease was lost or its status changes. Give each process a service of its own.
type Lease struct {
	c     *Client
	terms LeaseOptions
	o     KeepOptions
	op    operation
	life  context.Context // ends with Close, and with the client
	end   context.CancelFunc
	wake  chan struct{} // capacity 1: there is more for work

	workers, tellers sync.WaitGroup // work, tellAll

	closed   chan struct{} // closed when Close is done
	closeErr error         // set before

	mu      sync.Mutex // guards what follows
	state   LeaseState
	id      string // "": none
	cluster string // that granted it
	// credential is the generation of the token with which it was granted: it belongs to that identity. 0: none.
	credential uint64
	renewal    *renewal.Renewal
	closing    bool // Close was called: nothing more is taken
	flushing   bool // and what was taken is still to be written, if need be under a new lease
	working    bool // work runs
	telling    bool // tellAll runs
	events     []LeaseEvent
	services   map[string]*leased
	dirty      []*leased // those to be written, in the order in which they came
	written    bool      // something, since all was written
	lastErr    error     // of what work does, since it last did it
}

// KeepLease returns a lease that is granted in the background, and kept until Close. It does not wait for the
// cluster; Report does. Its errors are those of the options.
func (c *Client) KeepLease(terms LeaseOptions, o KeepOptions) (*Lease, error) {
	l := &Lease{
		c: c, terms: terms, o: o, op: operation{name: "keep lease"},
		wake: make(chan struct{}, 1), closed: make(chan struct{}), services: map[string]*leased{},
	}
	if err := l.checkOptions(); err != nil {
		return nil, err
	}
	l.life, l.end = context.WithCancel(c.life)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.startWork()
	return l, nil
}

func (l *Lease) checkOptions() error {
	invalid := func(format string, args ...any) error {
		return l.op.error(codes.InvalidArgument, fmt.Sprintf(format, args...), nil)
	}
	if ttl := l.terms.TTL; ttl < limits.MinLeaseTTL || ttl > limits.MaxLeaseTTL {
		return invalid("the TTL is %v; it must be from %v to %v", ttl, limits.MinLeaseTTL, limits.MaxLeaseTTL)
	}
	if f := l.terms.ForgetAfter; f != 0 && (f < limits.MinForgetAfter || f > limits.MaxForgetAfter) {
		return invalid("ForgetAfter is %v; it must be from %v to %v, or 0", f, limits.MinForgetAfter, limits.MaxForgetAfter)
	}
	if s := l.terms.OnExpiry; s != nil && !isReport(*s) && *s != ServiceUnknown {
		return invalid("OnExpiry is %d; UNKNOWN, SERVING, NOT_SERVING or, to delete, SERVICE_UNKNOWN are allowed", *s)
	}
	if l.o.OnStop < StopNotServing || l.o.OnStop > StopLeave {
		return invalid("%v is not known", l.o.OnStop)
	}
	for _, text := range []struct {
		name string
		err  *limits.Error
	}{
		{"Reason", limits.Reason(l.o.Reason)},
		{"StopReason", limits.Reason(l.o.StopReason)},
		{"Actor", limits.Actor(l.o.Actor)},
	} {
		if text.err != nil {
			return invalid("%s %v", text.name, text.err)
		}
	}
	return nil
}

func isReport(s Status) bool { return s == Unknown || s == Serving || s == NotServing }

// ID returns the id of the lease; "" while there is none. It changes when a lost lease is replaced.
func (l *Lease) ID() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.id
}

// State returns what is known of the lease.
func (l *Lease) State() LeaseState {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}

// Until returns the time until which the lease surely lives; it has passed while the lease is overdue. It is the
// zero time while there is no lease.
func (l *Lease) Until() time.Time {
	l.mu.Lock()
	r := l.renewal
	l.mu.Unlock()
	if r == nil {
		return time.Time{}
	}
	return r.Until()
}

// onRenewal takes a change of the lease that a renewal tells.
func (l *Lease) onRenewal(id string, change renewal.Change) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.id != id || l.state == LeaseClosed:
	case change.Refused:
		l.noteFailure("", change.Err, false)
	case change.State == renewal.Held:
		l.state = LeaseHeld
		l.tell(LeaseEvent{Type: LeaseRenewedAgain, LeaseID: id})
	case change.State == renewal.Overdue:
		l.state = LeaseOverdue
		l.tell(LeaseEvent{Type: LeaseBecameOverdue, LeaseID: id, Err: change.Err})
	case change.State == renewal.Lost:
		l.lose(id, change.Err)
	}
}

// lose gives up a lease that the cluster does not know any more, and has everything reported anew. l.mu is held.
func (l *Lease) lose(id string, err error) {
	if l.id != id || id == "" {
		return
	}
	l.renewal.Stop()
	l.id, l.cluster, l.renewal, l.state = "", "", nil, LeaseLost
	l.tell(LeaseEvent{Type: LeaseWasLost, LeaseID: id, Err: err})
	if l.closing && !l.flushing {
		l.settleAll(l.op.leaseLost("the lease was lost while it was closed"))
		return
	}
	for _, s := range sortedServices(l.services) {
		if !s.released {
			l.queue(s)
		}
	}
	l.startWork()
}
