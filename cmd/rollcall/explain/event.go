package explain

import (
	"fmt"
	"strings"
	"time"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

// Change says what an event of an override or a rule changed: "override NOT_SERVING until 15:46, 3 services",
// "rule pay-min: at least 1". It is "" for events of other types.
func Change(now time.Time, e *rollcallv1.Event) string {
	covered := ", " + format.Count(int(e.GetMatchedCount()), "service", "services")
	switch e.GetType() {
	case rollcallv1.EventType_EVENT_TYPE_OVERRIDE_SET:
		end := "without end"
		if t := e.GetExpireTime(); t != nil {
			end = "until " + Clock(now, t)
		}
		return "override " + e.GetStatus().String() + " " + end + covered
	case rollcallv1.EventType_EVENT_TYPE_OVERRIDE_CLEARED:
		return "override cleared" + covered
	case rollcallv1.EventType_EVENT_TYPE_OVERRIDE_EXPIRED:
		return "override ended" + covered
	case rollcallv1.EventType_EVENT_TYPE_RULE_SET:
		return fmt.Sprintf("rule %s: %s", format.Printable(e.GetRule().GetName()), Bound(e.GetRule()))
	case rollcallv1.EventType_EVENT_TYPE_RULE_REMOVED:
		return fmt.Sprintf("rule %s removed", format.Printable(e.GetRule().GetName()))
	}
	return ""
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
