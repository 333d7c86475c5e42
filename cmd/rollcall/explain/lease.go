package explain

import (
	"fmt"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

// Becomes says what a report turns to when its lease ends: "NOT_SERVING", "deleted".
func Becomes(s healthpb.HealthCheckResponse_ServingStatus) string {
	if s == healthpb.HealthCheckResponse_SERVICE_UNKNOWN {
		return "deleted"
	}
	return s.String()
}

// LeaseLeft says how much time a lease has: "7.2s", "7.2s, late", "due for 3m", "ended 5m ago"; "-" if nobody knows.
func LeaseLeft(now time.Time, l *rollcallv1.Lease) string {
	switch left := l.GetTimeLeft(); {
	case l.GetEndTime() != nil:
		return "ended " + format.Ago(now, l.GetEndTime())
	case left == nil:
		return "-"
	case left.AsDuration() < 0:
		return "due for " + timeLeft(-left.AsDuration())
	case l.GetLate():
		return timeLeft(left.AsDuration()) + ", late"
	default:
		return timeLeft(left.AsDuration())
	}
}

// LeaseEnd says what comes of the reports of a lease, in one cell: "NOT_SERVING, deleted 24h later"; of one that
// has ended "deleted in 23h55m".
func LeaseEnd(now time.Time, l *rollcallv1.Lease) string {
	switch {
	case l.GetForgetTime() != nil:
		return "deleted " + in(now, l.GetForgetTime().AsTime())
	case l.GetEndTime() != nil:
		return "changing"
	case l.GetForgetAfter() != nil:
		return Becomes(l.GetOnExpiry()) + ", deleted " + format.Duration(l.GetForgetAfter().AsDuration()) + " later"
	}
	return Becomes(l.GetOnExpiry())
}

// timeLeft returns d in two units, and to a tenth of a second if it is short.
func timeLeft(d time.Duration) string {
	if d < time.Minute {
		return format.TwoUnits(d.Truncate(100 * time.Millisecond))
	}
	return remaining(d)
}

// in says how far ahead t is: "in 23h55m", "soon" if it has passed: the leader does it then.
func in(now, t time.Time) string {
	if !t.After(now) {
		return "soon"
	}
	return "in " + remaining(t.Sub(now))
}

// Lease says in one line what there is to know of the lease that a report is attached to. guard may be nil.
func Lease(now time.Time, l *rollcallv1.Lease, guard *rollcallv1.LeaseGuard) string {
	text := format.Printable(l.GetLeaseId())
	if l.GetTtl() == nil {
		return text // all that is known of it
	}
	text += by(l.GetActor()) + ", ttl " + format.Duration(l.GetTtl().AsDuration())
	switch {
	case l.GetEndTime() != nil && l.GetForgetTime() == nil:
		return text + ": " + LeaseLeft(now, l) + "; its reports are being changed"
	case l.GetEndTime() != nil:
		return fmt.Sprintf("%s: %s; the report is %s, unless it is changed", text, LeaseLeft(now, l), LeaseEnd(now, l))
	}
	switch left := l.GetTimeLeft(); {
	case left == nil:
		text += ": expires unless it is renewed"
	case left.AsDuration() >= 0:
		text += fmt.Sprintf(": expires in %s unless it is renewed", timeLeft(left.AsDuration()))
	case guard.GetEngaged():
		text += fmt.Sprintf(": %s, held by the lease guard", LeaseLeft(now, l))
	default:
		text += fmt.Sprintf(": %s, about to expire", LeaseLeft(now, l))
	}
	return text + "; then " + LeaseEnd(now, l)
}

// LeaseMark says in a short cell what a report hangs on: "ttl 10s", "ended 5m ago"; "-" for none.
func LeaseMark(now time.Time, rec *rollcallv1.ServiceRecord) string {
	switch l := rec.GetLease(); {
	case l.GetEndTime() != nil:
		return LeaseLeft(now, l)
	case l.GetTtl() != nil:
		return "ttl " + format.Duration(l.GetTtl().AsDuration())
	case rec.GetReport().GetLeaseId() != "":
		return "yes"
	}
	return "-"
}

// Guard says that the lease guard holds leases, since when and what to do; "" if it does not.
func Guard(now time.Time, g *rollcallv1.LeaseGuard) string {
	if !g.GetEngaged() {
		return ""
	}
	return fmt.Sprintf("leases are held since %s: %s; %q lets them expire", Clock(now, g.GetTime()), Late(g), "rollcall lease release-guard")
}

// Late counts the leases that had the guard engage: "41 of 52 were late".
func Late(g *rollcallv1.LeaseGuard) string {
	return fmt.Sprintf("%s of %s were late", format.Grouped(uint64(g.GetLate())), format.Grouped(uint64(g.GetLive())))
}

// underLease says in sentences what the lease means that a report is attached to.
func underLease(now time.Time, rec *rollcallv1.ServiceRecord, guard *rollcallv1.LeaseGuard) []string {
	l, service := rec.GetLease(), format.Service(rec.GetService())
	if l.GetTtl() == nil {
		return nil
	}
	id, ttl := format.Printable(l.GetLeaseId()), format.Duration(l.GetTtl().AsDuration())
	if l.GetEndTime() != nil {
		how := "expired"
		if l.GetRevoked() {
			how = "was revoked"
		}
		lines := []string{fmt.Sprintf("Its lease %s (ttl %s) %s at %s. Anybody may change the report.", id, ttl, how, format.Local(l.GetEndTime().AsTime(), now.Location()))}
		if t := l.GetForgetTime(); t != nil {
			lines = append(lines, fmt.Sprintf("The report is deleted %s, at %s, unless somebody changes it before.", in(now, t.AsTime()), Clock(now, t)))
		}
		return lines
	}
	line := fmt.Sprintf("The report lives as long as lease %s (ttl %s)", id, ttl)
	switch left := l.GetTimeLeft(); {
	case left == nil:
		line += "; how much time that has, only a leader knows."
	case left.AsDuration() >= 0:
		line += fmt.Sprintf(", which expires in %s unless it is renewed.", timeLeft(left.AsDuration()))
	case guard.GetEngaged():
		line += fmt.Sprintf(", which is %s. The lease guard holds it: %q lets it expire.", LeaseLeft(now, l), "rollcall lease release-guard")
	default:
		line += fmt.Sprintf(", which is %s and about to expire.", LeaseLeft(now, l))
	}
	then := fmt.Sprintf("When the lease expires, the report turns to %s", Becomes(l.GetOnExpiry()))
	if l.GetOnExpiry() == healthpb.HealthCheckResponse_SERVICE_UNKNOWN {
		then = "When the lease expires, the report is deleted"
	}
	if after := l.GetForgetAfter(); after != nil {
		then += fmt.Sprintf(", and is deleted %s later", format.Duration(after.AsDuration()))
	}
	return []string{line, then + ".", fmt.Sprintf("While it lives, the report is changed only with --lease; %q decides over it.", "rollcall override set "+service+" STATUS")}
}
