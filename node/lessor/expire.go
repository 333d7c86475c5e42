package lessor

import (
	"context"
	"time"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

const (
	// maxAtOnce is how many leases one command ends.
	maxAtOnce = 1000
	// mostGivenWay is the longest pause between two commands.
	mostGivenWay = 20 * time.Millisecond
)

// hasWork says whether there may be something to propose. mu is held.
func (l *Lessor) hasWork(t *table) bool {
	return len(t.due) > 0 || len(t.ending) > 0 || t.forgotten.due(l.cfg.Clock()) || l.guardMoves(t)
}

// work proposes until nothing is left to be proposed, or something fails: the next tick tries it again. The steps
// take turns, and each waits until its command is applied. Then others' writes that have waited meanwhile go first.
func (l *Lessor) work(ctx context.Context) {
	for more := true; more && ctx.Err() == nil; {
		more = false
		for _, step := range []func(context.Context) bool{l.expire, l.drain, l.forget} {
			begun := l.cfg.Now()
			if step(ctx) {
				more = true
				l.giveWay(ctx, l.cfg.Now().Sub(begun))
			}
		}
	}
}

// giveWay waits a part of the time that a command took. Without that, writes which waited for the command would go
// into one entry of the log with the next command, and wait for that, too.
func (l *Lessor) giveWay(ctx context.Context, took time.Duration) {
	timer := time.NewTimer(min(took/4, mostGivenWay))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// expire ends what is due, unless the guard holds it, and says whether there may be more.
func (l *Lessor) expire(ctx context.Context) (more bool) {
	l.mu.Lock()
	t := l.current()
	if t == nil {
		l.mu.Unlock()
		return false
	}
	change, why, holds := l.decideGuard(t)
	due, dueBy := len(t.due), l.lived.read()
	l.mu.Unlock()
	switch {
	case change != nil && !change.GetEngaged():
		return l.moveGuard(ctx, t, change, why)
	case holds && change == nil, due == 0:
		return false
	}

	// A quorum confirms that this node still leads, after it found the leases due. A leader that is cut off so
	// neither ends a lease nor engages the guard.
	if l.cfg.Round(ctx) != nil {
		return false
	}
	l.mu.Lock()
	if l.current() != t {
		l.mu.Unlock()
		return false
	}
	if change, why, holds = l.decideGuard(t); holds {
		l.mu.Unlock()
		return change != nil && l.moveGuard(ctx, t, change, why)
	}
	x := &expiry{done: make(chan struct{})}
	leases, cmd := l.chooseDue(t, dueBy, x)
	l.mu.Unlock()
	if len(leases) == 0 {
		return false
	}
	return l.settle(t, leases, x, l.propose(ctx, l.command(cmd, expiredReason)))
}

// chooseDue marks leases that were due at a time, and returns the command that ends them. mu is held.
func (l *Lessor) chooseDue(t *table, dueBy time.Duration, x *expiry) (leases []*lease, cmd *logv1.Expire) {
	cmd = &logv1.Expire{Term: t.term}
	l.endGivenUp()
	seen := l.cfg.Fold.Revision()
	for e := range t.due {
		if e.holds > 0 || e.expiring != nil || e.renewed+e.ttl > dueBy {
			continue
		}
		e.expiring, e.empty = x, l.cfg.Fold.LeaseReports(e.id) == 0
		leases = append(leases, e)
		cmd.Leases = append(cmd.Leases, &logv1.ExpiredLease{LeaseId: e.id, SeenRevision: seen})
		if len(leases) == maxAtOnce {
			break
		}
	}
	return leases, cmd
}

// settle takes note of what became of an Expire, and says whether it ended anything.
func (l *Lessor) settle(t *table, leases []*lease, x *expiry, err error) (ended bool) {
	if err != nil && !notWritten(err) {
		// It may still be applied in this term. So its leases stay marked, and what waits for them waits until the
		// leadership is over: which it is, or this error would not be. The next one looks into the fold.
		l.warn(t, "it is not known whether leases have expired; the next leader finds out", err)
		return false
	}
	if err != nil {
		l.warn(t, "leases that are due cannot be ended; it is tried again", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	at, n, counted := l.lived.read(), 0, 0
	for _, e := range leases {
		e.expiring = nil
		if err != nil {
			continue
		}
		now := l.cfg.Fold.Lease(e.id)
		if now != nil && now.GetEnd() == nil {
			continue // not yet its turn, or the fold knows of a report that was attached
		}
		if !e.over {
			t.update(record{e.id, now}, at)
		}
		if !now.GetEnd().GetRevoked() {
			n++
			if !e.empty {
				counted++
			}
			l.log.expired(e.id)
		}
		ended = true
	}
	close(x.done)
	if counted > 0 {
		t.gone = append(t.gone, gone{at, counted})
	}
	if n > 0 {
		l.expired.Add(uint64(n))
	}
	return ended
}

// drain goes on with leases that have ended, but have more reports than one command changes.
func (l *Lessor) drain(ctx context.Context) (more bool) {
	l.mu.Lock()
	t := l.current()
	if t == nil || len(t.ending) == 0 {
		l.mu.Unlock()
		return false
	}
	cmd := l.chooseEnding(t)
	l.mu.Unlock()
	if cmd == nil {
		return false
	}
	if err := l.propose(ctx, cmd); err != nil {
		l.warn(t, "the reports of leases that have ended cannot be changed; it is tried again", err)
		return false
	}
	return true
}

// chooseEnding returns a command that goes on with leases that are ending; nil: there are none. The fold knows who
// ended them, and why. mu is held.
func (l *Lessor) chooseEnding(t *table) *logv1.Command {
	cmd := &logv1.Expire{Term: t.term}
	for id := range t.ending {
		if end := l.cfg.Fold.Lease(id).GetEnd(); end == nil || end.GetDone() {
			continue // the table is about to be told
		}
		cmd.Leases = append(cmd.Leases, &logv1.ExpiredLease{LeaseId: id})
		if len(cmd.Leases) == maxAtOnce {
			break
		}
	}
	if len(cmd.Leases) == 0 {
		return nil
	}
	return l.command(cmd, expiredReason)
}

const (
	expiredReason   = "lease expired"
	forgottenReason = "forgotten: its lease ended long ago"
)

func (l *Lessor) command(expire *logv1.Expire, reason string) *logv1.Command {
	return &logv1.Command{Actor: l.actor(), Reason: reason, Kind: &logv1.Command_Expire{Expire: expire}}
}

func (l *Lessor) actor() *logv1.Actor {
	return &logv1.Actor{Name: "node " + l.cfg.Node, Verified: true}
}

// propose returns nil when a command was applied. It has no time limit of its own: what became of the command is
// known when this node has stopped leading, at the latest.
func (l *Lessor) propose(ctx context.Context, cmd *logv1.Command) error {
	result, err := l.cfg.Propose(ctx, cmd)
	if err != nil {
		return err
	}
	if refusal := result.GetRefusal(); refusal != nil {
		return refusedError{refusal.GetReason()}
	}
	return nil
}

// refusedError is an answer of the fold.
type refusedError struct{ reason logv1.Refusal_Reason }

func (e refusedError) Error() string    { return "refused: " + e.reason.String() }
func (e refusedError) NotWritten() bool { return true }
