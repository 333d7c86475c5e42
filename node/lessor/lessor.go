package lessor

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// Fold is what this node has applied of the log.
type Fold interface {
	// Lease returns the newest record of a lease; nil: there is none.
	Lease(id string) *logv1.Lease
	// LeaseReports returns how many reports are attached to a lease.
	LeaseReports(id string) int
	// LeaseGuard returns the newest record of the lease guard; nil: it was never engaged.
	LeaseGuard() *logv1.LeaseGuard
	// ScanLeases visits all leases of one revision until visit returns false.
	ScanLeases(visit func(id string, l *logv1.Lease) bool) (revision int64)
	Revision() int64
}

// Guard says when the lease guard holds leases.
type Guard struct {
	Min     int           // leases, at least, for the guard to engage
	Percent int           // it engages when more of them than this are late; 100: never
	Max     time.Duration // how long it holds them at most
}

// Config is what a Lessor is made of. All of it is required.
type Config struct {
	Node string
	Fold Fold
	// Leadership returns the term in which this node leads, having applied the term's start, and what is closed
	// when it leads no more; term 0: it does not lead. It must be cheap.
	Leadership func() (term uint64, ended <-chan struct{})
	// Round returns nil when a quorum has confirmed, in a round begun after the call, that this node leads.
	Round func(context.Context) error
	// Propose has a command applied. An error whose method NotWritten returns true says that it never will be. If
	// its outcome is not known, another error is returned.
	Propose func(context.Context, *logv1.Command) (*logv1.Result, error)
	Clock   func() int64     // the cluster's, in nanoseconds since 1970
	Now     func() time.Time // with a monotonic reading
	Guard   Guard
	Logger  *slog.Logger
}

// Lessor keeps leases while its node leads.
type Lessor struct {
	cfg  Config
	wake chan struct{} // capacity 1: there may be something to propose

	leads   atomic.Bool // there is a table: changes are of use
	changes changes

	renewals, expired atomic.Uint64

	mu    sync.Mutex // guards the rest. The fold takes no lock while it waits for changes.mu, which comes after mu
	lived lived
	table *table // of the leadership; nil: none
	log   bulkLog

	// holds are of proposals under way, and of some that were given up.
	holds map[*logv1.Proposal]*hold

	warned time.Time // when a failure was logged last; of the goroutine that proposes

	life    context.Context // ends with Run
	end     context.CancelFunc
	waiting sync.WaitGroup // proposals that wait for the outcome of an Expire
}

// changes are the leases that the fold has changed and the table does not know of yet.
type changes struct {
	mu     sync.Mutex // guards the rest
	ids    []string
	rescan bool // any lease may have changed
}

// New returns a Lessor. It renews at once, and lets nothing expire until Run.
func New(cfg Config) *Lessor {
	l := &Lessor{cfg: cfg, wake: make(chan struct{}, 1), lived: newLived(cfg.Now), holds: map[*logv1.Proposal]*hold{}}
	l.life, l.end = context.WithCancel(context.Background())
	return l
}

// Run works until ctx ends.
func (l *Lessor) Run(ctx context.Context) {
	defer l.waiting.Wait()
	defer l.end()
	var wg sync.WaitGroup
	defer wg.Wait()
	// Beside the ticks: lived time passes while a proposal is under way.
	wg.Go(func() {
		for {
			select {
			case <-l.wake:
				l.work(ctx)
			case <-ctx.Done():
				return
			}
		}
	})
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			l.count()
		case <-ctx.Done():
			return
		}
	}
}

// count is one tick.
func (l *Lessor) count() {
	l.mu.Lock()
	l.lived.count()
	l.endGivenUp()
	t := l.current()
	work := t != nil && l.hasWork(t)
	expired, some := l.log.take(l.cfg.Now())
	l.mu.Unlock()
	if work {
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
	if expired > 0 {
		l.cfg.Logger.Info("leases expired: nobody renewed them", "leases", expired, "some", some)
	}
}

// OnLease is called by the fold after it has published a batch, for each lease that the batch changed. It does not
// block.
func (l *Lessor) OnLease(id string, _ *logv1.Lease) {
	if !l.leads.Load() {
		return
	}
	l.changes.mu.Lock()
	l.changes.ids = append(l.changes.ids, id)
	l.changes.mu.Unlock()
}

// OnLeasesReplaced is called by the fold when any lease may have changed. It does not block.
func (l *Lessor) OnLeasesReplaced() {
	l.changes.mu.Lock()
	l.changes.rescan = true
	l.changes.mu.Unlock()
}

// take returns what has changed since the last call.
func (c *changes) take() (ids []string, rescan bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ids, rescan = c.ids, c.rescan
	c.ids, c.rescan = nil, false
	return ids, rescan
}

// current returns the table of this node's leadership, up to date; nil: it does not lead. mu is held.
func (l *Lessor) current() *table {
	term, ended := l.cfg.Leadership()
	if l.table != nil && l.table.term != term {
		l.leads.Store(false)
		l.table = nil
	}
	if term == 0 {
		return nil
	}
	now := l.lived.read()
	if l.table == nil {
		l.leads.Store(true) // before the scan, which then misses nothing
		l.changes.take()
		l.table = newTable(term, ended, now, l.scan())
		l.lookAtGuard(l.table)
	}
	ids, rescan := l.changes.take()
	if rescan {
		for id := range l.table.leases {
			ids = append(ids, id)
		}
		for _, r := range l.scan() {
			ids = append(ids, r.id)
		}
	}
	for _, id := range ids {
		// The fold's newest word counts: what it said before may be older than the scan.
		l.table.update(record{id, l.cfg.Fold.Lease(id)}, now)
	}
	l.table.advance(now)
	return l.table
}

// scan returns the leases that the fold holds.
func (l *Lessor) scan() (all []record) {
	l.cfg.Fold.ScanLeases(func(id string, lease *logv1.Lease) bool {
		all = append(all, record{id, lease})
		return true
	})
	return all
}

// see returns a lease that lives; nil: there is none of this id. mu is held.
func (l *Lessor) see(t *table, id string) *lease {
	e := t.leases[id]
	if e == nil {
		t.update(record{id, l.cfg.Fold.Lease(id)}, l.lived.read())
		e = t.leases[id]
	}
	return e
}

// Stats is what the leases look like to this node. Live, Late and Due are 0 on a node that does not lead.
type Stats struct {
	Live, Late, Due   int
	Engaged           bool   // the guard
	Renewals, Expired uint64 // by this node, since it was started
}

// Stats may be called at any time.
func (l *Lessor) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Stats{
		Engaged:  l.cfg.Fold.LeaseGuard().GetEngaged(),
		Renewals: l.renewals.Load(),
		Expired:  l.expired.Load(),
	}
	if t := l.current(); t != nil {
		s.Live, s.Late, s.Due = len(t.leases), t.late, len(t.due)
	}
	return s
}

// NotLeadingError means that nothing was renewed, because this node does not lead, or may not.
type NotLeadingError struct{ Err error }

func (e NotLeadingError) Error() string { return e.Err.Error() }
func (e NotLeadingError) Unwrap() error { return e.Err }

// NotWritten says that another node may be asked for the same.
func (e NotLeadingError) NotWritten() bool { return true }

var errNotLeading = NotLeadingError{errors.New("this node does not lead")}
