package registry

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"pgregory.net/rapid"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store/vfs"
)

// isolate makes the event of a revision stand in a block of its own, under its revision, so that it can be
// damaged and no other.
func isolate(t testing.TB, j *File, revision int64) {
	t.Helper()
	err := j.db.Update(func(tx *bbolt.Tx) error {
		all := tx.Bucket(bucketEvents)
		key, value := seekBack(all.Cursor(), revisionKey(revision))
		var block eventBlock
		if err := openBlock(key, value, &block); err != nil {
			return err
		}
		var events []*logv1.Event
		for r := block.first; r <= block.last(); r++ {
			e, err := block.event(r)
			if err != nil {
				return err
			}
			events = append(events, e)
		}
		if err := all.Delete(key); err != nil {
			return err
		}
		at := revision - block.first
		var p eventPacker
		for _, part := range [][]*logv1.Event{events[:at], events[at : at+1], events[at+1:]} {
			if err := p.putNew(all, part); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// removeEvent takes away one event and leaves those around it.
func removeEvent(t *testing.T, j *File, revision int64) {
	t.Helper()
	isolate(t, j, revision)
	remove(t, j, bucketEvents, revisionKey(revision))
}

// corruptEvent has something else stand where one event was.
func corruptEvent(t *testing.T, j *File, revision int64, value []byte) {
	t.Helper()
	isolate(t, j, revision)
	corrupt(t, j, bucketEvents, revisionKey(revision), value)
}

// sealedBlock is a block of so few events that they fit into one.
func sealedBlock(t testing.TB, events ...*logv1.Event) []byte {
	t.Helper()
	var p eventPacker
	if n := p.pack(events, events[0].GetTime(), maxBlock-sealing, 1); n != len(events) {
		t.Fatalf("%d of %d events fit", n, len(events))
	}
	p.block.First, p.block.Time = events[0].GetRevision(), events[0].GetTime()
	sealed, err := logv1.Seal(&p.block)
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

// decoded is what a block says by the generated code and in so many words.
func decoded(b *logv1.EventBlock) (events []*logv1.Event) {
	revision := b.GetFirst()
	for _, g := range b.GetGroups() {
		commit := revision + int64(len(g.GetEvents())) - 1 + g.GetMore()
		for _, one := range g.GetEvents() {
			e := &logv1.Event{Revision: revision, CommitRevision: commit, Time: b.GetTime() + g.GetTime(),
				Actor: g.GetActor(), Reason: g.GetReason(), RequestId: g.GetRequestId(),
				Type: one.GetType(), Kind: g.GetKind(), Key: one.GetKey(), Deletes: one.GetDeletes(), After: one.GetAfter(), PreviousStatus: one.GetPreviousStatus(), Status: one.GetStatus(),
				EffectiveStatus: one.GetEffectiveStatus(), LeaseId: one.GetLeaseId(), StatusTime: one.GetStatusTime(),
				Ends: one.GetEnds(), MatchedCount: one.GetMatchedCount(), RuleBreak: one.GetRuleBreak(), Detached: one.GetDetached()}
			if one.GetStatusBegan() {
				e.StatusTime = e.Time
			}
			events = append(events, e)
			revision++
		}
	}
	return events
}

// populate sets every field of a message to something.
func populate(m protoreflect.Message) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if f.IsList() {
			list := m.Mutable(f).List()
			if f.Message() == nil {
				list.Append(protoreflect.ValueOfString(string(f.Name())))
				continue
			}
			populate(list.AppendMutable().Message())
			continue
		}
		switch f.Kind() {
		case protoreflect.MessageKind:
			populate(m.Mutable(f).Message())
		case protoreflect.EnumKind:
			m.Set(f, protoreflect.ValueOfEnum(f.Enum().Values().Get(1).Number()))
		case protoreflect.StringKind:
			m.Set(f, protoreflect.ValueOfString(string(f.Name())))
		case protoreflect.BoolKind:
			m.Set(f, protoreflect.ValueOfBool(true))
		case protoreflect.Uint32Kind:
			m.Set(f, protoreflect.ValueOfUint32(uint32(100+i)))
		case protoreflect.BytesKind:
			m.Set(f, protoreflect.ValueOfBytes([]byte("x")))
		default:
			m.Set(f, protoreflect.ValueOfInt64(int64(100+i)))
		}
	}
}

// A field that Event gets one day must not be lost on the way through a block.
func TestEventBlockHoldsAllOfAnEvent(t *testing.T) {
	e := new(logv1.Event)
	populate(e.ProtoReflect())
	var b eventBlock
	if err := openBlock(revisionKey(e.Revision), sealedBlock(t, e), &b); err != nil {
		t.Fatal(err)
	}
	if have, err := b.event(e.Revision); err != nil || !proto.Equal(have, e) {
		t.Errorf("%v, %v; want %v", have, err, e)
	}
}

// anyEvent draws an event that may have anything in common with the one before.
func anyEvent(rt *rapid.T, before *logv1.Event, revision int64) *logv1.Event {
	e := &logv1.Event{}
	if before != nil && rapid.Bool().Draw(rt, "same write") {
		e = proto.CloneOf(before)
	}
	for range rapid.IntRange(0, 3).Draw(rt, "changes") {
		switch rapid.IntRange(0, 8).Draw(rt, "change") {
		case 0:
			e.Time = rapid.Int64().Draw(rt, "time")
		case 1:
			e.StatusTime = rapid.SampledFrom([]int64{0, e.Time, e.Time - 1, e.Time + 1, 1 << 62}).Draw(rt, "status time")
		case 2:
			e.CommitRevision = revision + rapid.Int64Range(-revision, 3).Draw(rt, "more")
		case 3:
			e.Actor = rapid.SampledFrom([]*logv1.Actor{nil, {}, {Name: "a"}, {Name: "a", Verified: true}, {Peer: "a"},
				{Name: "a", Verified: true, OnBehalfOf: "b"}, {Name: "a", Verified: true, Credential: "c"}, {Name: "a", Verified: true, StaticAdmin: true}}).Draw(rt, "actor")
		case 4:
			e.Reason = strings.Repeat("r", rapid.SampledFrom([]int{0, 1, 127, 128, 2000, 5000}).Draw(rt, "reason"))
		case 5:
			e.RequestId = rapid.SampledFrom([]string{"", "r1", "r2"}).Draw(rt, "request id")
		case 6:
			e.Status = logv1.Status(rapid.IntRange(0, 3).Draw(rt, "status"))
		case 7:
			e.Kind = logv1.Kind(rapid.IntRange(0, 2).Draw(rt, "kind"))
			e.After = rapid.SampledFrom([][]byte{nil, []byte("after"), make([]byte, 200)}).Draw(rt, "after")
			e.Deletes = rapid.Bool().Draw(rt, "deletes")
			e.Ends = rapid.Bool().Draw(rt, "ends")
			e.MatchedCount = rapid.SampledFrom([]int64{0, 1, 1 << 40}).Draw(rt, "matched")
			e.RuleBreak = rapid.SampledFrom([]*logv1.RuleBreak{nil, {BreakGlass: []string{"a", "b"}},
				{Broken: []*logv1.BrokenRule{{Rule: "a", Needed: 2, Serving: 1, Total: 3}}}}).Draw(rt, "broken")
		default:
			e.Key = strings.Repeat("s", rapid.IntRange(0, 256).Draw(rt, "service"))
		}
	}
	e.Revision = revision
	return e
}

// TestEventBlocksModel: whatever events are put in whatever portions, blocks that are not too large hold
// just these, each found alone.
func TestEventBlocksModel(t *testing.T) {
	db, err := bbolt.Open(filepath.Join(t.TempDir(), "blocks.db"), 0o600, &bbolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rapid.Check(t, func(rt *rapid.T) {
		tx, err := db.Begin(true)
		if err != nil {
			rt.Fatal(err)
		}
		defer tx.Rollback()
		all, err := tx.CreateBucket(bucketEvents)
		if err != nil {
			rt.Fatal(err)
		}
		var p eventPacker
		var events []*logv1.Event
		revision, compacted := rapid.Int64Range(1, 1000).Draw(rt, "first"), int64(1)
		for range rapid.IntRange(1, 6).Draw(rt, "portions") {
			from := len(events)
			for range rapid.IntRange(1, 60).Draw(rt, "events") {
				var before *logv1.Event
				if len(events) > 0 {
					before = events[len(events)-1]
				}
				events = append(events, anyEvent(rt, before, revision))
				if revision++; rapid.IntRange(0, 40).Draw(rt, "gap") == 0 {
					revision++
				}
			}
			if err := p.put(all, events[from:], compacted); err != nil {
				rt.Fatal(err)
			}
			if rapid.IntRange(0, 3).Draw(rt, "compacted") == 0 {
				compacted = revision
			}
		}
		if err := p.put(all, events[len(events)-1:], compacted); err == nil {
			rt.Fatal("an event is put twice")
		}
		var have []*logv1.Event
		err = all.ForEach(func(key, value []byte) error {
			var b eventBlock
			if err := openBlock(key, value, &b); err != nil {
				return err
			}
			if len(value) > maxBlock && len(b.events) > 1 {
				return fmt.Errorf("block %d is of %d bytes", b.first, len(value))
			}
			full := new(logv1.EventBlock)
			if err := logv1.Open(value, full); err != nil {
				return err
			}
			for _, e := range decoded(full) {
				alone, err := b.event(e.Revision)
				if err != nil || !proto.Equal(alone, e) {
					return fmt.Errorf("alone %v, %w; with all %v", alone, err, e)
				}
				have = append(have, alone)
			}
			return nil
		})
		if err != nil || !slices.EqualFunc(have, events, func(a, b *logv1.Event) bool { return proto.Equal(a, b) }) {
			rt.Fatalf("%v: events %v, want %v", err, have, events)
		}
		r := &eventReader{all: all}
		for _, i := range rapid.SliceOf(rapid.IntRange(0, len(events)-1)).Draw(rt, "look-ups") {
			if e, err := r.at(events[i].Revision); err != nil || !proto.Equal(e, events[i]) {
				rt.Fatalf("%v, %v; want %v", e, err, events[i])
			}
		}
	})
}

// FuzzEventBlock: what is found of one event is what a full decode finds, whatever else is in the block;
// and rubbish is an error.
func FuzzEventBlock(f *testing.F) {
	e := new(logv1.Event)
	populate(e.ProtoReflect())
	next := proto.CloneOf(e)
	next.Revision++
	other := &logv1.Event{Revision: next.Revision + 1, CommitRevision: next.Revision + 4, Kind: logv1.Kind_KIND_SERVICE, Key: "shop/cart"}
	for _, events := range [][]*logv1.Event{{e}, {e, next}, {e, next, other}, {other}} {
		payload, err := logv1.Payload(sealedBlock(f, events...))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(payload)
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		var b eventBlock
		if b.find(payload) == nil {
			for r := b.first; r <= b.last(); r++ {
				_, _ = b.event(r) // without a panic
			}
		}
		full := new(logv1.EventBlock)
		if (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(payload, full) != nil {
			return
		}
		// As it would have been written: once each field, in order, and no others.
		canonical, err := full.MarshalVT()
		if err != nil {
			t.Fatal(err)
		}
		want := decoded(full)
		empty := slices.ContainsFunc(full.GetGroups(), func(g *logv1.EventGroup) bool { return len(g.GetEvents()) == 0 })
		if err := b.find(canonical); err != nil || empty || len(want) == 0 {
			if err == nil || !empty && len(want) > 0 && full.GetFirst() > 0 && full.GetFirst() < 1<<62 {
				t.Fatalf("%v of %v", err, full)
			}
			return
		}
		if b.last() != want[len(want)-1].Revision || len(b.events) != len(want) {
			t.Fatalf("revisions %d to %d of %v", b.first, b.last(), want)
		}
		for i := range want {
			e := want[len(want)-1-i*7919%len(want)]
			alone, err := b.event(e.Revision)
			if errors.Is(err, vfs.ErrNewer) {
				continue // a status or type that this binary does not know
			}
			if err != nil || !proto.Equal(alone, e) {
				t.Fatalf("%v, %v; want %v", alone, err, e)
			}
		}
	})
}

// A block that is damaged anywhere is never taken for another.
func TestEventBlockIsChecked(t *testing.T) {
	e := new(logv1.Event)
	populate(e.ProtoReflect())
	sealed := sealedBlock(t, e)
	for i := range sealed {
		for bit := range 8 {
			broken := bytes.Clone(sealed)
			broken[i] ^= 1 << bit
			var b eventBlock
			if err := openBlock(revisionKey(e.Revision), broken, &b); err == nil {
				t.Errorf("bit %d of byte %d is not noticed", bit, i)
			}
		}
	}
}
