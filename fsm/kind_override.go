package fsm

import (
	"cmp"
	"errors"
	"slices"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	"github.com/rollcallhq/rollcall/fsm/layers"
)

// overrideKind are the overrides, by pattern. state.layers is their index. One that has ended stays until the
// horizon passes its end: it says since when what it covered is as it is.
var overrideKind = &Kind{
	Number:  logv1.Kind_KIND_OVERRIDE,
	Name:    "override",
	Level:   logv1.LevelLayers,
	History: true,
	New:     func() Value { return new(logv1.Override) },
	Check: func(key string, v Value) error {
		o := v.(*logv1.Override)
		switch bad := limits.Pattern(key); {
		case bad != nil:
			return bad
		case !isReport(o.GetStatus()) || o.GetRevision() < 1 || o.GetTime() < o.GetStatusTime():
			return errors.New("it is damaged")
		case o.GetEndedRevision() == 0 && o.GetEndedTime() != 0:
			return errors.New("it is damaged: only half of its end is there")
		}
		return nil
	},
}

func init() { overrideKind.Evaluate = evaluateOverride } // which refers to the kind

// evaluateOverride evaluates a logv1.OverrideCommand.
func evaluateOverride(tx *Tx, payload []byte) *logv1.Refusal {
	var c logv1.OverrideCommand
	if c.UnmarshalVT(payload) != nil {
		return invalid("command", logv1.Refusal_PROBLEM_UNKNOWN)
	}
	switch c := c.GetCommand().(type) {
	case *logv1.OverrideCommand_Set:
		return tx.setOverride(c.Set)
	case *logv1.OverrideCommand_Clear:
		return tx.clearOverride(c.Clear)
	}
	return invalid("command", logv1.Refusal_PROBLEM_UNKNOWN)
}

func checkSetOverride(c *logv1.SetOverride) *logv1.Refusal {
	if refusal := checkPattern(c.GetPattern(), c.IfRevision); refusal != nil {
		return refusal
	}
	if st := c.GetStatus(); !isReport(st) {
		r := invalid("status", logv1.Refusal_PROBLEM_UNKNOWN)
		r.Value = int64(st)
		return r
	}
	switch ttl := c.GetTtl(); {
	case ttl == 0:
	case ttl < int64(limits.MinOverrideTTL):
		return beyond("ttl", logv1.Refusal_PROBLEM_TOO_LOW, ttl, int64(limits.MinOverrideTTL))
	case ttl > int64(limits.MaxOverrideTTL):
		return beyond("ttl", logv1.Refusal_PROBLEM_TOO_HIGH, ttl, int64(limits.MaxOverrideTTL))
	}
	return nil
}

func checkPattern(p string, ifRevision *int64) *logv1.Refusal {
	if refusal := textRefusal("pattern", limits.Pattern(p)); refusal != nil {
		return refusal
	}
	return checkIfRevision(ifRevision)
}

func checkIfRevision(r *int64) *logv1.Refusal {
	if r != nil && *r < 0 {
		return beyond("if_revision", logv1.Refusal_PROBLEM_TOO_LOW, *r, 0)
	}
	return nil
}

// compareRevision refuses a command that expects another revision of a record; 0: that there is none.
func compareRevision(kind *Kind, key string, asked *int64, current int64) *logv1.Refusal {
	if asked == nil || *asked == current {
		return nil
	}
	return of(kind.Number, key, &logv1.Refusal{
		Reason: logv1.Refusal_REASON_REVISION_MISMATCH, Value: *asked, CurrentRevision: current,
	})
}

func tooMany(field string, limit int) *logv1.Refusal {
	return &logv1.Refusal{Reason: logv1.Refusal_REASON_LIMIT, Field: field, Limit: int64(limit)}
}

func (tx *Tx) setOverride(c *logv1.SetOverride) *logv1.Refusal {
	if refusal := checkSetOverride(c); refusal != nil {
		return refusal
	}
	glass, refusal := tx.s.breakGlass(tx.cmd)
	if refusal != nil {
		return refusal
	}
	key, s, p := c.GetPattern(), tx.s, tx.p
	before := s.layers.Find(key)
	var revision int64
	if before != nil {
		revision = before.GetRevision()
	}
	if refusal := compareRevision(overrideKind, key, c.IfRevision, revision); refusal != nil {
		return refusal
	}
	if before == nil {
		if s.layers.Live() >= limits.MaxOverrides {
			return tooMany("overrides", limits.MaxOverrides)
		}
		if prefix, many := pattern.Prefix(key); many && prefix != "" && s.layers.LivePrefixes() >= limits.MaxPrefixOverrides {
			return tooMany("prefix_overrides", limits.MaxPrefixOverrides)
		}
	}
	if before != nil && before.GetStatus() == c.GetStatus() && before.GetReason() == tx.cmd.GetReason() &&
		before.GetExpireTime() == 0 && c.GetTtl() == 0 {
		s.changeOverride(p, key, before.Override, logv1.EventType_EVENT_TYPE_OVERRIDE_SET)
		return nil
	}
	o := &logv1.Override{
		Status:     c.GetStatus(),
		StatusTime: p.time,
		Reason:     tx.cmd.GetReason(),
		Actor:      tx.cmd.GetActor(),
		Time:       p.time,
		Revision:   p.revision + 1,
		RequestId:  tx.cmd.GetRequestId(),
	}
	if before != nil && before.GetStatus() == o.Status {
		o.StatusTime = before.GetStatusTime()
	}
	if c.GetTtl() > 0 {
		o.ExpireTime = p.time + c.GetTtl()
	}
	s.changeOverride(p, key, o, logv1.EventType_EVENT_TYPE_OVERRIDE_SET)
	return p.checkRules(s, glass, false)
}

func (tx *Tx) clearOverride(c *logv1.ClearOverride) *logv1.Refusal {
	if refusal := checkPattern(c.GetPattern(), c.IfRevision); refusal != nil {
		return refusal
	}
	glass, refusal := tx.s.breakGlass(tx.cmd)
	if refusal != nil {
		return refusal
	}
	key, s, p := c.GetPattern(), tx.s, tx.p
	before := s.layers.Find(key)
	var revision int64
	if before != nil {
		revision = before.GetRevision()
	}
	if refusal := compareRevision(overrideKind, key, c.IfRevision, revision); refusal != nil {
		return refusal
	}
	if before == nil {
		if c.GetAllowMissing() {
			return nil
		}
		return of(logv1.Kind_KIND_OVERRIDE, key, &logv1.Refusal{Reason: logv1.Refusal_REASON_NOT_FOUND})
	}
	s.endOverride(p, before, logv1.EventType_EVENT_TYPE_OVERRIDE_CLEARED)
	s.tidyEnded(p)
	return p.checkRules(s, glass, false)
}

// endOverride adds to p that an override ends.
func (s *state) endOverride(p *plan, o *layers.Override, event logv1.EventType) {
	ended := &logv1.Override{
		Status:        o.GetStatus(),
		StatusTime:    o.GetStatusTime(),
		ExpireTime:    o.GetExpireTime(),
		EndedTime:     p.time,
		EndedRevision: p.revision + 1,
		Reason:        o.GetReason(),
		Actor:         o.GetActor(),
		Time:          o.GetTime(),
		Revision:      o.GetRevision(),
		RequestId:     o.GetRequestId(),
	}
	s.changeOverride(p, o.Pattern, ended, event)
}

// tidyEnded adds to p what is not kept any more when overrides have ended. It is called once for all that end in
// one command.
func (s *state) tidyEnded(p *plan) {
	l := p.layering()
	if len(l.patterns) == 0 {
		return
	}
	p.setBook(p.bookOf(s).Tidy(l.patterns, l.layers, tree{s}))
	s.dropTooMany(p)
}

// changeOverride adds to p that an override becomes o, with what that does to the layers and to what the rules
// count.
func (s *state) changeOverride(p *plan, key string, o *logv1.Override, event logv1.EventType) {
	s.change(p, overrideKind, key, o, event)
	c := &p.changes[len(p.changes)-1]
	c.matched, c.ends = s.matched(key), o.GetEndedRevision() != 0
	if !c.changed() {
		return
	}
	before, _ := p.layersOf(s)
	after := before.With(layers.NewOverride(key, o))
	p.setLayers(after, key)
	p.setBook(p.bookOf(s).Override(before, after, key, tree{s}))
}

// dropTooMany drops those that ended first, a tenth of them at a time, when too many are kept.
func (s *state) dropTooMany(p *plan) {
	l, _ := p.layersOf(s)
	if l.Ended() <= limits.MaxEndedOverrides {
		return
	}
	ended := s.endedOverrides(func(o *logv1.Override) bool { return true })
	slices.SortFunc(ended, func(a, b endedOverride) int { return cmp.Compare(a.revision, b.revision) })
	for _, o := range ended[:limits.MaxEndedOverrides/10] {
		s.drop(p, o.key)
	}
}

type endedOverride struct {
	key      string
	revision int64
}

// endedOverrides returns those of the state that have ended and for which want returns true.
func (s *state) endedOverrides(want func(*logv1.Override) bool) (ended []endedOverride) {
	s.tables.find(overrideKind).records.Scan(func(key string, v Value) bool {
		if o := v.(*logv1.Override); o.GetEndedRevision() != 0 && want(o) {
			ended = append(ended, endedOverride{key, o.GetEndedRevision()})
		}
		return true
	})
	return ended
}

// drop adds to p that an override which has ended is not kept any more. That is no event.
func (s *state) drop(p *plan, key string) {
	if _, again := p.newest[recordKey{overrideKind.Number, key}]; again {
		return
	}
	l := p.layer()
	l.dropped = append(l.dropped, key)
}

// dropPassed drops those that ended before the horizon.
func (s *state) dropPassed(p *plan, horizon int64) {
	if s.layers.Ended() == 0 {
		return
	}
	for _, o := range s.endedOverrides(func(o *logv1.Override) bool { return o.GetEndedRevision() < horizon }) {
		s.drop(p, o.key)
	}
}

// evaluateExpire ends what has run out. What the leader saw otherwise is left alone. Rules do not bind it: what
// it breaks stands in its first event.
func (s *state) evaluateExpire(p *plan, cmd *logv1.Command, e *logv1.Expire) {
	if p.refusal = s.checkTerm(e.GetTerm()); p.refusal != nil {
		return
	}
	if len(e.GetLeases())+len(e.GetForgottenLeases()) > 0 {
		if len(e.GetOverrides()) > 0 {
			p.refusal = invalid("overrides", logv1.Refusal_PROBLEM_CONFLICT)
			return
		}
		tried := plan{revision: p.revision, time: p.time} // so that the plans of all other commands stay on the stack
		s.expireLeases(&tried, cmd, e)
		*p = tried
		return
	}
	for _, x := range e.GetOverrides() {
		l, _ := p.layersOf(s)
		o := l.Find(x.GetPattern())
		if o == nil || o.GetRevision() != x.GetRevision() || o.GetExpireTime() == 0 || p.time < o.GetExpireTime() {
			continue
		}
		s.endOverride(p, o, logv1.EventType_EVENT_TYPE_OVERRIDE_EXPIRED)
	}
	s.tidyEnded(p)
	_ = p.checkRules(s, anyRule, false)
}
