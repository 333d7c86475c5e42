package raftlog

import (
	"fmt"
	"path/filepath"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"

	"github.com/rollcallhq/rollcall/store/boltfile"
	"github.com/rollcallhq/rollcall/store/vfs"
)

// Contents is what a log holds.
type Contents struct {
	Kind    Kind
	Entries int
	Last    uint64 // index of the newest entry; 0: none
	// Contiguous is the first entry of the unbroken run that ends with the last one.
	Contiguous uint64
}

// Read checks what Open does, without changing anything, and shows each entry to visit.
func Read(dir string, owner Owner, visit func(*raft.Log)) (Contents, error) {
	l := &Log{path: filepath.Join(dir, FileName)}
	count, kind, err := l.read(dir, owner, visit)
	return Contents{Kind: kind, Entries: count, Last: l.seen, Contiguous: l.contiguous}, err
}

func (l *Log) read(dir string, owner Owner, visit func(*raft.Log)) (count int, kind Kind, err error) {
	indexes, err := surveyLog(l.path)
	if err != nil {
		return 0, "", err
	}
	o := logBoltOptions()
	o.ReadOnly = true
	err = boltfile.Guard(func() (err error) {
		l.stable, err = raftboltdb.New(raftboltdb.Options{Path: l.path, BoltOptions: &o})
		return err
	})
	if err != nil {
		return 0, "", fmt.Errorf("%s: %w", l.path, err)
	}
	defer func() { _ = boltfile.Guard(l.stable.Close) }()
	if err := l.checkStable(owner); err != nil {
		return 0, "", err
	}
	kind, meta, err := l.readKind()
	if err != nil {
		return 0, "", err
	}
	each := func(entry *raft.Log) error {
		if err := checkEntry(entry.Index, entry); err != nil {
			return err
		}
		l.saw(entry.Index)
		count++
		visit(entry)
		return nil
	}
	if kind == WAL {
		if len(indexes) > 0 {
			return 0, kind, fmt.Errorf("%s: %w: it holds entries, but says that they are in %s", l.path, vfs.ErrDamaged, DirName)
		}
		return count, kind, readWAL(filepath.Join(dir, DirName), meta, each)
	}
	for _, index := range indexes {
		var entry raft.Log
		err := boltfile.Guard(func() error { return l.stable.GetLog(index, &entry) })
		if err == nil && entry.Index != index {
			err = fmt.Errorf("%w: it says that it is entry %d", vfs.ErrDamaged, entry.Index)
		}
		if err == nil {
			err = each(&entry)
		}
		if err != nil {
			return count, kind, fmt.Errorf("%s: entry %d: %w", l.path, index, err)
		}
	}
	return count, kind, nil
}
