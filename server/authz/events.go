package authz

import (
	"slices"

	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/fsm/access"
)

// SeesAllEvents says that no event is kept from the reader, nor a part of one.
func (r *Reader) SeesAllEvents() bool { return r.Whole() && r.May(access.Auth) }

// Sees says that the reader is shown an event: one of a service that it may read, of an override or a rule whose pattern
// meets what it may read, or of a lease that it granted. Events about access are shown to who has the verb auth over
// everything. What else there is, and kinds that this node does not know, are shown to who may read everything; those of
// the nodes and of the lease guard also to who may read the state of the cluster.
func (r *Reader) Sees(e *logv1.Event) bool {
	switch e.GetKind() {
	case logv1.Kind_KIND_TOKEN, logv1.Kind_KIND_ROLE, logv1.Kind_KIND_GRANTS, logv1.Kind_KIND_AUTH:
		return r.May(access.Auth)
	case logv1.Kind_KIND_SERVICE:
		return r.Allows(e.GetKey())
	case logv1.Kind_KIND_OVERRIDE:
		return r.Meets(e.GetKey())
	}
	if r.Whole() {
		return true
	}
	switch e.GetKind() {
	case logv1.Kind_KIND_RULE:
		var rule logv1.Rule
		return rule.UnmarshalVT(e.GetAfter()) == nil && rule.GetPattern() != "" && r.Meets(rule.GetPattern())
	case logv1.Kind_KIND_LEASE:
		var lease logv1.Lease
		return r.did(e.GetActor()) && e.GetType() == logv1.EventType_EVENT_TYPE_LEASE_GRANTED ||
			lease.UnmarshalVT(e.GetAfter()) == nil && r.did(lease.GetActor())
	case logv1.Kind_KIND_MEMBER, logv1.Kind_KIND_REMOVED_MEMBER, logv1.Kind_KIND_LEASE_GUARD:
		return r.May(access.Status)
	}
	return false
}

// Redact takes from an event that the reader sees what tells of services that it may not read: how many there are, and
// rules that count them.
func (r *Reader) Redact(p *rollcallv1.Event) {
	if r.Whole() {
		return
	}
	switch {
	case p.GetPattern() != "" && !r.Covers(p.GetPattern()), p.GetLease() != nil:
		p.MatchedCount = 0
	}
	p.BrokenRules = slices.DeleteFunc(p.BrokenRules, func(b *rollcallv1.BrokenRule) bool { return !r.Covers(b.GetPattern()) })
	p.BreakGlass = slices.DeleteFunc(slices.Clone(p.BreakGlass), func(rule string) bool {
		return rule != "*" && !slices.ContainsFunc(p.BrokenRules, func(b *rollcallv1.BrokenRule) bool { return b.GetRule() == rule })
	})
}

// Rules returns the rules whose pattern meets what the reader may read. It leaves out what a rule counts, unless the
// reader may read all that it counts.
func (r *Reader) Rules(all []*rollcallv1.Rule) []*rollcallv1.Rule {
	if r.Whole() {
		return all
	}
	var shown []*rollcallv1.Rule
	for _, rule := range all {
		switch {
		case r.Covers(rule.GetPattern()):
			shown = append(shown, rule)
		case r.Meets(rule.GetPattern()):
			rule = proto.CloneOf(rule)
			rule.Needed, rule.Serving, rule.Total = 0, 0, 0
			shown = append(shown, rule)
		}
	}
	return shown
}

// RedactGuard takes the counts of leases from the lease guard, unless the reader may read everything or the state of the
// cluster. guard may be nil.
func (r *Reader) RedactGuard(guard *rollcallv1.LeaseGuard) {
	if guard != nil && !r.Whole() && !r.May(access.Status) {
		guard.Late, guard.Live = 0, 0
	}
}
