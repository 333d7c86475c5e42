package registry

import (
	"bytes"
	"encoding/binary"
	"errors"
	"time"

	"go.etcd.io/bbolt"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// compactEventsOf compacts the events from a revision on, of which there must be all, until it comes
// to the horizon or has done enough, and returns how far it came. Each event replaces the one that is kept
// of the same record from before it; an event that deletes its record is not kept, nor one of no record.
// So below what was reached there is left the newest event of each record that is not a deletion, in a
// block of its own, so that deleting it later touches no other. From there on blocks are as they were, but
// that the first begins there.
func compactEventsOf(tx *bbolt.Tx, p *eventPacker, from, horizon int64, most int, within time.Duration) (reached int64, err error) {
	all, byKey := eventBuckets(tx)
	c := compaction{all: all, byKey: byKey, index: byKey.Cursor(), from: from, left: map[int64]*logv1.Event{}}
	var block eventBlock
	var rest []*logv1.Event // of the block in which it ends
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

// compaction is one step of it.
type compaction struct {
	all, byKey *bbolt.Bucket
	index      *bbolt.Cursor // of byKey
	from       int64
	taken      [][]byte               // keys of blocks that were taken apart
	left       map[int64]*logv1.Event // of those, what is to be kept
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

// take takes the next event.
func (c *compaction) take(e *logv1.Event) error {
	name, r := indexName(e), e.GetRevision()
	if name == "" {
		return nil
	}
	if err := c.deleteBefore(name, r); err != nil {
		return err
	}
	if e.GetDeletes() {
		return c.byKey.Delete(indexKey(name, r))
	}
	c.left[r] = e
	return nil
}

// deleteBefore deletes the events of name before a revision: one at most, as those before it were
// deleted when it was come to. It only ever seeks forward: a cursor that goes back stops at a page
// that this transaction has emptied.
func (c *compaction) deleteBefore(name string, revision int64) error {
	first := indexKey(name, 0)
	for {
		key, _ := c.index.Seek(first)
		if len(key) != len(first) || !bytes.HasPrefix(key, first[:len(name)+1]) {
			return nil
		}
		// The key is the transaction's memory, which deleting may change.
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

// write puts what is left of the blocks that were taken apart: what is kept below what was reached, and
// the rest from there on.
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
