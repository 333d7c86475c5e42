package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	"github.com/rollcallhq/rollcall/client/internal/renewal"
)

// This file makes the calls of a Lease. It has a goroutine only while there is something to do, because a process
// may have ten thousand Leases.

const (
	// leaseCallTimeout bounds a call, so that what hinders it is told. A call of unknown outcome is made again
	// with the same request id until it is known: only then a newer report of the service may go out, or the
	// older one could overtake it.
	leaseCallTimeout = 10 * time.Second
	// maxLeaseCalls bounds the calls that all Leases of a client make at once.
	maxLeaseCalls = 64
	// maxGroups bounds the batches that one Lease writes at once. There are several if the reasons differ.
	maxGroups = 32
	// maxGroupBytes bounds a batch, whose answer repeats it.
	maxGroupBytes = 2 << 20
	recordBytes   = 200 // of an answer, besides names and reasons

	retryBase  = 100 * time.Millisecond
	retryMax   = 2 * time.Second
	refusedMax = time.Minute
)

// group is what is written at once.
type group struct {
	lease, cluster string
	reports        []Report
	services       []*leased // of the reports
	versions       []uint64
	bytes          int
	at             int64  // revision of the answer
	in             string // and cluster
}

// startWork has work look again; l.mu is held.
func (l *Lease) startWork() {
	if l.life.Err() != nil {
		return
	}
	if !l.working {
		l.working = true
		l.workers.Add(1)
		go l.work()
		return
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// work grants and reports until nothing is to be done.
func (l *Lease) work() {
	defer l.workers.Done()
	grant := l.newGrant()
	for failures := 0; ; {
		granting, groups, wait := l.next()
		var err error
		switch {
		case granting:
			if err = grant.try(); err == nil {
				grant = l.newGrant()
			}
		case len(groups) > 0:
			err = l.writeAll(groups)
		case wait > 0: // for a report that was refused
			l.rest(wait, l.wake)
			continue
		default:
			return
		}
		if err == nil {
			failures = 0
			continue
		}
		failures++
		if l.rest(retryPause(failures-1, err), nil) {
			failures = 0
		}
	}
}

// tokenLook is how often a Lease that waits looks whether the calls have another token.
const tokenLook = time.Second

// rest waits for d, until wake, or until the calls have another token, which it reports: what was refused may be done now.
func (l *Lease) rest(d time.Duration, wake <-chan struct{}) (exchanged bool) {
	credential := l.c.credential()
	for until := time.Now().Add(d); ; {
		left := time.Until(until)
		if credential > 0 {
			left = min(left, tokenLook)
		}
		if left <= 0 {
			return false
		}
		t := time.NewTimer(left)
		select {
		case <-t.C:
		case <-wake:
			t.Stop()
			return false
		case <-l.life.Done():
			t.Stop()
			return false
		}
		if l.c.credential() != credential {
			return true
		}
	}
}

// retryPause is longer if a node refused, which time alone rarely mends.
func retryPause(failures int, err error) time.Duration {
	base, most := retryBase, retryMax
	if isRefusal(err) {
		base, most = 10*retryBase, refusedMax
	}
	d := min(base<<min(failures, 10), most)
	return d/2 + rand.N(d/2)
}

// isRefusal reports whether a node refused for a reason that neither its own state nor an upgrade under way is.
func isRefusal(err error) bool {
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Written == WrittenUnknown {
		return false
	}
	switch e.Code {
	case codes.InvalidArgument, codes.FailedPrecondition, codes.PermissionDenied, codes.Unauthenticated, codes.Unimplemented,
		codes.OutOfRange, codes.NotFound, codes.AlreadyExists:
		return e.Reason != ReasonClusterChanged && e.Reason != ReasonUpgradeIncomplete
	}
	return e.Reason == ReasonTableFull
}

// next returns what is to be done: grant a lease, write these groups, or wait. If it is nothing of these, work
// ends.
func (l *Lease) next() (granting bool, groups []*group, wait time.Duration) {
	credential := l.c.credential()
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.life.Err() != nil:
	case l.id == "" && (!l.closing || l.flushing):
		return true, nil, 0
	case l.id == "":
	default:
		groups, wait = l.take(time.Now(), credential)
	}
	if len(groups) == 0 && wait == 0 {
		if l.written && len(l.dirty) == 0 {
			l.written = false
			l.tell(LeaseEvent{Type: LeaseReported, LeaseID: l.id})
		}
		l.working = false
	}
	return false, groups, wait
}

// take takes as many reports off the queue as are written at once; l.mu is held. wait is how long the first of
// those left wants to wait, if none is to be written now. What was refused with another token waits no more.
func (l *Lease) take(now time.Time, credential uint64) (groups []*group, wait time.Duration) {
	var (
		left  []*leased
		total int
		open  = map[string]*group{} // by reason; withdrawals can be among others
	)
	for i, s := range l.dirty {
		if d := s.notBefore.Sub(now); d > 0 && s.credential == credential {
			left = append(left, s)
			if wait == 0 || d < wait {
				wait = d
			}
			continue
		}
		if total == limits.MaxChanges {
			left = append(left, l.dirty[i:]...)
			break
		}
		r := s.report
		size := len(r.Service) + len(r.Reason) + recordBytes
		g := open[r.Reason]
		if g == nil || s.alone || g.bytes+size > maxGroupBytes {
			if len(groups) == maxGroups {
				left = append(left, s)
				continue
			}
			g = &group{lease: l.id, cluster: l.cluster}
			groups = append(groups, g)
			if !s.alone {
				open[r.Reason] = g
			}
		}
		g.reports = append(g.reports, r)
		g.services = append(g.services, s)
		g.versions = append(g.versions, s.version)
		g.bytes += size
		s.queued, s.busy = false, true
		total++
	}
	l.dirty = left
	if len(groups) > 0 {
		wait = 0
	}
	return groups, wait
}

// writeAll writes groups, all at once. It returns an error if one of them is to be tried again soon.
func (l *Lease) writeAll(groups []*group) error {
	errs := make([]error, len(groups))
	var wg sync.WaitGroup
	for i, g := range groups[1:] {
		wg.Go(func() { errs[i+1] = l.write(g) })
	}
	errs[0] = l.write(groups[0])
	wg.Wait()
	return errors.Join(errs...)
}

// write writes a group until it is known what became of it. If only some of its reports can be to blame for a
// refusal, it finds out which.
func (l *Lease) write(g *group) error {
	o := WriteOptions{Reason: g.reports[0].Reason, Actor: l.o.Actor, LeaseID: g.lease, Cluster: g.cluster, RequestID: uuid.NewString()}
	var err error
	for begun := time.Now(); ; {
		if err = l.call(func(ctx context.Context) error { return l.c.writeReports(ctx, g, o) }); !IsUnknown(err) || l.life.Err() != nil {
			break
		}
		l.failed("", err)
		if time.Since(begun) >= repeatFor {
			break
		}
		pause(l.life, retryBase)
	}
	e, ok := errors.AsType[*Error](err)
	if ok && len(g.reports) > 1 && (e.Reason == ReasonRuleBroken || e.Reason == ReasonDenied || e.Code == codes.InvalidArgument && e.Written == WrittenNo) {
		a, b := g.halves()
		return errors.Join(l.write(a), l.write(b))
	}
	return l.settleGroup(g, err)
}

func (g *group) halves() (a, b *group) {
	n := len(g.reports) / 2
	a = &group{lease: g.lease, cluster: g.cluster, reports: g.reports[:n], services: g.services[:n], versions: g.versions[:n]}
	b = &group{lease: g.lease, cluster: g.cluster, reports: g.reports[n:], services: g.services[n:], versions: g.versions[n:]}
	return a, b
}

// writeReports writes the reports of a group.
func (c *Client) writeReports(ctx context.Context, g *group, o WriteOptions) error {
	if len(g.reports) == 1 {
		r := g.reports[0]
		if r.Status == ServiceUnknown {
			o.AllowMissing = true
			_, err := c.Delete(ctx, r.Service, o)
			return err
		}
		resp, err := c.Set(ctx, r.Service, r.Status, o)
		g.acknowledged(resp)
		return err
	}
	changes := make([]Change, 0, len(g.reports))
	for _, r := range g.reports {
		changes = append(changes, Change{Service: r.Service, Status: r.Status})
	}
	resp, err := c.SetBatch(ctx, changes, o)
	g.acknowledged(resp)
	return err
}

// acknowledged notes what the cluster said of a write. resp may be a nil message: then the write failed.
func (g *group) acknowledged(resp interface {
	GetRevision() int64
	GetClusterId() string
}) {
	g.at, g.in = resp.GetRevision(), resp.GetClusterId()
}

// settleGroup notes what became of a group. It returns an error if it is to be tried again soon.
func (l *Lease) settleGroup(g *group, err error) error {
	credential := l.c.credential()
	l.mu.Lock()
	defer l.mu.Unlock()
	lost := IsLeaseLost(err) || l.isAnothers(err, credential)
	refused := isRefusal(err) && !lost
	later := time.Now().Add(retryPause(g.services[0].refusals, err)) // the same for all, so that they stay together
	for i, s := range g.services {
		s.busy = false
		switch {
		case err == nil:
			s.done, s.doneLease = g.versions[i], g.lease
			s.acknowledged = Acknowledged{LeaseID: g.lease, Cluster: g.in, Revision: g.at}
			s.alone, s.refusals = false, 0
			s.settle(g.versions[i], nil)
		case refused:
			s.alone = len(g.services) == 1
			if s.version == g.versions[i] {
				s.notBefore, s.credential = later, credential
				s.refusals++
			}
			s.settle(g.versions[i], err)
		}
		for _, w := range s.leaves {
			w.settle(nil)
		}
		s.leaves = nil
		switch {
		case s.released:
			l.forget(s)
		case !l.clean(s):
			l.queue(s)
		case s.report.Status == ServiceUnknown:
			delete(l.services, s.report.Service)
		}
	}
	switch {
	case err == nil:
		l.written, l.lastErr = true, nil
		return nil
	case lost:
		l.lose(g.lease, err)
		return nil
	}
	service := ""
	if len(g.reports) == 1 {
		service = g.reports[0].Service
	}
	l.noteFailure(service, err, refused)
	if refused {
		return nil // each report waits by itself
	}
	return err
}

// isAnothers reports whether a report under the lease was denied when the calls had another token than when it was
// granted, and maybe another identity with it, to which a lease is granted anew; l.mu is held.
func (l *Lease) isAnothers(err error, credential uint64) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Reason == ReasonDenied && credential != l.credential
}

// failed tells a failure.
func (l *Lease) failed(service string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.noteFailure(service, err, false)
}

func (l *Lease) noteFailure(service string, err error, refused bool) {
	if l.life.Err() != nil {
		return // Close ended it
	}
	l.lastErr = err
	l.tell(LeaseEvent{Type: LeaseFailed, LeaseID: l.id, Service: service, Err: err, Refused: refused})
}

// call makes one call, as one of a bounded number.
func (l *Lease) call(do func(ctx context.Context) error) error {
	select {
	case l.c.leaseCalls <- struct{}{}:
	case <-l.life.Done():
		return l.op.ended(l.c.over(l.life), nil)
	}
	defer func() { <-l.c.leaseCalls }()
	ctx, cancel := context.WithTimeout(l.life, leaseCallTimeout)
	defer cancel()
	return do(ctx)
}

// grant is a request for a lease, the same in all its tries until its outcome is known.
type grant struct {
	l         *Lease
	requestID string
	begun     time.Time // zero: not yet
}

func (l *Lease) newGrant() *grant { return &grant{l: l, requestID: uuid.NewString()} }

func (g *grant) try() error {
	l := g.l
	if g.begun.IsZero() {
		g.begun = time.Now()
	}
	return l.call(func(ctx context.Context) error {
		credential := l.c.credential()
		resp, err := l.c.GrantLease(ctx, l.terms, WriteOptions{
			Reason: l.o.Reason, Actor: l.o.Actor, RequestID: g.requestID, Cluster: l.o.Cluster,
		})
		l.mu.Lock()
		defer l.mu.Unlock()
		if err != nil {
			refused := isRefusal(err)
			l.noteFailure("", err, refused)
			if refused {
				l.settleAll(err)
			}
			if !IsUnknown(err) || time.Since(g.begun) >= repeatFor {
				*g = *l.newGrant()
			}
			return err
		}
		id := resp.GetLeaseId()
		l.id, l.cluster, l.credential, l.state, l.lastErr = id, resp.GetClusterId(), credential, LeaseHeld, nil
		l.renewal = l.c.renewer.Add(id, renewal.Options{
			TTL: l.terms.TTL, Lived: time.Since(g.begun), Cluster: l.cluster,
			Tell: func(change renewal.Change) { l.onRenewal(id, change) },
		})
		l.tell(LeaseEvent{Type: LeaseGranted, LeaseID: id, Revision: resp.GetRevision()})
		return nil
	})
}
