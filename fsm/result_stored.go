package fsm

import (
	"errors"
	"fmt"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// resultEncoder encodes Results as logv1.StoredResult. A service of a batch takes its name and about ten
// bytes. The encoder uses its memory again.
type resultEncoder struct {
	p     logv1.StoredResult
	pool  []*storedOrigin
	bytes []byte
}

type storedOrigin struct {
	origin logv1.Origin
	actor  logv1.Actor
}

// encode encodes the answer to the request with an id. It returns memory that the next call uses again.
func (e *resultEncoder) encode(r *Result, requestID string) []byte {
	p := &e.p
	p.Revision, p.Time, p.Refusal, p.BrokenRules = r.revision, r.time, r.refusal, r.broken()
	covered := r.overrides()
	p.Overrides = covered.overrides
	p.EffectiveTimes = p.EffectiveTimes[:0]
	p.Records = p.Records[:0]
	for i := range r.changes {
		p.Records = append(p.Records, r.changes[i].result())
	}
	p.Services, p.Changed, p.Exists = p.Services[:0], p.Changed[:0], p.Exists[:0]
	p.Revisions, p.Statuses, p.StatusTimes = p.Revisions[:0], p.Statuses[:0], p.StatusTimes[:0]
	p.Origins, p.Origin = p.Origins[:0], p.Origin[:0]
	var why *origin // the origin of the service before this one
	for i := range r.outcomes {
		o := &r.outcomes[i]
		var revision, statusTime int64
		var status logv1.Status
		var place uint32
		if now := o.after; now != nil {
			if why == nil || now.origin != why && *now.origin != *why {
				why = now.origin
				p.Origin = append(p.Origin, e.origin(len(p.Origin), why, r.time, requestID))
			}
			revision, statusTime = now.revision-r.revision, now.statusTime-r.time
			status, place = logv1.Status(now.status), uint32(len(p.Origin)-1)
		}
		p.Services = append(p.Services, o.name)
		p.Changed = append(p.Changed, o.changed())
		p.Exists = append(p.Exists, o.after != nil)
		p.Revisions = append(p.Revisions, revision)
		p.Statuses = append(p.Statuses, status)
		p.StatusTimes = append(p.StatusTimes, statusTime)
		p.Origins = append(p.Origins, place)
		if covered.since != nil {
			p.EffectiveTimes = append(p.EffectiveTimes, covered.since[i]-r.time)
		}
	}
	if cap(e.bytes) > maxScratch {
		e.bytes = nil
	}
	e.bytes = appendValue(e.bytes[:0], p)
	if len(p.Services) > maxTouched { // do not keep the memory that a large batch needed, nor its names
		e.p, e.pool = logv1.StoredResult{}, nil
	}
	return e.bytes
}

func (e *resultEncoder) origin(i int, why *origin, time int64, requestID string) *logv1.Origin {
	if i == len(e.pool) {
		e.pool = append(e.pool, new(storedOrigin))
	}
	s := e.pool[i]
	o := &s.origin
	o.Reason, o.Time, o.RequestId, o.LeaseId, o.Actor = why.reason, why.time-time, why.requestID, why.leaseID, nil
	if o.ThisRequest = why.requestID == requestID && requestID != ""; o.ThisRequest {
		o.RequestId = ""
	}
	if a := why.actor.Value(); a != (actor{}) {
		a.fill(&s.actor)
		o.Actor = &s.actor
	}
	return o
}

// parseResult decodes what resultEncoder.encode made, and checks that decodeResult can make a Result of it.
func parseResult(b []byte) (*logv1.StoredResult, error) {
	p := new(logv1.StoredResult)
	if err := p.UnmarshalVT(b); err != nil {
		return nil, fmt.Errorf("stored result: %w", err)
	}
	n := len(p.Services)
	for _, column := range [...]int{len(p.Changed), len(p.Exists), len(p.Revisions), len(p.Statuses), len(p.StatusTimes), len(p.Origins)} {
		if column != n {
			return nil, errors.New("stored result: it has columns of different lengths")
		}
	}
	if column := len(p.EffectiveTimes); column != 0 && column != n {
		return nil, errors.New("stored result: it has columns of different lengths")
	}
	for i, exists := range p.Exists {
		if exists && (int(p.Origins[i]) >= len(p.Origin) || !isReport(p.Statuses[i])) {
			return nil, fmt.Errorf("stored result: service %d has status %d, origin %d of %d", i, p.Statuses[i], p.Origins[i], len(p.Origin))
		}
	}
	return p, nil
}

// decodeResult is the reverse of resultEncoder.encode. Index and Replayed are not set.
func decodeResult(b []byte, requestID string) (*logv1.Result, error) {
	p, err := parseResult(b)
	if err != nil {
		return nil, err
	}
	r := &logv1.Result{Revision: p.GetRevision(), Refusal: p.GetRefusal(), Records: p.GetRecords(), BrokenRules: p.GetBrokenRules(),
		Overrides: p.GetOverrides()}
	if len(p.Services) > 0 {
		r.Services = make([]*logv1.ServiceResult, len(p.Services))
	}
	for i, name := range p.Services {
		record := &logv1.ServiceRecord{Service: name}
		switch {
		case p.Exists[i]:
			why := p.Origin[p.Origins[i]]
			id := why.GetRequestId()
			if why.GetThisRequest() {
				id = requestID
			}
			record.StatusTime = p.Time + p.StatusTimes[i]
			record.Report = &logv1.Report{
				Status: p.Statuses[i], Reason: why.GetReason(), Actor: why.GetActor(), Time: p.Time + why.GetTime(),
				Revision: p.Revision + p.Revisions[i], RequestId: id, LeaseId: why.GetLeaseId(),
			}
		case p.Changed[i]:
			record.StatusTime = p.Time
		}
		r.Services[i] = &logv1.ServiceResult{Record: record, Changed: p.Changed[i]}
		if p.EffectiveTimes != nil && p.Exists[i] {
			r.Services[i].EffectiveTime = p.Time + p.EffectiveTimes[i]
		}
	}
	return r, nil
}
