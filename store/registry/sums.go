package registry

import (
	"encoding/binary"
	"fmt"
	"hash/crc64"

	"go.etcd.io/bbolt"

	"github.com/rollcallhq/rollcall/store/vfs"
)

// sums are the number of records of one bucket and a sum over them. They stand in the meta bucket as
// "sum.<bucket>" and change with every record. The checksum of an envelope shows that a record is as it was
// written. The sums show that it is the newest version of the record and that no record is missing. Without
// them nobody would notice a wrong count on a page, or a page that the disk did not write.
type sums struct{ count, sum uint64 }

const sumPrefix = "sum."

var crcTable = crc64.MakeTable(crc64.ECMA)

func recordSum(key, value []byte) uint64 {
	// The key's length keeps ("ab", "c") and ("a", "bc") apart.
	head := binary.BigEndian.AppendUint32(make([]byte, 0, 4), uint32(len(key)))
	return crc64.Update(crc64.Update(crc64.Checksum(head, crcTable), crcTable, key), crcTable, value)
}

func (s *sums) add(key, value []byte) {
	s.count++
	s.sum += recordSum(key, value)
}

func (s *sums) remove(key, value []byte) {
	s.count--
	s.sum -= recordSum(key, value)
}

func sumKey(bucket []byte) []byte { return append([]byte(sumPrefix), bucket...) }

func readSum(tx *bbolt.Tx, bucket []byte) (sums, error) {
	value := tx.Bucket(bucketMeta).Get(sumKey(bucket))
	if value == nil {
		return sums{}, nil // nothing was ever put into the bucket
	}
	if len(value) != 16 {
		return sums{}, fmt.Errorf("%w: sum of bucket %s", vfs.ErrDamaged, bucket)
	}
	return sums{binary.BigEndian.Uint64(value), binary.BigEndian.Uint64(value[8:])}, nil
}

func writeSum(tx *bbolt.Tx, bucket []byte, s sums) error {
	value := binary.BigEndian.AppendUint64(make([]byte, 0, 16), s.count)
	return tx.Bucket(bucketMeta).Put(sumKey(bucket), binary.BigEndian.AppendUint64(value, s.sum))
}

func sumError(bucket []byte, have, want sums) error {
	return fmt.Errorf("bucket %s: %w: it does not hold the records it should (%d, not %d, or not their newest)",
		bucket, vfs.ErrDamaged, have.count, want.count)
}
