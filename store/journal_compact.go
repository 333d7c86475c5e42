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
	// Further behind than hurryBehind events, writes must be faster than that, or the history was cut
	// short: steps are hurry times as large, and there is no rest, lest the file grow without bound.
	hurryBehind = 250_000
	hurry       = 10
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

// behind is how many events have not been looked at yet.
func behind(meta *logv1.JournalMeta) int64 { return meta.GetHorizon() - compactedTo(meta) }

// compactionDue reports whether there is something to compact, and whether it is much.
func (j *Journal) compactionDue() (due, much bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.opt.compactByHand || j.failed != nil || j.closed || j.history != nil {
		return false, false
	}
	n := behind(j.durable)
	return n > 0, n > j.opt.hurryBehind
}

// compactIfRested makes one step if one is due and the writer has rested, or says for how long it still
// has to.
func (j *Journal) compactIfRested(rested *time.Time) (did bool, rest time.Duration, err error) {
	due, much := j.compactionDue()
	if !due {
		return false, 0, nil
	}
	if rest = time.Until(*rested); rest > 0 {
		return false, rest, nil
	}
	start := time.Now()
	if err := j.compact(); err != nil {
		return false, 0, err
	}
	rest = minCompactRest
	if !much {
		rest = max(rest, time.Since(start))
	}
	*rested = time.Now().Add(rest)
	return true, 0, nil
}

// compact makes one step. A history that is found damaged is left as it is, and said so once: that the
// file grows is no reason to stop a node whose registry is well.
func (j *Journal) compact() error {
	j.disk <- struct{}{}
	defer func() { <-j.disk }()
	j.mu.Lock()
	meta := proto.CloneOf(j.durable)
	j.mu.Unlock()
	if behind(meta) <= 0 {
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
			most, within := j.opt.compactEvents, compactTime
			if behind(meta) > j.opt.hurryBehind {
				most, within = hurry*most, hurry*within
			}
			reached, err := compactEventsOf(tx, compactedTo(meta), meta.GetHorizon(), most, within)
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
