package fsm

import (
	"cmp"
	"fmt"
	"slices"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// log returns r as it stands on disk. The same request gives the same message on every node,
// whichever of its parts share memory there.
func (r *request) log(by *actorLog) *logv1.RequestRecord {
	p := &logv1.RequestRecord{
		Index:     r.place.index,
		Position:  r.place.position,
		Caller:    r.key.caller,
		RequestId: r.key.id,
		Hash:      r.hash[:],
		Time:      r.time,
		Revision:  r.revision,
		Refusal:   r.refusal,
	}
	outcomes := make([]logv1.RequestOutcome, len(r.outcomes))
	if len(outcomes) > 0 {
		p.Outcomes = make([]*logv1.RequestOutcome, len(outcomes))
	}
	var why *cause
	for i := range r.outcomes {
		o := &r.outcomes[i]
		out := &outcomes[i]
		out.Service, out.Changed = o.name, o.changed()
		if now := o.after; now != nil {
			if why == nil || *now.cause != *why {
				why = now.cause
				p.Causes = append(p.Causes, why.log(by))
			}
			out.Revision = now.revision
			out.Status = logv1.Status(now.status)
			out.StatusTime = now.statusTime
			out.Cause = uint32(len(p.Causes) - 1)
		}
		p.Outcomes[i] = out
	}
	return p
}

func (c *cause) log(by *actorLog) *logv1.RequestCause {
	return &logv1.RequestCause{
		Reason: c.reason, Actor: by.of(c), Time: c.time, RequestId: c.requestID, LeaseId: c.leaseID,
	}
}

// logRecord holds the limits. It is there from when they are first set.
func (l requestLimits) logRecord() *logv1.RequestRecord {
	return &logv1.RequestRecord{Limits: &logv1.RequestLimits{RequestIds: uint32(l.ids), Window: l.window}}
}

func loadLimits(p *logv1.RequestRecord) requestLimits {
	return requestLimits{int(p.GetLimits().GetRequestIds()), p.GetLimits().GetWindow()}
}

// loadRequests makes the table of what the journal held. s holds the services already: records that
// are still theirs are shared again.
func loadRequests(s *state, records []*logv1.RequestRecord, last uint64) (*requests, error) {
	t := newRequests()
	slices.SortFunc(records, func(a, b *logv1.RequestRecord) int { return cmp.Compare(a.Key(), b.Key()) })
	for _, p := range records {
		if p.GetIndex() == 0 {
			t.limits = loadLimits(p)
			if t.limits.ids <= 0 || t.limits.window <= 0 {
				return nil, fmt.Errorf("the limits of request ids are damaged: %v", p.GetLimits())
			}
			s.remembered.limits(requestLimits{}, t.limits)
			continue
		}
		r, err := s.loadRequest(p)
		if err != nil {
			return nil, fmt.Errorf("request id %q of log entry %d: %w", p.GetRequestId(), p.GetIndex(), err)
		}
		newest := int64(0)
		if n := len(t.order); n > 0 {
			newest = t.order[n-1].time
		}
		if t.known[r.key] != nil || t.limits.ids == 0 || r.time < newest || r.time > s.logTime || r.place.index > last {
			return nil, fmt.Errorf("request id %q of log entry %d does not fit those before it, or the journal",
				p.GetRequestId(), p.GetIndex())
		}
		t.add(r)
		s.remembered.remember(r)
	}
	return t, nil
}

func (s *state) loadRequest(p *logv1.RequestRecord) (*request, error) {
	r := &request{
		key:      requestKey{p.GetCaller(), p.GetRequestId()},
		place:    place{p.GetIndex(), p.GetPosition()},
		time:     p.GetTime(),
		revision: p.GetRevision(),
		refusal:  p.GetRefusal(),
	}
	if copy(r.hash[:], p.GetHash()) != len(p.GetHash()) || len(p.GetHash()) != len(r.hash) || r.key.id == "" ||
		(r.refusal == nil) == (len(p.GetOutcomes()) == 0) {
		return nil, fmt.Errorf("it is damaged: hash of %d bytes, %d outcomes", len(p.GetHash()), len(p.GetOutcomes()))
	}
	causes := make([]*cause, len(p.GetCauses()))
	for i, c := range p.GetCauses() {
		causes[i] = &cause{
			reason: c.GetReason(), requestID: c.GetRequestId(), leaseID: c.GetLeaseId(),
			actor: internActor(c.GetActor()), time: c.GetTime(),
		}
	}
	if len(p.GetOutcomes()) > 0 {
		r.outcomes = make([]outcome, len(p.GetOutcomes()))
	}
	for i, out := range p.GetOutcomes() {
		o := &r.outcomes[i]
		o.name = out.GetService()
		if out.GetRevision() != 0 {
			if int(out.GetCause()) >= len(causes) || !isReport(out.GetStatus()) {
				return nil, fmt.Errorf("its outcome %d is damaged: status %d, cause %d of %d",
					i, out.GetStatus(), out.GetCause(), len(causes))
			}
			o.after = s.share(&record{
				name: o.name, cause: causes[out.GetCause()], revision: out.GetRevision(),
				statusTime: out.GetStatusTime(), status: servingStatus(out.GetStatus()),
			})
			o.name = o.after.name
		}
		if o.before = o.after; out.GetChanged() {
			o.before = replaced
		}
	}
	return r, nil
}

// share returns the service's record if it is r.
func (s *state) share(r *record) *record {
	now, ok := s.services.Get(r)
	if ok && now.revision == r.revision && now.status == r.status && now.statusTime == r.statusTime && *now.cause == *r.cause {
		return now
	}
	return r
}
