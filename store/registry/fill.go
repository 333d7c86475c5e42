package registry

import (
	"bytes"

	"go.etcd.io/bbolt"
)

// How full bbolt leaves a page that it splits.
//
// Where keys only come in order, what is left free then stays so for ever: orderedFill. Where they come
// anywhere, both halves go on to grow, and to split one into a full page and a rest leaves the rest: of
// a bucket that grows at random 70 % is in use with a half, 56 % with 0.8, 39 % with 0.9
// (bbolt's default is a half). Names do both: a registry is loaded in order, and changes in none. So it
// is decided for each flush, see fillFor.
const (
	orderedFill = 0.95
	loadFill    = 0.9 // of names: some room for those that come between
	randomFill  = 0.5
)

// elementBytes is what bbolt adds to a key and value on a page.
const elementBytes = 16

// fillFor chooses for what is put under keys, which are sorted and take so many bytes: loadFill if that is
// half a page and more at each place where something is put. Up to fillSamples neighbours are asked
// whether there is anything between them.
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

// recordFill chooses for records: orderedFill if all that is put comes after what is there.
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

// eventBuckets returns the buckets of events, to be written to.
func eventBuckets(tx *bbolt.Tx) (all, byKey *bbolt.Bucket) {
	return inOrder(tx, bucketEvents), tx.Bucket(bucketEventsByKey)
}

// inOrder returns a bucket to put what comes in order.
func inOrder(tx *bbolt.Tx, name []byte) *bbolt.Bucket {
	bucket := tx.Bucket(name)
	bucket.FillPercent = orderedFill
	return bucket
}
