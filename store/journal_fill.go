package store

import "go.etcd.io/bbolt"

// How full bbolt leaves the pages that it splits. What only comes in order leaves free for ever what is
// free on a page then.
const (
	orderedFill = 0.95
	namedFill   = 0.8
)

// fillOf is how full pages of a bucket are to be.
func fillOf(name []byte) float64 {
	switch string(name) {
	case string(bucketEvents), string(bucketRequests):
		return orderedFill
	}
	return namedFill
}

// eventBuckets returns the buckets of events, to be written to.
func eventBuckets(tx *bbolt.Tx) (all, byName *bbolt.Bucket) {
	return writeTo(tx, bucketEvents), writeTo(tx, bucketEventsByService)
}

// writeTo returns a bucket to be written to.
func writeTo(tx *bbolt.Tx, name []byte) *bbolt.Bucket {
	bucket := tx.Bucket(name)
	bucket.FillPercent = fillOf(name)
	return bucket
}
