package fsm

import (
	"github.com/rollcallhq/rollcall/api/rollcall/convert"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/fsm/layers"
	"github.com/rollcallhq/rollcall/fsm/rules"
)

// ListOverrides returns at most limit (at least 1) of the overrides that have not ended and that keep says to keep
// (nil: all), by pattern and of one cut, whose patterns come after the pattern after; whether there are more; and the
// revision of the cut.
func (f *FSM) ListOverrides(after string, limit int, keep func(pattern string) bool) (list []*rollcallv1.Override, more bool, revision int64) {
	v := f.view.Load()
	limit = max(limit, 1)
	v.tables.find(overrideKind).records.Ascend(after, func(key string, r Value) bool {
		o := r.(*logv1.Override)
		if key == after || o.GetEndedRevision() != 0 || keep != nil && !keep(key) {
			return true
		}
		if more = len(list) == limit; !more {
			list = append(list, convert.Override(key, o))
		}
		return !more
	})
	return list, more, v.revision
}

// DueOverrides returns at most limit of the overrides that are to end at or before now, by the cluster's clock in
// nanoseconds since 1970.
func (f *FSM) DueOverrides(now int64, limit int) (due []*logv1.ExpiredOverride) {
	f.view.Load().layers.Scan(func(o *layers.Override) bool {
		if at := o.GetExpireTime(); at != 0 && at <= now {
			due = append(due, &logv1.ExpiredOverride{Pattern: o.Pattern, Revision: o.GetRevision()})
		}
		return len(due) < limit
	})
	return due
}

// ListRules returns all rules, by name, with what they count now, and the revision of that cut.
func (f *FSM) ListRules() (list []*rollcallv1.Rule, revision int64) {
	v := f.view.Load()
	v.tables.find(ruleKind).records.Scan(func(name string, r Value) bool {
		list = append(list, v.countedRule(name, r.(*logv1.Rule)))
		return true
	})
	return list, v.revision
}

func (v *view) countedRule(name string, r *logv1.Rule) *rollcallv1.Rule {
	now := v.book.Count(r.GetPattern())
	p := convert.Rule(name, r)
	p.Needed, p.Serving, p.Total = rules.Rule{Name: name, Rule: r}.Needed(now.Total), now.Serving, now.Total
	return p
}

// affected are the services whose effective status a command would change.
type affected struct {
	first []*logv1.AffectedService
	total int64
}

// maxAffected is how many of them a preview names.
const maxAffected = 1000

// affects returns the services whose effective status p, which was evaluated against v, would change by a change
// of overrides. It looks at all that they cover, so it is not for the fold.
func (v *view) affects(p *plan) (found affected) {
	for _, key := range p.layering().patterns {
		from, to := pattern.Range(key)
		tree{&v.state}.Scan(from, to, func(name string, reported servingStatus) {
			before, after := reported, reported
			if o := v.layers.Decides(name); o != nil {
				before = o.Says()
			}
			if o := p.layered.layers.Decides(name); o != nil {
				after = o.Says()
			}
			if before == after {
				return
			}
			if found.total++; len(found.first) < maxAffected {
				found.first = append(found.first, &logv1.AffectedService{Service: name, Before: logv1.Status(before), After: logv1.Status(after)})
			}
		})
	}
	return found
}
