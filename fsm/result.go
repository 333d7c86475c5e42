package fsm

import (
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// Result is how a command ended. It only points at what the fold made, so that every node but the
// one that asked pays next to nothing for it.
type Result struct {
	index    uint64 // of the log entry; 0: a preview
	revision int64
	time     int64
	outcomes []outcome
	refusal  *logv1.Refusal
	replayed bool // the first answer, of an earlier entry
}

func (p *plan) result() Result {
	return Result{revision: p.revision, time: p.time, outcomes: p.outcomes, refusal: p.refusal}
}

// Proto returns r for the wire. A service that does not exist afterwards has a record with a name
// and no report, and with the time of the deletion if this command deleted it. What the message
// points at is shared: it must not be modified.
func (r Result) Proto() *logv1.Result {
	p := &logv1.Result{Index: r.index, Revision: r.revision, Refusal: r.refusal, Replayed: r.replayed}
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
