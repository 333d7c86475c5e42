package fsm

import (
	"slices"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/fsm/layers"
)

// batch collects what a run of entries changed. Of each record it keeps only the newest version, in the order
// in which the records changed first.
type batch struct {
	index, term uint64 // of the last entry; 0: nothing was applied
	services    []touched
	at          map[string]int    // name → place in services; see FSM.touched
	records     []logv1.Record    // the changed records of kinds that have a table
	recordAt    map[recordKey]int // where in records a key is
	events      []*logv1.Event
	requests    []*request // answers that are remembered since this batch
	forgotten   []string   // keys of answers that are forgotten since this batch
	hash        Digest     // the state's after the last entry
	steps       []layersStep
	sinceStep   []touched // services that changed since the last step
	brokeGlass  uint64    // commands that broke rules with break_glass
	expired     uint64    // leases that ended because they were not renewed
	revoked     uint64    // leases that their reporters ended
	mismatch    uint64    // the first index after which a proposer had another state hash than this node; 0: none
}

// maxTouched is for how many names memory is kept from one batch to the next.
const maxTouched = 1024

// layersStep is a change of the layers within a batch. What is published of the services before must be as it
// was then: else a reader could see a report from after the change without the override, or the other way
// round.
type layersStep struct {
	services []touched // that changed before, since the step before
	layers   *layers.Layers
	patterns []string // whose overrides changed
}

type touched struct {
	name string
	now  *record // nil: deleted
}

func (b *batch) add(p *plan) {
	for i := range p.changes {
		if c := &p.changes[i]; c.changed() {
			b.addRecord(c.kind, c.key, c.after)
		}
	}
	for _, key := range p.layering().dropped {
		b.addRecord(overrideKind, key, nil)
	}
	b.expired += p.leasing().expired
	b.revoked += p.leasing().revoked
	for i := range p.outcomes {
		if o := &p.outcomes[i]; o.changed() {
			b.addService(o.name, o.after)
		}
	}
	if len(p.layering().patterns) > 0 {
		b.addStep(p)
	}
}

// addStep notes a change of the layers.
func (b *batch) addStep(p *plan) {
	services := b.sinceStep
	if len(b.steps) == 0 {
		services = slices.Clone(b.services)
	}
	b.sinceStep = nil
	b.steps = append(b.steps, layersStep{services, p.layered.layers, p.layered.patterns})
}

func (b *batch) addService(name string, now *record) {
	if len(b.steps) > 0 {
		b.sinceStep = append(b.sinceStep, touched{name, now})
	}
	if i, ok := b.at[name]; ok {
		b.services[i].now = now
		return
	}
	b.at[name] = len(b.services)
	b.services = append(b.services, touched{name, now})
}

func (b *batch) addRecord(kind *Kind, key string, now Value) {
	r := logv1.Record{Kind: kind.Number, Key: key}
	if now != nil {
		r.Value = now
	}
	at := recordKey{kind.Number, key}
	if i, ok := b.recordAt[at]; ok {
		b.records[i] = r
		return
	}
	if b.recordAt == nil {
		b.recordAt = map[recordKey]int{}
	}
	b.recordAt[at] = len(b.records)
	b.records = append(b.records, r)
}

// forget notes that r, the oldest known request, is forgotten.
func (b *batch) forget(r *request) {
	if len(b.requests) > 0 && b.requests[0] == r {
		b.requests = b.requests[1:]
		return
	}
	b.forgotten = append(b.forgotten, r.place.key())
}

// delta returns what the registry file has to store. s is the state after the batch.
func (b *batch) delta(s *state) *logv1.Delta {
	d := &logv1.Delta{
		Index:     b.index,
		Term:      b.term,
		Revision:  s.revision,
		LogTime:   s.logTime,
		Horizon:   s.horizon,
		Level:     s.level,
		ClusterID: s.clusterID,
		StateHash: b.hash.proto(s.hashVersion, b.index),
		Records:   make([]logv1.Record, 0, len(b.services)+len(b.records)+len(b.forgotten)+len(b.requests)),
		Events:    b.events,
	}
	for _, t := range b.services {
		r := logv1.Record{Kind: logv1.Kind_KIND_SERVICE, Key: t.name}
		if t.now != nil {
			r.Value = t.now
		}
		d.Records = append(d.Records, r)
	}
	d.Records = append(d.Records, b.records...)
	for _, key := range b.forgotten {
		d.Records = append(d.Records, logv1.Record{Kind: logv1.Kind_KIND_REQUEST, Key: key})
	}
	for _, r := range b.requests {
		d.Records = append(d.Records, logv1.Record{Kind: logv1.Kind_KIND_REQUEST, Key: r.place.key(), Value: r})
	}
	return d
}
