package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store/boltfile"
	"github.com/rollcallhq/rollcall/store/vfs"
)

// checkEntry checks what can be checked of an entry: the envelope of a command, and that raft will
// be able to decode a configuration (it panics if not).
func checkEntry(index uint64, entry *raft.Log) error {
	if entry.Index != index {
		return fmt.Errorf("%w: it says that it is entry %d", vfs.ErrDamaged, entry.Index)
	}
	switch entry.Type {
	case raft.LogCommand:
		if _, err := logv1.Payload(entry.Data); errors.Is(err, logv1.ErrFormat) {
			return fmt.Errorf("%w: %w", vfs.ErrNewer, err)
		} else if err != nil {
			return fmt.Errorf("%w: %w", vfs.ErrDamaged, err)
		}
	case raft.LogConfiguration:
		return boltfile.Guard(func() error {
			raft.DecodeConfiguration(entry.Data)
			return nil
		})
	case raft.LogNoop, raft.LogBarrier:
	default:
		return fmt.Errorf("%w: unknown type %d", vfs.ErrDamaged, entry.Type)
	}
	return nil
}

// surveyLog reads all of raft.db without writing and returns the indexes of its entries. It comes
// before the file is opened for writing, which has bbolt look through it on a goroutine of its own,
// where a panic cannot be caught.
func surveyLog(path string) ([]uint64, error) {
	o := logBoltOptions()
	o.ReadOnly = true
	b, err := boltfile.Open(path, o)
	if err != nil {
		return nil, err
	}
	var indexes []uint64
	err = boltfile.Guard(func() error {
		return b.View(func(tx *bbolt.Tx) error {
			for _, name := range []string{"logs", "conf"} { // raft-boltdb's buckets
				bucket := tx.Bucket([]byte(name))
				if bucket == nil {
					return fmt.Errorf("%w: no bucket %q", vfs.ErrDamaged, name)
				}
				err := boltfile.Walk(bucket, func(key, _ []byte) error {
					if name == "logs" {
						if len(key) != 8 {
							return fmt.Errorf("%w: entry with key %x", vfs.ErrDamaged, key)
						}
						indexes = append(indexes, binary.BigEndian.Uint64(key))
					}
					return nil
				})
				if err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err != nil {
		b.CloseAfter(err)
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := b.Close(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return indexes, nil
}

// checkStable verifies whose log this is and raft's values.
func (l *Log) checkStable(owner Owner) error {
	stored, err := l.Get(keyDirectoryID)
	if errors.Is(err, raftboltdb.ErrKeyNotFound) {
		return fmt.Errorf("%s does not say whose it is: this node has lost its votes; %s", l.path, LostMember)
	}
	if err != nil {
		return fmt.Errorf("%w; %s", err, LostMember)
	}
	if string(stored) != owner.DirectoryID {
		return fmt.Errorf("%s belongs to data directory %s, not to this one (%s)", l.path, stored, owner.DirectoryID)
	}
	for _, key := range []string{"CurrentTerm", "LastVoteTerm", "LastVoteCand"} {
		if _, err := l.Get([]byte(key)); err != nil && !errors.Is(err, raftboltdb.ErrKeyNotFound) {
			return fmt.Errorf("%w; %s", err, LostMember)
		}
	}
	return nil
}

// saw notes that the log holds entry index: the next one, or the first after a gap. Terms are not
// compared: below a snapshot that was installed, entries that were never committed may stay in the
// log, with a higher term than what follows.
func (l *Log) saw(index uint64) {
	if l.seen == 0 || l.seen+1 != index {
		l.contiguous = index
	}
	l.seen = index
}

// checkEntries reads every entry that raft.db holds.
func (l *Log) checkEntries(indexes []uint64) error {
	for _, index := range indexes {
		var entry raft.Log
		err := boltfile.Guard(func() error { return l.entries.GetLog(index, &entry) })
		if err == nil {
			err = checkEntry(index, &entry)
		}
		if err != nil {
			return fmt.Errorf("%s: entry %d: %w; %s", l.path, index, err, LostMember)
		}
		l.saw(index)
	}
	return nil
}
