package registry

import (
	"bytes"
	"fmt"

	"go.etcd.io/bbolt"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store/boltfile"
)

// Check reads all that the file holds. It checks the records with inspect, that the events are complete, in
// order and found through their index, and that folding the events gives the records.
func (f *Reader) Check(kinds Kinds, inspect func(*Reader) Check) []Check {
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
	events, records := Check{Name: "events"}, Check{Name: "fold"}
	for _, part := range []struct {
		check *Check
		run   func(*bbolt.Tx, *Check) error
	}{
		{&events, f.checkHistory},
		{&records, func(tx *bbolt.Tx, check *Check) error { return f.checkFold(tx, kinds, check) }},
	} {
		err := boltfile.Guard(func() error {
			return f.db.View(func(tx *bbolt.Tx) error { return part.run(tx, part.check) })
		})
		f.note(err)
		if err != nil {
			part.check.Fail("%v", err)
		}
	}
	return []Check{registryFile, inspect(f), events, records}
}

// historyCheck reads all events, block by block.
type historyCheck struct {
	*Check
	meta     *logv1.RegistryMeta
	byKey    *bbolt.Bucket
	complete int64 // from this revision on no event may be missing
	next     int64 // the next revision that must come, at least complete

	blocks, count, old, indexed int
	last                        *logv1.Event
	seen                        map[string]int64 // the names that have an event below complete: one each at most
}

// checkHistory reads every event.
func (f *Reader) checkHistory(tx *bbolt.Tx, check *Check) error {
	complete := compactedTo(f.meta)
	h := &historyCheck{Check: check, meta: f.meta, byKey: tx.Bucket(bucketEventsByKey),
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
			return nil // its events count as missing, which the next block reports
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
		case name == "" || e.GetDeletes() || e.GetEnds():
			h.Fail("revision %d should have been deleted: it is below %d", r, h.complete)
		case h.seen[name] != 0:
			h.Fail("revisions %d and %d of %s are both there: below %d only the newest should be", h.seen[name], r, describeName([]byte(name)), h.complete)
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
	if h.byKey.Get(indexKey(name, r)) == nil {
		h.Fail("revision %d is not in the index of %s", r, describeName([]byte(name)))
	}
}

func (h *historyCheck) checkIndex() error {
	keys := 0
	err := boltfile.Walk(h.byKey, func(key, _ []byte) error {
		keys++
		if _, _, err := splitIndexKey(key); err != nil {
			h.Fail("%v", err)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("bucket %s: %w", bucketEventsByKey, err)
	}
	// Each event was found through its key. So if there are more keys than events, some keys lead nowhere.
	if keys > h.indexed {
		h.Fail("the index has %d keys that lead to no event of theirs", keys-h.indexed)
	}
	return nil
}

// foldCheck compares the records with their newest events.
type foldCheck struct {
	*Check
	tx       *bbolt.Tx
	kinds    Kinds
	restored int64 // see RegistryMeta.RestoredRevision
	events   *eventReader

	folded, deleted int
}

// checkFold compares each record with its newest event. So it compares the registry with the fold of its
// history.
func (f *Reader) checkFold(tx *bbolt.Tx, kinds Kinds, check *Check) error {
	c := &foldCheck{Check: check, tx: tx, kinds: kinds, restored: f.meta.GetRestoredRevision(),
		events: &eventReader{all: tx.Bucket(bucketEvents)}}
	defer func() {
		check.Looked = fmt.Sprintf("%d records and %d deleted ones against the newest event of each", c.folded, c.deleted)
	}()
	byKey := tx.Bucket(bucketEventsByKey)
	var name []byte // the name in the key before
	var newest int64
	err := boltfile.Walk(byKey, func(key, _ []byte) error {
		this, revision, err := splitIndexKey(key)
		if err != nil {
			return nil // checkHistory reports it
		}
		if name != nil && !bytes.Equal(this, name) {
			c.record(name, newest)
		}
		name, newest = bytes.Clone(this), revision
		return nil
	})
	if err != nil {
		return err
	}
	if name != nil {
		c.record(name, newest)
	}
	buckets, err := kindBuckets(tx)
	if err != nil {
		return err
	}
	for _, k := range buckets {
		if !kinds.HasHistory(k.kind) {
			continue
		}
		err := boltfile.Walk(tx.Bucket(k.name), func(key, _ []byte) error {
			name, ok := recordName(k.kind, string(key))
			at, _ := seekBack(byKey.Cursor(), indexKey(name, f.meta.GetRevision()))
			if this, _, err := splitIndexKey(at); !ok || err != nil || string(this) != name {
				check.Fail("%s %q has no event", kinds.Name(k.kind), key)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// record compares a record with its newest event.
func (c *foldCheck) record(name []byte, revision int64) {
	kind, key, ok := splitName(name)
	if !ok {
		c.Fail("the index has a name that is none: %q", name)
		return
	}
	what := c.kinds.Name(kind)
	if !c.kinds.HasHistory(kind) {
		c.Fail("%s %q has events; records of its kind have none", what, key)
		return
	}
	e, err := c.events.at(revision)
	if err != nil {
		c.Fail("%s %q: %v", what, key, err)
		return
	}
	bucket := bucketOf(kind)
	var sealed []byte
	if b := c.tx.Bucket(bucket.name); b != nil {
		sealed = b.Get(key)
	}
	if e.GetDeletes() || revision <= c.restored && c.kinds.PerCluster(kind) {
		c.deleted++
		if sealed != nil {
			c.Fail("%s %q exists; its newest event, revision %d, deleted it", what, key, revision)
		}
		return
	}
	if sealed == nil && e.GetEnds() {
		c.deleted++ // the horizon has passed it, or too many were kept
		return
	}
	if sealed == nil {
		c.Fail("%s %q does not exist; its newest event, revision %d, did not delete it", what, key, revision)
		return
	}
	c.folded++
	want := c.kinds.After(e)
	have, err := logv1.Payload(sealed)
	switch {
	case err != nil:
		c.Fail("%v", recordError(bucket.name, key, err))
	case !bytes.Equal(have, want):
		c.Fail("%s %q is not as its newest event, revision %d, left it", what, key, revision)
	}
}
