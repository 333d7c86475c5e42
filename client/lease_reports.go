package client

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
)

// Report is what a Lease reports of one service.
type Report struct {
	Service string
	Status  Status // Unknown, Serving or NotServing; ServiceUnknown withdraws the service, which is deleted
	Reason  string // at most 1 KiB
}

// leased is the newest report of one service. Its fields are guarded by Lease.mu.
type leased struct {
	report  Report
	version uint64 // counts the reports
	queued  bool   // it is in Lease.dirty
	busy    bool   // it is being written
	waits   []pending
	leaves  []*wait // of Release, until it is not busy any more

	done         uint64 // the version that was written last
	doneLease    string // and the lease under which it was
	acknowledged Acknowledged

	released bool // it is forgotten when it is not busy any more

	alone     bool // it was refused, and not for the others of its batch
	refusals  int  // in a row
	notBefore time.Time
	// credential is the generation of the token with which it was refused; another one is no reason to wait.
	credential uint64
}

// pending is somebody who waits for a version, or a newer one.
type pending struct {
	version uint64
	wait    *wait
}

// wait is for some reports to be settled. Its fields are guarded by Lease.mu.
type wait struct {
	left int
	err  error         // the first refusal
	done chan struct{} // closed when none is left
}

func (w *wait) settle(err error) {
	if w.err == nil {
		w.err = err
	}
	if w.left--; w.left == 0 {
		close(w.done)
	}
}

// Report reports the status of a service, which it makes exist, and waits until the cluster has it. A report that
// says what the newest one of the service says is not written again. If ctx ends before, the error is that of ctx,
// and the report is tried all the same until it is written or a newer one takes its place. A refusal is an error
// too; what a later attempt may change, as a safety rule, is tried again, less and less often.
func (l *Lease) Report(ctx context.Context, service string, s Status, reason string) error {
	return l.ReportBatch(ctx, []Report{{Service: service, Status: s, Reason: reason}})
}

// ReportBatch is Report of many services. Those with the same reason are written together, up to 10,000 at once.
func (l *Lease) ReportBatch(ctx context.Context, reports []Report) error {
	w := &wait{done: make(chan struct{})}
	if err := l.submit(reports, w); err != nil {
		return err
	}
	return l.await(ctx, w)
}

// Withdraw deletes services that this Lease reported, and waits as Report does. A service that does not exist is
// no error.
func (l *Lease) Withdraw(ctx context.Context, services ...string) error {
	var reports []Report
	for _, service := range services {
		reports = append(reports, Report{Service: service, Status: ServiceUnknown, Reason: "withdrawn"})
	}
	return l.ReportBatch(ctx, reports)
}

// Release has the Lease forget services, whose reports another Lease, or nobody, is to keep from now on: reports of
// them that are not written yet are dropped, and if the lease is lost, they are not reported anew. What the cluster
// has stays as it is, and attached to the lease until another one reports it. Release waits until no write of these
// services is under way, so that none overtakes the next reporter's; if ctx ends before, the error is that of ctx, and
// they are forgotten all the same.
func (l *Lease) Release(ctx context.Context, services ...string) error {
	w := &wait{left: 1, done: make(chan struct{})}
	l.mu.Lock()
	for _, name := range services {
		s := l.services[name]
		if s == nil {
			continue
		}
		s.queued = false
		if !s.busy {
			l.forget(s)
			continue
		}
		s.released = true
		w.left++
		s.leaves = append(s.leaves, w)
	}
	l.dirty = slices.DeleteFunc(l.dirty, func(s *leased) bool { return !s.queued })
	w.settle(nil)
	l.mu.Unlock()
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
		return l.op.ended(ctx.Err(), nil)
	}
}

// forget drops a service of which no write is under way. l.mu is held.
func (l *Lease) forget(s *leased) {
	delete(l.services, s.report.Service)
	s.settle(s.version, l.op.error(codes.Canceled, "the service was released", nil))
}

// Submit is ReportBatch that does not wait. Its errors are those of the arguments, and of a closed Lease: then
// nothing is reported.
func (l *Lease) Submit(reports ...Report) error { return l.submit(reports, nil) }

// submit takes reports, all or none. w, if not nil, is settled with them.
func (l *Lease) submit(reports []Report, w *wait) error {
	for _, r := range reports {
		if err := checkReport(r); err != nil {
			return l.op.aboutService(r.Service).error(codes.InvalidArgument, err.Error(), nil)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closing:
		return l.op.error(codes.FailedPrecondition, ErrLeaseClosed.Error(), ErrLeaseClosed)
	case l.life.Err() != nil:
		return l.op.error(codes.Canceled, ErrClosed.Error(), ErrClosed)
	}
	if w != nil {
		w.left = 1 // while it is not complete
		defer w.settle(nil)
	}
	for _, r := range reports {
		s := l.services[r.Service]
		if s == nil {
			s = &leased{}
			l.services[r.Service] = s
		}
		s.released = false
		if s.version == 0 || s.report != r {
			s.report = r
			s.version++
			s.refusals, s.notBefore = 0, time.Time{}
			l.queue(s)
		}
		if w != nil && !l.clean(s) {
			w.left++
			s.waits = append(s.waits, pending{s.version, w})
		}
	}
	if len(l.dirty) > 0 {
		l.startWork()
	}
	return nil
}

func checkReport(r Report) error {
	if err := limits.Name(r.Service); err != nil {
		return fmt.Errorf("the service's name %w", err)
	}
	if err := limits.Reason(r.Reason); err != nil {
		return fmt.Errorf("the reason %w", err)
	}
	if !isReport(r.Status) && r.Status != ServiceUnknown {
		return fmt.Errorf("status is %d; UNKNOWN, SERVING, NOT_SERVING or, to delete, SERVICE_UNKNOWN are allowed", r.Status)
	}
	return nil
}

// await waits for w, or for ctx to end.
func (l *Lease) await(ctx context.Context, w *wait) error {
	select {
	case <-w.done:
	case <-ctx.Done():
	case <-l.life.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-w.done:
		return w.err
	default:
	}
	for _, s := range l.services {
		s.waits = slices.DeleteFunc(s.waits, func(p pending) bool { return p.wait == w })
	}
	cause := l.c.over(ctx)
	if cause == nil {
		return l.op.error(codes.Canceled, ErrLeaseClosed.Error(), ErrLeaseClosed)
	}
	var last *Error
	if e, ok := l.lastErr.(*Error); ok {
		last = e
	}
	return l.op.ended(cause, last)
}

// clean reports whether the newest report of s is written under the lease that there is.
func (l *Lease) clean(s *leased) bool {
	return s.done == s.version && s.doneLease == l.id && l.id != ""
}

// queue has s written, if it is not being written: then it is looked at again after that.
func (l *Lease) queue(s *leased) {
	if !s.queued && !s.busy {
		s.queued = true
		l.dirty = append(l.dirty, s)
	}
}

// settle tells those who wait for a version of s, or an older one, what became of it.
func (s *leased) settle(version uint64, err error) {
	s.waits = slices.DeleteFunc(s.waits, func(p pending) bool {
		if p.version > version {
			return false
		}
		p.wait.settle(err)
		return true
	})
}

// settleAll tells all who wait that nothing more will be done.
func (l *Lease) settleAll(err error) {
	for _, s := range l.services {
		s.settle(s.version, err)
	}
}

func sortedServices(services map[string]*leased) []*leased {
	list := make([]*leased, 0, len(services))
	for _, s := range services {
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b *leased) int { return cmp.Compare(a.report.Service, b.report.Service) })
	return list
}
