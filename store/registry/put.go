package registry

import (
	"bytes"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// entry is a key with the bytes to put, or nil to delete it.
type entry struct{ key, value []byte }

// sealed returns the entries to put for records, in the order of their keys, so that neighbours are put one
// after the other into the same page.
func sealed(memory *byteArena, records map[string]waiting) ([]entry, error) {
	entries := make([]entry, 0, len(records))
	for key, w := range records {
		e := entry{key: memory.take(append(memory.room(len(key)), key...))}
		if w.value != nil {
			value, err := logv1.SealAfter(memory.room(w.bytes), nil, w.value)
			if err != nil {
				return nil, err
			}
			e.value = memory.take(value)
		}
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b entry) int { return bytes.Compare(a.key, b.key) })
	return entries, nil
}

// putRecords changes the bucket of a kind, and its sum.
func putRecords(tx *bbolt.Tx, kind logv1.Kind, entries []entry) error {
	if len(entries) == 0 {
		return nil
	}
	name := bucketOf(kind).name
	bucket, err := tx.CreateBucketIfNotExists(name)
	if err != nil {
		return fmt.Errorf("bucket %s: %w", name, err)
	}
	bucket.FillPercent = recordFill(bucket, entries)
	sum, err := readSum(tx, name)
	if err != nil {
		return err
	}
	c := bucket.Cursor() // Bucket.Get would make a cursor for each key
	for _, e := range entries {
		if at, old := c.Seek(e.key); bytes.Equal(at, e.key) {
			sum.remove(e.key, old)
		}
		if e.value == nil {
			err = bucket.Delete(e.key)
		} else {
			sum.add(e.key, e.value)
			err = bucket.Put(e.key, e.value)
		}
		if err != nil {
			return fmt.Errorf("bucket %s, key %q: %w", name, e.key, err)
		}
	}
	return writeSum(tx, name, sum)
}

// putEvents adds to the history and its index.
func putEvents(tx *bbolt.Tx, p *eventPacker, memory *byteArena, events []*logv1.Event, compacted int64) error {
	if len(events) == 0 {
		return nil
	}
	all, byKey := eventBuckets(tx)
	if err := p.put(all, events, compacted); err != nil {
		return err
	}
	keys := make([][]byte, 0, len(events))
	for _, e := range events {
		if !hasName(e.GetKind(), e.GetKey()) {
			continue
		}
		room := appendName(memory.room(maxKindBytes+len(e.GetKey())+1+revisionBytes), e.GetKind(), e.GetKey())
		keys = append(keys, memory.take(appendRevision(room, e.GetRevision())))
	}
	slices.SortFunc(keys, bytes.Compare)
	size := 0
	for _, key := range keys {
		size += elementBytes + len(key)
	}
	byKey.FillPercent = fillFor(byKey, len(keys), size, func(i int) []byte { return keys[i] })
	for _, key := range keys {
		if err := byKey.Put(key, nil); err != nil {
			return fmt.Errorf("bucket %s, key %q: %w", bucketEventsByKey, key, err)
		}
	}
	return nil
}

func putMeta(tx *bbolt.Tx, meta *logv1.RegistryMeta) error {
	value, err := logv1.Seal(meta)
	if err != nil {
		return err
	}
	return tx.Bucket(bucketMeta).Put(keyMeta, value)
}
