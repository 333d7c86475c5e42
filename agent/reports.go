package agent

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/rollcallhq/rollcall/client"
)

// Each report is an event in the registry's history, which operators read. So one service is reported once in
// reportPause at most, as client/healthserver does, and a new reason alone once in reasonPause. What comes meanwhile
// waits, and the newest goes out.
const (
	reportPause = time.Second
	reasonPause = time.Minute
)

// lease reports under a lease: a client.Lease.
type lease interface {
	Submit(reports ...client.Report) error
	ReportBatch(ctx context.Context, reports []client.Report) error
	Release(ctx context.Context, services ...string) error
	Acknowledged(service string) (client.Acknowledged, bool)
	Rewrite(services ...string)
	Close(ctx context.Context) error
}

// reports brings what services say to the registry. There is a lease for each OnStop in use, because a lease ends in
// one way. All leases of a client share a stream.
type reports struct {
	newLease func(client.OnStop) (lease, error)
	agenda   *agenda
	logger   *slog.Logger
	life     context.Context // ends when close begins
	end      context.CancelFunc
	moving   sync.WaitGroup // move

	mu     sync.Mutex // guards what follows
	leases map[client.OnStop]lease
	rows   map[string]*row // by SERVICE/INSTANCE
	leaves []*row          // that leave their leases; move takes them
	moves  bool            // move runs
	closed bool            // nothing is taken any more
	rivals map[string]bool // leases of others of which it was told that they have a report of this agent
}

// row is one SERVICE/INSTANCE.
type row struct {
	newest client.Report
	stop   client.OnStop // whose lease is to have it

	held    bool          // a lease has it
	holder  client.OnStop // whose
	leaving bool          // it is being taken from that lease; then newest goes to the lease of stop
	gone    bool          // it is in no configuration any more

	sent   client.Report // of holder's lease
	sentAt time.Time     // zero: nothing was
	due    time.Time     // when newest is looked at again; zero: there is nothing to do
}

func newReports(newLease func(client.OnStop) (lease, error), a *agenda, logger *slog.Logger) *reports {
	r := &reports{newLease: newLease, agenda: a, logger: logger, leases: map[client.OnStop]lease{}, rows: map[string]*row{}, rivals: map[string]bool{}}
	r.life, r.end = context.WithCancel(context.Background())
	return r
}

// report takes the newest that a service says. It does not wait for the registry.
func (r *reports) report(stop client.OnStop, report client.Report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	w := r.rows[report.Service]
	if w == nil {
		w = &row{}
		r.rows[report.Service] = w
	}
	w.newest, w.stop, w.gone = report, stop, false
	switch {
	case w.leaving:
	case w.held && w.holder != stop:
		r.leave(w)
	default:
		r.send(w)
	}
}

// send submits the newest of a row, or has that done when its time comes. r.mu is held.
func (r *reports) send(w *row) {
	next := w.sentAt
	switch {
	case !w.held || w.sentAt.IsZero():
		next = time.Time{}
	case w.newest.Status != w.sent.Status:
		next = next.Add(reportPause)
	case w.newest.Reason != w.sent.Reason:
		next = next.Add(reasonPause)
	default:
		return
	}
	now := time.Now()
	if !next.After(now) {
		r.submit(w, now)
		return
	}
	if w.due.IsZero() || next.Before(w.due) {
		w.due = next
		r.agenda.at(next, func() { r.look(w, next) })
	}
}

// look sends what has waited until due.
func (r *reports) look(w *row, due time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !w.due.Equal(due) {
		return
	}
	w.due = time.Time{}
	if !r.closed && !w.leaving && !w.gone {
		r.send(w)
	}
}

// submit submits the newest of a row. r.mu is held.
func (r *reports) submit(w *row, now time.Time) {
	l, err := r.lease(w.stop)
	if err == nil {
		err = l.Submit(w.newest)
	}
	if err != nil { // a name or a reason, which were checked, or an end of the client that the agent did not ask for
		r.logger.Error("a status cannot be reported", "service", w.newest.Service, "error", err)
		return
	}
	w.held, w.holder, w.sent, w.sentAt = true, w.stop, w.newest, now
}

// acknowledged reports whether the registry has the newest report of a service.
func (r *reports) acknowledged(service string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.rows[service]
	if w == nil || !w.held || w.leaving {
		return false
	}
	_, ok := r.leases[w.holder].Acknowledged(service)
	return ok
}

// lease returns the lease of an OnStop. r.mu is held.
func (r *reports) lease(stop client.OnStop) (lease, error) {
	if l := r.leases[stop]; l != nil {
		return l, nil
	}
	l, err := r.newLease(stop)
	if err == nil {
		r.leases[stop] = l
	}
	return l, err
}

// remove ends what is reported of a service that is in no configuration any more, as an orderly end of the agent
// would: by the OnStop that it had.
func (r *reports) remove(service string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.rows[service]
	if w == nil || r.closed {
		return
	}
	w.gone = true
	switch {
	case w.leaving:
	case !w.held:
		delete(r.rows, service)
	default:
		r.leave(w)
	}
}

// leave has a row leave its lease. r.mu is held.
func (r *reports) leave(w *row) {
	w.leaving = true
	r.leaves = append(r.leaves, w)
	if !r.moves {
		r.moves = true
		r.moving.Go(r.move)
	}
}

// move takes rows from their leases, until none is to be taken.
func (r *reports) move() {
	for {
		r.mu.Lock()
		leaves := r.leaves
		r.leaves = nil
		if len(leaves) == 0 || r.closed {
			r.moves = false
			r.mu.Unlock()
			return
		}
		batches := map[client.OnStop]*batch{}
		for _, w := range leaves {
			b := batches[w.holder]
			if b == nil {
				b = &batch{lease: r.leases[w.holder]}
				batches[w.holder] = b
			}
			b.add(w)
		}
		r.mu.Unlock()
		var all sync.WaitGroup
		for _, b := range batches {
			all.Go(func() { b.leave(r.life) })
		}
		all.Wait()
		r.left(leaves)
	}
}

// left goes on with rows that have left their leases.
func (r *reports) left(leaves []*row) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range leaves {
		w.leaving, w.held = false, false
		if w.gone {
			delete(r.rows, w.newest.Service)
		} else if !r.closed {
			r.send(w)
		}
	}
}

// batch are rows that leave one lease.
type batch struct {
	lease lease
	last  []client.Report // last words of those that are gone
	gone  []string        // those that have a last word and are to be forgotten after it
	moved []string        // those of which the registry keeps what it has
}

const removedReason = "not in the agent's configuration any more"

func (b *batch) add(w *row) {
	name := w.newest.Service
	switch {
	case w.gone && w.holder == client.StopWithdraw: // with that the lease forgets it
		b.last = append(b.last, client.Report{Service: name, Status: client.ServiceUnknown, Reason: removedReason})
	case w.gone && w.holder == client.StopNotServing:
		b.last = append(b.last, client.Report{Service: name, Status: client.NotServing, Reason: removedReason})
		b.gone = append(b.gone, name)
	default:
		b.moved = append(b.moved, name)
	}
}

// leave waits until the registry has the last words, and has the lease forget the rows. If ctx ends before, the end of
// the lease does the same.
func (b *batch) leave(ctx context.Context) {
	if len(b.moved) > 0 {
		_ = b.lease.Release(ctx, b.moved...)
	}
	if len(b.last) == 0 {
		return
	}
	// A refusal is told by the lease, which goes on trying; so it must not forget then.
	if err := b.lease.ReportBatch(ctx, b.last); err == nil && len(b.gone) > 0 {
		_ = b.lease.Release(ctx, b.gone...)
	}
}

// close ends the leases, all at once, each in its way, until ctx ends at the latest. What waits goes out before.
func (r *reports) close(ctx context.Context) error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.end()
	r.moving.Wait() // what it waits for ends with life
	r.mu.Lock()
	for _, w := range r.rows {
		if !w.gone && (!w.held || w.leaving || w.newest != w.sent) {
			r.submit(w, time.Now())
		}
	}
	leases := r.leases
	r.leases = map[client.OnStop]lease{}
	r.mu.Unlock()
	errs := make(chan error, len(leases)) // so that nobody waits who comes too late
	var closing sync.WaitGroup
	for _, l := range leases {
		closing.Go(func() { errs <- l.Close(ctx) })
	}
	closing.Wait()
	close(errs)
	var all []error
	for err := range errs {
		all = append(all, err)
	}
	return errors.Join(all...)
}
