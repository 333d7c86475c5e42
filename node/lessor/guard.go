package lessor

import (
	"context"
	"time"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

const (
	// goneFor is how long a lease that expired still counts for the guard.
	goneFor = 10 * time.Second
	// calmFor is how long few leases must be late until the guard ends. So it does not flutter, and when reporters
	// come back one after the other, the last of them do not find their leases expired.
	calmFor = 10 * time.Second
)

// gone is how many leases expired at once.
type gone struct {
	at time.Duration
	n  int
}

// guardView is what a leadership knows of the guard. The guard's record says whether it is engaged.
type guardView struct {
	revision int64 // of the record when it was last looked at
	// quiet keeps the guard from engaging: it was ended by hand, or after Guard.Max, and the same leases are still
	// late. That is over when they are few, or at quietUntil, in nanoseconds since 1970.
	quiet      bool
	quietUntil int64
	calmSince  time.Duration // few leases are late since then; below 0: many are
}

// counts is what the guard compares.
type counts struct{ late, live int64 }

// many says whether so many are late that it is likelier that they cannot reach the cluster.
func (g Guard) many(c counts) bool {
	return c.live >= int64(g.Min) && c.late*100 > c.live*int64(g.Percent)
}

// maxEmptyLooked bounds the late leases among which those without reports are looked for.
const maxEmptyLooked = 10_000

// counts returns what the guard counts now: leases that expired in the last seconds are as good as late. Revoked
// ones are not counted at all, and neither are late ones without reports: their end changes nothing. A reporter that
// is killed and started again leaves one each time. possibly counts those too of which this leadership has not heard
// yet. mu is held.
func (l *Lessor) counts(t *table) (surely, possibly counts) {
	expired := 0
	for _, g := range t.gone {
		expired += g.n
	}
	surely = counts{int64(t.late + expired), int64(len(t.leases) + expired)}
	if l.cfg.Guard.many(counts{surely.late + int64(t.unheard), surely.live}) { // else it is few without them, too
		empty := int64(l.lateAndEmpty(t))
		surely.late -= empty
		surely.live -= empty
	}
	possibly = counts{surely.late + int64(t.unheard), surely.live}
	return surely, possibly
}

// lateAndEmpty returns how many late leases have no reports; 0 if very many leases are late. mu is held.
func (l *Lessor) lateAndEmpty(t *table) (n int) {
	if t.late > maxEmptyLooked {
		return 0
	}
	for id, e := range t.leases {
		if e.late && l.cfg.Fold.LeaseReports(id) == 0 {
			n++
		}
	}
	return n
}

// lookAtGuard takes note of a change of the guard's record, also one of an earlier leadership.
func (l *Lessor) lookAtGuard(t *table) *logv1.LeaseGuard {
	record := l.cfg.Fold.LeaseGuard()
	if record.GetRevision() == t.guard.revision {
		return record
	}
	if record.GetReleaseTime() == record.GetTime() && t.guard.revision > 0 {
		l.cfg.Logger.Warn("the lease guard was released by hand: leases expire again", "actor", record.GetActor().GetName(), "reason", record.GetReason())
	}
	t.guard.revision = record.GetRevision()
	t.guard.calmSince = -1
	ended := max(record.GetTime(), record.GetReleaseTime())
	t.guard.quietUntil = ended + int64(l.cfg.Guard.Max)
	t.guard.quiet = !record.GetEngaged() && l.cfg.Clock() < t.guard.quietUntil &&
		l.cfg.Guard.many(counts{record.GetLate(), record.GetLive()})
	return record
}

// decideGuard returns what the guard has to do: nil, or a command that engages or ends it; and whether it holds
// the leases now. mu is held.
func (l *Lessor) decideGuard(t *table) (change *logv1.HoldLeases, why string, holds bool) {
	record := l.lookAtGuard(t)
	surely, possibly := l.counts(t)
	now, g := l.lived.read(), &t.guard
	switch few := !l.cfg.Guard.many(possibly); {
	case !few:
		g.calmSince = -1
	case g.calmSince < 0:
		g.calmSince = now
	}
	calm := g.calmSince >= 0 && now-g.calmSince >= calmFor
	if g.quiet && (calm || l.cfg.Clock() >= g.quietUntil) {
		g.quiet = false
	}
	change = &logv1.HoldLeases{Term: t.term, Late: surely.late, Live: surely.live}
	switch {
	case record.GetEngaged() && calm:
		return change, "few leases are late now", true
	case record.GetEngaged() && l.cfg.Clock()-record.GetTime() >= int64(l.cfg.Guard.Max):
		return change, "it has held them for " + l.cfg.Guard.Max.String(), true
	case record.GetEngaged():
		return nil, "", true
	case len(t.due) > 0 && !g.quiet && l.cfg.Guard.many(surely):
		change.Engaged = true
		return change, "very many leases are late", true
	}
	return nil, "", false
}

// guardMoves says whether the guard may have something to do although nothing is due. mu is held.
func (l *Lessor) guardMoves(t *table) bool {
	return t.guard.quiet || l.cfg.Fold.LeaseGuard().GetEngaged() || l.cfg.Fold.LeaseGuard().GetRevision() != t.guard.revision
}

// moveGuard engages or ends the guard, and says whether leases may expire now.
func (l *Lessor) moveGuard(ctx context.Context, t *table, change *logv1.HoldLeases, why string) (more bool) {
	err := l.propose(ctx, &logv1.Command{Actor: l.actor(), Reason: why, Kind: &logv1.Command_HoldLeases{HoldLeases: change}})
	if err != nil {
		l.warn(t, "the lease guard cannot be changed; it is tried again", err)
		return false
	}
	log := l.cfg.Logger.With("late", change.GetLate(), "live", change.GetLive(), "reason", why)
	if change.GetEngaged() {
		log.Warn("the lease guard holds all leases: none expires")
	} else {
		log.Warn("the lease guard has ended: leases expire again")
	}
	return !change.GetEngaged()
}
