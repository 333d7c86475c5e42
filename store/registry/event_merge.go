package registry

import (
	"bytes"

	"go.etcd.io/bbolt"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// indexed events of one name, in order.
type nameCursor struct {
	cursor      *bbolt.Cursor
	first, last []byte // keys
	key         []byte // of the next event; nil: there are no more
	revision    int64
}

// visitRecords is visitRecord for several names: it visits their events in the order of their revisions.
func (r *eventReader) visitRecords(names []string, from, to int64, descending bool, visit func(*logv1.Event) (bool, error)) error {
	cursors := make([]*nameCursor, 0, len(names))
	for _, name := range names {
		c := &nameCursor{cursor: r.byKey.Cursor(), first: indexKey(name, from), last: indexKey(name, to)}
		var key []byte
		if descending {
			key, _ = seekBack(c.cursor, c.last)
		} else {
			key, _ = c.cursor.Seek(c.first)
		}
		if err := c.take(key); err != nil {
			return err
		}
		cursors = append(cursors, c)
	}
	for {
		var next *nameCursor
		for _, c := range cursors {
			if c.key != nil && (next == nil || descending == (c.revision > next.revision)) {
				next = c
			}
		}
		if next == nil {
			return nil
		}
		if err := r.goOn(); err != nil {
			return err
		}
		e, err := r.indexed(next.key)
		if err != nil {
			return err
		}
		if more, err := r.hand(e, visit); err != nil || !more {
			return err
		}
		step := next.cursor.Next
		if descending {
			step = next.cursor.Prev
		}
		key, _ := step()
		if err := next.take(key); err != nil {
			return err
		}
	}
}

// take makes key the next one, if it is in the range.
func (c *nameCursor) take(key []byte) (err error) {
	if c.key = nil; key == nil || bytes.Compare(key, c.first) < 0 || bytes.Compare(key, c.last) > 0 {
		return nil
	}
	_, c.revision, err = splitIndexKey(key)
	c.key = key
	return err
}
