package fsm

import (
	"fmt"
	"slices"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// outcome is what one change of a Write comes to.
type outcome struct {
	name   string
	before *record // nil: did not exist
	after  *record // nil: does not exist; the same as before: nothing changes
}

func (o *outcome) changed() bool { return o.before != o.after }

// plan is what a command would do to a state. It holds no protos but those the command came with,
// and the refusal.
type plan struct {
	revision  int64 // the registry's afterwards
	time      int64 // log time of the command
	outcomes  []outcome
	member    *logv1.Member // to be stored; nil: none
	moved     bool          // the member is an event, not only a new version
	clusterID string        // to be taken; "": none
	limits    requestLimits // of the request ids, to be taken; zero: none
	horizon   int64         // to be taken; 0: none
	level     uint32        // to be taken; 0: none
	refusal   *logv1.Refusal
}

// admit looks at a whole entry before any of it takes effect. maxLevel is the highest level that this
// binary can fold. The error means that this node cannot go on: it must not apply half an entry, nor
// skip one.
func (s *state) admit(e *logv1.Entry, maxLevel uint32) error {
	if level := logv1.LevelOf(e.GetLevel()); level > maxLevel {
		return &LevelError{Needs: level, Max: maxLevel}
	}
	clusterID := s.clusterID
	for i, cmd := range e.GetCommands() {
		switch kind := cmd.GetKind().(type) {
		case *logv1.Command_Write, *logv1.Command_AnnounceMember, *logv1.Command_Compact:
		case *logv1.Command_RaiseLevel:
			if level := kind.RaiseLevel.GetLevel(); level > maxLevel {
				return fmt.Errorf("command %d: %w", i, &LevelError{Needs: level, Max: maxLevel})
			}
		case *logv1.Command_TermStart:
			id := kind.TermStart.GetClusterId()
			if id != "" && clusterID != "" && id != clusterID {
				return fmt.Errorf("command %d: a leader of cluster %s in the log of cluster %s", i, id, clusterID)
			}
			if clusterID == "" {
				clusterID = id
			}
		default:
			return fmt.Errorf("command %d is of a kind this binary does not know; a newer one wrote it", i)
		}
	}
	return nil
}

// evaluate says what cmd would do at log time now, and changes nothing.
func (s *state) evaluate(cmd *logv1.Command, now int64) plan {
	p := plan{revision: s.revision, time: now}
	switch kind := cmd.GetKind().(type) {
	case *logv1.Command_Write:
		if p.refusal = checkCaller(cmd); p.refusal == nil {
			p.refusal = checkWrite(kind.Write)
		}
		if p.refusal == nil {
			s.evaluateWrite(&p, cmd, kind.Write)
		}
	case *logv1.Command_AnnounceMember:
		if p.refusal = checkCaller(cmd); p.refusal == nil {
			p.refusal = checkMember(kind.AnnounceMember.GetMember())
		}
		if p.refusal == nil {
			s.evaluateAnnounce(&p, kind.AnnounceMember.GetMember())
		}
	case *logv1.Command_Compact:
		if p.refusal = checkCaller(cmd); p.refusal == nil {
			s.evaluateCompact(&p, kind.Compact)
		}
	case *logv1.Command_RaiseLevel:
		if p.refusal = checkCaller(cmd); p.refusal == nil {
			s.evaluateRaise(&p, kind.RaiseLevel)
		}
	case *logv1.Command_TermStart:
		if s.clusterID == "" {
			p.clusterID = kind.TermStart.GetClusterId()
		}
		// A preview has no table, and shows no limits.
		if s.requests != nil {
			if l := s.requests.limitsOf(kind.TermStart); l != s.requests.limits {
				p.limits = l
			}
		}
	default:
		// Only a preview comes this far with one: admit halts the fold.
		p.refusal = invalid("command", logv1.Refusal_PROBLEM_UNKNOWN)
	}
	return p
}

func (s *state) evaluateWrite(p *plan, cmd *logv1.Command, w *logv1.Write) {
	found := s.found
	if found == nil {
		found = &finder{}
	}
	var why *cause // of the change before
	revision := s.revision
	p.outcomes = make([]outcome, 0, len(w.GetChanges()))
	for _, c := range w.GetChanges() {
		before := found.get(s.services, c.GetService())
		if refusal := checkPreconditions(c, before); refusal != nil {
			p.outcomes, p.refusal = nil, refusal
			return
		}
		o := outcome{name: c.GetService(), before: before, after: before}
		if before != nil {
			o.name = before.name // keep one copy of the string
		}
		switch {
		case c.GetStatus() == logv1.Status_STATUS_SERVICE_UNKNOWN:
			o.after = nil
			if before != nil {
				revision++
			}
		case !before.holds(cmd, c):
			revision++
			if why == nil || why.leaseID != c.GetLeaseId() {
				why = newCause(cmd, c.GetLeaseId(), p.time)
			}
			o.after = &record{
				name:       o.name,
				cause:      why,
				revision:   revision,
				statusTime: p.time,
				status:     servingStatus(c.GetStatus()),
			}
			if before != nil && before.status == o.after.status {
				o.after.statusTime = before.statusTime
			}
		}
		p.outcomes = append(p.outcomes, o)
	}
	p.revision = revision
}

// holds says whether c would set what r already says; r may be nil.
func (r *record) holds(cmd *logv1.Command, c *logv1.Change) bool {
	return r != nil && r.status == servingStatus(c.GetStatus()) &&
		r.cause.reason == cmd.GetReason() && r.cause.leaseID == c.GetLeaseId()
}

// checkPreconditions compares c with what is there. A revision that differs is refused even if
// the change would change nothing: who compares wants to know.
func checkPreconditions(c *logv1.Change, before *record) *logv1.Refusal {
	if c.IfRevision != nil {
		asked, current := c.GetIfRevision(), int64(0)
		if before != nil {
			current = before.revision
		}
		if asked != current {
			return &logv1.Refusal{
				Reason:          logv1.Refusal_REASON_REVISION_MISMATCH,
				Kind:            logv1.Kind_KIND_SERVICE,
				Key:             c.GetService(),
				Value:           asked,
				CurrentRevision: current,
			}
		}
	}
	if before == nil && c.GetMustExist() && c.GetStatus() == logv1.Status_STATUS_SERVICE_UNKNOWN {
		return of(logv1.Kind_KIND_SERVICE, c.GetService(), &logv1.Refusal{Reason: logv1.Refusal_REASON_NOT_FOUND})
	}
	return nil
}

func (s *state) evaluateAnnounce(p *plan, m *logv1.Member) {
	known, ok := s.members[m.GetName()]
	if ok && known.GetDirectoryId() != "" && known.GetDirectoryId() != m.GetDirectoryId() {
		p.refusal = of(logv1.Kind_KIND_MEMBER, m.GetName(), invalid("member.directory_id", logv1.Refusal_PROBLEM_CONFLICT))
		p.refusal.Given, p.refusal.Held = m.GetDirectoryId(), known.GetDirectoryId()
		return
	}
	if level := logv1.LevelOf(m.GetLevel()); level < s.level {
		p.refusal = of(logv1.Kind_KIND_MEMBER, m.GetName(), beyond("member.level", logv1.Refusal_PROBLEM_TOO_LOW, int64(level), int64(s.level)))
		return
	}
	p.moved = !ok ||
		known.GetApiAddress() != m.GetApiAddress() ||
		known.GetPeerAddress() != m.GetPeerAddress() ||
		known.GetDirectoryId() != m.GetDirectoryId()
	if p.moved || known.GetVersion() != m.GetVersion() ||
		known.GetLevel() != m.GetLevel() || known.GetHoldLevel() != m.GetHoldLevel() {
		p.member = m
	}
	if p.moved {
		p.revision++
	}
}

// commit makes s what p says, which was evaluated against s at its log time, and returns events with
// what happened added, in order of revision.
func (s *state) commit(p *plan, cmd *logv1.Command, events []*logv1.Event) []*logv1.Event {
	if p.clusterID != "" {
		s.clusterID = p.clusterID
	}
	if p.limits != (requestLimits{}) {
		s.remembered.limits(s.requests.limits, p.limits)
		s.requests.limits = p.limits
	}
	if p.member != nil {
		s.setMember(p.member)
	}
	if p.horizon != 0 {
		s.setHorizon(p.horizon)
	}
	if p.level != 0 {
		s.setLevel(p.level)
	}
	first := s.revision
	s.revision = p.revision
	if first == p.revision {
		return events
	}
	revision := first
	events = slices.Grow(events, int(p.revision-first))
	add := func(e *logv1.Event) {
		revision++
		e.Revision = revision
		e.CommitRevision = p.revision
		e.Time = p.time
		e.Actor = cmd.GetActor()
		e.Reason = cmd.GetReason()
		e.RequestId = cmd.GetRequestId()
		events = append(events, e)
	}
	if p.moved {
		add(&logv1.Event{Type: logv1.EventType_EVENT_TYPE_MEMBER_CHANGED, Member: p.member})
	}
	for i := range p.outcomes {
		o := &p.outcomes[i]
		if !o.changed() {
			continue
		}
		e := &logv1.Event{
			Type:            logv1.EventType_EVENT_TYPE_REPORTED,
			Service:         o.name,
			PreviousStatus:  logv1.Status_STATUS_SERVICE_UNKNOWN,
			Status:          logv1.Status_STATUS_SERVICE_UNKNOWN,
			EffectiveStatus: logv1.Status_STATUS_SERVICE_UNKNOWN,
		}
		if o.before != nil {
			e.PreviousStatus = logv1.Status(o.before.status)
		}
		s.hash.service(o.before, o.after)
		if o.after != nil {
			s.services.SetHint(o.after, &s.found.path)
			e.Status = logv1.Status(o.after.status)
			e.EffectiveStatus = e.Status
			e.LeaseId = o.after.cause.leaseID
			e.StatusTime = o.after.statusTime
		} else {
			s.services.Delete(o.before)
			e.Type = logv1.EventType_EVENT_TYPE_DELETED
			e.StatusTime = p.time
		}
		add(e)
	}
	return events
}
