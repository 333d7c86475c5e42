package boltfile

import (
	"bytes"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/rollcallhq/rollcall/store/vfs"
)

// Walk visits all of a bucket. Beyond what ForEach does it requires that keys ascend and that a
// search finds each of them, which reads every key that bbolt itself would go by.
func Walk(bucket *bbolt.Bucket, visit func(key, value []byte) error) error {
	var last []byte
	return bucket.ForEach(func(key, value []byte) error {
		if err := CheckOrder(last, key, value); err != nil {
			return err
		}
		last = key
		if err := CheckFound(bucket, key, value); err != nil {
			return err
		}
		return visit(key, value)
	})
}

func CheckOrder(last, key, value []byte) error {
	if last != nil && bytes.Compare(last, key) >= 0 {
		return fmt.Errorf("%w: key %q after %q", vfs.ErrDamaged, key, last)
	}
	if value == nil {
		return fmt.Errorf("%w: key %q is a bucket", vfs.ErrDamaged, key)
	}
	return nil
}

func CheckFound(bucket *bbolt.Bucket, key, value []byte) error {
	if !bytes.Equal(bucket.Get(key), value) {
		return NotFound(key)
	}
	return nil
}

func NotFound(key []byte) error {
	return fmt.Errorf("%w: key %q is not found where it belongs", vfs.ErrDamaged, key)
}
