package raftlog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	raftwal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"

	"github.com/rollcallhq/rollcall/store/vfs"
)

// segmentSize is how long a segment file is. It is allocated whole: three idle nodes on a laptop take
// 24 MiB, and at 10 MB/s a new one is due about once a second.
const segmentSize = 8 << 20

// wal keeps raft's entries in segment files of raft-wal's format, written and read by raft-wal's
// package segment. Which segments count stands in raft.db; raft-wal's own list of them, and what
// recovers and rotates them, is not used: see docs/decisions/0012-log-store.md. Unlike raft-wal it
// lets a gap into the log, as raft leaves one where it installs a snapshot.
//
// It checks no envelopes and latches no failures: Log does.
type wal struct {
	path   string
	filer  *segment.Filer
	codec  raftwal.BinaryCodec
	commit func(walMeta) error // durable when it returns
	size   uint32              // of a segment

	writing sync.Mutex // held over an append and a deletion, before mu; guards meta
	meta    walMeta

	mu       sync.RWMutex // held shared while a file is read; guards what follows
	segments []walSegment // ascending
	closed   bool
}

// walMeta is what raft.db says of the segments.
type walMeta struct {
	// NextID is the next segment's. The upper half is a mark of the data directory, so that a
	// segment of another one has another name and header.
	NextID uint64
	// Stored is the last entry when this was written: the log must hold it.
	Stored   uint64
	Segments []types.SegmentInfo // ascending; SealTime is zero in the last one at most: it takes appends
}

// newWALMeta is the list of an empty log.
func newWALMeta(directoryID string) walMeta {
	return walMeta{NextID: uint64(crc32.Checksum([]byte(directoryID), castagnoli))<<32 | 1}
}

func parseWALMeta(value []byte) (walMeta, error) {
	var meta walMeta
	if err := json.Unmarshal(value, &meta); err != nil {
		return walMeta{}, fmt.Errorf("%w: %w", vfs.ErrDamaged, err)
	}
	return meta, nil
}

func (m walMeta) encode() ([]byte, error) { return json.Marshal(m) }

// walSegment is an open segment.
type walSegment struct {
	types.SegmentInfo
	file types.SegmentWriter
}

// last is the last entry, BaseIndex-1 if there is none.
func (s walSegment) last() uint64 {
	if !s.SealTime.IsZero() {
		return s.MaxIndex
	}
	return max(s.file.LastIndex(), s.BaseIndex-1)
}

func (s walSegment) empty() bool { return s.last() < s.BaseIndex }

// FirstIndex returns the index of the oldest entry, 0 if there is none.
func (w *wal) FirstIndex() (uint64, error) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.closed {
		return 0, vfs.ErrClosed
	}
	first, _ := w.bounds()
	return first, nil
}

// LastIndex returns the index of the newest entry, 0 if there is none.
func (w *wal) LastIndex() (uint64, error) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.closed {
		return 0, vfs.ErrClosed
	}
	_, last := w.bounds()
	return last, nil
}

// bounds needs mu or writing.
func (w *wal) bounds() (first, last uint64) {
	for _, s := range w.segments {
		if s.empty() {
			continue
		}
		if first == 0 {
			first = s.MinIndex
		}
		last = s.last()
	}
	return first, last
}

// GetLog reads an entry, or returns raft.ErrLogNotFound.
func (w *wal) GetLog(index uint64, entry *raft.Log) error {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.closed {
		return vfs.ErrClosed
	}
	i := sort.Search(len(w.segments), func(i int) bool { return w.segments[i].BaseIndex > index }) - 1
	if i < 0 || index < w.segments[i].MinIndex || index > w.segments[i].last() {
		return raft.ErrLogNotFound
	}
	raw, err := w.segments[i].file.GetLog(index)
	if err != nil {
		return fmt.Errorf("%s: %w", w.file(w.segments[i].SegmentInfo), err)
	}
	defer raw.Close()
	return w.codec.Decode(raw.Bs, entry)
}

// StoreLog stores one entry.
func (w *wal) StoreLog(entry *raft.Log) error { return w.StoreLogs([]*raft.Log{entry}) }

// StoreLogs appends entries without a gap among them, all or none, durably when it returns. After an
// error nothing more may be written.
func (w *wal) StoreLogs(entries []*raft.Log) error {
	if len(entries) == 0 {
		return nil
	}
	w.writing.Lock()
	defer w.writing.Unlock()
	if w.closed {
		return vfs.ErrClosed
	}
	if _, last := w.bounds(); entries[0].Index <= last {
		return fmt.Errorf("entry %d is appended to a log that ends at %d", entries[0].Index, last)
	}
	frames, err := w.encode(entries)
	if err != nil {
		return err
	}
	if !w.takes(entries[0].Index) {
		if err := w.roll(entries[0].Index); err != nil {
			return err
		}
	}
	return w.segments[len(w.segments)-1].file.Append(frames)
}

func (w *wal) encode(entries []*raft.Log) ([]types.LogEntry, error) {
	const around = 64 // bytes of an entry beside its data, more than enough
	size := 0
	for _, e := range entries {
		size += len(e.Data) + len(e.Extensions) + around
	}
	frames := make([]types.LogEntry, len(entries))
	buf := bytes.NewBuffer(make([]byte, 0, size))
	for i, e := range entries {
		if want := entries[0].Index + uint64(i); e.Index != want {
			return nil, fmt.Errorf("entry %d is where %d belongs", e.Index, want)
		}
		begin := buf.Len()
		if err := w.codec.Encode(e, buf); err != nil {
			return nil, fmt.Errorf("encode entry %d: %w", e.Index, err)
		}
		frames[i] = types.LogEntry{Index: e.Index, Data: buf.Bytes()[begin:buf.Len():buf.Len()]}
	}
	return frames, nil
}

// takes reports whether the last segment can take entry index next.
func (w *wal) takes(index uint64) bool {
	if len(w.segments) == 0 {
		return false
	}
	tail := w.segments[len(w.segments)-1]
	full, _, err := tail.file.Sealed()
	return err == nil && !full && tail.SealTime.IsZero() && index == tail.last()+1
}

// roll begins a segment with entry base. The file is durable before raft.db lists it: one that is
// listed and missing is always a loss.
func (w *wal) roll(base uint64) error {
	segments := slices.Clone(w.segments)
	if n := len(segments); n > 0 {
		tail := &segments[n-1]
		switch {
		case tail.empty():
			segments = segments[:n-1]
		case tail.SealTime.IsZero():
			tail.MaxIndex = tail.last()
			tail.SealTime = time.Now().UTC()
			_, tail.IndexStart, _ = tail.file.Sealed()
		}
	}
	info := types.SegmentInfo{
		ID:         w.meta.NextID,
		BaseIndex:  base,
		MinIndex:   base,
		Codec:      raftwal.CodecBinaryV1,
		CreateTime: time.Now().UTC(),
		SizeLimit:  w.size,
	}
	file, err := w.filer.Create(info)
	if err != nil {
		return fmt.Errorf("new segment: %w", err)
	}
	w.meta.NextID++
	return w.install(append(segments, walSegment{info, file}))
}

// install makes segments the log, durably, and removes those that are gone. It needs writing.
func (w *wal) install(segments []walSegment) error {
	before := w.segments
	meta := walMeta{NextID: w.meta.NextID}
	for _, s := range segments {
		meta.Segments = append(meta.Segments, s.SegmentInfo)
		if !s.empty() {
			meta.Stored = s.last()
		}
	}
	if err := w.commit(meta); err != nil {
		return err
	}
	w.meta = meta
	w.mu.Lock()
	w.segments = segments
	w.mu.Unlock()
	// Nobody reads the old ones any more: who does holds mu.
	for _, s := range before {
		if !slices.ContainsFunc(segments, func(kept walSegment) bool { return kept.ID == s.ID }) {
			s.file.Close()
			os.Remove(w.file(s.SegmentInfo)) // one that stays is removed at the next opening
		}
	}
	return nil
}

// DeleteRange deletes the entries from min to max, inclusive: a prefix of the log, a suffix, or all.
func (w *wal) DeleteRange(min, max uint64) error {
	w.writing.Lock()
	defer w.writing.Unlock()
	if w.closed {
		return vfs.ErrClosed
	}
	first, last := w.bounds()
	var kept []walSegment
	switch {
	case last == 0 || min > max || max < first || min > last:
		return nil
	case min <= first:
		for _, s := range w.segments {
			if s.last() <= max {
				continue
			}
			if s.MinIndex <= max {
				s.MinIndex = max + 1
			}
			kept = append(kept, s)
		}
	case max >= last:
		for _, s := range w.segments {
			if s.BaseIndex >= min {
				break
			}
			if s.last() >= min {
				s.MaxIndex = min - 1
				if s.SealTime.IsZero() {
					s.SealTime = time.Now().UTC()
				}
			}
			kept = append(kept, s)
		}
	default:
		return fmt.Errorf("entries %d to %d are neither the beginning nor the end of a log from %d to %d", min, max, first, last)
	}
	return w.install(kept)
}

// note has raft.db know the last entry: a log that ends before it is refused at the next opening.
func (w *wal) note() error {
	w.writing.Lock()
	defer w.writing.Unlock()
	if _, last := w.bounds(); w.closed || last == w.meta.Stored {
		return nil
	}
	return w.install(slices.Clone(w.segments))
}

// Close closes the files.
func (w *wal) Close() error {
	w.writing.Lock()
	defer w.writing.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	w.closed = true
	var errs []error
	for _, s := range w.segments {
		errs = append(errs, s.file.Close())
	}
	return errors.Join(errs...)
}
