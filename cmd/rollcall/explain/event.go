package explain

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

// Change says what an event of an override, a rule, a lease, a member or of access changed: "override NOT_SERVING until 15:46, 3
// services", "rule pay-min: at least 1", "lease granted, ttl 10s". It is "" for events of other types.
func Change(now time.Time, e *rollcallv1.Event) string {
	services := ", " + format.Count(int(e.GetMatchedCount()), "service", "services")
	switch e.GetType() {
	case rollcallv1.EventType_EVENT_TYPE_OVERRIDE_SET:
		end := "without end"
		if t := e.GetExpireTime(); t != nil {
			end = "until " + Clock(now, t)
		}
		return "override " + e.GetStatus().String() + " " + end + services
	case rollcallv1.EventType_EVENT_TYPE_OVERRIDE_CLEARED:
		return "override cleared" + services
	case rollcallv1.EventType_EVENT_TYPE_OVERRIDE_EXPIRED:
		return "override ended" + services
	case rollcallv1.EventType_EVENT_TYPE_RULE_SET:
		return fmt.Sprintf("rule %s: %s", format.Printable(e.GetRule().GetName()), Bound(e.GetRule()))
	case rollcallv1.EventType_EVENT_TYPE_RULE_REMOVED:
		return fmt.Sprintf("rule %s removed", format.Printable(e.GetRule().GetName()))
	case rollcallv1.EventType_EVENT_TYPE_LEASE_GRANTED:
		return "lease granted, ttl " + format.Duration(e.GetLease().GetTtl().AsDuration()) + ", then " + LeaseEnd(now, e.GetLease())
	case rollcallv1.EventType_EVENT_TYPE_LEASE_ENDING:
		return "lease ending" + services + ", changed in parts"
	case rollcallv1.EventType_EVENT_TYPE_LEASE_ENDED:
		if t := e.GetLease().GetForgetTime(); t != nil {
			services += ", deleted at " + Clock(now, t)
		}
		return "lease " + howEnded(e.GetLease()) + services
	case rollcallv1.EventType_EVENT_TYPE_LEASE_FORGOTTEN:
		return "lease forgotten" + services
	case rollcallv1.EventType_EVENT_TYPE_LEASE_GUARD:
		return guardChange(e.GetLeaseGuard())
	case rollcallv1.EventType_EVENT_TYPE_ACCESS_CHANGED:
		return accessChange(now, e.GetAccess())
	case rollcallv1.EventType_EVENT_TYPE_MEMBER_CHANGED, rollcallv1.EventType_EVENT_TYPE_MEMBER_REMOVED:
		return memberChange(e)
	}
	return ""
}

// howEnded says how a lease ended: "expired", "revoked"; "ended" if that is not known.
func howEnded(l *rollcallv1.Lease) string {
	switch {
	case l.GetEndTime() == nil:
		return "ended"
	case l.GetRevoked():
		return "revoked"
	}
	return "expired"
}

func guardChange(g *rollcallv1.LeaseGuard) string {
	switch {
	case g.GetEngaged():
		return "lease guard holds leases, " + Late(g)
	case g.GetReleaseTime() != nil:
		return "lease guard released"
	}
	return "lease guard holds no leases"
}

// Subject is what an event is about: a service, a pattern, a lease, an identity or a role; "" if it is of none.
func Subject(e *rollcallv1.Event) string {
	switch e.GetType() {
	case rollcallv1.EventType_EVENT_TYPE_LEASE_GRANTED, rollcallv1.EventType_EVENT_TYPE_LEASE_ENDING,
		rollcallv1.EventType_EVENT_TYPE_LEASE_ENDED, rollcallv1.EventType_EVENT_TYPE_LEASE_FORGOTTEN:
		return e.GetLeaseId()
	case rollcallv1.EventType_EVENT_TYPE_ACCESS_CHANGED:
		return accessSubject(e.GetAccess())
	}
	return cmp.Or(e.GetService(), e.GetPattern())
}

// EventReason is the reason of an event, and the rules that it broke, in one cell.
func EventReason(e *rollcallv1.Event) string {
	var parts []string
	if why := e.GetReason(); why != "" {
		parts = append(parts, format.Printable(why))
	}
	if broken := e.GetBrokenRules(); len(broken) > 0 {
		text := "broke " + Broken(broken, "serve")
		if e.GetType() == rollcallv1.EventType_EVENT_TYPE_RULE_SET {
			text = "broken when it was set: " + Broken(broken, "serve")
		}
		if len(e.GetBreakGlass()) > 0 {
			text += ", as --break-glass allowed"
		}
		parts = append(parts, text)
	}
	return format.OrDash(strings.Join(parts, "; "))
}
