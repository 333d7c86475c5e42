package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// A compaction goes on in steps, each a transaction of its own that a flush may have to wait for: it
// looks at so many events, or for so long, whatever comes first. Then the writer rests for as long as
// the step took.
const (
	compactEvents  = 1000
	compactTime    = 4 * time.Millisecond
	minCompactRest = time.Millisecond
)

// eventFill is how full pages of events are made. Revisions only grow, so that what is left free on a
// page stays so.
const eventFill = 0.95

// eventBuckets returns the buckets of events, to be written to.
func eventBuckets(tx *bbolt.Tx) (all, byName *bbolt.Bucket) {
	all, byName = tx.Bucket(bucketEvents), tx.Bucket(bucketEventsByService)
	all.FillPercent = eventFill
	return all, byName
}

// compactedTo is how far the journal has done what its horizon asks for.
func compactedTo(meta *logv1.JournalMeta) int64 { return max(meta.GetCompacted(), 1) }

// compactionDue reports whether events are kept that the horizon lies ahead of.
func (j *Journal) compactionDue() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return !j.opt.compactByHand && j.failed == nil && !j.closed && j.history == nil && compactedTo(j.durable) < j.durable.GetHorizon()
}

// compact makes one step. A history that is found damaged is left as it is, and said so once: that the
// file grows is no reason to stop a node whose registry is well.
func (j *Journal) compact() error {
	j.disk <- struct{}{}
	defer func() { <-j.disk }()
	j.mu.Lock()
	meta := proto.CloneOf(j.durable)
	j.mu.Unlock()
	if compactedTo(meta) >= meta.GetHorizon() {
		return nil // replaced meanwhile
	}
	err := j.compactStep(meta)
	broken := (*panicked)(nil)
	damaged := errors.Is(err, ErrDamaged) && !errors.As(err, &broken)
	j.mu.Lock()
	switch {
	case err == nil:
		j.durable = meta
	case damaged:
		j.history = err
	case broken != nil:
		j.wrecked = err
	}
	j.mu.Unlock()
	if damaged {
		j.opt.Logger.Error("the history is damaged and not compacted any more: the journal grows", "error", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s cannot be compacted: %w", j.path, err)
	}
	return nil
}

// compactStep deletes events in one transaction, and advances meta with them.
func (j *Journal) compactStep(meta *logv1.JournalMeta) error {
	if j.opt.Intercept != nil {
		if err := j.opt.Intercept(); err != nil {
			return err
		}
	}
	return guard(func() error {
		return j.db.Update(func(tx *bbolt.Tx) error {
			reached, err := compactEventsOf(tx, compactedTo(meta), meta.GetHorizon(), j.opt.compactEvents, compactTime)
			if err != nil {
				return err
			}
			meta.Compacted = reached
			return putMeta(tx, meta)
		})
	})
}

// compactEventsOf looks at the events from a revision on, of which there must be all, until it comes
// to the horizon or has done enough, and returns how far it came. Each replaces what is kept of the
// same service or member from before it; an event that deletes is not kept itself. So below what was
// reached the newest event of each service and member is left, if it is not a delete.
func compactEventsOf(tx *bbolt.Tx, from, horizon int64, most int, within time.Duration) (reached int64, err error) {
	all, byName := eventBuckets(tx)
	c := byName.Cursor()
	start := time.Now()
	for r := from; r < horizon; r++ {
		if n := r - from; n >= int64(most) || n > 0 && n%32 == 0 && time.Since(start) > within {
			return r, nil
		}
		key := revisionKey(r)
		value := all.Get(key)
		if value == nil {
			return 0, missingEvent(r)
		}
		e, err := decodeEvent(key, value)
		if err != nil {
			return 0, err
		}
		name := indexName(e)
		if name == "" {
			continue
		}
		if err := deleteBefore(all, byName, c, name, r); err != nil {
			return 0, err
		}
		if e.GetType() == logv1.EventType_EVENT_TYPE_DELETED {
			if err := errors.Join(all.Delete(key), byName.Delete(nameKey(name, r))); err != nil {
				return 0, err
			}
		}
	}
	return horizon, nil
}

// deleteBefore deletes the events of name before a revision: one at most, as those before it were
// deleted when it was come to. It only ever seeks forward: a cursor that goes back stops at a page
// that this transaction has emptied.
func deleteBefore(all, byName *bbolt.Bucket, c *bbolt.Cursor, name string, revision int64) error {
	first := nameKey(name, 0)
	for {
		key, _ := c.Seek(first)
		if len(key) != len(first) || !bytes.HasPrefix(key, first[:len(name)+1]) {
			return nil
		}
		older := key[len(name)+1:]
		if int64(binary.BigEndian.Uint64(older)) >= revision {
			return nil
		}
		// The key is the transaction's memory, which deleting may change.
		if err := errors.Join(all.Delete(bytes.Clone(older)), byName.Delete(bytes.Clone(key))); err != nil {
			return err
		}
	}
}
