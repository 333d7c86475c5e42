package registry

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"go.etcd.io/bbolt"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store/boltfile"
	"github.com/rollcallhq/rollcall/store/vfs"
)

// initialize makes the buckets of an empty file.
func initialize(tx *bbolt.Tx, meta *logv1.RegistryMeta) error {
	for _, name := range [][]byte{bucketMeta, bucketEvents, bucketEventsByKey} {
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	return putMeta(tx, meta)
}

// check reads all records of a registry file and checks what can be checked without decoding them. It runs at
// every opening, so that a damaged file is found while it can still be rebuilt. It costs a second pass over
// memory and no I/O, because the fold reads the same records right after. The events, which may be many times
// more, are not read here: each is checked when it is read. The error wraps vfs.ErrDamaged or vfs.ErrNewer.
func check(db *boltfile.DB) (meta *logv1.RegistryMeta, err error) {
	err = boltfile.Guard(func() error {
		return db.View(func(tx *bbolt.Tx) error {
			if meta, err = readMeta(tx); err != nil {
				return err
			}
			kinds, err := kindBuckets(tx)
			if err != nil {
				return err
			}
			for _, k := range kinds {
				if err := checkRecords(db, tx, k.name); err != nil {
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
	if err := logv1.Open(bucket.Get(keyMeta), meta); err != nil {
		return nil, recordError(bucketMeta, keyMeta, err)
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
	want, err := readSum(tx, name)
	if err != nil {
		return err
	}
	var (
		mu   sync.Mutex // guards have and what is counted in it
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
	// If one record is damaged, the error names it.
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
	if bucket == nil || tx.Bucket(bucketEventsByKey) == nil {
		return fmt.Errorf("%w: no bucket %s or %s", vfs.ErrDamaged, bucketEvents, bucketEventsByKey)
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

// load visits the records of a registry file on several goroutines. check has compared their sums before.
func load(db *boltfile.DB, v logv1.Visitor) (meta *logv1.RegistryMeta, err error) {
	err = boltfile.Guard(func() error {
		return db.View(func(tx *bbolt.Tx) error {
			defer boltfile.Unmap(tx)
			if meta, err = readMeta(tx); err != nil {
				return err
			}
			kinds, err := kindBuckets(tx)
			if err != nil {
				return err
			}
			for _, k := range kinds {
				err := inParts(db, tx, k.name, func(_ *bbolt.Bucket, part int, records []keyValue) error {
					opened := openedPool.Get().(*[partRecords]logv1.KeyValue)
					defer openedPool.Put(opened)
					for i, r := range records {
						payload, err := logv1.Payload(r.value)
						if err != nil {
							return recordError(k.name, r.key, err)
						}
						opened[i] = logv1.KeyValue{Key: r.key, Value: payload}
					}
					return visitorError(k, v.Records(k.kind, part, opened[:len(records)]))
				})
				if err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return meta, nil
}

var openedPool = sync.Pool{New: func() any { return new([partRecords]logv1.KeyValue) }}

// visitorError adds the bucket and the keys to the error of a visitor that could not decode records.
func visitorError(k kindBucket, err error) error {
	if errors.Is(err, logv1.ErrFormat) {
		return fmt.Errorf("bucket %s: %w: %w", k.name, vfs.ErrNewer, err)
	}
	return err
}

// scanRecords is how many records a scan hands out at once. A scan can be ended only between two such parts.
const scanRecords = 64

// scanAll visits the records of a registry file in order. It also checks the sums of the buckets, which finds
// damaged keys and missing records.
func scanAll(ctx context.Context, s *scan, tx *bbolt.Tx, v logv1.Visitor) (*logv1.RegistryMeta, error) {
	meta, err := readMeta(tx)
	if err != nil {
		return nil, err
	}
	kinds, err := kindBuckets(tx)
	if err != nil {
		return nil, err
	}
	for _, k := range kinds {
		if err := scanKind(ctx, s, tx, k, v); err != nil {
			return nil, err
		}
	}
	return meta, nil
}

func scanKind(ctx context.Context, s *scan, tx *bbolt.Tx, k kindBucket, v logv1.Visitor) error {
	want, err := readSum(tx, k.name)
	if err != nil {
		return err
	}
	var have sums
	var records []logv1.KeyValue
	part := 0
	send := func() error {
		err := visitorError(k, v.Records(k.kind, part, records))
		part, records = part+1, records[:0]
		switch {
		case err != nil:
			return err
		case s.ending.Load():
			return ErrScanEnded
		}
		return ctx.Err()
	}
	err = tx.Bucket(k.name).ForEach(func(key, value []byte) error {
		have.add(key, value)
		payload, err := logv1.Payload(value)
		if err != nil {
			return recordError(k.name, key, err)
		}
		if records = append(records, logv1.KeyValue{Key: key, Value: payload}); len(records) == scanRecords {
			return send()
		}
		return nil
	})
	if err == nil {
		err = send()
	}
	if err == nil && have != want {
		err = sumError(k.name, have, want)
	}
	return err
}

func recordError(bucket, key []byte, err error) error {
	kind := vfs.ErrDamaged
	if errors.Is(err, logv1.ErrFormat) {
		kind = vfs.ErrNewer
	}
	return fmt.Errorf("bucket %s, key %q: %w: %w", bucket, key, kind, err)
}
