package explain

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

// Until says when an override ends: "until 15:46", "without end". Times are in the zone of now.
func Until(now time.Time, o *rollcallv1.Override) string {
	end := o.GetExpireTime()
	switch {
	case end == nil:
		return "without end"
	case end.AsTime().Before(now):
		// The leader ends it; without one it goes on.
		return "overdue since " + Clock(now, end)
	}
	return "until " + Clock(now, end)
}

// Clock returns a time for people, in the zone of now: without the date if that is today's, and with seconds
// if it is near.
func Clock(now time.Time, t *timestamppb.Timestamp) string {
	const near = 10 * time.Minute
	at := t.AsTime().In(now.Location())
	layout := "15:04"
	if at.Sub(now).Abs() < near {
		layout = time.TimeOnly
	}
	if at.Format(time.DateOnly) != now.Format(time.DateOnly) {
		layout = time.DateOnly + " " + layout
	}
	return at.Format(layout)
}

// Override names an override, who set it, when it ends and why: "override shop/* by ann until 15:46: disk swap".
func Override(now time.Time, o *rollcallv1.Override) string {
	return "override " + format.Printable(o.GetPattern()) + authorship(now, o)
}

// authorship is what follows the pattern in Override: " by ann until 15:46: disk swap".
func authorship(now time.Time, o *rollcallv1.Override) string {
	text := by(o.GetActor()) + " " + Until(now, o)
	if why := o.GetReason(); why != "" {
		text += ": " + format.Printable(why)
	}
	return text
}

func by(actor *rollcallv1.Actor) string {
	if actor.GetName() == "" {
		return ""
	}
	return " by " + Actor(actor)
}

// Status is the effective status of a service, with a star if an override decides.
func Status(rec *rollcallv1.ServiceRecord) string {
	if rec.GetOverride() == nil {
		return rec.GetStatus().String()
	}
	return rec.GetStatus().String() + "*"
}

// Reason says why a service has its effective status, in one cell: the reporter's reason, or the override that
// decides and what is reported beneath it.
func Reason(now time.Time, rec *rollcallv1.ServiceRecord) string {
	o := rec.GetOverride()
	if o == nil {
		return format.OrDash(rec.GetReport().GetReason())
	}
	return fmt.Sprintf("%s (reports %s)", Override(now, o), rec.GetReport().GetStatus())
}

// Beneath names the override that decided and what was reported beneath it: "override shop/*: disk swap (reports
// SERVING)".
func Beneath(o *rollcallv1.Override, beneath *rollcallv1.Report) string {
	text := "override " + format.Printable(o.GetPattern())
	if why := o.GetReason(); why != "" {
		text += ": " + format.Printable(why)
	}
	return fmt.Sprintf("%s (reports %s)", text, beneath.GetStatus())
}
