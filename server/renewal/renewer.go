package renewal

import (
	"context"
	"sync"
	"time"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	"github.com/rollcallhq/rollcall/server/fence"
	"github.com/rollcallhq/rollcall/server/peerconn"
)

// Agreement tells who leads. It is a part of the server's Agreement.
type Agreement interface {
	Leader() (name string, leading bool)
	Changed() <-chan struct{}
}

// Lessor renews leases while this node leads.
type Lessor interface {
	// Renew gives each lease its whole TTL from the call on, and returns once a quorum has confirmed that this
	// node leads. Leases that are lost do not live any more, or never did. Of those that wait it is not known
	// yet. With an error nobody was renewed, as far as the caller may know.
	Renew(ctx context.Context, ids []string) (lost, waiting []string, err error)
	// Times returns, for each id, how long the lease still lives. Only a leader can.
	Times(ids []string) ([]*peerv1.LeaseTime, error)
}

// Leases reads the leases in this node's registry.
type Leases interface {
	// Lease returns the lease of an id; nil if this node knows none.
	Lease(id string) *logv1.Lease
}

// Config is what a Renewer works with.
type Config struct {
	Node      string // this node's name
	Agreement Agreement
	Lessor    Lessor
	Leases    Leases
	Pool      *peerconn.Pool
	Fence     *fence.Fence
}

const (
	// gathering is how long ids wait for others: the leader pays for questions more than for ids, and the answers of
	// one round leave a connection together. It is short beside the shortest TTL.
	gathering = 20 * time.Millisecond
	// patience is how long a leader is looked for, and asked.
	patience = time.Second
	// answered is the part of the shortest TTL after which a caller has an answer in any case. A client takes a
	// node that is silent for a sixth of the TTL for dead.
	answered = 8
	// renewedAgain is the part of the shortest TTL after which a lease should be renewed again.
	renewedAgain = 3
)

// Renewer renews the leases of this node's callers.
type Renewer struct {
	Config
	life context.Context // ends with Close
	end  context.CancelFunc

	mu      sync.Mutex // guards what follows
	open    *round     // gathers; nil: none does
	closed  bool
	running sync.WaitGroup // one for each round that gathers or is under way
}

// round is the ids that are renewed together.
type round struct {
	ids   []string // of all callers; complete when timer has fired or is stopped
	timer *time.Timer

	done chan struct{} // closed when the rest may be read
	ok   bool          // the leader has answered
	// not are the ids that were not renewed, and whether they are lost.
	not map[string]bool
}

// New returns a Renewer. It must be closed.
func New(cfg Config) *Renewer {
	r := &Renewer{Config: cfg}
	r.life, r.end = context.WithCancel(context.Background())
	return r
}

// Close ends the rounds under way; their ids are waiting. So are all ids that come later.
func (r *Renewer) Close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.end()
	r.running.Wait()
}

// Renew renews leases, at most limits.MaxRenewedAtOnce, and returns each id in one of three lists. Those that are
// renewed live for their whole TTL from the call on; those that are lost have ended, or never were; for those
// that wait no leader answered in time, or their end is under way. renewAfter is when to renew those renewed again: after a third of the
// shortest TTL. It is 0 if none is renewed. The lists may share the memory of ids.
func (r *Renewer) Renew(ctx context.Context, ids []string) (renewed, lost, waiting []string, renewAfter time.Duration) {
	if len(ids) == 0 {
		return nil, nil, nil, 0
	}
	shortest, all := r.shortestTTL(ids)
	x := r.join(ids)
	if x == nil || !x.wait(ctx, shortest/answered) || !x.ok {
		return nil, nil, ids, 0
	}
	renewed = ids
	if len(x.not) > 0 {
		renewed = nil
		for _, id := range ids {
			switch gone, not := x.not[id]; {
			case gone:
				lost = append(lost, id)
			case not:
				waiting = append(waiting, id)
			default:
				renewed = append(renewed, id)
			}
		}
		if len(renewed) == 0 {
			return nil, lost, waiting, 0
		}
		shortest, all = r.shortestTTL(renewed)
	}
	if !all {
		// This node has not applied yet that a lease was granted, and does not know its TTL.
		shortest = limits.MinLeaseTTL
	}
	return renewed, lost, waiting, shortest / renewedAgain
}

// shortestTTL returns the shortest TTL of the leases that this node knows, limits.MaxLeaseTTL if it knows none.
// all says that it knows all of them.
func (r *Renewer) shortestTTL(ids []string) (shortest time.Duration, all bool) {
	shortest, all = limits.MaxLeaseTTL, true
	for _, id := range ids {
		if l := r.Leases.Lease(id); l == nil {
			all = false
		} else {
			shortest = min(shortest, time.Duration(l.GetTtl()))
		}
	}
	return shortest, all
}

// join adds ids to the round that gathers, or to a new one; nil: the Renewer is closed.
func (r *Renewer) join(ids []string) *round {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	x := r.open
	if x != nil && len(x.ids)+len(ids) > limits.MaxRenewedAtOnce {
		r.begin(x)
		x = nil
	}
	if x == nil {
		x = &round{done: make(chan struct{})}
		r.open = x
		r.running.Add(1)
		x.timer = time.AfterFunc(gathering, func() {
			r.mu.Lock()
			if r.open == x {
				r.open = nil
			}
			r.mu.Unlock()
			r.run(x)
		})
	}
	x.ids = append(x.ids, ids...)
	if len(x.ids) >= limits.MaxRenewedAtOnce {
		r.begin(x)
	}
	return x
}

// begin has a round that is full not wait for its timer. mu is held.
func (r *Renewer) begin(x *round) {
	r.open = nil
	if x.timer.Stop() {
		go r.run(x)
	}
}

// wait waits for the answer to a round; false: none has come within the given time, or until ctx ended.
func (x *round) wait(ctx context.Context, within time.Duration) bool {
	var late <-chan time.Time
	if within < patience { // the round itself takes no longer than that
		timer := time.NewTimer(within)
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-x.done:
		return true
	case <-late:
	case <-ctx.Done():
	}
	return false
}

// run renews the ids of a round and wakes its callers.
func (r *Renewer) run(x *round) {
	defer r.running.Done()
	defer close(x.done)
	ctx, cancel := context.WithTimeout(r.life, patience)
	defer cancel()
	lost, waiting, err := r.renew(ctx, x.ids)
	if err != nil {
		return
	}
	x.ok = true
	if n := len(lost) + len(waiting); n > 0 {
		x.not = make(map[string]bool, n)
	}
	for _, id := range waiting {
		x.not[id] = false
	}
	for _, id := range lost {
		x.not[id] = true
	}
}
