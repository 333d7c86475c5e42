package raftlog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"

	"github.com/rollcallhq/rollcall/store/boltfile"
	"github.com/rollcallhq/rollcall/store/vfs"
)

// errLogLost means that entries which were stored are gone.
var errLogLost = errors.New("this node has lost its log")

// openWAL opens the segments that meta lists and shows every entry to visit. All is read and checked:
// raft-wal itself takes whatever it cannot read in the last segment for an append that a crash cut
// short, and drops it and what follows. An append that really was cut short is dropped here too, and
// overwritten with zeros, so that the next one is written into zeros again.
//
// commit makes a changed list durable.
func openWAL(path string, meta walMeta, commit func(walMeta) error, visit func(*raft.Log) error) (_ *wal, err error) {
	w := &wal{path: path, filer: segment.NewFiler(path, segmentFiles{}), commit: commit, meta: meta, size: segmentSize}
	if len(meta.Segments) == 0 {
		if err := vfs.Mkdir(path); err != nil {
			return nil, fmt.Errorf("open log: %w", err)
		}
	} else if there, err := vfs.Exists(path); err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	} else if !there {
		return nil, fmt.Errorf("%s is missing: %w", path, errLogLost)
	}
	if err := w.removeStrays(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			w.Close()
		}
	}()
	for i, info := range meta.Segments {
		s, err := w.openSegment(info, i == len(meta.Segments)-1, visit)
		if err != nil {
			return nil, err
		}
		w.segments = append(w.segments, s)
	}
	if _, last := w.bounds(); last < meta.Stored {
		return nil, fmt.Errorf("%s: %w: it ends at entry %d, but entry %d was stored", path, vfs.ErrDamaged, last, meta.Stored)
	}
	return w, nil
}

func (w *wal) file(info types.SegmentInfo) string {
	return filepath.Join(w.path, segment.FileName(info))
}

// openSegment checks a segment and opens it. tail: it is the last one.
func (w *wal) openSegment(info types.SegmentInfo, tail bool, visit func(*raft.Log) error) (walSegment, error) {
	name := w.file(info)
	data, scan, err := w.checkSegment(info, tail)
	if err != nil {
		return walSegment{}, err
	}
	if info.SealTime.IsZero() {
		if err := settle(name, data, scan); err != nil {
			return walSegment{}, fmt.Errorf("open log: %w", err)
		}
	}
	if err := w.visitSegment(info, scan, visit); err != nil {
		return walSegment{}, err
	}
	file, err := w.filer.RecoverTail(info)
	if err != nil {
		return walSegment{}, fmt.Errorf("%s: %w: %w", name, vfs.ErrDamaged, err)
	}
	last := info.BaseIndex + uint64(len(scan.entries)) - 1
	if have := max(file.LastIndex(), info.BaseIndex-1); have != last {
		file.Close()
		return walSegment{}, fmt.Errorf("%s: %w: its end is read as entry %d and as %d", name, vfs.ErrDamaged, last, have)
	}
	return walSegment{info, file}, nil
}

// checkSegment reads a segment and changes nothing.
func (w *wal) checkSegment(info types.SegmentInfo, tail bool) ([]byte, segmentScan, error) {
	name := w.file(info)
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, segmentScan{}, fmt.Errorf("%s is missing: %w", name, errLogLost)
	}
	if err != nil {
		return nil, segmentScan{}, fmt.Errorf("open log: %w", err)
	}
	sealed := !info.SealTime.IsZero()
	if len(data) < int(info.SizeLimit) {
		return nil, segmentScan{}, fmt.Errorf("%s: %w: cut short, to %d of %d bytes", name, vfs.ErrDamaged, len(data), info.SizeLimit)
	}
	scan := scanSegment(data)
	last := info.BaseIndex + uint64(len(scan.entries)) - 1
	if !allZero(data[scan.end:]) && (sealed || !tail || !torn(data, scan.end)) {
		return nil, segmentScan{}, fmt.Errorf("%s: %w: what stands after entry %d does not have its checksum", name, vfs.ErrDamaged, last)
	}
	if sealed && last < info.MaxIndex {
		return nil, segmentScan{}, fmt.Errorf("%s: %w: it ends at entry %d, not %d", name, vfs.ErrDamaged, last, info.MaxIndex)
	}
	return data, scan, nil
}

// visitSegment shows the entries of a segment that count.
func (w *wal) visitSegment(info types.SegmentInfo, scan segmentScan, visit func(*raft.Log) error) error {
	for i, encoded := range scan.entries {
		index := info.BaseIndex + uint64(i)
		if index < info.MinIndex || !info.SealTime.IsZero() && index > info.MaxIndex {
			continue
		}
		var entry raft.Log
		err := boltfile.Guard(func() error { return w.codec.Decode(encoded, &entry) })
		if err == nil && entry.Index != index {
			err = fmt.Errorf("%w: it says that it is entry %d", vfs.ErrDamaged, entry.Index)
		}
		if err == nil {
			err = visit(&entry)
		}
		if err != nil {
			return fmt.Errorf("%s: entry %d: %w", w.file(info), index, err)
		}
	}
	return nil
}

// readWAL checks what openWAL checks, shows every entry to visit, and changes nothing.
func readWAL(path string, meta walMeta, visit func(*raft.Log) error) error {
	w := &wal{path: path}
	var last uint64
	for i, info := range meta.Segments {
		_, scan, err := w.checkSegment(info, i == len(meta.Segments)-1)
		if err == nil {
			err = w.visitSegment(info, scan, func(entry *raft.Log) error {
				last = entry.Index
				return visit(entry)
			})
		}
		if err != nil {
			return err
		}
	}
	if last < meta.Stored {
		return fmt.Errorf("%s: %w: it ends at entry %d, but entry %d was stored", path, vfs.ErrDamaged, last, meta.Stored)
	}
	return nil
}

// settle makes what was read of the last segment durable: a process that was killed, or whose sync
// failed, may have left its last append in the system's memory only, where it would be taken for
// stored. What a crash left of an append after that becomes zeros.
func settle(name string, data []byte, scan segmentScan) error {
	written := withoutZeros(data)
	if len(written) == 0 {
		return nil
	}
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteAt(data[scan.start:scan.end], int64(scan.start)); err != nil {
		return err
	}
	if rest := len(written) - scan.end; rest > 0 {
		if _, err := f.WriteAt(make([]byte, rest), int64(scan.end)); err != nil {
			return err
		}
		clear(data[scan.end:])
	}
	return f.Sync()
}

// removeStrays removes segments that were deleted, or made and not used, when a process was killed.
// One that can be neither is refused.
func (w *wal) removeStrays() error {
	listed := map[string]bool{}
	for _, info := range w.meta.Segments {
		listed[segment.FileName(info)] = true
	}
	names, err := segmentNames(w.path)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	for _, name := range names {
		if listed[name] {
			continue
		}
		path := filepath.Join(w.path, name)
		var info types.SegmentInfo
		if _, err := fmt.Sscanf(name, "%020d-%016x"+segmentSuffix, &info.BaseIndex, &info.ID); err != nil || segment.FileName(info) != name {
			return fmt.Errorf("%s is not a segment of this log: move it away", path)
		}
		if info.ID>>32 != w.meta.NextID>>32 {
			return fmt.Errorf("%s belongs to another data directory: move it away", path)
		}
		if info.ID >= w.meta.NextID {
			data, err := os.ReadFile(path)
			if err != nil {
				return fmt.Errorf("open log: %w", err)
			}
			if !allZero(data) {
				return fmt.Errorf("%s holds entries that %s knows nothing of, as after restoring only one of them: %w",
					path, FileName, errLogLost)
			}
		}
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("open log: %w", err)
		}
	}
	return nil
}
