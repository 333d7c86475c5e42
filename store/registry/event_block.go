package registry

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store/vfs"
)

// Field numbers of logv1.EventBlock and logv1.EventGroup. These messages are parsed by hand, because often
// only one event of a block of a hundred is wanted.
const (
	blockFirst  = 1
	blockTime   = 2
	blockGroups = 3

	groupMore      = 1
	groupTime      = 2
	groupActor     = 3
	groupReason    = 4
	groupRequestID = 5
	groupKind      = 6
	groupEvents    = 7
)

// eventBlock is an opened logv1.EventBlock. It knows where each event begins and ends, and decodes only
// the events that it is asked for. payload is the transaction's memory; the events it returns are not.
type eventBlock struct {
	first   int64 // revision; there is at least one event
	time    int64
	payload []byte
	groups  []blockGroup
	events  []blockEvent // the first has the revision first, each further one the next

	decoded int         // the group whose fields are in shared; -1: none
	shared  logv1.Event // the fields that all events of that group have
	one     logv1.BlockEvent
}

// blockGroup is where a group is. Its own fields are decoded when one of its events is.
type blockGroup struct {
	begin, end uint32 // in payload, of the group's own fields: its events come after them
	events     int    // how many events the block has up to the end of this group
}

// blockEvent is where an event is.
type blockEvent struct {
	begin, end uint32 // in payload
	group      uint32 // its place in groups
}

// errBlock is for a block whose checksum is right and whose content is not.
var errBlock = errors.New("not a block of events")

// openBlock opens the block that is stored under a key of the bucket events. b may have held another block.
// When the transaction ends, b must be opened again before it is used.
func openBlock(key, value []byte, b *eventBlock) error {
	payload, err := logv1.Payload(value)
	if err == nil {
		err = b.find(payload)
	}
	if err != nil {
		return recordError(bucketEvents, key, err)
	}
	if len(key) != revisionBytes || uint64(b.first) != binary.BigEndian.Uint64(key) {
		return fmt.Errorf("bucket %s, key %x: %w: it holds the events from revision %d on", bucketEvents, key, vfs.ErrDamaged, b.first)
	}
	return nil
}

// last is the revision of the block's last event.
func (b *eventBlock) last() int64 { return b.first + int64(len(b.events)) - 1 }

// find notes where each group and each event of the payload is.
func (b *eventBlock) find(payload []byte) error {
	if len(payload) > math.MaxUint32 {
		return errBlock
	}
	b.payload, b.decoded = payload, -1
	b.first, b.time = 0, 0
	b.groups, b.events = b.groups[:0], b.events[:0]
	for at := 0; at < len(payload); {
		f, err := fieldAt(payload, at, len(payload))
		if err != nil {
			return err
		}
		at = f.end
		switch f.number {
		case blockFirst:
			b.first = int64(f.varint)
		case blockTime:
			b.time = int64(f.varint)
		case blockGroups:
			if f.kind != protowire.BytesType {
				return errBlock
			}
			b.groups = append(b.groups, blockGroup{begin: uint32(f.begin), end: uint32(f.begin)})
			if err := b.findEvents(f.begin, f.end); err != nil {
				return err
			}
		default:
			return logv1.UnknownField("EventBlock", int32(f.number))
		}
	}
	if len(b.events) == 0 || b.first < 1 || b.first > math.MaxInt64-int64(len(b.events)) {
		return errBlock
	}
	return nil
}

// findEvents notes where each event of the newest group is. The group is payload[begin:end].
func (b *eventBlock) findEvents(begin, end int) error {
	const tag = groupEvents<<3 | byte(protowire.BytesType)
	before, group := len(b.events), uint32(len(b.groups)-1)
	for at := begin; at < end; {
		// The fast way: nearly all fields are events of fewer than 128 bytes.
		if p := b.payload[at:end]; len(p) > 1 && p[0] == tag && int(p[1]) <= min(127, len(p)-2) {
			b.events = append(b.events, blockEvent{uint32(at + 2), uint32(at + 2 + int(p[1])), group})
			at += 2 + int(p[1])
			continue
		}
		f, err := fieldAt(b.payload, at, end)
		if err != nil {
			return err
		}
		if at = f.end; f.number != groupEvents {
			b.groups[group].end = uint32(at) // the end of the fields that came so far
			continue
		}
		if f.kind != protowire.BytesType {
			return errBlock
		}
		b.events = append(b.events, blockEvent{uint32(f.begin), uint32(f.end), group})
	}
	if len(b.events) == before {
		return errBlock // a group without events
	}
	b.groups[group].events = len(b.events)
	return nil
}

// field is a field of a message.
type field struct {
	number     protowire.Number
	kind       protowire.Type
	varint     uint64 // if kind is VarintType
	begin, end int    // where its value is
}

// fieldAt returns the field that begins at a place of a message that ends at end.
func fieldAt(message []byte, at, end int) (field, error) {
	var f field
	var n int
	if f.number, f.kind, n = protowire.ConsumeTag(message[at:end]); n < 0 {
		return f, errBlock
	}
	at += n
	f.begin = at
	switch f.kind {
	case protowire.VarintType:
		f.varint, n = protowire.ConsumeVarint(message[at:end])
	case protowire.BytesType:
		var value []byte
		value, n = protowire.ConsumeBytes(message[at:end])
		f.begin = at + n - len(value)
	default:
		n = protowire.ConsumeFieldValue(f.number, f.kind, message[at:end])
	}
	if n < 0 {
		return f, errBlock
	}
	f.end = at + n
	return f, nil
}

// event decodes one event of the block, by its revision. Events of one group share their actor.
func (b *eventBlock) event(revision int64) (*logv1.Event, error) {
	at := b.events[revision-b.first]
	err := b.decodeGroup(int(at.group))
	if err == nil {
		b.one.Reset()
		err = b.one.UnmarshalVT(b.payload[at.begin:at.end])
	}
	if err != nil {
		return nil, recordError(bucketEvents, revisionKey(b.first), fmt.Errorf("revision %d: %w", revision, err))
	}
	one, shared := &b.one, &b.shared
	e := &logv1.Event{
		Revision:        revision,
		CommitRevision:  shared.CommitRevision,
		Time:            shared.Time,
		Actor:           shared.Actor,
		Reason:          shared.Reason,
		RequestId:       shared.RequestId,
		Type:            one.Type,
		Kind:            shared.Kind,
		Key:             one.Key,
		Deletes:         one.Deletes,
		After:           one.After,
		PreviousStatus:  one.PreviousStatus,
		Status:          one.Status,
		EffectiveStatus: one.EffectiveStatus,
		LeaseId:         one.LeaseId,
		StatusTime:      one.StatusTime,
		Ends:            one.Ends,
		MatchedCount:    one.MatchedCount,
		RuleBreak:       one.RuleBreak,
		Detached:        one.Detached,
	}
	if one.StatusBegan {
		e.StatusTime = e.Time
	}
	return e, nil
}

func (b *eventBlock) decodeGroup(i int) error {
	if b.decoded == i {
		return nil
	}
	b.decoded = -1
	group, shared := b.groups[i], &b.shared
	shared.Actor, shared.Reason, shared.RequestId, shared.Kind = nil, "", "", 0
	more, time := int64(0), int64(0)
	for at, end := int(group.begin), int(group.end); at < end; {
		f, err := fieldAt(b.payload, at, end)
		if err != nil {
			return err
		}
		at = f.end
		switch f.number {
		case groupMore:
			more = protowire.DecodeZigZag(f.varint)
		case groupKind:
			shared.Kind = logv1.Kind(f.varint)
		case groupTime:
			time = protowire.DecodeZigZag(f.varint)
		case groupActor, groupReason, groupRequestID:
			if f.kind != protowire.BytesType {
				return errBlock
			}
			switch value := b.payload[f.begin:f.end]; f.number {
			case groupReason:
				shared.Reason = string(value)
			case groupRequestID:
				shared.RequestId = string(value)
			default:
				shared.Actor = new(logv1.Actor)
				if err := shared.Actor.UnmarshalVT(value); err != nil {
					return err
				}
			}
		default:
			return logv1.UnknownField("EventGroup", int32(f.number))
		}
	}
	shared.CommitRevision, shared.Time = b.first+int64(group.events)-1+more, b.time+time
	b.decoded = i
	return nil
}
