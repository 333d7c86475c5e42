package fsm

import (
	"errors"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/fsm/rules"
)

// ruleKind are the safety rules, by name. state.book counts what they bound.
var ruleKind = &Kind{
	Number:  logv1.Kind_KIND_RULE,
	Name:    "rule",
	Level:   logv1.LevelLayers,
	History: true,
	New:     func() Value { return new(logv1.Rule) },
	Check: func(key string, v Value) error {
		r := v.(*logv1.Rule)
		if bad := limits.RulePattern(r.GetPattern()); bad != nil {
			return bad
		}
		if bad := checkBounds(r.GetMinServing(), r.GetMinPercent()); bad != nil || r.GetRevision() < 1 {
			return errors.New("it is damaged")
		}
		return nil
	},
}

func init() { ruleKind.Evaluate = evaluateRule } // which refers to the kind

// evaluateRule evaluates a logv1.RuleCommand.
func evaluateRule(tx *Tx, payload []byte) *logv1.Refusal {
	var c logv1.RuleCommand
	if c.UnmarshalVT(payload) != nil {
		return invalid("command", logv1.Refusal_PROBLEM_UNKNOWN)
	}
	if _, refusal := tx.s.breakGlass(tx.cmd); refusal != nil {
		return refusal
	}
	switch c := c.GetCommand().(type) {
	case *logv1.RuleCommand_Set:
		return tx.setRule(c.Set)
	case *logv1.RuleCommand_Remove:
		return tx.removeRule(c.Remove)
	}
	return invalid("command", logv1.Refusal_PROBLEM_UNKNOWN)
}

func checkBounds(least int64, percent uint32) *logv1.Refusal {
	switch {
	case least < 0:
		return beyond("min_serving", logv1.Refusal_PROBLEM_TOO_LOW, least, 1)
	case percent > 100:
		return beyond("min_percent", logv1.Refusal_PROBLEM_TOO_HIGH, int64(percent), 100)
	case least == 0 && percent == 0:
		return invalid("min_serving", logv1.Refusal_PROBLEM_REQUIRED)
	}
	return nil
}

func (tx *Tx) setRule(c *logv1.SetRule) *logv1.Refusal {
	name := c.GetName()
	for _, refusal := range [...]*logv1.Refusal{
		textRefusal("name", limits.RuleName(name)),
		textRefusal("pattern", limits.RulePattern(c.GetPattern())),
		checkBounds(c.GetMinServing(), c.GetMinPercent()),
		checkIfRevision(c.IfRevision),
	} {
		if refusal != nil {
			return refusal
		}
	}
	s, p := tx.s, tx.p
	before := s.rule(name)
	if refusal := compareRevision(ruleKind, name, c.IfRevision, before.GetRevision()); refusal != nil {
		return refusal
	}
	if before == nil && s.tables.find(ruleKind).records.Len() >= limits.MaxRules {
		return tooMany("rules", limits.MaxRules)
	}
	r := &logv1.Rule{
		Pattern:        c.GetPattern(),
		MinServing:     c.GetMinServing(),
		MinPercent:     c.GetMinPercent(),
		EnforceReports: c.GetEnforceReports(),
		Reason:         tx.cmd.GetReason(),
		Actor:          tx.cmd.GetActor(),
		Time:           p.time,
		Revision:       p.revision + 1,
		RequestId:      tx.cmd.GetRequestId(),
	}
	if before != nil && before.Pattern == r.Pattern && before.MinServing == r.MinServing && before.MinPercent == r.MinPercent &&
		before.EnforceReports == r.EnforceReports && before.Reason == r.Reason {
		r = before
	}
	s.change(p, ruleKind, name, r, logv1.EventType_EVENT_TYPE_RULE_SET)
	if r != before {
		p.setBook(s.buildBook(name, r))
	}
	if b := (rules.Rule{Name: name, Rule: r}).Broken(p.bookOf(s).Count(r.GetPattern())); b != nil {
		p.layer().broken = []*logv1.BrokenRule{b}
	}
	return nil
}

func (tx *Tx) removeRule(c *logv1.RemoveRule) *logv1.Refusal {
	name := c.GetName()
	if refusal := textRefusal("name", limits.RuleName(name)); refusal != nil {
		return refusal
	}
	if refusal := checkIfRevision(c.IfRevision); refusal != nil {
		return refusal
	}
	s, p := tx.s, tx.p
	before := s.rule(name)
	if refusal := compareRevision(ruleKind, name, c.IfRevision, before.GetRevision()); refusal != nil {
		return refusal
	}
	if before == nil {
		if c.GetAllowMissing() {
			return nil
		}
		return of(logv1.Kind_KIND_RULE, name, &logv1.Refusal{Reason: logv1.Refusal_REASON_NOT_FOUND})
	}
	s.change(p, ruleKind, name, nil, logv1.EventType_EVENT_TYPE_RULE_REMOVED)
	p.setBook(s.buildBook(name, nil))
	return nil
}

// rule returns nil if there is none of the name.
func (s *state) rule(name string) *logv1.Rule {
	r, _ := s.record(ruleKind, name).(*logv1.Rule)
	return r
}

// buildBook returns the book of a state in which a rule is r; nil: there is none of that name. "" is the name of
// no rule.
func (s *state) buildBook(name string, r *logv1.Rule) *rules.Book {
	return rules.Build(s.book, s.allRules(name, r), s.layers, tree{s})
}

// allRules returns the rules of a state in which a rule is r.
func (s *state) allRules(name string, r *logv1.Rule) (all []rules.Rule) {
	s.tables.find(ruleKind).records.Scan(func(key string, v Value) bool {
		if key != name {
			all = append(all, rules.Rule{Name: key, Rule: v.(*logv1.Rule)})
		}
		return true
	})
	if r != nil {
		all = append(all, rules.Rule{Name: name, Rule: r})
	}
	return all
}
