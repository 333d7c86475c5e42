package fsm

import (
	"math"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// This file ends leases: by revoking, by expiry, and by forgetting what an expiry left.

// leasing is what a plan does to the reports of leases that end.
type leasing struct {
	parts            []part
	expired, revoked uint64 // leases whose end it begins
}

var unleased = &leasing{} // nobody writes to it

// leasing returns what p does to the reports of leases that end, to be read.
func (p *plan) leasing() *leasing {
	if p.leased == nil {
		return unleased
	}
	return p.leased
}

// part is a run of the outcomes of a plan that one lease causes.
type part struct {
	until  int // the place of the outcome that comes after its last one
	event  logv1.EventType
	lease  string // the id
	leaves bool   // the reports are not attached to it any more
	why    *cause
}

// cause says who made events, and why, where the command does not say it.
type cause struct {
	actor             *logv1.Actor
	reason, requestID string
}

// ending collects what the leases that end in one command change.
type ending struct {
	most    int // so many services
	s       *state
	p       *plan
	left    int // so many more services may change
	forgets int // leases of this command whose reports are to be forgotten later
	groups  []group
}

// group is the services that one lease changes. The first revision is that after all changes of leases.
type group struct {
	records []*record
	status  servingStatus // serviceUnknown: they are deleted
	keeps   bool          // their status stays
	part    part
}

func newEnding(s *state, p *plan, most int32) *ending {
	p.leased = &leasing{}
	return &ending{s: s, p: p, most: int(most), left: int(most)}
}

// take returns the reports that are attached to a lease and were made before a revision, if the command may still
// change so many. more says that there are more than that: then it returns as many as the command may change, or
// none if others have a part in it.
func (e *ending) take(id string, revision int64) (records []*record, more bool) {
	e.s.attached.Ascend(id, func(r attachedReport) bool {
		if r.Revision >= revision {
			return false
		}
		if more = len(records) == e.left; !more {
			records = append(records, r.Value)
		}
		return !more
	})
	if more && e.left < e.most {
		return nil, true
	}
	e.left -= len(records)
	return records, more
}

// begin ends a lease that lives. end says how.
func (e *ending) begin(id string, l *logv1.Lease, end *logv1.LeaseEnd) {
	s, p := e.s, e.p
	records, more := e.take(id, math.MaxInt64)
	if more && len(records) == 0 {
		return // a later command has room for it
	}
	end.Time, end.Revision, end.Attached = p.time, p.revision+1, int64(len(records))
	if more {
		end.Attached = int64(s.attached.Count(id))
	}
	if l.GetForgetAfter() != 0 && !end.GetKeepReports() && end.GetStatus() != logv1.Status_STATUS_SERVICE_UNKNOWN &&
		len(records) > 0 && int(s.leaseCounts.forgotten)+e.forgets < limits.MaxEndedLeases {
		end.ForgetTime = p.time + l.GetForgetAfter()
		e.forgets++
	}
	if end.GetRevoked() {
		p.leased.revoked++
	} else {
		p.leased.expired++
	}
	e.change(id, l, end, records, more)
}

// goOn changes more of the reports of a lease that is ending.
func (e *ending) goOn(id string, l *logv1.Lease) {
	records, more := e.take(id, l.GetEnd().GetRevision())
	if more && len(records) == 0 {
		return
	}
	e.change(id, l, l.GetEnd(), records, more)
}

// change adds to the plan that these reports change, because l ends. more says that it has more of them.
func (e *ending) change(id string, l *logv1.Lease, end *logv1.LeaseEnd, records []*record, more bool) {
	s, p := e.s, e.p
	why := &cause{actor: end.GetActor(), reason: end.GetReason(), requestID: end.GetRequestId()}
	event := logv1.EventType_EVENT_TYPE_REPORTED
	if !end.GetRevoked() {
		event = logv1.EventType_EVENT_TYPE_EXPIRED
	}
	stays := end.GetForgetTime() != 0
	put := func(now Value, event logv1.EventType) *recordChange {
		s.change(p, leaseKind, id, now, event)
		c := &p.changes[len(p.changes)-1]
		c.matched, c.why = end.GetAttached(), why
		return c
	}
	switch {
	case more && l.End == nil:
		put(ended(l, end, false), logv1.EventType_EVENT_TYPE_LEASE_ENDING)
	case more:
	case stays && (len(records) > 0 || s.attached.Newest(id) != 0):
		put(ended(l, end, true), logv1.EventType_EVENT_TYPE_LEASE_ENDED)
	default:
		put(nil, logv1.EventType_EVENT_TYPE_LEASE_ENDED).last = ended(l, end, true)
	}
	e.add(records, servingStatus(end.GetStatus()), end.GetKeepReports(), part{event: event, lease: id, leaves: !stays, why: why})
}

// ended returns l with its end.
func ended(l *logv1.Lease, end *logv1.LeaseEnd, done bool) *logv1.Lease {
	return &logv1.Lease{
		Ttl:         l.GetTtl(),
		OnExpiry:    l.GetOnExpiry(),
		ForgetAfter: l.GetForgetAfter(),
		Reason:      l.GetReason(),
		Actor:       l.GetActor(),
		Time:        l.GetTime(),
		Revision:    l.GetRevision(),
		RequestId:   l.GetRequestId(),
		End: &logv1.LeaseEnd{
			Time:        end.GetTime(),
			Revision:    end.GetRevision(),
			Revoked:     end.GetRevoked(),
			Status:      end.GetStatus(),
			KeepReports: end.GetKeepReports(),
			Done:        done,
			ForgetTime:  end.GetForgetTime(),
			Actor:       end.GetActor(),
			Reason:      end.GetReason(),
			RequestId:   end.GetRequestId(),
			Attached:    end.GetAttached(),
		},
	}
}

// forget deletes what is still attached to a lease that ended long ago.
func (e *ending) forget(id string, l *logv1.Lease, why *cause) {
	records, more := e.take(id, math.MaxInt64)
	if more && len(records) == 0 {
		return
	}
	if !more {
		e.s.change(e.p, leaseKind, id, nil, logv1.EventType_EVENT_TYPE_LEASE_FORGOTTEN)
		c := &e.p.changes[len(e.p.changes)-1]
		c.matched, c.why, c.last = int64(len(records)), why, l
	}
	e.add(records, serviceUnknown, false, part{lease: id, leaves: true, why: why})
}

func (e *ending) add(records []*record, status servingStatus, keeps bool, what part) {
	if len(records) > 0 {
		e.groups = append(e.groups, group{records, status, keeps, what})
	}
}

// finish adds to the plan what happens to the services. All changes of leases come before: their events have the
// first revisions.
func (e *ending) finish() {
	s, p := e.s, e.p
	p.outcomes = make([]outcome, 0, e.most-e.left)
	for i := range e.groups {
		g := &e.groups[i]
		var why *origin
		for _, before := range g.records {
			p.revision++
			o := outcome{name: before.name, before: before}
			status := g.status
			if g.keeps {
				status = before.status
			}
			if status != serviceUnknown {
				if why == nil {
					why = g.part.origin(p.time)
				}
				o.after = &record{name: before.name, origin: why, revision: p.revision, statusTime: p.time, status: status}
				if before.status == status {
					o.after.statusTime = before.statusTime
				}
			}
			s.countService(p, o.name, o.before, o.after)
			p.outcomes = append(p.outcomes, o)
		}
		if why == nil {
			g.part.event = logv1.EventType_EVENT_TYPE_DELETED
		}
		g.part.until = len(p.outcomes)
		p.leased.parts = append(p.leased.parts, g.part)
	}
	_ = p.checkRules(s, anyRule, true)
}

// origin is that of the reports that a lease leaves.
func (x *part) origin(now int64) *origin {
	o := &origin{reason: x.why.reason, requestID: x.why.requestID, actor: internActor(x.why.actor), time: now}
	if !x.leaves {
		o.leaseID = x.lease
	}
	return o
}

// expireLeases ends leases that were not renewed in time, goes on with those that are ending, and forgets what
// leases left that ended long ago.
func (s *state) expireLeases(p *plan, cmd *logv1.Command, x *logv1.Expire) {
	e := newEnding(s, p, s.mostExpired)
	by := &cause{actor: cmd.GetActor(), reason: cmd.GetReason()}
	// next returns a lease unless this command has changed it already.
	next := func(id string) *logv1.Lease {
		if _, again := p.newest[recordKey{leaseKind.Number, id}]; again {
			return nil
		}
		return s.lease(id)
	}
	for _, one := range x.GetLeases() {
		id := one.GetLeaseId()
		switch l := next(id); {
		case l == nil || l.GetEnd().GetDone():
		case l.End != nil:
			e.goOn(id, l)
		case max(l.GetRevision(), s.attached.Newest(id)) <= one.GetSeenRevision():
			e.begin(id, l, &logv1.LeaseEnd{Status: l.GetOnExpiry(), Actor: by.actor, Reason: by.reason})
		}
	}
	for _, id := range x.GetForgottenLeases() {
		if l := next(id); l.GetEnd().GetDone() && l.GetEnd().GetForgetTime() <= p.time {
			e.forget(id, l, by)
		}
	}
	e.finish()
}
