package store

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"go.etcd.io/bbolt"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// Check looks at all that the file holds: that the registry is what inspect finds right, that the events
// are complete, in order and found through their index, and that they fold to the services.
func (f *JournalFile) Check(inspect func(*JournalFile) Check) []Check {
	m := f.meta
	journal := Check{Name: "journal", Looked: fmt.Sprintf("log entry %d of term %d, revision %d, horizon %d", m.GetIndex(), m.GetTerm(), m.GetRevision(), max(m.GetHorizon(), 1))}
	switch {
	case m.GetHorizon() > m.GetRevision()+1:
		journal.Fail("its horizon is %d, its revision only %d", m.GetHorizon(), m.GetRevision())
	case m.GetCompacted() > max(m.GetHorizon(), 1):
		journal.Fail("it is compacted up to %d, beyond its horizon, %d", m.GetCompacted(), m.GetHorizon())
	case m.GetStateHash() != nil && m.GetStateHash().GetIndex() != m.GetIndex():
		journal.Fail("its state hash is of log entry %d, it ends at %d", m.GetStateHash().GetIndex(), m.GetIndex())
	}
	events, services := Check{Name: "events"}, Check{Name: "fold"}
	for _, part := range []struct {
		check *Check
		run   func(*bbolt.Tx, *Check) error
	}{{&events, f.checkHistory}, {&services, f.checkFold}} {
		err := guard(func() error {
			return f.db.View(func(tx *bbolt.Tx) error { return part.run(tx, part.check) })
		})
		f.note(err)
		if err != nil {
			part.check.Fail("%v", err)
		}
	}
	return []Check{journal, inspect(f), events, services}
}

// checkHistory reads every event.
func (f *JournalFile) checkHistory(tx *bbolt.Tx, check *Check) error {
	all, byName := tx.Bucket(bucketEvents), tx.Bucket(bucketEventsByService)
	complete := compactedTo(f.meta) // from here on there must be all
	next := complete
	var count, old, indexed int
	var last *logv1.Event
	seen := map[string]int64{} // of names below complete, of which one event each is left
	defer func() {
		check.Looked = fmt.Sprintf("%d from revision %d on, %d older ones, %d index keys", count-old, complete, old, indexed)
	}()
	err := walk(all, func(key, value []byte) error {
		count++
		e, err := decodeEvent(key, value)
		if err != nil {
			check.Fail("%v", err)
			if len(key) == revisionBytes && int64(binary.BigEndian.Uint64(key)) == next {
				next++
			}
			return nil
		}
		r := e.GetRevision()
		name := indexName(e)
		switch {
		case r < complete:
			old++
			switch {
			case name == "" || e.GetType() == logv1.EventType_EVENT_TYPE_DELETED:
				check.Fail("revision %d should have been deleted: it is below %d", r, complete)
			case seen[name] != 0:
				check.Fail("revisions %d and %d of %q are both there: below %d only the newest should be", seen[name], r, name, complete)
			}
			seen[name] = r
		case r > next:
			check.Fail("revisions %d to %d are missing", next, r-1)
			next = r + 1
		default:
			next = r + 1
		}
		switch {
		case e.GetCommitRevision() < r || e.GetCommitRevision() > f.meta.GetRevision():
			check.Fail("revision %d says that it belongs to a write that ends at revision %d", r, e.GetCommitRevision())
		case e.GetTime() < last.GetTime() || e.GetTime() > f.meta.GetLogTime():
			check.Fail("revision %d has a time before the one before it, or after the journal's", r)
		case r >= complete && last.GetRevision() >= complete && last.GetCommitRevision() >= r && last.GetCommitRevision() != e.GetCommitRevision():
			check.Fail("revisions %d and %d disagree about the write that they belong to", last.GetRevision(), r)
		}
		last = e
		if name == "" {
			return nil
		}
		indexed++
		if byName.Get(nameKey(name, r)) == nil {
			check.Fail("revision %d is not in the index of %q", r, name)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("bucket %s: %w", bucketEvents, err)
	}
	if next != f.meta.GetRevision()+1 {
		check.Fail("the events end at revision %d, the journal is at %d", next-1, f.meta.GetRevision())
	}
	keys := 0
	err = walk(byName, func(key, _ []byte) error {
		keys++
		if _, _, err := splitNameKey(key); err != nil {
			check.Fail("%v", err)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("bucket %s: %w", bucketEventsByService, err)
	}
	// Each event has its key, so that more keys than events lead nowhere.
	if keys > indexed {
		check.Fail("the index has %d keys that lead to no event of theirs", keys-indexed)
	}
	return nil
}

// checkFold compares each service with its newest event, and so the registry with what its history folds
// to.
func (f *JournalFile) checkFold(tx *bbolt.Tx, check *Check) error {
	all, byName, services := tx.Bucket(bucketEvents), tx.Bucket(bucketEventsByService), tx.Bucket(bucketServices)
	var folded, deleted int
	defer func() {
		check.Looked = fmt.Sprintf("%d services and %d deleted ones against the newest event of each", folded, deleted)
	}()
	one := func(name []byte, revision int64) {
		e, err := decodeEvent(revisionKey(revision), all.Get(revisionKey(revision)))
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
	err := walk(byName, func(key, _ []byte) error {
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
	err = walk(services, func(key, _ []byte) error {
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
