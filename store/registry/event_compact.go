package registry

import (
	"bytes"
	"encoding/binary"
	"errors"
	"time"

	"go.etcd.io/bbolt"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// compactEventsOf compacts the events from revision from on, none of which may be missing, up to the horizon.
// It stops early after most events or after within, and returns the revision that it reached. Below that
// revision it keeps only the newest event of each record, and none if that event deletes or ends the record. Events
// that are about no record are not kept. Each kept event gets a block of its own, so that deleting it later
// changes no other block. The blocks from the reached revision on stay as they are. If the revision lies
// within a block, the rest of that block becomes a new one.
func compactEventsOf(tx *bbolt.Tx, p *eventPacker, from, horizon int64, most int, within time.Duration) (reached int64, err error) {
	all, byKey := eventBuckets(tx)
	c := compaction{all: all, byKey: byKey, index: byKey.Cursor(), from: from, left: map[int64]*logv1.Event{}}
	var block eventBlock
	var rest []*logv1.Event // the events that are left of the block within which it stops
	start, enough := time.Now(), false
	for reached = from; reached < horizon && !enough; {
		key := revisionKey(reached)
		value := all.Get(key)
		if value == nil {
			return 0, missingEvent(reached)
		}
		if err := openBlock(key, value, &block); err != nil {
			return 0, err
		}
		c.taken = append(c.taken, key)
		for last := block.last(); reached <= last; reached++ {
			n := reached - from
			if enough = n >= int64(most) || n > 0 && n%32 == 0 && time.Since(start) > within; enough || reached == horizon {
				if rest, err = c.decode(&block, reached); err != nil {
					return 0, err
				}
				break
			}
			e, err := block.event(reached)
			if err != nil {
				return 0, err
			}
			if err := c.take(e); err != nil {
				return 0, err
			}
		}
	}
	return reached, c.write(p, reached, rest)
}

// compaction is one step of a compaction.
type compaction struct {
	all, byKey *bbolt.Bucket
	index      *bbolt.Cursor // of byKey
	from       int64
	taken      [][]byte               // keys of the blocks that were read and will be deleted
	left       map[int64]*logv1.Event // the events of these blocks that are kept, by revision
}

func (c *compaction) decode(b *eventBlock, from int64) (rest []*logv1.Event, err error) {
	for r := from; r <= b.last(); r++ {
		e, err := b.event(r)
		if err != nil {
			return nil, err
		}
		rest = append(rest, e)
	}
	return rest, nil
}

// take decides what becomes of the next event, and of the older event of the same record.
func (c *compaction) take(e *logv1.Event) error {
	name, r := indexName(e), e.GetRevision()
	if name == "" {
		return nil
	}
	if err := c.deleteBefore(name, r); err != nil {
		return err
	}
	if e.GetDeletes() || e.GetEnds() {
		return c.byKey.Delete(indexKey(name, r))
	}
	c.left[r] = e
	return nil
}

// deleteBefore deletes the events of name before a revision. There is one at most, because the earlier ones
// were deleted when that one was taken. The cursor only moves forward: when it moves back it stops at a page
// that this transaction has emptied.
func (c *compaction) deleteBefore(name string, revision int64) error {
	first := indexKey(name, 0)
	for {
		key, _ := c.index.Seek(first)
		if len(key) != len(first) || !bytes.HasPrefix(key, first[:len(name)+1]) {
			return nil
		}
		// The key points into the transaction's memory, which deleting may change.
		key = bytes.Clone(key)
		at := key[len(name)+1:]
		older := int64(binary.BigEndian.Uint64(at))
		if older >= revision {
			return nil
		}
		var err error
		if older < c.from {
			err = c.all.Delete(at)
		}
		delete(c.left, older)
		if err = errors.Join(err, c.byKey.Delete(key)); err != nil {
			return err
		}
	}
}

// write deletes the blocks that were read, and puts the events that are kept below reached, and then the
// rest.
func (c *compaction) write(p *eventPacker, reached int64, rest []*logv1.Event) error {
	for _, key := range c.taken {
		if err := c.all.Delete(key); err != nil {
			return err
		}
	}
	for r := c.from; r < reached; r++ {
		if e := c.left[r]; e != nil {
			if err := p.putNew(c.all, []*logv1.Event{e}); err != nil {
				return err
			}
		}
	}
	return p.putNew(c.all, rest)
}
