package server

import (
	"strings"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// fakeLayers is Layers.
type fakeLayers struct {
	overrides []*rollcallv1.Override // by pattern
	rules     []*rollcallv1.Rule
}

func (f *fakeRegistry) ListOverrides(after string, limit int, keep func(string) bool) (list []*rollcallv1.Override, more bool, revision int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, o := range f.layers.overrides {
		if o.GetPattern() <= after || keep != nil && !keep(o.GetPattern()) {
			continue
		}
		if len(list) == limit {
			return list, true, f.revision
		}
		list = append(list, o)
	}
	return list, false, f.revision
}

func (f *fakeRegistry) ListRules() (list []*rollcallv1.Rule, revision int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.layers.rules, f.revision
}

// previewRecord is what becomes of a command about an override or a rule. None of a name that begins with
// "missing" exists.
func previewRecord(cmd *logv1.Command, res *logv1.Result) {
	c := cmd.GetRecord()
	if c == nil {
		return
	}
	switch c.GetKind() {
	case logv1.Kind_KIND_TOKEN, logv1.Kind_KIND_ROLE, logv1.Kind_KIND_GRANTS, logv1.Kind_KIND_AUTH:
		previewAccess(cmd, res)
		return
	case logv1.Kind_KIND_MEMBER:
		res.Records = folded(memberCommandOf(cmd)).GetRecords()
		return
	}
	r := &logv1.RecordResult{Kind: c.GetKind(), Changed: true}
	missing := func(name string, allowed bool) {
		if r.Key = name; !strings.HasPrefix(name, "missing") {
			return
		}
		r = nil
		if !allowed {
			res.Refusal = &logv1.Refusal{Reason: logv1.Refusal_REASON_NOT_FOUND, Kind: c.GetKind(), Key: name}
		}
	}
	switch c.GetKind() {
	case logv1.Kind_KIND_OVERRIDE:
		var o logv1.OverrideCommand
		_ = o.UnmarshalVT(c.GetPayload())
		r.Key, r.MatchedCount = o.GetSet().GetPattern(), 3
		r.Value, _ = (&logv1.Override{Status: o.GetSet().GetStatus(), Reason: cmd.GetReason(), Revision: 7, Time: 5, StatusTime: 5, ExpireTime: o.GetSet().GetTtl()}).MarshalVT()
		res.Affected = []*logv1.AffectedService{{Service: "a", Before: 1, After: 2}}
		res.AffectedTotal = 1_001
		if o.GetClear() != nil {
			missing(o.GetClear().GetPattern(), o.GetClear().GetAllowMissing())
		}
	case logv1.Kind_KIND_LEASE, logv1.Kind_KIND_LEASE_GUARD:
		previewLease(cmd, r, missing)
	case logv1.Kind_KIND_RULE:
		var rule logv1.RuleCommand
		_ = rule.UnmarshalVT(c.GetPayload())
		set := rule.GetSet()
		r.Key = set.GetName()
		r.Value, _ = (&logv1.Rule{Pattern: set.GetPattern(), MinServing: set.GetMinServing(), MinPercent: set.GetMinPercent(), Time: 5, Revision: 8}).MarshalVT()
		if rule.GetRemove() != nil {
			missing(rule.GetRemove().GetName(), rule.GetRemove().GetAllowMissing())
		} else if set.GetMinServing() > 1 {
			res.BrokenRules = []*logv1.BrokenRule{{Rule: set.GetName(), Needed: set.GetMinServing(), Serving: 1, Total: 2}}
		}
	}
	if r != nil && res.Refusal == nil {
		res.Records = append(res.Records, r)
	}
}
