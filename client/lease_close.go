package client

import (
	"cmp"
	"context"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
)

// closeTimeout bounds Close, if its context does not.
const closeTimeout = 10 * time.Second

// Close ends the lease, by one revocation: what it reported turns NOT_SERVING, is deleted or stays, as
// KeepOptions.OnStop says. It takes 10 s at most, or until ctx ends; then the lease is left to expire. With
// StopLeave the reports that are not written yet are written first, and withdrawals are unless all is deleted
// anyway. When it returns, no goroutine of the Lease runs, unless OnEvent did not return.
//
// Nil means that the reports are as OnStop says. An error with [IsLeaseLost] means that the lease had ended before: its
// reports are what OnExpiry says. Further calls wait for the first, and return the same.
func (l *Lease) Close(ctx context.Context) error {
	l.mu.Lock()
	first := !l.closing
	if first { // both at once: else work could end before it learns that something is still to be written
		l.closing, l.flushing = true, l.o.OnStop == StopLeave
	}
	l.mu.Unlock()
	if !first {
		select {
		case <-l.closed:
			return l.closeErr
		case <-ctx.Done():
			return l.op.ended(ctx.Err(), nil)
		}
	}
	defer close(l.closed)
	ctx, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	unwritten := l.flush(ctx)
	l.end()
	l.workers.Wait() // a lease that is granted at the last moment is to be revoked
	if l.closeErr = l.revoke(ctx); l.closeErr == nil {
		l.closeErr = unwritten
	}
	l.mu.Lock()
	if l.renewal != nil {
		l.renewal.Stop()
	}
	l.state, l.id, l.renewal = LeaseClosed, "", nil
	l.settleAll(l.op.error(codes.Canceled, ErrLeaseClosed.Error(), ErrLeaseClosed))
	l.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		l.tellers.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
	return l.closeErr
}

// flush waits until what Close must still write is written, for half of the time. Its error says that some is not.
func (l *Lease) flush(ctx context.Context) (err error) {
	deadline, _ := ctx.Deadline()
	ctx, cancel := context.WithTimeout(ctx, time.Until(deadline)/2)
	defer cancel()
	l.mu.Lock()
	defer l.mu.Unlock()
	needed := func(s *leased) bool {
		return !s.released && (l.o.OnStop == StopLeave || l.o.OnStop == StopNotServing && s.report.Status == ServiceUnknown && l.id != "")
	}
	l.dirty = slices.DeleteFunc(l.dirty, func(s *leased) bool {
		s.queued = s.queued && needed(s)
		return !s.queued
	})
	for err == nil { // a lease that is lost meanwhile has all written again
		w := &wait{left: 1, done: make(chan struct{})}
		for _, s := range l.services {
			if needed(s) && !l.clean(s) {
				w.left++
				s.waits = append(s.waits, pending{s.version, w})
			}
		}
		if w.left == 1 {
			break
		}
		w.settle(nil)
		l.startWork()
		l.mu.Unlock()
		err = l.await(ctx, w)
		l.mu.Lock()
	}
	l.flushing = false
	return err
}

// revoke ends the lease, if there is one.
func (l *Lease) revoke(ctx context.Context) error {
	l.mu.Lock()
	id, cluster, lost, reported := l.id, l.cluster, l.state == LeaseLost, len(l.services) > 0
	l.mu.Unlock()
	op := l.op
	op.name = "close lease"
	if id == "" {
		if lost && reported && l.unlikeExpiry() {
			return op.leaseLost("the lease was lost, and not granted anew yet; its reports are what they turn to at its expiry")
		}
		return nil
	}
	r := RevokeOptions{KeepReports: l.o.OnStop == StopLeave}
	switch l.o.OnStop {
	case StopNotServing:
		r.Status = NotServing.Enum()
	case StopWithdraw:
		r.Status = ServiceUnknown.Enum()
	}
	_, err := l.c.RevokeLease(ctx, id, r, WriteOptions{Reason: cmp.Or(l.o.StopReason, "its reporter stopped"), Actor: l.o.Actor, Cluster: cluster})
	if IsLeaseLost(err) && (!reported || !l.unlikeExpiry()) {
		return nil
	}
	return err
}

// unlikeExpiry reports whether OnStop asks for something else than happens to the reports at the expiry.
func (l *Lease) unlikeExpiry() bool {
	after := NotServing
	if l.terms.OnExpiry != nil {
		after = *l.terms.OnExpiry
	}
	switch l.o.OnStop {
	case StopNotServing:
		return after != NotServing
	case StopWithdraw:
		return after != ServiceUnknown
	}
	return true
}
