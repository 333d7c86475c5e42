package fsm

import (
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// Result is how a command ended. It only points at what the fold made. Its proto is made only on the node
// that has to answer, so it costs the other nodes next to nothing.
type Result struct {
	index    uint64 // of the log entry; 0: a preview
	revision int64
	time     int64
	outcomes []outcome
	changes  []recordChange
	refusal  *logv1.Refusal
	// stored is the encoded answer of the first try, if replayed is set. Then only index is used of the
	// fields above. See resultEncoder.
	stored    []byte
	requestID string
	replayed  bool
}

func (p *plan) result() Result {
	return Result{revision: p.revision, time: p.time, outcomes: p.outcomes, changes: p.changes, refusal: p.refusal}
}

// cost is how much remembering r counts against the limit of request ids.
func (r *Result) cost() int { return max(len(r.outcomes)+len(r.changes), 1) }

// Proto returns r for the wire. A service that does not exist afterwards has a record with a name
// and no report, and with the time of the deletion if this command deleted it. What the message
// points at is shared: it must not be modified.
func (r Result) Proto() *logv1.Result {
	if r.replayed {
		p, err := decodeResult(r.stored, r.requestID)
		if err != nil {
			panic(err) // it was encoded here, or decoded when it was loaded
		}
		p.Index, p.Replayed = r.index, true
		return p
	}
	p := &logv1.Result{Index: r.index, Revision: r.revision, Refusal: r.refusal}
	for i := range r.changes {
		p.Records = append(p.Records, r.changes[i].result())
	}
	if len(r.outcomes) == 0 {
		return p
	}
	p.Services = make([]*logv1.ServiceResult, len(r.outcomes))
	var by actorLog
	for i := range r.outcomes {
		o := &r.outcomes[i]
		s := &logv1.ServiceResult{Changed: o.changed()}
		switch {
		case o.after != nil:
			s.Record = o.after.log(&by)
		case s.Changed:
			s.Record = &logv1.ServiceRecord{Service: o.name, StatusTime: r.time}
		default:
			s.Record = &logv1.ServiceRecord{Service: o.name}
		}
		p.Services[i] = s
	}
	return p
}

func (c *recordChange) result() *logv1.RecordResult {
	p := &logv1.RecordResult{Kind: c.kind.Number, Key: c.key, Changed: c.changed(), Deleted: c.after == nil}
	if c.after != nil {
		p.Value = appendValue(nil, c.after)
	}
	return p
}
