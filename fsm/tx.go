package fsm

import (
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// Tx is the view of the registry that a command of a kind reads, and takes its changes. All of them take
// effect, or none.
type Tx struct {
	s   *state
	p   *plan
	cmd *logv1.Command
}

// Time is the command's, in Unix nanoseconds of log time.
func (tx *Tx) Time() int64 { return tx.p.time }

// Command is all of the command. It must not be modified.
func (tx *Tx) Command() *logv1.Command { return tx.cmd }

// Get returns a record of a kind, with the changes of this command so far; nil if there is none. It is not
// for services, nor for request ids.
func (tx *Tx) Get(kind logv1.Kind, key string) Value {
	return tx.s.planned(tx.p, tx.s.kinds.find(kind), key)
}

// Put puts a record, or deletes it if v is nil. A record that is already like this does not change. The
// change is an event of this type, if the kind has a history. A key that such a kind cannot have refuses the
// command.
func (tx *Tx) Put(kind logv1.Kind, key string, v Value, event logv1.EventType) {
	tx.s.change(tx.p, tx.s.kinds.find(kind), key, v, event)
}

// recordKey identifies a record of any kind that has a table.
type recordKey struct {
	kind logv1.Kind
	key  string
}

// recordChange is a change of a record of a kind that has a table.
type recordChange struct {
	kind    *Kind
	key     string
	before  Value // nil: did not exist
	after   Value // nil: does not exist; the same as before: nothing changes
	event   logv1.EventType
	ends    bool   // the record is over, though it stays for now
	matched int64  // of an override: how many services it covers; of a lease: how many reports were attached to it
	why     *cause // nil: the command
	last    Value  // of a record that is deleted: what it was at its end; nil: the kind does not tell
}

func (c *recordChange) changed() bool { return c.before != c.after }

// planned returns the record with the changes of p so far.
func (s *state) planned(p *plan, kind *Kind, key string) Value {
	if i, ok := p.newest[recordKey{kind.Number, key}]; ok {
		return p.changes[i].after
	}
	return s.record(kind, key)
}

// change adds a change to p: the record becomes v, or is deleted if v is nil.
func (s *state) change(p *plan, kind *Kind, key string, v Value, event logv1.EventType) {
	if kind.History && !isKey(key) {
		p.refusal = invalid("key", logv1.Refusal_PROBLEM_UNSPECIFIED)
		return
	}
	c := recordChange{kind: kind, key: key, before: s.planned(p, kind, key), after: v, event: event}
	if c.before != nil && v != nil && sameValue(c.before, v) {
		c.after = c.before
	}
	if c.changed() && kind.History {
		p.revision++
	}
	if v == nil && kind.ResultBefore {
		c.last = c.before
	}
	if p.newest == nil {
		p.newest = map[recordKey]int{}
	}
	p.newest[recordKey{kind.Number, key}] = len(p.changes)
	p.changes = append(p.changes, c)
}

// commitRecords carries out the record changes of p and calls add with their events.
func (s *state) commitRecords(p *plan, add func(*logv1.Event, *cause)) {
	for i := range p.changes {
		c := &p.changes[i]
		if !c.changed() {
			continue
		}
		s.put(c.kind, c.key, c.after)
		if !c.kind.History {
			continue
		}
		e := &logv1.Event{Type: c.event, Kind: c.kind.Number, Key: c.key, Deletes: c.after == nil, Ends: c.ends, MatchedCount: c.matched}
		if c.after != nil {
			e.After = appendValue(nil, c.after)
		} else if c.last != nil {
			e.After = appendValue(nil, c.last)
		}
		add(e, c.why)
	}
}
