package fsm

import (
	"cmp"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

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

// madeBy are records of the registry by the revision of the report that made them, which no two share.
type madeBy map[int64]*record

// oldestOutcome is the revision of the oldest report that records tell of.
func oldestOutcome(records []*logv1.RequestRecord) int64 {
	oldest := int64(math.MaxInt64)
	for _, p := range records {
		for _, out := range p.GetOutcomes() {
			if revision := out.GetRevision(); revision != 0 {
				oldest = min(oldest, revision)
			}
		}
	}
	return oldest
}

// loadRequests makes the table of what the registry file held. Records that are still the registry's, as made
// tells, are shared again. last is the index of the registry file.
func loadRequests(s *state, made madeBy, records []*logv1.RequestRecord, last uint64) (*requests, error) {
	t := newRequests()
	slices.SortFunc(records, func(a, b *logv1.RequestRecord) int {
		return cmp.Or(cmp.Compare(a.GetIndex(), b.GetIndex()), cmp.Compare(a.GetPosition(), b.GetPosition()))
	})
	if len(records) > 0 && records[0].GetIndex() == 0 {
		t.limits = loadLimits(records[0])
		if t.limits.ids <= 0 || t.limits.window <= 0 {
			return nil, fmt.Errorf("the limits of request ids are damaged: %v", records[0].GetLimits())
		}
		s.remembered.limits(requestLimits{}, t.limits)
		records = records[1:]
	}
	loaded, err := loadEachRequest(s, made, records)
	if err != nil {
		return nil, err
	}
	t.known = make(map[requestKey]*request, len(loaded))
	t.order = make([]*request, 0, len(loaded))
	for _, r := range loaded {
		newest := int64(0)
		if n := len(t.order); n > 0 {
			newest = t.order[n-1].time
		}
		if t.known[r.key] != nil || t.limits.ids == 0 || r.time < newest || r.time > s.logTime || r.place.index > last || r.place.index == 0 {
			return nil, fmt.Errorf("request id %q of log entry %d does not fit those before it, or the registry file",
				r.key.id, r.place.index)
		}
		t.add(r)
	}
	return t, nil
}

// loadEachRequest loads and hashes on several goroutines.
func loadEachRequest(s *state, made madeBy, records []*logv1.RequestRecord) ([]*request, error) {
	loaded := make([]*request, len(records))
	var (
		mu      sync.Mutex // guards s.remembered and failed
		failed  error
		next    atomic.Int64
		loading sync.WaitGroup
	)
	for range min(runtime.GOMAXPROCS(0), len(records)) {
		loading.Go(func() {
			var hash multiset
			var buffer canonical
			for i := int(next.Add(1)) - 1; i < len(records); i = int(next.Add(1)) - 1 {
				p := records[i]
				r, err := loadRequest(p, made)
				if err != nil {
					mu.Lock()
					defer mu.Unlock()
					failed = fmt.Errorf("request id %q of log entry %d: %w", p.GetRequestId(), p.GetIndex(), err)
					return
				}
				loaded[i] = r
				buffer = hash.rememberIn(buffer, r)
			}
			mu.Lock()
			defer mu.Unlock()
			s.remembered.sum(hash)
		})
	}
	loading.Wait()
	return loaded, failed
}

func loadRequest(p *logv1.RequestRecord, made madeBy) (*request, error) {
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
			then := record{
				name: o.name, cause: causes[out.GetCause()], revision: out.GetRevision(),
				statusTime: out.GetStatusTime(), status: servingStatus(out.GetStatus()),
			}
			if now := made[then.revision]; now != nil && now.is(&then) {
				o.after, o.name = now, now.name
			} else {
				o.after = &then
			}
		}
		if o.before = o.after; out.GetChanged() {
			o.before = replaced
		}
	}
	return r, nil
}

// is says whether r is o, the same report of the same service.
func (r *record) is(o *record) bool {
	return r.name == o.name && r.revision == o.revision && r.status == o.status && r.statusTime == o.statusTime && *r.cause == *o.cause
}
