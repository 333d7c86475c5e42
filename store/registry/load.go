package registry

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc64"
	"sync"

	"go.etcd.io/bbolt"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store/boltfile"
	"github.com/rollcallhq/rollcall/store/vfs"
)

// sums are a count and a sum over the records of one bucket of the registry, kept in the meta bucket
// as "sum.<bucket>" and changed with every record. An envelope shows that a record is as it was
// written; the sum shows that it is the newest one and that none is missing, which a flipped count
// on a page, or a page that the disk did not write, would leave unnoticed.
type sums struct{ count, sum uint64 }

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

func sumKey(bucket []byte) []byte { return append([]byte("sum."), bucket...) }

func readSum(tx *bbolt.Tx, bucket []byte) (sums, error) {
	value := tx.Bucket(bucketMeta).Get(sumKey(bucket))
	if value == nil {
		return sums{}, nil // nothing was ever put
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

// initialize makes the buckets of an empty file.
func initialize(tx *bbolt.Tx, meta *logv1.RegistryMeta) error {
	for _, name := range [][]byte{bucketMeta, bucketServices, bucketLeases, bucketOverrides, bucketMembers,
		bucketRequests, bucketEvents, bucketEventsByService} {
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	return putMeta(tx, meta)
}

// check reads the registry of a registry file and checks all of it that can be checked without
// decoding records. It runs at every opening: the fold reads the same records right after, so that it
// costs a second pass over memory and no I/O, and a fault is known while there is still a choice. The
// events, which may be many times more, are not read: each is checked when it is.
// The error wraps vfs.ErrDamaged or vfs.ErrNewer.
func check(db *boltfile.DB) (meta *logv1.RegistryMeta, err error) {
	err = boltfile.Guard(func() error {
		return db.View(func(tx *bbolt.Tx) error {
			if meta, err = readMeta(tx); err != nil {
				return err
			}
			for _, name := range registryBuckets {
				if err := checkRecords(db, tx, name); err != nil {
					return err
				}
			}
			return checkEvents(tx, meta)
		})
	})
	if err != nil {
		return nil, err
	}
	return meta, nil
}

// readMeta reads what a registry file says of itself.
func readMeta(tx *bbolt.Tx) (*logv1.RegistryMeta, error) {
	bucket := tx.Bucket(bucketMeta)
	if bucket == nil {
		return nil, fmt.Errorf("%w: no bucket %s", vfs.ErrDamaged, bucketMeta)
	}
	meta := new(logv1.RegistryMeta)
	if err := openRecord(bucketMeta, keyMeta, bucket.Get(keyMeta), meta); err != nil {
		return nil, err
	}
	if meta.GetFormat() > logv1.RegistryFormat {
		return nil, fmt.Errorf("%w: format %d, this binary reads up to %d", vfs.ErrNewer, meta.GetFormat(), logv1.RegistryFormat)
	}
	if meta.GetFormat() < logv1.RegistryFormat {
		return nil, fmt.Errorf("%w: format %d", vfs.ErrDamaged, meta.GetFormat())
	}
	return meta, nil
}

func checkRecords(db *boltfile.DB, tx *bbolt.Tx, name []byte) error {
	bucket := tx.Bucket(name)
	if bucket == nil {
		return fmt.Errorf("%w: no bucket %s", vfs.ErrDamaged, name)
	}
	want, err := readSum(tx, name)
	if err != nil {
		return err
	}
	var (
		mu   sync.Mutex // guards have
		have sums
	)
	err = inParts(db, tx, name, func(own *bbolt.Bucket, _ int, records []keyValue) error {
		if err := findAll(own, records); err != nil {
			return err
		}
		var sum sums
		for _, r := range records {
			sum.add(r.key, r.value)
		}
		mu.Lock()
		defer mu.Unlock()
		have.count += sum.count
		have.sum += sum.sum
		return nil
	})
	if err != nil {
		return fmt.Errorf("bucket %s: %w", name, err)
	}
	if have == want {
		return nil
	}
	// Name the record if it is one that is damaged.
	err = bucket.ForEach(func(key, value []byte) error {
		if _, err := logv1.Payload(value); err != nil {
			return recordError(name, key, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return sumError(name, have, want)
}

// checkEvents reads only the end of the history, where the next flush goes on.
func checkEvents(tx *bbolt.Tx, meta *logv1.RegistryMeta) error {
	bucket := tx.Bucket(bucketEvents)
	if bucket == nil || tx.Bucket(bucketEventsByService) == nil {
		return fmt.Errorf("%w: no bucket %s or %s", vfs.ErrDamaged, bucketEvents, bucketEventsByService)
	}
	key, value := bucket.Cursor().Last()
	if key == nil {
		return nil
	}
	var block eventBlock
	if err := openBlock(key, value, &block); err != nil {
		return err
	}
	if last := block.last(); last > meta.GetRevision() {
		return fmt.Errorf("bucket %s, key %x: %w: event of revision %d in a registry file of revision %d",
			bucketEvents, key, vfs.ErrDamaged, last, meta.GetRevision())
	}
	return nil
}

// load visits the registry of a registry file.
func load(db *boltfile.DB, v logv1.Visitor) (meta *logv1.RegistryMeta, err error) {
	err = boltfile.Guard(func() error {
		return db.View(func(tx *bbolt.Tx) error {
			defer boltfile.Unmap(tx)
			// check has just summed up.
			if v.Services == nil {
				meta, err = visitAll(tx, v, false)
				return err
			}
			if meta, err = readMeta(tx); err != nil {
				return err
			}
			if err = visitServices(db, tx, v.Services); err != nil {
				return err
			}
			return visitOthers(tx, v, false)
		})
	})
	if err != nil {
		return nil, err
	}
	return meta, nil
}

// visitAll visits the registry. With summed it also finds a key that is not as it was written, and what
// a bucket does not have of what it should.
func visitAll(tx *bbolt.Tx, v logv1.Visitor, summed bool) (*logv1.RegistryMeta, error) {
	meta, err := readMeta(tx)
	if err != nil {
		return nil, err
	}
	err = visit(tx, bucketServices, summed, v.Service, func() *logv1.ServiceRecord { return new(logv1.ServiceRecord) },
		(*logv1.ServiceRecord).GetService)
	if err != nil {
		return nil, err
	}
	if err := visitOthers(tx, v, summed); err != nil {
		return nil, err
	}
	return meta, nil
}

func visitOthers(tx *bbolt.Tx, v logv1.Visitor, summed bool) error {
	err := visit(tx, bucketMembers, summed, v.Member, func() *logv1.Member { return new(logv1.Member) },
		(*logv1.Member).GetName)
	if err != nil {
		return err
	}
	return visit(tx, bucketRequests, summed, v.Request, func() *logv1.RequestRecord { return new(logv1.RequestRecord) },
		(*logv1.RequestRecord).Key)
}

// visitServices visits the services in parts, on several goroutines.
func visitServices(db *boltfile.DB, tx *bbolt.Tx, f func(int, []logv1.ServiceBytes) error) error {
	return inParts(db, tx, bucketServices, func(_ *bbolt.Bucket, part int, records []keyValue) error {
		services := servicesPool.Get().(*[partRecords]logv1.ServiceBytes)
		defer servicesPool.Put(services)
		for i, r := range records {
			payload, err := logv1.Payload(r.value)
			if err != nil {
				return recordError(bucketServices, r.key, err)
			}
			s, ok := logv1.ParseService(payload)
			if !ok {
				if s, err = reparse(payload); err != nil {
					return recordError(bucketServices, r.key, err)
				}
			}
			if len(s.Service) == 0 {
				s.Service = r.key
			}
			if !bytes.Equal(s.Service, r.key) {
				return misplaced(bucketServices, r.key, string(s.Service))
			}
			services[i] = s
		}
		return f(part, services[:len(records)])
	})
}

var servicesPool = sync.Pool{New: func() any { return new([partRecords]logv1.ServiceBytes) }}

// reparse parses a payload of another form than our own encoding gives it.
func reparse(payload []byte) (s logv1.ServiceBytes, err error) {
	var record logv1.ServiceRecord
	if err := record.UnmarshalVT(payload); err != nil {
		return s, err
	}
	if payload, err = record.MarshalVT(); err != nil {
		return s, err
	}
	s, ok := logv1.ParseService(payload)
	if !ok {
		return s, errors.New("it is no record of a service")
	}
	return s, nil
}

func misplaced(bucket, key []byte, name string) error {
	return fmt.Errorf("bucket %s, key %q: %w: it holds the record of %q", bucket, key, vfs.ErrDamaged, name)
}

func visit[M logv1.Message](tx *bbolt.Tx, bucket []byte, summed bool, f func(M) error, empty func() M, name func(M) string) error {
	want, err := readSum(tx, bucket)
	if err != nil {
		return err
	}
	var have sums
	err = tx.Bucket(bucket).ForEach(func(key, value []byte) error {
		if summed {
			have.add(key, value)
		}
		record := empty()
		if err := openRecord(bucket, key, value, record); err != nil {
			return err
		}
		if service, ok := any(record).(*logv1.ServiceRecord); ok && service.GetService() == "" {
			service.Service = string(key)
		}
		if name(record) != string(key) {
			return misplaced(bucket, key, name(record))
		}
		if f == nil {
			return nil
		}
		return f(record)
	})
	if err == nil && summed && have != want {
		err = sumError(bucket, have, want)
	}
	return err
}

func sumError(bucket []byte, have, want sums) error {
	return fmt.Errorf("bucket %s: %w: it does not hold the records it should (%d, not %d, or not their newest)",
		bucket, vfs.ErrDamaged, have.count, want.count)
}

func openRecord(bucket, key, value []byte, record logv1.Message) error {
	if err := logv1.Open(value, record); err != nil {
		return recordError(bucket, key, err)
	}
	return nil
}

func recordError(bucket, key []byte, err error) error {
	kind := vfs.ErrDamaged
	if errors.Is(err, logv1.ErrFormat) {
		kind = vfs.ErrNewer
	}
	return fmt.Errorf("bucket %s, key %q: %w: %w", bucket, key, kind, err)
}
