package registry

import (
	"bytes"
	"fmt"

	"go.etcd.io/bbolt"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store/boltfile"
)

// Check looks at all that the file holds: that the registry is what inspect finds right, that the events
// are complete, in order and found through their index, and that they fold to the services.
func (f *Reader) Check(inspect func(*Reader) Check) []Check {
	m := f.meta
	registryFile := Check{Name: "registry file", Looked: fmt.Sprintf("log entry %d of term %d, revision %d, horizon %d", m.GetIndex(), m.GetTerm(), m.GetRevision(), max(m.GetHorizon(), 1))}
	switch {
	case m.GetHorizon() > m.GetRevision()+1:
		registryFile.Fail("its horizon is %d, its revision only %d", m.GetHorizon(), m.GetRevision())
	case m.GetCompacted() > max(m.GetHorizon(), 1):
		registryFile.Fail("it is compacted up to %d, beyond its horizon, %d", m.GetCompacted(), m.GetHorizon())
	case m.GetStateHash() != nil && m.GetStateHash().GetIndex() != m.GetIndex():
		registryFile.Fail("its state hash is of log entry %d, it ends at %d", m.GetStateHash().GetIndex(), m.GetIndex())
	}
	events, services := Check{Name: "events"}, Check{Name: "fold"}
	for _, part := range []struct {
		check *Check
		run   func(*bbolt.Tx, *Check) error
	}{{&events, f.checkHistory}, {&services, f.checkFold}} {
		err := boltfile.Guard(func() error {
			return f.db.View(func(tx *bbolt.Tx) error { return part.run(tx, part.check) })
		})
		f.note(err)
		if err != nil {
			part.check.Fail("%v", err)
		}
	}
	return []Check{registryFile, inspect(f), events, services}
}

// historyCheck is a reading of all events, block by block.
type historyCheck struct {
	*Check
	meta     *logv1.RegistryMeta
	byName   *bbolt.Bucket
	complete int64 // from here on there must be all
	next     int64 // the revision that is to come now, at least complete

	blocks, count, old, indexed int
	last                        *logv1.Event
	seen                        map[string]int64 // of names below complete, of which one event each is left
}

// checkHistory reads every event.
func (f *Reader) checkHistory(tx *bbolt.Tx, check *Check) error {
	complete := compactedTo(f.meta)
	h := &historyCheck{Check: check, meta: f.meta, byName: tx.Bucket(bucketEventsByService),
		complete: complete, next: complete, seen: map[string]int64{}}
	defer func() {
		check.Looked = fmt.Sprintf("%d from revision %d on, %d older ones, in %d blocks, %d index keys",
			h.count-h.old, complete, h.old, h.blocks, h.indexed)
	}()
	var block eventBlock
	var begin, end int64 // of the block before
	err := boltfile.Walk(tx.Bucket(bucketEvents), func(key, value []byte) error {
		h.blocks++
		if err := openBlock(key, value, &block); err != nil {
			check.Fail("%v", err)
			return nil // what was in it is missing, and said to be when the next is come to
		}
		switch {
		case block.first <= end:
			check.Fail("%v", overlap(begin, block.first))
		case block.first < complete && len(block.events) > 1:
			check.Fail("revisions %d to %d are in one block: below %d each should have its own", block.first, block.last(), complete)
		}
		begin, end = block.first, max(end, block.last())
		h.block(&block)
		return nil
	})
	if err != nil {
		return fmt.Errorf("bucket %s: %w", bucketEvents, err)
	}
	if h.next != f.meta.GetRevision()+1 {
		check.Fail("the events end at revision %d, the registry file is at %d", h.next-1, f.meta.GetRevision())
	}
	return h.checkIndex()
}

func (h *historyCheck) block(b *eventBlock) {
	for r := b.first; r <= b.last(); r++ {
		h.count++
		if r >= h.complete {
			if r > h.next {
				h.Fail("revisions %d to %d are missing", h.next, r-1)
			}
			h.next = r + 1
		}
		e, err := b.event(r)
		if err != nil {
			h.Fail("%v", err)
			continue
		}
		h.event(e)
	}
}

func (h *historyCheck) event(e *logv1.Event) {
	r, name := e.GetRevision(), indexName(e)
	if r < h.complete {
		h.old++
		switch {
		case name == "" || e.GetType() == logv1.EventType_EVENT_TYPE_DELETED:
			h.Fail("revision %d should have been deleted: it is below %d", r, h.complete)
		case h.seen[name] != 0:
			h.Fail("revisions %d and %d of %q are both there: below %d only the newest should be", h.seen[name], r, name, h.complete)
		}
		h.seen[name] = r
	}
	last := h.last
	h.last = e
	switch {
	case e.GetCommitRevision() < r || e.GetCommitRevision() > h.meta.GetRevision():
		h.Fail("revision %d says that it belongs to a write that ends at revision %d", r, e.GetCommitRevision())
	case e.GetTime() < last.GetTime() || e.GetTime() > h.meta.GetLogTime():
		h.Fail("revision %d has a time before the one before it, or after the registry file's", r)
	case r >= h.complete && last.GetRevision() >= h.complete && last.GetCommitRevision() >= r && last.GetCommitRevision() != e.GetCommitRevision():
		h.Fail("revisions %d and %d disagree about the write that they belong to", last.GetRevision(), r)
	}
	if name == "" {
		return
	}
	h.indexed++
	if h.byName.Get(nameKey(name, r)) == nil {
		h.Fail("revision %d is not in the index of %q", r, name)
	}
}

func (h *historyCheck) checkIndex() error {
	keys := 0
	err := boltfile.Walk(h.byName, func(key, _ []byte) error {
		keys++
		if _, _, err := splitNameKey(key); err != nil {
			h.Fail("%v", err)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("bucket %s: %w", bucketEventsByService, err)
	}
	// Each event has its key, so that more keys than events lead nowhere.
	if keys > h.indexed {
		h.Fail("the index has %d keys that lead to no event of theirs", keys-h.indexed)
	}
	return nil
}

// checkFold compares each service with its newest event, and so the registry with what its history folds
// to.
func (f *Reader) checkFold(tx *bbolt.Tx, check *Check) error {
	byName, services := tx.Bucket(bucketEventsByService), tx.Bucket(bucketServices)
	events := &eventReader{all: tx.Bucket(bucketEvents)}
	var folded, deleted int
	defer func() {
		check.Looked = fmt.Sprintf("%d services and %d deleted ones against the newest event of each", folded, deleted)
	}()
	one := func(name []byte, revision int64) {
		e, err := events.at(revision)
		if err != nil {
			check.Fail("service %q: %v", name, err)
			return
		}
		value := services.Get(name)
		if e.GetType() == logv1.EventType_EVENT_TYPE_DELETED {
			deleted++
			if value != nil {
				check.Fail("service %q exists; its newest event, revision %d, deleted it", name, revision)
			}
			return
		}
		if value == nil {
			check.Fail("service %q does not exist; its newest event, revision %d, did not delete it", name, revision)
			return
		}
		folded++
		record := new(logv1.ServiceRecord)
		if err := openRecord(bucketServices, name, value, record); err != nil {
			check.Fail("%v", err)
			return
		}
		if what := differs(record, e); what != "" {
			check.Fail("service %q: its %s is not what its newest event, revision %d, says", name, what, revision)
		}
	}
	var name []byte // of the key before
	var newest int64
	err := boltfile.Walk(byName, func(key, _ []byte) error {
		this, revision, err := splitNameKey(key)
		if err != nil || !isServiceName(string(this)) {
			return nil // checkHistory says so; or a member
		}
		if name != nil && !bytes.Equal(this, name) {
			one(name, newest)
		}
		name, newest = bytes.Clone(this), revision
		return nil
	})
	if err != nil {
		return err
	}
	if name != nil {
		one(name, newest)
	}
	err = boltfile.Walk(services, func(key, _ []byte) error {
		at, _ := seekBack(byName.Cursor(), nameKey(string(key), f.meta.GetRevision()))
		if this, _, err := splitNameKey(at); err != nil || !bytes.Equal(this, key) {
			check.Fail("service %q has no event", key)
		}
		return nil
	})
	return err
}

// differs says what of a record is not as its event left it.
func differs(r *logv1.ServiceRecord, e *logv1.Event) string {
	p := r.GetReport()
	actor, by := p.GetActor(), e.GetActor()
	switch {
	case p.GetRevision() != e.GetRevision():
		return "revision"
	case p.GetStatus() != e.GetStatus():
		return "status"
	case p.GetReason() != e.GetReason():
		return "reason"
	case actor.GetName() != by.GetName() || actor.GetPeer() != by.GetPeer() || actor.GetVerified() != by.GetVerified():
		return "actor"
	case p.GetTime() != e.GetTime():
		return "time"
	case p.GetRequestId() != e.GetRequestId():
		return "request id"
	case p.GetLeaseId() != e.GetLeaseId():
		return "lease"
	case e.GetStatusTime() != 0 && r.GetStatusTime() != e.GetStatusTime():
		return "time of status"
	}
	return ""
}
