package client

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client/internal/renewal"
)

// newRenewer returns what renews the leases of this client. It does nothing until there is one.
func (c *Client) newRenewer() *renewal.Renewer {
	return renewal.New(renewal.Config{
		Endpoints:  len(c.endpoints),
		Credential: c.credential,
		Refused:    isRefusalOfCaller,
		Open: func(ctx context.Context, endpoint int, cluster string) (renewal.Stream, error) {
			bounded, cancel := context.WithTimeout(ctx, c.cfg.AttemptTimeout)
			defer cancel()
			conn, err := c.endpoints[endpoint].connect(bounded)
			if err != nil {
				return nil, err
			}
			tracked, t := track(withCluster(ctx, cluster))
			s := renewals{c: c, e: c.endpoints[endpoint], ctx: ctx, tracker: t}
			if s.Stream, err = rollcallv1.NewAdminClient(conn).KeepAlive(tracked); err != nil {
				return nil, s.failed(err)
			}
			return s, nil
		},
		OtherCluster: func(err error) bool {
			return errorInfo(status.Convert(err)).GetReason() == ReasonClusterChanged
		},
		Logger: c.cfg.Logger,
	})
}

// renewals is a KeepAlive stream whose error is an *Error.
type renewals struct {
	renewal.Stream
	c       *Client
	e       *endpoint
	ctx     context.Context
	tracker *tracker
}

func (r renewals) Recv() (*rollcallv1.KeepAliveResponse, error) {
	resp, err := r.Stream.Recv()
	if err != nil {
		return nil, r.failed(err)
	}
	return resp, nil
}

// failed returns the error of the stream. A token that was exchanged meanwhile is no refusal.
func (r renewals) failed(err error) error {
	f := operation{name: "keep alive"}.failed(r.e, err, WrittenNo)
	if r.c.renewedToken(r.ctx, f, r.tracker.credential.Load()) {
		f.Code = codes.Unavailable
	}
	return f
}

// LeaseState is what is known of a lease.
type LeaseState int

const (
	LeaseNone    LeaseState = iota // of a Lease: none is granted yet
	LeaseHeld                      // granted or renewed, less than its TTL ago
	LeaseOverdue                   // its TTL has passed since the last renewal that was acknowledged was sent: it may be lost
	LeaseLost                      // it has ended, or never was; of a Lease: and another one is not granted yet
	LeaseClosed                    // of a Lease: Close was called
)

func (s LeaseState) String() string {
	switch s {
	case LeaseNone:
		return "none"
	case LeaseHeld:
		return "held"
	case LeaseOverdue:
		return "overdue"
	case LeaseLost:
		return "lost"
	case LeaseClosed:
		return "closed"
	}
	return "unknown"
}

// leaseStates are what a renewal tells.
var leaseStates = map[renewal.State]LeaseState{renewal.Held: LeaseHeld, renewal.Overdue: LeaseOverdue, renewal.Lost: LeaseLost}

// Renewal is what became of a lease that KeepAlive renews.
type Renewal struct {
	LeaseID string
	State   LeaseState // LeaseHeld, LeaseOverdue or LeaseLost
	// Until is when the lease will be overdue, if no renewal is acknowledged until then; the zero time if that
	// is not known, or if the lease is lost.
	Until time.Time
}

// KeepAlive renews leases that were granted before, as a [Lease] renews its own: through whichever node answers, a
// third of the TTL after the renewal before. It gives each lease when it has been renewed for the first time,
// and from then on whenever its state changes; states in between can be missing. It ends when all are lost, with the
// error of ctx, or with a node's refusal of the caller ([IsDenied], [IsUnauthenticated]); at once if no lease is given,
// or an id that no lease can have. A slow consumer does not delay the renewals.
func (c *Client) KeepAlive(ctx context.Context, ids ...string) iter.Seq2[Renewal, error] {
	return func(yield func(Renewal, error) bool) {
		op := operation{name: "keep alive"}
		if len(ids) == 1 {
			op.lease = ids[0]
		}
		if len(ids) == 0 {
			yield(Renewal{}, op.error(codes.InvalidArgument, "no lease is given", nil))
			return
		}
		for _, id := range ids {
			switch bad := limits.LeaseID(id); {
			case bad != nil:
				yield(Renewal{}, op.error(codes.InvalidArgument, fmt.Sprintf("the lease's id %v", bad), bad))
				return
			case id == "":
				yield(Renewal{}, op.error(codes.InvalidArgument, "the lease's id is empty", nil))
				return
			}
		}
		ctx, done := c.begin(ctx)
		defer done()
		k := &keptAlive{changed: make(chan struct{}, 1), leases: map[string]*keptLease{}}
		for _, id := range ids {
			if k.leases[id] == nil {
				k.leases[id] = &keptLease{}
			}
		}
		left := len(k.leases)
		for id, l := range k.leases {
			l.renewal = c.renewer.Add(id, renewal.Options{Cluster: c.Cluster(), Tell: func(change renewal.Change) { k.tell(id, change) }})
			defer l.renewal.Stop()
		}
		for left > 0 {
			select {
			case <-k.changed:
			case <-ctx.Done():
			}
			if cause := c.over(ctx); cause != nil {
				yield(Renewal{}, op.ended(cause, nil))
				return
			}
			changed, refused := k.take()
			if refused != nil {
				yield(Renewal{}, refused)
				return
			}
			for _, r := range changed {
				if r.State == LeaseLost {
					left--
				} else {
					r.Until = k.leases[r.LeaseID].renewal.Until()
				}
				if !yield(r, nil) {
					return
				}
			}
		}
	}
}

// keptAlive is one run of KeepAlive.
type keptAlive struct {
	changed chan struct{} // capacity 1: some lease has changed
	leases  map[string]*keptLease

	mu      sync.Mutex
	order   []string // leases that have changed since they were given
	refused error    // of the caller
}

type keptLease struct {
	renewal *renewal.Renewal
	state   LeaseState // newest; guarded by keptAlive.mu
	pending bool       // it is in keptAlive.order
}

func (k *keptAlive) tell(id string, change renewal.Change) {
	k.mu.Lock()
	switch l := k.leases[id]; {
	case change.Refused:
		k.refused = change.Err
	default:
		l.state = leaseStates[change.State]
		if !l.pending {
			l.pending = true
			k.order = append(k.order, id)
		}
	}
	k.mu.Unlock()
	select {
	case k.changed <- struct{}{}:
	default:
	}
}

// take returns what has changed, and the refusal that ends all.
func (k *keptAlive) take() (changed []Renewal, refused error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, id := range k.order {
		l := k.leases[id]
		l.pending = false
		changed = append(changed, Renewal{LeaseID: id, State: l.state})
	}
	k.order = nil
	return changed, k.refused
}
