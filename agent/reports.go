package agent

import (
	"context"
	"errors"
	"sync"

	"github.com/rollcallhq/rollcall/client"
)

// lease reports under a lease: a client.Lease.
type lease interface {
	Submit(reports ...client.Report) error
	Withdraw(ctx context.Context, services ...string) error
	Close(ctx context.Context) error
}

// reports brings what services say to the registry. There is a lease for each OnStop in use, because a lease ends in
// one way. All leases of a client share a stream.
type reports struct {
	newLease func(client.OnStop) (lease, error)
	life     context.Context // ends when no more is reported
	moves    sync.WaitGroup

	mu     sync.Mutex // guards what follows
	leases map[client.OnStop]lease
	rows   map[string]*row
}

// row is one SERVICE/INSTANCE that was reported.
type row struct {
	stop   client.OnStop // whose lease has it
	moving bool          // it is withdrawn from another lease; then report is submitted
	report client.Report // the newest
}

func newReports(life context.Context, newLease func(client.OnStop) (lease, error)) *reports {
	return &reports{newLease: newLease, life: life, leases: map[client.OnStop]lease{}, rows: map[string]*row{}}
}

// report reports a status; SERVICE_UNKNOWN withdraws. It does not wait for the registry.
func (r *reports) report(stop client.OnStop, report client.Report) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.rows[report.Service]
	if w == nil {
		w = &row{stop: stop}
		r.rows[report.Service] = w
	}
	before := w.stop
	w.stop, w.report = stop, report
	switch {
	case w.moving:
		return nil
	case before != stop && r.leases[before] != nil:
		old := r.leases[before]
		w.moving = true
		r.moves.Go(func() { r.move(w, old) })
		return nil
	}
	return r.submit(w)
}

// submit submits the newest report of a row. r.mu is held.
func (r *reports) submit(w *row) error {
	l := r.leases[w.stop]
	if l == nil {
		var err error
		if l, err = r.newLease(w.stop); err != nil {
			return err
		}
		r.leases[w.stop] = l
	}
	return l.Submit(w.report)
}

// move takes a row from the lease that had it: one that forgot nothing would report it again when it is lost.
func (r *reports) move(w *row, from lease) {
	if err := from.Withdraw(r.life, w.report.Service); err != nil && r.life.Err() != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	w.moving = false
	_ = r.submit(w) // its errors are those of names and reasons, which were checked
}

// close ends the leases, all at once, each in its way.
func (r *reports) close(ctx context.Context) error {
	r.moves.Wait()
	r.mu.Lock()
	leases := r.leases
	r.leases = map[client.OnStop]lease{}
	r.mu.Unlock()
	var closing sync.WaitGroup
	errs := make(chan error, len(leases))
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
