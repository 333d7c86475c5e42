package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	raftboltdb "github.com/hashicorp/raft-boltdb/v2"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store/boltfile"
	"github.com/rollcallhq/rollcall/store/vfs"
	"github.com/rollcallhq/rollcall/store/watchdog"
)

// What raft keeps beside its entries, its term and its vote, is in raft.db, each value with a checksum.

// Set stores a value of raft's (its term, its vote), durably when it returns. A failure is reported
// to OnFailure; on a goroutine of raft the call then does not return, see leaveRaft.
func (l *Log) Set(key, value []byte) error {
	err := l.failure()
	if err == nil {
		l.watchdog.Begin(watchdog.Limit(0))
		defer l.watchdog.End()
		if err = boltfile.Guard(func() error { return l.stable.Set(key, sealStable(key, value)) }); err != nil {
			err = l.cannotWrite(l.path, err)
		}
	}
	if err != nil {
		leaveRaft()
	}
	return err
}

// Get reads a value of raft's. The error of a missing one is raft-boltdb's ErrKeyNotFound.
func (l *Log) Get(key []byte) (value []byte, err error) {
	err = boltfile.Guard(func() (err error) { value, err = l.stable.Get(key); return err })
	if errors.Is(err, raftboltdb.ErrKeyNotFound) {
		return nil, raftboltdb.ErrKeyNotFound // raft compares its text
	}
	if err == nil {
		value, err = openStable(key, value)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: value %q: %w", l.path, key, err)
	}
	return value, nil
}

// SetUint64 is Set for a number.
func (l *Log) SetUint64(key []byte, value uint64) error {
	return l.Set(key, binary.BigEndian.AppendUint64(nil, value))
}

// GetUint64 is Get for a number.
func (l *Log) GetUint64(key []byte) (uint64, error) {
	value, err := l.Get(key)
	if err != nil {
		return 0, err
	}
	if len(value) != 8 {
		return 0, fmt.Errorf("%s: value %q: %w: %d bytes, not 8", l.path, key, vfs.ErrDamaged, len(value))
	}
	return binary.BigEndian.Uint64(value), nil
}

// HasState reports whether raft ever ran on this log: a term, a vote or an entry.
func (l *Log) HasState() (bool, error) {
	last, err := l.LastIndex()
	if err != nil {
		return false, fmt.Errorf("read raft state: %w", err)
	}
	if last > 0 {
		return true, nil
	}
	// raft's own keys, see raft.HasExistingState.
	for _, key := range []string{"CurrentTerm", "LastVoteTerm"} {
		value, err := l.GetUint64([]byte(key))
		if err != nil && !errors.Is(err, raftboltdb.ErrKeyNotFound) {
			return false, fmt.Errorf("read raft state: %w", err)
		}
		if value > 0 {
			return true, nil
		}
	}
	return false, nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sealStable appends a checksum: a vote that was read wrong is a vote for somebody else.
func sealStable(key, value []byte) []byte {
	sealed := append(make([]byte, 0, len(value)+4), value...)
	return binary.BigEndian.AppendUint32(sealed, stableSum(key, value))
}

func openStable(key, sealed []byte) ([]byte, error) {
	n := len(sealed) - 4
	if n < 0 || binary.BigEndian.Uint32(sealed[n:]) != stableSum(key, sealed[:n]) {
		return nil, fmt.Errorf("%w: %w", vfs.ErrDamaged, logv1.ErrChecksum)
	}
	return sealed[:n:n], nil
}

func stableSum(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
}
