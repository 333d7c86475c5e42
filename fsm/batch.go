package fsm

import (
	"slices"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// batch collects what a run of entries changed: of each name the newest only, in the order in which
// they changed first.
type batch struct {
	index, term uint64 // of the last entry; 0: nothing was applied
	services    []touched
	at          map[string]int // name → place in services; see FSM.touched
	members     []*logv1.Member
	events      []*logv1.Event
	limits      requestLimits // of the request ids, if they changed
	requests    []*request    // remembered, and not forgotten again
	forgotten   []string      // keys of those remembered before
	hash        Digest        // the state's after the last entry
	mismatch    uint64        // first index at which a proposer held another hash; 0: none
}

// maxTouched is of how many names the room is kept from one batch to the next.
const maxTouched = 1024

type touched struct {
	name string
	now  *record // nil: deleted
}

func (b *batch) add(p *plan) {
	if p.limits != (requestLimits{}) {
		b.limits = p.limits
	}
	if p.member != nil {
		b.addMember(p.member)
	}
	for i := range p.outcomes {
		if o := &p.outcomes[i]; o.changed() {
			b.addService(o.name, o.after)
		}
	}
}

func (b *batch) addService(name string, now *record) {
	if i, ok := b.at[name]; ok {
		b.services[i].now = now
		return
	}
	b.at[name] = len(b.services)
	b.services = append(b.services, touched{name, now})
}

func (b *batch) addMember(m *logv1.Member) {
	for i, known := range b.members {
		if known.GetName() == m.GetName() {
			b.members[i] = m
			return
		}
	}
	b.members = append(b.members, m)
}

// forget takes the oldest request that is known.
func (b *batch) forget(r *request) {
	if len(b.requests) > 0 && b.requests[0] == r {
		b.requests = b.requests[1:]
		return
	}
	b.forgotten = append(b.forgotten, logv1.RequestKey(r.place.index, r.place.position))
}

// delta is the registry file's part. s is the state after the batch.
func (b *batch) delta(s *state) *logv1.Delta {
	d := &logv1.Delta{
		Index:     b.index,
		Term:      b.term,
		Revision:  s.revision,
		LogTime:   s.logTime,
		Horizon:   s.horizon,
		Level:     s.level,
		ClusterID: s.clusterID,
		StateHash: b.hash.proto(b.index),
		Members:   b.members,
		Events:    b.events,

		DeletedRequests: b.forgotten,
	}
	if b.limits != (requestLimits{}) {
		d.Requests = append(d.Requests, b.limits.logRecord())
	}
	var by actorLog
	d.Requests = slices.Grow(d.Requests, len(b.requests))
	for _, r := range b.requests {
		d.Requests = append(d.Requests, r.log(&by))
	}
	d.Services = make([]*logv1.ServiceRecord, 0, len(b.services))
	for _, t := range b.services {
		if t.now == nil {
			d.DeletedServices = append(d.DeletedServices, t.name)
			continue
		}
		d.Services = append(d.Services, t.now.log(&by))
	}
	return d
}
