package registry

import (
	"bytes"
	"fmt"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/encoding/protowire"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// maxBlock is the greatest size of a sealed block, unless the block holds one event. bbolt puts at least
// two values on a leaf and gives the leaf as many pages as it needs. A leaf has a header of 16 bytes, and
// 16 bytes and a key for each value: so a leaf of n blocks of this size fits into n pages of 4 KiB.
const maxBlock = 4096 - 16 - revisionBytes - 8

// sealing is the most bytes that the envelope and the block's own fields take.
const sealing = 17 + 2*11

// eventPacker packs events into blocks. One goroutine uses it.
type eventPacker struct {
	groups arena[logv1.EventGroup]
	events arena[logv1.BlockEvent]
	block  logv1.EventBlock
	last   eventBlock
}

// arena hands out values. It uses them again without clearing them.
type arena[T any] struct {
	all  []*T
	used int
}

const arenaChunk = 256

func (a *arena[T]) next() *T {
	if a.used == len(a.all) {
		chunk := make([]T, arenaChunk)
		for i := range chunk {
			a.all = append(a.all, &chunk[i])
		}
	}
	a.used++
	return a.all[a.used-1]
}

// put stores events, which come in order of revision and after those that are stored. It appends to the
// last block while that has room, unless the block begins below compacted: there each block has one event.
// If the last block is damaged, put begins a new one: readers of the damaged one are told, and the new
// events are not lost too.
func (p *eventPacker) put(all *bbolt.Bucket, events []*logv1.Event, compacted int64) error {
	if len(events) == 0 {
		return nil
	}
	key, value := all.Cursor().Last()
	next := events[0].GetRevision()
	switch err := openBlock(key, value, &p.last); {
	case key == nil:
	case bytes.Compare(key, revisionKey(next)) >= 0, err == nil && next <= p.last.last():
		return fmt.Errorf("bucket %s: the event of revision %d does not come after the last block, %x", bucketEvents, next, key)
	case err == nil && next == p.last.last()+1 && p.last.first >= compacted:
		n := p.pack(events, p.last.time, maxBlock-len(value)-1, 0)
		if n > 0 {
			sealed, err := logv1.SealAfter(nil, p.last.payload, &p.block)
			if err == nil {
				err = all.Put(key, sealed)
			}
			if err != nil {
				return blockError(p.last.first, err)
			}
		}
		events = events[n:]
	}
	return p.putNew(all, events)
}

// putNew stores events in new blocks.
func (p *eventPacker) putNew(all *bbolt.Bucket, events []*logv1.Event) error {
	for len(events) > 0 {
		first, time := events[0].GetRevision(), events[0].GetTime()
		n := p.pack(events, time, maxBlock-sealing, 1)
		p.block.First, p.block.Time = first, time
		sealed, err := logv1.Seal(&p.block)
		if err == nil {
			err = all.Put(revisionKey(first), sealed)
		}
		if err != nil {
			return blockError(first, err)
		}
		events = events[n:]
	}
	return nil
}

func blockError(first int64, err error) error {
	return fmt.Errorf("bucket %s, revision %d: %w", bucketEvents, first, err)
}

// pack fills p.block with groups of the first events, and returns how many events that are. It takes events
// of consecutive revisions, as many as fit into room bytes, but at least least of them.
func (p *eventPacker) pack(events []*logv1.Event, time int64, room, least int) (n int) {
	p.groups.used, p.events.used = 0, 0
	p.block.First, p.block.Time = 0, 0
	var group *logv1.EventGroup
	before, in, from := 0, 0, 0 // bytes of the groups before this one; bytes of this one; the place of its first event
	for ; n < len(events); n++ {
		e := events[n]
		if n > 0 && e.GetRevision() != events[n-1].GetRevision()+1 {
			break
		}
		one := p.events.next()
		fillEvent(one, e)
		size := fieldSize(one.SizeVT())
		if group == nil || !sameWrite(events[n-1], e) {
			next := p.groups.next()
			fillGroup(next, e, time)
			size += next.SizeVT()
			closed := before
			if group != nil {
				closed += fieldSize(in)
			}
			if n >= least && closed+fieldSize(size) > room {
				p.groups.used--
				p.events.used--
				break
			}
			p.close(group, events, from, n)
			group, before, in, from = next, closed, size, n
			continue
		}
		if e.GetCommitRevision() < e.GetRevision() {
			size += 2 // More grows with each such event. The fold makes none.
		}
		if n >= least && before+fieldSize(in+size) > room {
			p.events.used--
			break
		}
		in += size
	}
	p.close(group, events, from, n)
	p.block.Groups = p.groups.all[:p.groups.used]
	return n
}

// close ends a group. It holds the events from from to end-1.
func (p *eventPacker) close(group *logv1.EventGroup, events []*logv1.Event, from, end int) {
	if group == nil {
		return
	}
	last := events[end-1]
	group.More = last.GetCommitRevision() - last.GetRevision()
	group.Events = p.events.all[from:end]
}

// fieldSize is the size of a field that holds a message of this size.
func fieldSize(size int) int { return 1 + protowire.SizeBytes(size) }

// fillGroup sets all fields of a group except its events: the group was used before.
func fillGroup(g *logv1.EventGroup, e *logv1.Event, time int64) {
	g.More = e.GetCommitRevision() - e.GetRevision()
	g.Time = e.GetTime() - time
	g.Actor, g.Reason, g.RequestId, g.Kind = e.GetActor(), e.GetReason(), e.GetRequestId(), e.GetKind()
	g.Events = nil
}

// fillEvent sets all fields of an event: it was used before.
func fillEvent(b *logv1.BlockEvent, e *logv1.Event) {
	b.Type, b.Key, b.LeaseId, b.Deletes, b.After = e.GetType(), e.GetKey(), e.GetLeaseId(), e.GetDeletes(), e.GetAfter()
	b.PreviousStatus, b.Status, b.EffectiveStatus = e.GetPreviousStatus(), e.GetStatus(), e.GetEffectiveStatus()
	b.StatusTime = e.GetStatusTime()
	b.Ends, b.MatchedCount, b.RuleBreak = e.GetEnds(), e.GetMatchedCount(), e.GetRuleBreak()
	b.Detached = e.GetDetached()
	if b.StatusBegan = b.StatusTime != 0 && b.StatusTime == e.GetTime(); b.StatusBegan {
		b.StatusTime = 0
	}
}

// sameWrite reports whether two events can be in one group: everything that a group stores once is the same
// in both.
func sameWrite(a, b *logv1.Event) bool {
	return a.GetKind() == b.GetKind() && a.GetCommitRevision() == b.GetCommitRevision() && a.GetTime() == b.GetTime() &&
		a.GetReason() == b.GetReason() && a.GetRequestId() == b.GetRequestId() && sameActor(a.GetActor(), b.GetActor())
}

func sameActor(a, b *logv1.Actor) bool {
	if a == b || a == nil || b == nil {
		return a == b
	}
	return a.GetName() == b.GetName() && a.GetPeer() == b.GetPeer() && a.GetVerified() == b.GetVerified() &&
		a.GetOnBehalfOf() == b.GetOnBehalfOf() && a.GetCredential() == b.GetCredential() && a.GetStaticAdmin() == b.GetStaticAdmin()
}
