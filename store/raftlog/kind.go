package raftlog

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
)

// Kind says where a data directory keeps raft's entries. Votes and term are always in raft.db. A
// directory keeps the kind that it was made with.
type Kind string

const (
	// BoltDB keeps the entries in raft.db: two syncs an append.
	BoltDB Kind = "boltdb"
	// WAL keeps them in segment files under wal/: one sync an append.
	WAL Kind = "wal"

	// DefaultKind is what a new data directory gets unless told otherwise.
	DefaultKind = WAL
)

// Kinds are all there are.
func Kinds() []Kind { return []Kind{BoltDB, WAL} }

// Validate refuses a kind that there is not.
func (k Kind) Validate() error {
	if !slices.Contains(Kinds(), k) {
		return fmt.Errorf("log store %q is unknown: there are %s and %s", k, BoltDB, WAL)
	}
	return nil
}

// keySegments is where raft.db lists the segments in wal/ that count; without it the entries are in
// raft.db itself. One file says both who voted and which segments count, so that no crash and no half
// restored backup can leave two that disagree.
var keySegments = []byte("rollcall.wal")

// kindMismatch is one line with what to do.
func kindMismatch(path string, is, asked Kind) error {
	return fmt.Errorf(`%s keeps its log in %s, not in %s: leave --log-store out, or start it with --log-store %s`,
		path, is, asked, is)
}

// setStable is Log.Set before there is a Log.
func setStable(store *raftboltdb.BoltStore, key, value []byte) error {
	return store.Set(key, sealStable(key, value))
}

func setSegments(store *raftboltdb.BoltStore, meta walMeta) error {
	value, err := meta.encode()
	if err != nil {
		return err
	}
	return setStable(store, keySegments, value)
}

// readKind returns what raft.db says, and the segments if it is WAL.
func (l *Log) readKind() (Kind, walMeta, error) {
	value, err := l.Get(keySegments)
	if errors.Is(err, raftboltdb.ErrKeyNotFound) {
		return BoltDB, walMeta{}, nil
	}
	if err != nil {
		return "", walMeta{}, err
	}
	meta, err := parseWALMeta(value)
	if err != nil {
		return "", walMeta{}, fmt.Errorf("%s: value %q: %w", l.path, keySegments, err)
	}
	return WAL, meta, nil
}

// refuseSegments refuses a wal/ that holds segments although raft.db keeps the entries itself.
func refuseSegments(dir string) error {
	path := filepath.Join(dir, DirName)
	files, err := segmentNames(path)
	if err != nil || len(files) == 0 {
		return err
	}
	return fmt.Errorf("%s stands beside a %s that keeps the log itself: they are not of the same time, "+
		"as after restoring only one of them; %s", path, FileName, LostMember)
}
