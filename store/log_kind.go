package store

import (
	"errors"
	"fmt"
	"os"
	"slices"

	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
)

// LogKind says where a data directory keeps raft's entries. Votes and term are always in raft.db. A
// directory keeps the kind that it was made with until ConvertLog changes it.
type LogKind string

const (
	// LogBoltDB keeps the entries in raft.db: two syncs an append.
	LogBoltDB LogKind = "boltdb"
	// LogWAL keeps them in segment files under wal/: one sync an append.
	LogWAL LogKind = "wal"

	// DefaultLogKind is what a new data directory gets unless told otherwise.
	DefaultLogKind = LogWAL
)

// LogKinds are all there are.
func LogKinds() []LogKind { return []LogKind{LogBoltDB, LogWAL} }

func (k LogKind) validate() error {
	if !slices.Contains(LogKinds(), k) {
		return fmt.Errorf("log store %q is unknown: there are %s and %s", k, LogBoltDB, LogWAL)
	}
	return nil
}

// What raft.db says of wal/. One file says both who voted and which segments count, so that no crash
// and no half restored backup can leave two that disagree.
var (
	// keySegments: the entries are in wal/, in the segments that the value lists.
	keySegments = []byte("rollcall.wal")
	// keyObsolete: wal/ is what a conversion left or began, and holds nothing of this log.
	keyObsolete = []byte("rollcall.wal_obsolete")
)

// kindMismatch is one line with what to do.
func kindMismatch(path string, is, asked LogKind) error {
	return fmt.Errorf(`%s keeps its log in %s, not in %s: leave --log-store out, or first run "rollcall convert-log --data %s --to %s"`,
		path, is, asked, path, asked)
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

// readKind returns what raft.db says, and the segments if it is LogWAL.
func (l *Log) readKind() (LogKind, walMeta, error) {
	value, err := l.Get(keySegments)
	if errors.Is(err, raftboltdb.ErrKeyNotFound) {
		return LogBoltDB, walMeta{}, nil
	}
	if err != nil {
		return "", walMeta{}, err
	}
	meta, err := parseWALMeta(value)
	if err != nil {
		return "", walMeta{}, fmt.Errorf("%s: value %q: %w", l.path, keySegments, err)
	}
	return LogWAL, meta, nil
}

// clearObsolete removes a wal/ that raft.db, which keeps the entries itself, knows to be left over.
// It refuses one that raft.db knows nothing of.
func (l *Log) clearObsolete(d *Directory) error {
	path := d.file(walName)
	files, err := segmentNames(path)
	if err != nil {
		return err
	}
	obsolete, err := l.Get(keyObsolete)
	if err != nil && !errors.Is(err, raftboltdb.ErrKeyNotFound) {
		return err
	}
	if len(obsolete) == 0 {
		if len(files) > 0 {
			return fmt.Errorf("%s stands beside a %s that keeps the log itself: they are not of the same time, "+
				"as after restoring only one of them; %s", path, logName, startAsNew)
		}
		return nil
	}
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	if err := syncDir(d.path); err != nil {
		return err
	}
	return guard(func() error { return setStable(l.stable, keyObsolete, nil) })
}
