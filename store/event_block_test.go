package store

import (
	"testing"

	"go.etcd.io/bbolt"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// isolate makes the event of a revision stand in a block of its own, under its revision, so that it can be
// damaged and no other.
func isolate(t testing.TB, j *Journal, revision int64) {
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
func removeEvent(t *testing.T, j *Journal, revision int64) {
	t.Helper()
	isolate(t, j, revision)
	remove(t, j, bucketEvents, revisionKey(revision))
}

// corruptEvent has something else stand where one event was.
func corruptEvent(t *testing.T, j *Journal, revision int64, value []byte) {
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
