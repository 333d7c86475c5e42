package fsm

import (
	"fmt"
	"slices"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// outcome is the result of one change of a Write.
type outcome struct {
	name   string
	before *record // nil: did not exist
	after  *record // nil: does not exist; the same as before: nothing changes
}

func (o *outcome) changed() bool { return o.before != o.after }

// plan is what a command would do to a state. evaluate makes it and commit carries it out. Its only protos
// are parts of the command, and the refusal.
type plan struct {
	revision  int64 // the registry's revision after the command
	time      int64 // log time of the command
	outcomes  []outcome
	changes   []recordChange    // of kinds that have a table
	newest    map[recordKey]int // the place in changes of the newest change of a key
	clusterID string            // the new cluster id; "": it stays
	horizon   int64             // the new value; 0: it stays
	level     uint32            // the new value; 0: it stays
	refusal   *logv1.Refusal
	layered   *layering // nil: it has nothing to do with overrides or rules
	leased    *leasing  // nil: it ends no lease
}

// admit checks a whole entry before any of its commands takes effect. maxLevel is the highest level that this
// binary can fold. An error means that this node cannot go on, because it must neither apply half an entry
// nor skip one.
func (s *state) admit(e *logv1.Entry, maxLevel uint32) error {
	if level := logv1.LevelOf(e.GetLevel()); level > maxLevel {
		return &LevelError{Needs: level, Max: maxLevel}
	}
	clusterID := s.clusterID
	for i, cmd := range e.GetCommands() {
		switch kind := cmd.GetKind().(type) {
		case *logv1.Command_Write, *logv1.Command_AnnounceMember, *logv1.Command_Compact, *logv1.Command_Expire,
			*logv1.Command_HoldLeases:
		case *logv1.Command_Record:
			if s.kinds.commandKind(kind.Record) == nil {
				return fmt.Errorf("command %d is of a kind of records (%d) this binary does not know; a newer one wrote it", i, kind.Record.GetKind())
			}
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

// fold folds one command. It returns the answer of an earlier try, refuses the command, or carries it out.
func (s *state) fold(cmd *logv1.Command, at place, b *batch) Result {
	if r, ok := s.requests.recall(cmd, s.revision); ok {
		return r
	}
	p := s.evaluate(cmd, s.logTime)
	if p.refusal == nil {
		b.events = s.commit(&p, cmd, b.events)
		b.add(&p)
		if len(p.layering().broken) > 0 && len(cmd.GetBreakGlass()) > 0 {
			b.brokeGlass++
		}
	}
	result := p.result(s.layers)
	if r := s.requests.remember(cmd, &result, at); r != nil {
		s.hashRequest(r, (*multiset).add)
		b.requests = append(b.requests, r)
	}
	s.forget(b)
	return result
}

// forget drops the request ids that are too old or too many.
func (s *state) forget(b *batch) {
	s.requests.evict(s.logTime, func(r *request) {
		s.hashRequest(r, (*multiset).remove)
		b.forget(r)
	})
}

// evaluate returns what cmd would do at log time now. It changes nothing.
func (s *state) evaluate(cmd *logv1.Command, now int64) plan {
	p := plan{revision: s.revision, time: now}
	switch kind := cmd.GetKind().(type) {
	case *logv1.Command_Write:
		if p.refusal = checkCaller(cmd); p.refusal == nil {
			p.refusal = checkWrite(kind.Write)
		}
		if p.refusal == nil {
			p.refusal = s.authorize(cmd, now)
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
		s.evaluateLimits(&p, kind.TermStart)
	case *logv1.Command_Record:
		if p.refusal = checkCaller(cmd); p.refusal == nil {
			p.refusal = s.authorize(cmd, now)
		}
		if p.refusal == nil {
			s.evaluateRecord(&p, cmd, kind.Record)
		}
	case *logv1.Command_Expire:
		if p.refusal = checkCaller(cmd); p.refusal == nil {
			s.evaluateExpire(&p, cmd, kind.Expire)
		}
	case *logv1.Command_HoldLeases:
		if p.refusal = checkCaller(cmd); p.refusal == nil {
			s.evaluateHold(&p, kind.HoldLeases)
		}
	default:
		// Only a preview gets here with an unknown command. In the log, admit halts the fold before.
		p.refusal = invalid("command", logv1.Refusal_PROBLEM_UNKNOWN)
	}
	return p
}

func (s *state) evaluateWrite(p *plan, cmd *logv1.Command, w *logv1.Write) {
	glass, refusal := s.breakGlass(cmd)
	if refusal != nil {
		p.refusal = refusal
		return
	}
	found := s.found
	if found == nil {
		found = &finder{}
	}
	var why *origin // the origin of the change before this one
	facts := true   // all changes name a lease
	var live string // a lease that lives
	revision := s.revision
	p.outcomes = make([]outcome, 0, len(w.GetChanges()))
	for _, c := range w.GetChanges() {
		before := found.get(s.services, c.GetService())
		refusal := checkPreconditions(c, before)
		if c.GetLeaseId() != "" || before != nil && before.origin.leaseID != "" {
			if bad := s.checkLease(c, before, &live); bad != nil {
				refusal = bad
			}
		}
		if refusal != nil {
			p.outcomes, p.refusal = nil, refusal
			return
		}
		facts = facts && c.GetLeaseId() != ""
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
				why = newOrigin(cmd, c.GetLeaseId(), p.time)
			}
			o.after = &record{
				name:       o.name,
				origin:     why,
				revision:   revision,
				statusTime: p.time,
				status:     servingStatus(c.GetStatus()),
			}
			if before != nil && before.status == o.after.status {
				o.after.statusTime = before.statusTime
			}
		}
		if o.changed() {
			s.countService(p, o.name, o.before, o.after)
		}
		p.outcomes = append(p.outcomes, o)
	}
	if !p.layering().counts.Empty() {
		if p.refusal = p.checkRules(s, glass, facts); p.refusal != nil {
			p.outcomes = nil
			return
		}
	}
	p.revision = revision
}

// holds says whether r already says what c would set. r may be nil.
func (r *record) holds(cmd *logv1.Command, c *logv1.Change) bool {
	return r != nil && r.status == servingStatus(c.GetStatus()) &&
		r.origin.reason == cmd.GetReason() && r.origin.leaseID == c.GetLeaseId()
}

// checkPreconditions refuses c if the service does not have the revision that c expects, or does not exist
// and must. It does so even if the change would change nothing, because the caller asked for the comparison.
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

// RefuseUnknown refuses a command for a kind of records that this node does not know. If this node proposed
// it, it would halt every node of its version. It returns nil for any other command.
func (f *FSM) RefuseUnknown(cmd *logv1.Command) *logv1.Refusal {
	if c := cmd.GetRecord(); c != nil && f.cfg.Kinds.commandKind(c) == nil {
		return invalid("command", logv1.Refusal_PROBLEM_UNKNOWN)
	}
	return nil
}

// evaluateRecord evaluates a command of a kind of records by Kind.Evaluate.
func (s *state) evaluateRecord(p *plan, cmd *logv1.Command, c *logv1.RecordCommand) {
	kind := s.kinds.commandKind(c)
	if kind == nil { // only in a preview, see evaluate
		p.refusal = invalid("command", logv1.Refusal_PROBLEM_UNKNOWN)
		return
	}
	tried := plan{revision: p.revision, time: p.time}
	if p.refusal = kind.Evaluate(&Tx{s: s, p: &tried, cmd: cmd}, c.GetPayload()); p.refusal == nil {
		p.refusal = tried.refusal
	}
	if p.refusal != nil {
		return
	}
	*p = tried
}

// commit carries out p, which was evaluated against s as it is now. It returns events with the new events
// appended, in order of revision.
func (s *state) commit(p *plan, cmd *logv1.Command, events []*logv1.Event) []*logv1.Event {
	if p.clusterID != "" {
		s.clusterID = p.clusterID
	}
	if p.horizon != 0 {
		s.horizon = p.horizon
	}
	if p.level != 0 {
		s.level = p.level
	}
	first := s.revision
	s.revision = p.revision
	revision := first
	events = slices.Grow(events, int(p.revision-first))
	by := cause{cmd.GetActor(), cmd.GetReason(), cmd.GetRequestId()}
	add := func(e *logv1.Event, why *cause) {
		if why == nil {
			why = &by
		}
		revision++
		e.Revision = revision
		e.CommitRevision = p.revision
		e.Time = p.time
		e.Actor = why.actor
		e.Reason = why.reason
		e.RequestId = why.requestID
		if broken, glass := p.layering().broken, cmd.GetBreakGlass(); revision == first+1 && len(broken)+len(glass) > 0 {
			e.RuleBreak = &logv1.RuleBreak{Broken: broken, BreakGlass: glass}
		}
		events = append(events, e)
	}
	s.commitRecords(p, add)
	s.commitLayering(p)
	parts := p.leasing().parts
	for i := range p.outcomes {
		o := &p.outcomes[i]
		if !o.changed() {
			continue
		}
		e := &logv1.Event{
			Type:            logv1.EventType_EVENT_TYPE_REPORTED,
			Kind:            logv1.Kind_KIND_SERVICE,
			Key:             o.name,
			PreviousStatus:  logv1.Status_STATUS_SERVICE_UNKNOWN,
			Status:          logv1.Status_STATUS_SERVICE_UNKNOWN,
			EffectiveStatus: logv1.Status_STATUS_SERVICE_UNKNOWN,
		}
		if o.before != nil {
			e.PreviousStatus = logv1.Status(o.before.status)
			if held := o.before.origin.leaseID; held != "" {
				s.attached.Remove(held, o.before.revision)
				e.LeaseId = held // of a report that is deleted
			}
		}
		s.hash.service(o.before, o.after)
		if o.after != nil {
			s.services.SetHint(o.after, &s.found.path)
			e.Status = logv1.Status(o.after.status)
			e.EffectiveStatus = e.Status
			if shown := s.layers.Decides(o.name); shown != nil {
				e.EffectiveStatus = shown.GetStatus()
			}
			if e.LeaseId = o.after.origin.leaseID; e.LeaseId != "" {
				s.attached.Add(e.LeaseId, o.after.revision, o.after)
			}
			e.StatusTime = o.after.statusTime
		} else {
			s.services.Delete(o.before)
			e.Type, e.Deletes = logv1.EventType_EVENT_TYPE_DELETED, true
			e.StatusTime = p.time
		}
		if len(parts) == 0 {
			add(e, nil)
			continue
		}
		for i >= parts[0].until {
			parts = parts[1:]
		}
		x := &parts[0]
		e.Type, e.LeaseId, e.Detached = x.event, x.lease, x.leaves && o.after != nil
		add(e, x.why)
	}
	return events
}
