package fsm

import (
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/fsm/layers"
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
	layers   *layers.Layers // of when the command ended
	layered  *layeredResult // nil: it has nothing to do with overrides or rules
	// stored is the encoded answer of the first try, if replayed is set. Then only index is used of the
	// fields above. See resultEncoder.
	stored    []byte
	requestID string
	replayed  bool
}

// layeredResult is what few results have.
type layeredResult struct {
	broken   []*logv1.BrokenRule
	covered  *covered // see overrides
	affected affected // of a preview only
}

func layeredOf(p *plan) *layeredResult {
	if broken := p.layering().broken; len(broken) > 0 {
		return &layeredResult{broken: broken}
	}
	return nil
}

// Refused says whether the command did nothing, because it was refused. Of the answer to an earlier try that is not
// known, and it says no.
func (r *Result) Refused() bool { return r.refusal != nil && !r.replayed }

// broken are the rules that the command broke.
func (r *Result) broken() []*logv1.BrokenRule {
	if r.layered == nil {
		return nil
	}
	return r.layered.broken
}

// result returns how p ends. l are the layers of the state that it was evaluated against.
func (p *plan) result(l *layers.Layers) Result {
	outcomes := p.outcomes
	if p.leased != nil {
		outcomes = nil // nobody asked for all that was attached to a lease
	}
	return Result{revision: p.revision, time: p.time, outcomes: outcomes, changes: p.changes, refusal: p.refusal, layers: l, layered: layeredOf(p)}
}

// cost is how much remembering r counts against the limit of request ids: about as much as it takes.
func (r *Result) cost() int {
	return max(len(r.outcomes)+len(r.changes)+len(r.broken())+len(r.refusal.GetBroken())+len(r.overrides().overrides), 1)
}

// covered is what overrides do to the services of a result.
type covered struct {
	overrides []*logv1.LayeredOverride // that cover one of them or several, each once
	// since says, of each service, since when its effective status is what it is; 0: it does not exist. nil: there
	// are no overrides at all.
	since []int64
}

var uncovered = &covered{}

// overrides computes once what overrides do to the services of r.
func (r *Result) overrides() *covered {
	if len(r.outcomes) == 0 || r.layers.Live()+r.layers.Ended() == 0 {
		return uncovered
	}
	if r.layered == nil {
		r.layered = &layeredResult{}
	}
	if r.layered.covered != nil {
		return r.layered.covered
	}
	seen := map[string]bool{}
	c := &covered{since: make([]int64, len(r.outcomes))}
	for i := range r.outcomes {
		o := &r.outcomes[i]
		if o.after == nil {
			continue
		}
		_, c.since[i] = r.layers.Effective(o.name, o.after.status, o.after.statusTime)
		r.layers.Each(o.name, func(over *layers.Override) bool {
			if !seen[over.Pattern] {
				seen[over.Pattern] = true
				c.overrides = append(c.overrides, &logv1.LayeredOverride{Pattern: over.Pattern, Override: over.Override})
			}
			return true
		})
	}
	r.layered.covered = c
	return c
}

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
	p := &logv1.Result{Index: r.index, Revision: r.revision, Refusal: r.refusal, BrokenRules: r.broken()}
	if l := r.layered; l != nil {
		p.Affected, p.AffectedTotal = l.affected.first, l.affected.total
	}
	for i := range r.changes {
		p.Records = append(p.Records, r.changes[i].result())
	}
	if len(r.outcomes) == 0 {
		return p
	}
	p.Services = make([]*logv1.ServiceResult, len(r.outcomes))
	covered := r.overrides()
	p.Overrides = covered.overrides
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
		if covered.since != nil {
			s.EffectiveTime = covered.since[i]
		}
		p.Services[i] = s
	}
	return p
}

func (c *recordChange) result() *logv1.RecordResult {
	p := &logv1.RecordResult{Kind: c.kind.Number, Key: c.key, Changed: c.changed(), Deleted: c.after == nil, MatchedCount: c.matched}
	if c.after != nil {
		p.Value = appendValue(nil, c.after)
	} else if c.kind.ResultBefore && c.before != nil {
		p.Value = appendValue(nil, c.before)
	}
	return p
}
