package registry

import (
	"bytes"

	"go.etcd.io/bbolt"
)

// How full bbolt leaves a page that it splits.
//
// Keys that only come in order never fill the space that a split leaves free, so pages are filled at once:
// orderedFill. With keys in random order both pages of a split go on to grow, and filling the first one
// wastes space: 70 % of such a bucket is in use with a fill of a half (bbolt's default), 56 % with 0.8, 39 %
// with 0.9. Names of services come in both ways: in order when a registry is loaded, at random when it
// changes. So fillFor decides for each flush.
const (
	orderedFill = 0.95
	loadFill    = 0.9 // for names that come in order: it leaves some room for names between them
	randomFill  = 0.5
)

// elementBytes is what bbolt adds to a key and value on a page.
const elementBytes = 16

// fillFor chooses the fill for n sorted keys that take size bytes with their values: loadFill if at least
// half a page is put at each place where something is put, otherwise randomFill. It estimates the number of
// places: it looks for stored keys between up to fillSamples pairs of neighbours.
func fillFor(bucket *bbolt.Bucket, n, size int, key func(int) []byte) float64 {
	const fillSamples = 64
	page := bucket.Tx().DB().Info().PageSize
	if size < page {
		return randomFill
	}
	c := bucket.Cursor()
	samples, apart := 0, 0
	step := max(1, (n-1)/fillSamples)
	var after []byte
	for i := 0; i+1 < n; i += step {
		samples++
		after = append(append(after[:0], key(i)...), 0)
		if at, _ := c.Seek(after); at != nil && bytes.Compare(at, key(i+1)) < 0 {
			apart++
		}
	}
	places := 1
	if samples > 0 {
		places += (n - 1) * apart / samples
	}
	if size/places >= page/2 {
		return loadFill
	}
	return randomFill
}

// recordFill chooses the fill for records: orderedFill if all of them come after the records that are stored.
func recordFill(bucket *bbolt.Bucket, entries []entry) float64 {
	last, _ := bucket.Cursor().Last()
	size, behind := 0, last != nil
	for _, e := range entries {
		size += elementBytes + len(e.key) + len(e.value)
		behind = behind && (e.value == nil || bytes.Compare(e.key, last) > 0)
	}
	if behind {
		return orderedFill
	}
	return fillFor(bucket, len(entries), size, func(i int) []byte { return entries[i].key })
}

// eventBuckets returns the two buckets of events, with the fill for writing.
func eventBuckets(tx *bbolt.Tx) (all, byKey *bbolt.Bucket) {
	return inOrder(tx, bucketEvents), tx.Bucket(bucketEventsByKey)
}

// inOrder returns a bucket with the fill for keys that come in order.
func inOrder(tx *bbolt.Tx, name []byte) *bbolt.Bucket {
	bucket := tx.Bucket(name)
	bucket.FillPercent = orderedFill
	return bucket
}
