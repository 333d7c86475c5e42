package convert

import (
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// Affected are the services whose effective status a command about an override would change; none if the
// command was not only tried.
func Affected(r *logv1.Result) []*rollcallv1.AffectedService {
	var all []*rollcallv1.AffectedService
	for _, a := range r.GetAffected() {
		all = append(all, &rollcallv1.AffectedService{Service: a.GetService(), Before: Status(a.GetBefore()), After: Status(a.GetAfter())})
	}
	return all
}

// RuleResult is the rule that a command set, with what it counts if it is broken.
func RuleResult(name string, r *logv1.Rule, broken []*logv1.BrokenRule) *rollcallv1.Rule {
	rule := Rule(name, r)
	for _, b := range broken {
		if b.GetRule() == name {
			rule.Needed, rule.Serving, rule.Total = b.GetNeeded(), b.GetServing(), b.GetTotal()
		}
	}
	return rule
}
