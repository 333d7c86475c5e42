package registry

import (
	"bytes"
	"fmt"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store/vfs"
)

// at returns the event of a revision. It must be stored.
func (r *eventReader) at(revision int64) (*logv1.Event, error) {
	b := r.block
	if b == nil || revision < b.first || revision > b.last() {
		key, value := seekBack(r.all.Cursor(), revisionKey(revision))
		if key == nil {
			return nil, missingEvent(revision)
		}
		var err error
		if b, err = r.open(key, value); err != nil {
			return nil, err
		}
		if revision > b.last() {
			return nil, missingEvent(revision)
		}
	}
	return b.event(revision)
}

// open makes the block under a key the reader's block.
func (r *eventReader) open(key, value []byte) (*eventBlock, error) {
	b := r.block
	if b == nil {
		b = new(eventBlock)
	}
	r.block = nil // set only after it was opened
	if err := openBlock(key, value, b); err != nil {
		return nil, err
	}
	r.block = b
	return b, nil
}

// walkBlocks calls f for the blocks that hold any of the revisions from from to to until it answers false.
func (r *eventReader) walkBlocks(from, to int64, descending bool, f func(*eventBlock) (bool, error)) error {
	c := r.all.Cursor()
	next := c.Next
	key, value := seekBack(c, revisionKey(from))
	if descending {
		next = c.Prev
		key, value = seekBack(c, revisionKey(to))
	} else if key == nil {
		key, value = c.First()
	}
	end := revisionKey(to)
	var first, last int64 // first and last revision of the block before
	// Blocks outside from and to are not opened: they may be damaged.
	for ; key != nil && bytes.Compare(key, end) <= 0; key, value = next() {
		b, err := r.open(key, value)
		switch {
		case err != nil:
			return err
		case !descending && b.first <= last, descending && first > 0 && b.last() >= first:
			return overlap(min(b.first, first), max(b.first, first))
		}
		first, last = b.first, b.last()
		if last >= from {
			if more, err := f(b); err != nil || !more {
				return err
			}
		}
		if descending && first <= from || !descending && last >= to {
			return nil
		}
	}
	return nil
}

func overlap(first, second int64) error {
	return fmt.Errorf("bucket %s: %w: the block at revision %d does not end where that at %d begins", bucketEvents, vfs.ErrDamaged, first, second)
}
