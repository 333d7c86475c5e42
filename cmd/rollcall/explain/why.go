package explain

import (
	"fmt"
	"strings"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

// Next is what decides over a service when the override ends that decides now.
type Next struct {
	Override *rollcallv1.Override // nil: the report
	Status   healthpb.HealthCheckResponse_ServingStatus
}

// AfterOverride returns what comes next if nobody changes anything: of the overrides beneath, those that end
// no later than the one that decides are passed over. It is nil if no override decides.
func AfterOverride(rec *rollcallv1.ServiceRecord) *Next {
	decides := rec.GetOverride()
	if decides == nil {
		return nil
	}
	for _, o := range rec.GetShadowed() {
		end := o.GetExpireTime()
		if decides.GetExpireTime() == nil || end == nil || end.AsTime().After(decides.GetExpireTime().AsTime()) {
			return &Next{o, o.GetStatus()}
		}
	}
	return &Next{nil, rec.GetReport().GetStatus()}
}

// EndedNow returns what decides if somebody ends now the override that decides: the one right beneath, or the
// report. It is nil if no override decides.
func EndedNow(rec *rollcallv1.ServiceRecord) *Next {
	switch beneath := rec.GetShadowed(); {
	case rec.GetOverride() == nil:
		return nil
	case len(beneath) > 0:
		return &Next{beneath[0], beneath[0].GetStatus()}
	}
	return &Next{nil, rec.GetReport().GetStatus()}
}

// Why says in sentences, one a line, why a service has its status: which layer decides, who made it, when and
// why, what is beneath, what comes when it ends, which lease the report is attached to, and which of rules cover
// the service and how far they are from broken. guard may be nil.
func Why(now time.Time, rec *rollcallv1.ServiceRecord, guard *rollcallv1.LeaseGuard, rules []*rollcallv1.Rule) []string {
	service := format.Service(rec.GetService())
	lines := []string{fmt.Sprintf("%s is %s%s.", service, rec.GetStatus(), since(now, rec.GetStatusTime()))}
	lines = append(lines, decision(now, rec)...)
	lines = append(lines, beneath(now, rec)...)
	if next := AfterOverride(rec); next != nil {
		lines = append(lines, end(rec, next, "When it ends"))
		// Of those beneath, some may end before it does. Who ends it now gets them.
		if early := EndedNow(rec); early.Override.GetPattern() != next.Override.GetPattern() {
			lines = append(lines, end(rec, early, "If it is ended now"))
		}
	}
	lines = append(lines, underLease(now, rec, guard)...)
	covered := false
	for _, r := range rules {
		if !pattern.Covers(r.GetPattern(), rec.GetService()) {
			continue
		}
		covered = true
		lines = append(lines, RuleOf(r))
	}
	if !covered {
		lines = append(lines, "No rule covers it.")
	}
	return lines
}

// since says from when on something holds.
func since(now time.Time, t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	return fmt.Sprintf(" since %s (%s)", format.Local(t.AsTime(), now.Location()), format.Age(now, t))
}

func decision(now time.Time, rec *rollcallv1.ServiceRecord) []string {
	o := rec.GetOverride()
	if o == nil {
		return []string{"The report decides, no override covers it: " + reported(now, rec.GetReport())}
	}
	line := fmt.Sprintf("%s decides: %s set it to %s at %s", subject(o), who(o.GetActor()), o.GetStatus(), format.Local(o.GetTime().AsTime(), now.Location()))
	return []string{sentence(line, o.GetReason()), ending(now, o)}
}

// subject names an override at the beginning of a sentence.
func subject(o *rollcallv1.Override) string {
	if o.GetPattern() == pattern.Switch {
		return "The switch of the whole registry, override **,"
	}
	return "The override " + format.Printable(o.GetPattern())
}

func ending(now time.Time, o *rollcallv1.Override) string {
	switch end := o.GetExpireTime(); {
	case end == nil:
		return fmt.Sprintf("It has no end: %q ends it.", clearCommand(o))
	case end.AsTime().Before(now):
		return fmt.Sprintf("It was to end at %s; a leader ends it as soon as there is one.", Clock(now, end))
	default:
		return fmt.Sprintf("It ends at %s, in %s; %q ends it now.", Clock(now, end), remaining(end.AsTime().Sub(now)), clearCommand(o))
	}
}

// remaining returns d in its two largest units, without a second one of nothing: "56m", "1h30m".
func remaining(d time.Duration) string {
	text := format.TwoUnits(d.Truncate(time.Second))
	for _, empty := range []string{"m0s", "h0m", "d0h"} {
		if whole, ok := strings.CutSuffix(text, empty); ok {
			return whole + empty[:1]
		}
	}
	return text
}

func clearCommand(o *rollcallv1.Override) string {
	if o.GetPattern() == pattern.Switch {
		return "rollcall resume"
	}
	p := format.Printable(o.GetPattern())
	if strings.Contains(p, "*") {
		p = "'" + p + "'"
	}
	return "rollcall override clear " + p
}

// beneath says what would decide without the override that does.
func beneath(now time.Time, rec *rollcallv1.ServiceRecord) []string {
	if rec.GetOverride() == nil {
		return nil
	}
	var lines []string
	for _, o := range rec.GetShadowed() {
		lines = append(lines, fmt.Sprintf("Beneath it is %s %s%s.", "the override "+format.Printable(o.GetPattern()), o.GetStatus(), authorship(now, o)))
	}
	if rec.GetReport() == nil {
		return lines
	}
	return append(lines, "Beneath it is the report: "+reported(now, rec.GetReport()))
}

func reported(now time.Time, r *rollcallv1.Report) string {
	return sentence(fmt.Sprintf("%s said %s at %s", who(r.GetActor()), r.GetStatus(), format.Local(r.GetTime().AsTime(), now.Location())), r.GetReason())
}

func end(rec *rollcallv1.ServiceRecord, next *Next, when string) string {
	then := "the report decides again"
	if next.Override != nil {
		then = "the override " + format.Printable(next.Override.GetPattern()) + " decides"
	}
	change := "will be " + next.Status.String()
	if next.Status == rec.GetStatus() {
		change = "will still be " + next.Status.String()
	}
	return fmt.Sprintf("%s, %s %s: %s.", when, format.Service(rec.GetService()), change, then)
}

// RuleOf says what a rule asks of the services that it covers, and how far it is from broken.
func RuleOf(r *rollcallv1.Rule) string {
	line := fmt.Sprintf("Rule %s (%s of %s) covers it: %s.", format.Printable(r.GetName()), Bound(r), format.Printable(r.GetPattern()), Distance(r))
	if Spare(r) < 0 {
		line += " What makes it worse is refused."
	}
	return line
}

func who(a *rollcallv1.Actor) string {
	if a.GetName() == "" {
		return "somebody"
	}
	return Actor(a)
}

// sentence ends a line with the reason that somebody gave, if any.
func sentence(line, reason string) string {
	if reason == "" {
		return line + "."
	}
	return line + ": " + format.Printable(reason) + "."
}
