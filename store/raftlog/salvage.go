package raftlog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"

	"github.com/rollcallhq/rollcall/store/boltfile"
	"github.com/rollcallhq/rollcall/store/vfs"
)

// Salvaged is what Salvage found beside the entries.
type Salvaged struct {
	Kind        Kind   // "": not known
	DirectoryID string // that raft.db names; "": not known
	Term        uint64 // the highest term that raft.db or a sound entry names
	Stored      uint64 // the log is known to have held this entry; 0: not known
	// Problems say what is damaged or missing, one line each. None: all that was stored is sound.
	Problems []string
	// EndsWell says that the newest entry that was stored is among those that were shown: what is damaged lies before it.
	EndsWell bool
	// Newer wraps vfs.ErrNewer if a newer version of rollcall wrote an entry.
	Newer error
	// CutShort says that a crash cut the last append short, which is no damage: nobody was told that it was stored.
	CutShort bool
}

func (s *Salvaged) fail(format string, args ...any) {
	s.Problems = append(s.Problems, fmt.Sprintf(format, args...))
}

// Salvage reads a log that may be damaged, without changing anything. It shows each sound entry to visit, in
// ascending order; an entry that is damaged or missing is left out, and the entries after it are shown. An empty
// directoryID stands for any.
func Salvage(dir, directoryID string, visit func(*raft.Log)) Salvaged {
	var s Salvaged
	l := &Log{path: filepath.Join(dir, FileName)}
	there, err := vfs.Exists(l.path)
	if err == nil && !there {
		s.fail("%s is missing", l.path)
		return s
	}
	indexes, err := surveyLog(l.path)
	if err != nil {
		s.fail("%v", err)
		return s
	}
	o := logBoltOptions()
	o.ReadOnly = true
	err = boltfile.Guard(func() (err error) {
		l.stable, err = raftboltdb.New(raftboltdb.Options{Path: l.path, BoltOptions: &o})
		return err
	})
	if err != nil {
		s.fail("%s: %v", l.path, err)
		return s
	}
	defer func() { _ = boltfile.Guard(l.stable.Close) }()
	if !s.readStable(l, directoryID) {
		return s
	}
	kind, meta, err := l.readKind()
	if err != nil {
		s.fail("%v", err)
		return s
	}
	s.Kind, s.EndsWell = kind, true
	show := func(entry *raft.Log) {
		s.Term = max(s.Term, entry.Term)
		visit(entry)
	}
	if kind == WAL {
		s.readSegments(filepath.Join(dir, DirName), meta, show)
		return s
	}
	for _, index := range indexes {
		var entry raft.Log
		err := boltfile.Guard(func() error { return l.stable.GetLog(index, &entry) })
		if err == nil {
			err = checkEntry(index, &entry)
		}
		s.EndsWell = err == nil
		if err != nil {
			s.failEntry(l.path, index, err)
			continue
		}
		show(&entry)
	}
	if err := refuseSegments(dir); err != nil {
		s.fail("%s holds segments, and %s keeps the log itself: they are not of the same time, as after restoring only one of them", filepath.Join(dir, DirName), FileName)
		s.EndsWell = false
	}
	return s
}

func (s *Salvaged) failEntry(path string, index uint64, err error) {
	s.fail("%s: entry %d: %v", path, index, err)
	if errors.Is(err, vfs.ErrNewer) {
		s.Newer = fmt.Errorf("%s: entry %d: %w", path, index, err)
	}
}

// readStable reads whose log it is, and the terms. false: its entries must not be used.
func (s *Salvaged) readStable(l *Log, directoryID string) bool {
	stored, err := l.Get(keyDirectoryID)
	switch {
	case errors.Is(err, raftboltdb.ErrKeyNotFound):
		s.fail("%s does not say whose it is", l.path)
	case err != nil:
		s.fail("%v", err)
	default:
		s.DirectoryID = string(stored)
	}
	if directoryID != "" && s.DirectoryID != "" && s.DirectoryID != directoryID {
		s.fail("%s belongs to data directory %s, not to this one (%s): its entries are left out", l.path, s.DirectoryID, directoryID)
		return false
	}
	for _, key := range []string{"CurrentTerm", "LastVoteTerm"} { // raft's own keys
		term, err := l.GetUint64([]byte(key))
		if err != nil && !errors.Is(err, raftboltdb.ErrKeyNotFound) {
			s.fail("%v", err)
		}
		s.Term = max(s.Term, term)
	}
	return true
}

// readSegments shows the sound entries of the segments that meta lists.
func (s *Salvaged) readSegments(path string, meta walMeta, visit func(*raft.Log)) {
	w := &wal{path: path}
	s.Stored = meta.Stored
	var last uint64
	for i, info := range meta.Segments {
		tail := i == len(meta.Segments)-1
		problems := len(s.Problems)
		s.EndsWell = false // until all of this one is read
		data, err := os.ReadFile(w.file(info))
		if errors.Is(err, fs.ErrNotExist) {
			s.fail("%s is missing", w.file(info))
			continue
		}
		if err != nil {
			s.fail("%v", err)
			continue
		}
		scan := s.scan(w, info, data, tail)
		// One entry after the other: what is wrong with one must not hide those after it.
		for n, encoded := range scan.entries {
			at := info
			at.BaseIndex += uint64(n)
			err := w.visitSegment(at, segmentScan{entries: [][]byte{encoded}}, func(entry *raft.Log) error {
				if err := checkEntry(entry.Index, entry); err != nil {
					return err
				}
				last = max(last, entry.Index)
				visit(entry)
				return nil
			})
			if err != nil {
				s.failEntry(w.file(info), at.BaseIndex, errors.Unwrap(err))
			}
		}
		s.EndsWell = len(s.Problems) == problems
	}
	if last < meta.Stored {
		s.EndsWell = false
		s.fail("%s: %v: it ends at entry %d, but entry %d was stored", path, vfs.ErrDamaged, last, meta.Stored)
	}
	s.strays(path, meta)
}

// scan reads the intact beginning of a segment, and says what is wrong with the rest.
func (s *Salvaged) scan(w *wal, info types.SegmentInfo, data []byte, tail bool) segmentScan {
	name := w.file(info)
	if len(data) < segmentHeader {
		s.fail("%s: %v: cut short, to %d of %d bytes", name, vfs.ErrDamaged, len(data), info.SizeLimit)
		return segmentScan{}
	}
	scan := scanSegment(data)
	sealed := !info.SealTime.IsZero()
	last := info.BaseIndex + uint64(len(scan.entries)) - 1
	rest := !allZero(data[scan.end:])
	switch {
	case sealed && last < info.MaxIndex:
		s.fail("%s: %v: it ends at entry %d, not %d", name, vfs.ErrDamaged, last, info.MaxIndex)
	case sealed:
		// All its entries are there: what stands after them is not read.
	case len(data) < int(info.SizeLimit):
		s.fail("%s: %v: cut short, to %d of %d bytes; entries after %d may be missing", name, vfs.ErrDamaged, len(data), info.SizeLimit, last)
	case rest && (!tail || !torn(data, scan.end)):
		s.fail("%s: %v: what stands after entry %d does not have its checksum", name, vfs.ErrDamaged, last)
	case rest:
		s.CutShort = true
	}
	return scan
}

// strays names segments that hold entries and that raft.db does not list, as after restoring only one of them.
func (s *Salvaged) strays(path string, meta walMeta) {
	listed := map[string]bool{}
	for _, info := range meta.Segments {
		listed[segment.FileName(info)] = true
	}
	names, err := segmentNames(path)
	if err != nil {
		s.fail("%v", err)
		return
	}
	for _, name := range names {
		var info types.SegmentInfo
		_, err := fmt.Sscanf(name, "%020d-%016x"+segmentSuffix, &info.BaseIndex, &info.ID)
		if listed[name] || err == nil && info.ID>>32 == meta.NextID>>32 && info.ID < meta.NextID {
			continue // one of the list, or one that was deleted
		}
		file := filepath.Join(path, name)
		if data, err := os.ReadFile(file); err != nil || !allZero(data) {
			s.fail("%s holds entries that %s knows nothing of, as after restoring only one of them: they are left out", file, FileName)
			s.EndsWell = false
		}
	}
}

// HoldsEntries reports whether a data directory holds entries of a raft log, sound or not.
func HoldsEntries(dir string) bool {
	if names, err := segmentNames(filepath.Join(dir, DirName)); err != nil || len(names) > 0 {
		return true
	}
	path := filepath.Join(dir, FileName)
	if there, err := vfs.Exists(path); err != nil || !there {
		return err != nil
	}
	indexes, err := surveyLog(path)
	return err != nil || len(indexes) > 0
}
