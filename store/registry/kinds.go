package registry

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.etcd.io/bbolt"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store/vfs"
)

// Kinds tells what this package has to know of the kinds of records. It is used only where records are
// compared with their events, and where a registry becomes that of another cluster.
type Kinds interface {
	// Name of a kind, for people.
	Name(logv1.Kind) string
	// HasHistory says whether every change of a record of this kind is an event.
	HasHistory(logv1.Kind) bool
	// PerCluster says whether a restored backup has no records of a kind.
	PerCluster(logv1.Kind) bool
	// After returns the bytes of the record that an event left, which does not delete it.
	After(*logv1.Event) []byte
}

// kindBucket holds the records of a kind. It is made when the first one is put.
type kindBucket struct {
	kind logv1.Kind
	name []byte
}

const kindPrefix = "kind."

func bucketOf(kind logv1.Kind) kindBucket {
	return kindBucket{kind, strconv.AppendInt([]byte(kindPrefix), int64(kind), 10)}
}

// kindBuckets returns the buckets of all kinds, in the order of their numbers. It fails if a bucket is
// missing for which a sum is stored.
func kindBuckets(tx *bbolt.Tx) (all []kindBucket, err error) {
	take := func(name []byte) error {
		number, ok := strings.CutPrefix(string(name), kindPrefix)
		if !ok {
			return nil
		}
		kind, err := strconv.ParseInt(number, 10, 32)
		if err != nil || kind <= 0 {
			return fmt.Errorf("%w: a bucket is called %q", vfs.ErrDamaged, name)
		}
		all = append(all, kindBucket{logv1.Kind(kind), bytes.Clone(name)})
		return nil
	}
	if err := tx.ForEach(func(name []byte, _ *bbolt.Bucket) error { return take(name) }); err != nil {
		return nil, err
	}
	c := tx.Bucket(bucketMeta).Cursor()
	for key, _ := c.Seek([]byte(sumPrefix)); bytes.HasPrefix(key, []byte(sumPrefix)); key, _ = c.Next() {
		if name := key[len(sumPrefix):]; tx.Bucket(name) == nil {
			return nil, fmt.Errorf("%w: no bucket %s", vfs.ErrDamaged, name)
		}
	}
	slices.SortFunc(all, func(a, b kindBucket) int { return cmp.Compare(a.kind, b.kind) })
	return all, nil
}
