package store

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// formatOfSingleEvents is the last format of journal.db in which the bucket events has revision -> Event.
const formatOfSingleEvents = 1

// migrateJournal makes of an intact journal of an older format, which nobody has open, one of the newest:
// a new file beside it, checked and fsynced, takes its place by a rename. If anything fails, or in a
// crash, the old one stays as it is.
func migrateJournal(path string) (*logv1.JournalMeta, error) {
	old, err := openBolt(path, bbolt.Options{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	name, meta, err := copyJournal(filepath.Dir(path), old)
	old.letGo(err)
	if err != nil {
		return nil, err
	}
	if err := install(name, path); err != nil {
		os.Remove(name)
		return nil, err
	}
	return meta, nil
}

// migration copies a journal into an empty file.
type migration struct {
	tx     *bbolt.Tx
	to     *bolt
	bytes  int // put by tx
	packer eventPacker
}

// migrateInto does so with one of formatOfSingleEvents.
func migrateInto(to *bolt, from *bbolt.Tx, meta *logv1.JournalMeta) error {
	m := &migration{to: to}
	if err := m.begin(); err != nil {
		return err
	}
	defer func() {
		if m.tx != nil {
			_ = m.tx.Rollback() // what is wrong is known, and the file is thrown away
		}
	}()
	if err := m.copyAll(from, compactedTo(meta)); err != nil {
		return err
	}
	meta.Format = journalFormat
	if err := putMeta(m.tx, meta); err != nil {
		return err
	}
	return m.commit()
}

func (m *migration) begin() (err error) {
	m.bytes = 0
	m.tx, err = m.to.Begin(true)
	return err
}

func (m *migration) commit() error {
	tx := m.tx
	m.tx = nil
	return tx.Commit()
}

// went is told of what was put, and begins another transaction if that is much.
func (m *migration) went(bytes int) error {
	if m.bytes += bytes; m.bytes < rewriteTxBytes {
		return nil
	}
	if err := m.commit(); err != nil {
		return err
	}
	return m.begin()
}

func (m *migration) copyAll(from *bbolt.Tx, compacted int64) error {
	return from.ForEach(func(name []byte, bucket *bbolt.Bucket) error {
		if _, err := m.tx.CreateBucket(name); err != nil {
			return err
		}
		if string(name) == string(bucketEvents) {
			return m.packEvents(bucket, compacted)
		}
		return bucket.ForEach(func(key, value []byte) error {
			if err := inOrder(m.tx, name).Put(key, value); err != nil {
				return fmt.Errorf("bucket %s, key %q: %w", name, key, err)
			}
			return m.went(len(key) + len(value))
		})
	})
}

// packEvents makes blocks of the events. One that cannot be read is copied as it stands: whoever comes to
// it is told, as before.
func (m *migration) packEvents(from *bbolt.Bucket, compacted int64) error {
	const atOnce = 16_384
	var run []*logv1.Event
	bytes := 0
	flush := func() error {
		err := m.packer.putNew(inOrder(m.tx, bucketEvents), run)
		run = run[:0]
		if err == nil {
			err = m.went(bytes)
		}
		bytes = 0
		return err
	}
	err := from.ForEach(func(key, value []byte) error {
		e, err := decodeSingleEvent(key, value)
		if err != nil {
			if err := flush(); err != nil {
				return err
			}
			return inOrder(m.tx, bucketEvents).Put(key, value)
		}
		run, bytes = append(run, e), bytes+len(value)
		// What a compaction has kept stands in blocks of one.
		if e.GetRevision() < compacted || len(run) == atOnce {
			return flush()
		}
		return nil
	})
	if err != nil {
		return err
	}
	return flush()
}

// decodeSingleEvent reads what formatOfSingleEvents has at a revision.
func decodeSingleEvent(key, value []byte) (*logv1.Event, error) {
	e := new(logv1.Event)
	if err := openRecord(bucketEvents, key, value, e); err != nil {
		return nil, err
	}
	if len(key) != revisionBytes || uint64(e.GetRevision()) != binary.BigEndian.Uint64(key) {
		return nil, fmt.Errorf("bucket %s, key %x: %w: it holds the event of revision %d", bucketEvents, key, ErrDamaged, e.GetRevision())
	}
	return e, nil
}
