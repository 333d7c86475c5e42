package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// Field numbers of logv1.EventBlock and logv1.EventGroup, which are walked by hand: of a block of a
// hundred events often one is wanted.
const (
	blockFirst  = 1
	blockTime   = 2
	blockGroups = 3

	groupMore      = 1
	groupTime      = 2
	groupActor     = 3
	groupReason    = 4
	groupRequestID = 5
	groupEvents    = 6
)

// eventBlock is a sealed logv1.EventBlock of which is known where each event is. Its memory is the
// transaction's, that of the events it hands out is not.
type eventBlock struct {
	first   int64 // revision; there is at least one event
	time    int64
	payload []byte
	groups  []blockGroup
	events  []blockEvent

	shared  logv1.Event // what the events of group decoded have in common
	decoded int         // -1: none
	one     logv1.BlockEvent
}

// blockGroup is a group whose own fields have not been decoded: there may be no use for them.
type blockGroup struct {
	begin, end uint32 // in payload
	last       int64  // revision of its last event
}

type blockEvent struct {
	begin, end uint32 // in payload
	group      uint32
}

// errBlock is what is wrong with a block whose checksum is right.
var errBlock = errors.New("not a block of events")

// openBlock checks what stands under a key of the bucket events. b may hold another block; it has to be
// closed by another openBlock, or never be used again, when the transaction ends.
func openBlock(key, value []byte, b *eventBlock) error {
	payload, err := logv1.Payload(value)
	if err == nil {
		err = b.find(payload)
	}
	if err != nil {
		return recordError(bucketEvents, key, err)
	}
	if len(key) != revisionBytes || uint64(b.first) != binary.BigEndian.Uint64(key) {
		return fmt.Errorf("bucket %s, key %x: %w: it holds the events from revision %d on", bucketEvents, key, ErrDamaged, b.first)
	}
	return nil
}

// last is the revision of the block's last event.
func (b *eventBlock) last() int64 { return b.first + int64(len(b.events)) - 1 }

// find looks where what is in the payload.
func (b *eventBlock) find(payload []byte) error {
	if len(payload) > math.MaxUint32 {
		return errBlock
	}
	b.payload, b.decoded = payload, -1
	b.first, b.time = 0, 0
	b.groups, b.events = b.groups[:0], b.events[:0]
	err := eachField(payload, 0, func(number protowire.Number, varint uint64, begin, end int) error {
		switch number {
		case blockFirst:
			b.first = int64(varint)
		case blockTime:
			b.time = int64(varint)
		case blockGroups:
			if begin > end {
				return errBlock
			}
			b.groups = append(b.groups, blockGroup{begin: uint32(begin), end: uint32(end)})
			return b.findEvents(begin, end)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(b.events) == 0 || b.first < 1 || b.first > math.MaxInt64-int64(len(b.events)) {
		return errBlock
	}
	for i, e := range b.events {
		b.groups[e.group].last = b.first + int64(i)
	}
	return nil
}

// findEvents does so with the newest group.
func (b *eventBlock) findEvents(begin, end int) error {
	before := len(b.events)
	err := eachField(b.payload[begin:end], begin, func(number protowire.Number, _ uint64, begin, end int) error {
		if number == groupEvents {
			if begin > end {
				return errBlock
			}
			b.events = append(b.events, blockEvent{uint32(begin), uint32(end), uint32(len(b.groups) - 1)})
		}
		return nil
	})
	if err == nil && len(b.events) == before {
		return errBlock // a group of nothing
	}
	return err
}

// eachField calls f with each field of a message: with its value if that is a varint, with where it
// begins and ends, offset added, if it is bytes; else begin is greater than end.
func eachField(message []byte, offset int, f func(number protowire.Number, varint uint64, begin, end int) error) error {
	for at := 0; at < len(message); {
		number, kind, n := protowire.ConsumeTag(message[at:])
		if n < 0 {
			return errBlock
		}
		at += n
		var varint uint64
		begin, end := 1, 0
		switch kind {
		case protowire.VarintType:
			varint, n = protowire.ConsumeVarint(message[at:])
		case protowire.BytesType:
			var value []byte
			value, n = protowire.ConsumeBytes(message[at:])
			begin, end = offset+at+n-len(value), offset+at+n
		default:
			n = protowire.ConsumeFieldValue(number, kind, message[at:])
		}
		if n < 0 {
			return errBlock
		}
		at += n
		if err := f(number, varint, begin, end); err != nil {
			return err
		}
	}
	return nil
}

// event decodes the event of a revision that is in the block, and no other. Events of a group share their
// actor.
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
		Service:         one.Service,
		PreviousStatus:  one.PreviousStatus,
		Status:          one.Status,
		EffectiveStatus: one.EffectiveStatus,
		LeaseId:         one.LeaseId,
		Member:          one.Member,
		StatusTime:      one.StatusTime,
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
	shared.Actor, shared.Reason, shared.RequestId = nil, "", ""
	more, time := int64(0), int64(0)
	err := eachField(b.payload[group.begin:group.end], int(group.begin), func(number protowire.Number, varint uint64, begin, end int) error {
		switch number {
		case groupMore:
			more = protowire.DecodeZigZag(varint)
		case groupTime:
			time = protowire.DecodeZigZag(varint)
		case groupActor, groupReason, groupRequestID:
			if begin > end {
				return errBlock
			}
			switch value := b.payload[begin:end]; number {
			case groupReason:
				shared.Reason = string(value)
			case groupRequestID:
				shared.RequestId = string(value)
			default:
				shared.Actor = new(logv1.Actor)
				return shared.Actor.UnmarshalVT(value)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	shared.CommitRevision, shared.Time = group.last+more, b.time+time
	b.decoded = i
	return nil
}
