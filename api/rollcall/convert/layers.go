package convert

import (
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// Override returns the override of a pattern; nil for nil.
func Override(pattern string, o *logv1.Override) *rollcallv1.Override {
	if o == nil {
		return nil
	}
	return &rollcallv1.Override{
		Pattern:    pattern,
		Status:     Status(o.GetStatus()),
		StatusTime: Timestamp(o.GetStatusTime()),
		Reason:     o.GetReason(),
		Actor:      actorOf(o.GetActor()),
		Time:       Timestamp(o.GetTime()),
		Revision:   o.GetRevision(),
		ExpireTime: Timestamp(o.GetExpireTime()),
	}
}

// Rule returns the rule of a name, without what it counts; nil for nil.
func Rule(name string, r *logv1.Rule) *rollcallv1.Rule {
	if r == nil {
		return nil
	}
	return &rollcallv1.Rule{
		Name:           name,
		Pattern:        r.GetPattern(),
		MinServing:     r.GetMinServing(),
		MinPercent:     int32(r.GetMinPercent()),
		EnforceReports: r.GetEnforceReports(),
		Reason:         r.GetReason(),
		Actor:          actorOf(r.GetActor()),
		Time:           Timestamp(r.GetTime()),
		Revision:       r.GetRevision(),
	}
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

// BrokenRules are the rules that a change broke, or would break.
func BrokenRules(broken []*logv1.BrokenRule) []*rollcallv1.BrokenRule {
	if len(broken) == 0 {
		return nil
	}
	all := make([]*rollcallv1.BrokenRule, len(broken))
	for i, b := range broken {
		all[i] = &rollcallv1.BrokenRule{Rule: b.GetRule(), Pattern: b.GetPattern(), Needed: b.GetNeeded(), Serving: b.GetServing(), Total: b.GetTotal()}
	}
	return all
}

// Affected are the services whose effective status a change of an override would change.
func Affected(affected []*logv1.AffectedService) []*rollcallv1.AffectedService {
	if len(affected) == 0 {
		return nil
	}
	all := make([]*rollcallv1.AffectedService, len(affected))
	for i, a := range affected {
		all[i] = &rollcallv1.AffectedService{Service: a.GetService(), Before: Status(a.GetBefore()), After: Status(a.GetAfter())}
	}
	return all
}

// overrideEvent adds what an event of an override says.
func overrideEvent(p *rollcallv1.Event, e *logv1.Event) {
	p.Pattern = e.GetKey()
	var o logv1.Override
	if err := o.UnmarshalVT(e.GetAfter()); err != nil {
		return // a newer binary's; its pattern is known all the same
	}
	p.Status = Status(o.GetStatus())
	if e.GetEnds() {
		return
	}
	p.ExpireTime = Timestamp(o.GetExpireTime())
}

// ruleEvent adds what an event of a rule says.
func ruleEvent(p *rollcallv1.Event, e *logv1.Event) {
	p.Rule = &rollcallv1.Rule{Name: e.GetKey()}
	var r logv1.Rule
	if err := r.UnmarshalVT(e.GetAfter()); err != nil || e.GetDeletes() {
		return
	}
	p.Rule = Rule(e.GetKey(), &r)
	p.Pattern = r.GetPattern()
}
