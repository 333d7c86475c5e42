package raftlog

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math/bits"
	"slices"

	"github.com/hashicorp/raft"
	raftwal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/segment"

	"github.com/rollcallhq/rollcall/store/boltfile"
)

// A segment file, as raft-wal writes it: a header of 32 bytes, then batches, then zeros up to its
// length. A batch is what one append wrote: a frame an entry and a commit frame with a CRC-32C of the
// batch (of the first one with the file's header). A frame is a header of 8 bytes (type, three zeros,
// length or checksum), a payload, and zeros up to a multiple of 8. The last append to a segment adds
// an index frame before its commit frame.
const (
	segmentHeader = 32
	frameHeader   = 8
	sector        = 512 // the least that a disk writes at once
)

func padded(n int) int { return (n + frameHeader - 1) &^ (frameHeader - 1) }

// segmentScan is what a segment file holds, as far as it is intact.
type segmentScan struct {
	entries    [][]byte // encoded, in the file's memory
	start, end int      // of the last intact batch
}

func scanSegment(data []byte) segmentScan {
	var s segmentScan
	for from, off := 0, segmentHeader; ; {
		entries, next, ok := readBatch(data, from, off)
		if !ok {
			return s
		}
		s.entries = append(s.entries, entries...)
		s.start, s.end = from, next
		from, off = next, next
	}
}

// readBatch reads the batch whose first frame is at off. Its checksum begins at from.
func readBatch(data []byte, from, off int) (entries [][]byte, next int, ok bool) {
	for off+frameHeader <= len(data) {
		kind, size, ok := readFrame(data, off)
		if !ok {
			break
		}
		if kind == segment.FrameCommit {
			return entries, off + frameHeader, crc32.Checksum(data[from:off], castagnoli) == size
		}
		begin := off + frameHeader
		if int64(begin)+int64(size) > int64(len(data)) {
			break
		}
		if kind == segment.FrameEntry {
			entries = append(entries, data[begin:begin+int(size)])
		}
		off = begin + padded(int(size))
	}
	return nil, 0, false
}

// readFrame reads a frame's header.
func readFrame(data []byte, off int) (kind uint8, sizeOrSum uint32, ok bool) {
	h := data[off : off+frameHeader]
	kind = h[0]
	ok = h[1] == 0 && h[2] == 0 && h[3] == 0 &&
		(kind == segment.FrameEntry || kind == segment.FrameIndex || kind == segment.FrameCommit)
	return kind, binary.LittleEndian.Uint32(h[4:]), ok
}

// torn tells an append that a crash cut short from one that was acknowledged and then damaged. Of the
// first nobody was promised anything, and it is dropped; to drop the other would vote an acknowledged
// entry away. rest is where the intact batches end; what follows there is not all zeros.
//
// An append is one write into zeros, in front of which everything is synced. What a crash leaves of it
// lacks sectors, in most cases the last ones, and nothing follows. So it is damage if an intact batch
// follows, or if its own end is there and no sector is missing. A sector of zeros may also be what was
// appended: then it is damage if a single flipped bit is all that is wrong.
func torn(data []byte, rest int) bool {
	written := withoutZeros(data)
	end := padded(len(written)) - frameHeader // of what is there: the commit frame, if it is complete
	if end <= rest {
		return true // not even the first frame's header
	}
	for off := rest; off < end; off += frameHeader {
		if kind, _, ok := readFrame(data, off); ok && kind == segment.FrameCommit {
			if _, _, intact := readBatch(data, off+frameHeader, off+frameHeader); intact {
				return false
			}
		}
	}
	sum := crc32.Checksum(data[rest:end], castagnoli)
	stored := binary.LittleEndian.Uint32(data[end+4:])
	if sum == stored {
		return false // all is there but the type in the commit frame
	}
	if kind, _, ok := readFrame(data, end); !ok || kind != segment.FrameCommit {
		return true
	}
	if bits.OnesCount32(sum^stored) == 1 {
		return false // a bit of the checksum flipped
	}
	for cut := 8; cut <= 32; cut += 8 {
		if stored == sum<<cut>>cut {
			return true // all is there but the end of the checksum
		}
	}
	return lacksSector(data, rest, end) && !flippedBit(data, rest, end, sum^stored)
}

// flippedBit reports whether a batch is intact but for one flipped bit. The batch is from rest to the commit frame
// at end, and wrong is by how much its checksum is. A CRC is linear: one flipped bit changes it by what depends
// on the bit's distance from the end alone. In a large append some bit may fit by chance, so the entries of the
// repaired batch must have their own checksums too.
func flippedBit(data []byte, rest, end int, wrong uint32) bool {
	var change [8]uint32 // of the checksum, by a flip of each bit of the byte at i
	for bit := range change {
		change[bit] = castagnoli[1<<bit]
	}
	for i := end - 1; i >= rest; i-- {
		for bit, sum := range change {
			if sum == wrong {
				repaired := bytes.Clone(data[:end+frameHeader])
				repaired[i] ^= 1 << bit
				entries, _, ok := readBatch(repaired, rest, max(rest, segmentHeader))
				return ok && !slices.ContainsFunc(entries, damagedEntry)
			}
			change[bit] = castagnoli[byte(sum)] ^ sum>>8
		}
	}
	return false
}

// damagedEntry reports whether an encoded entry is not what raft stored.
func damagedEntry(encoded []byte) bool {
	var entry raft.Log
	err := boltfile.Guard(func() error { return (&raftwal.BinaryCodec{}).Decode(encoded, &entry) })
	return err != nil || checkEntry(entry.Index, &entry) != nil
}

// lacksSector reports whether a sector, or what of it lies between from and to, is all zeros.
func lacksSector(data []byte, from, to int) bool {
	for from < to {
		next := min((from/sector+1)*sector, to)
		if allZero(data[from:next]) {
			return true
		}
		from = next
	}
	return false
}

func allZero(b []byte) bool { return len(withoutZeros(b)) == 0 }

// zeros are compared with at once, which is much faster than byte by byte: most of a segment is zeros.
var zeros [4096]byte

// withoutZeros returns b without the zeros at its end.
func withoutZeros(b []byte) []byte {
	for len(b) >= len(zeros) && bytes.Equal(b[len(b)-len(zeros):], zeros[:]) {
		b = b[:len(b)-len(zeros)]
	}
	return bytes.TrimRight(b, "\x00")
}
