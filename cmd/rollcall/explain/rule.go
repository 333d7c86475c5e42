package explain

import (
	"fmt"
	"strings"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

// Bound says what a rule asks for: "at least 2", "at least 50 %".
func Bound(r *rollcallv1.Rule) string {
	var bounds []string
	if n := r.GetMinServing(); n > 0 {
		bounds = append(bounds, fmt.Sprint(n))
	}
	if p := r.GetMinPercent(); p > 0 {
		bounds = append(bounds, fmt.Sprintf("%d %%", p))
	}
	return "at least " + strings.Join(bounds, " and ")
}

// Spare is how many services of a rule's pattern may stop before it is broken; negative: so many too few are
// SERVING.
func Spare(r *rollcallv1.Rule) int64 { return r.GetServing() - r.GetNeeded() }

// Counted says that a rule tells how many services it needs and how many are SERVING. A caller who may not read all
// that its pattern covers is not told.
func Counted(r *rollcallv1.Rule) bool { return r.GetNeeded() >= r.GetMinServing() }

// Distance says how far a rule is from broken: "2 of 3 are SERVING, 1 more may stop".
func Distance(r *rollcallv1.Rule) string {
	if !Counted(r) {
		return "how many are SERVING is not shown to this caller"
	}
	count := fmt.Sprintf("%d of %d %s SERVING", r.GetServing(), r.GetTotal(), are(r.GetServing()))
	switch spare := Spare(r); {
	case spare < 0:
		return fmt.Sprintf("broken: %s, %d too few", count, -spare)
	case spare == 0:
		return count + ", none may stop"
	default:
		return fmt.Sprintf("%s, %d more may stop", count, spare)
	}
}

func are(n int64) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

// Broken says which rules a change breaks, or would break: "breaks pay-min (shop/pay/*: 1 needed, 0 of 3 would
// serve)". serve is "would serve" or "serve".
func Broken(rules []*rollcallv1.BrokenRule, serve string) string {
	list := make([]string, len(rules))
	for i, r := range rules {
		list[i] = fmt.Sprintf("%s (%s: %d needed, %d of %d %s)", format.Printable(r.GetRule()), format.Printable(r.GetPattern()),
			r.GetNeeded(), r.GetServing(), r.GetTotal(), serve)
	}
	return strings.Join(list, ", ")
}

// Names are those of the rules, as --break-glass takes them.
func Names(rules []*rollcallv1.BrokenRule) string {
	names := make([]string, len(rules))
	for i, r := range rules {
		names[i] = format.Printable(r.GetRule())
	}
	return strings.Join(names, ",")
}
