package raftlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/bits"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store/storetest"
	"github.com/rollcallhq/rollcall/store/vfs"
)

// batches are appends that fill several sectors each.
func batches(t testing.TB, sizes ...int) [][]*raft.Log {
	t.Helper()
	var all [][]*raft.Log
	index := uint64(1)
	for _, size := range sizes {
		var batch []*raft.Log
		for range size {
			data, err := logv1.Seal(&logv1.Entry{Time: int64(index), Commands: []*logv1.Command{{Reason: strings.Repeat("reason ", 40)}}})
			if err != nil {
				t.Fatal(err)
			}
			batch = append(batch, &raft.Log{Index: index, Term: 1, Type: raft.LogCommand, Data: data})
			index++
		}
		all = append(all, batch)
	}
	return all
}

// crashed returns a data directory as kill -9 leaves it: its log was not closed, and so raft.db does
// not know the last entry.
func crashed(t testing.TB, all [][]*raft.Log) (path string, segment string) {
	t.Helper()
	path = t.TempDir()
	d := openDirectory(t, path)
	l, err := d.open(Options{Kind: WAL})
	if err != nil {
		t.Fatal(err)
	}
	l.wal.size = 1 << 16
	for _, batch := range all {
		if err := l.StoreLogs(batch); err != nil {
			t.Fatal(err)
		}
	}
	segment = l.wal.file(l.wal.segments[0].SegmentInfo)
	l.fail(errors.New("killed")) // it notes nothing any more
	l.Close()
	return path, segment
}

func patch(t testing.TB, name string, data []byte) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(data, 0); err != nil {
		t.Fatal(err)
	}
}

// reopen opens the log as it stands and returns the last entry, after checking all.
func reopen(t testing.TB, path string, all [][]*raft.Log) (uint64, error) {
	t.Helper()
	d := openDirectory(t, path)
	l, err := d.open(Options{})
	if err != nil {
		return 0, err
	}
	defer l.Close()
	defer l.fail(errors.New("killed"))
	last, err := l.LastIndex()
	if err != nil {
		t.Fatal(err)
	}
	for _, batch := range all {
		for _, want := range batch {
			if want.Index > last {
				break
			}
			var have raft.Log
			if err := l.GetLog(want.Index, &have); err != nil || !reflect.DeepEqual(&have, want) {
				t.Fatalf("entry %d: %v %v, want %v", want.Index, have, err, want)
			}
		}
	}
	// The next append follows, and is there after the next opening.
	next := &raft.Log{Index: last + 1, Term: 2, Type: raft.LogNoop}
	if err := l.StoreLog(next); err != nil {
		t.Fatal(err)
	}
	return last, nil
}

// used is how much of a segment file is written.
func walUsed(t testing.TB, name string) (whole []byte, length int) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	scan := scanSegment(data)
	if !allZero(data[scan.end:]) {
		t.Fatal("a good segment does not end in zeros")
	}
	return data, scan.end
}

// An append that a crash cut short was never acknowledged: it is dropped without a word, wherever it
// was cut, and everything before it stays.
func TestWALDropsAnAppendThatWasCutShort(t *testing.T) {
	for _, tt := range []struct {
		name   string
		before []int // entries of the appends before
	}{{"the first append", nil}, {"after others", []int{2, 3}}} {
		t.Run(tt.name, func(t *testing.T) {
			all := batches(t, append(append([]int{}, tt.before...), 4)...)
			var kept uint64
			for _, n := range tt.before {
				kept += uint64(n)
			}
			path, segment := crashed(t, all)
			whole, length := walUsed(t, segment)
			start := scanSegment(whole).start
			cut := func(from, to int) []byte {
				bad := bytes.Clone(whole[:length+1024])
				clear(bad[from:to])
				return bad
			}
			end := length - 1 // of what is cut for sure
			for setBits(whole[end:length]) < 2 {
				end--
			}
			for from := start; from <= end; from++ {
				bad := cut(from, length)
				scan := scanSegment(bad)
				if scan.end != start {
					t.Fatalf("cut at byte %d of %d to %d: intact to %d", from, start, length, scan.end)
				}
				if !allZero(bad[scan.end:]) && !torn(bad, scan.end) {
					t.Fatalf("cut at byte %d of %d to %d: taken for damage", from, start, length)
				}
			}
			// On disk, at some of them; and any sector may be missing, not only the last ones.
			var states [][]byte
			for from := start; from <= end; from += 301 {
				states = append(states, cut(from, length))
			}
			for from := start; from < length; from = (from/sector + 1) * sector {
				states = append(states, cut(from, min((from/sector+1)*sector, length)))
			}
			for i, bad := range states {
				patch(t, segment, bad)
				if last, err := reopen(t, path, all); err != nil || last != kept {
					t.Fatalf("state %d: ends at %d, %v; want %d", i, last, err, kept)
				}
				// What was dropped does not come back behind what is appended in its place.
				if last, err := reopen(t, path, nil); err != nil || last != kept+1 {
					t.Fatalf("state %d, again: ends at %d, %v; want %d", i, last, err, kept+1)
				}
			}
		})
	}
}

// setBits counts what a cut would take away. If it is a single bit of the checksum at the end, nobody can tell it from
// a bit that flipped, and damage is the safe answer. No disk cuts there: a commit frame is within one sector.
func setBits(data []byte) (n int) {
	for _, b := range data {
		n += bits.OnesCount8(b)
	}
	return n
}

// What is left of a dropped append behind the next one, which fills the hole that gave it away, must
// not be taken for damage.
func TestWALOverwritesWhatItDrops(t *testing.T) {
	all := batches(t, 2, 4)
	path, segment := crashed(t, all)
	whole, length := walUsed(t, segment)
	bad := bytes.Clone(whole[:length+1024])
	start := scanSegment(bad).start
	clear(bad[start : (start/sector+1)*sector])
	patch(t, segment, bad)
	_, l := openLog(t, path, Options{})
	if err := l.StoreLogs(all[1][:3]); err != nil {
		t.Fatal(err)
	}
	l.fail(errors.New("killed"))
	l.Close()
	if last, err := reopen(t, path, all); err != nil || last != 5 {
		t.Errorf("ends at %d, %v", last, err)
	}
}

// A bit that flipped in anything that was acknowledged is never taken for an append cut short: the
// log is refused.
func TestWALRefusesAFlippedBitAnywhere(t *testing.T) {
	all := batches(t, 1, 3, 2)
	path, segment := crashed(t, all)
	whole, length := walUsed(t, segment)
	bad := bytes.Clone(whole[:length+1024])
	for i := range length {
		for bit := range 8 {
			bad[i] ^= 1 << bit
			// The header is of the first append, so that all its bytes count.
			if scan := scanSegment(bad); scan.end == length || torn(bad, scan.end) {
				t.Fatalf("byte %d, bit %d of %d bytes: intact to %d, and the rest is taken for an append cut short", i, bit, length, scan.end)
			}
			bad[i] ^= 1 << bit
		}
	}
	for i := 0; i < length; i += 201 {
		bad[i] ^= 1 << (i % 8)
		patch(t, segment, bad)
		last, err := reopen(t, path, all)
		if err == nil {
			t.Fatalf("byte %d of %d: opened, ends at %d", i, length, last)
		}
		storetest.Mention(t, err, segment, "damaged", LostMember)
		bad[i] ^= 1 << (i % 8)
	}
	patch(t, segment, bad)
	if last, err := reopen(t, path, all); err != nil || last != 6 {
		t.Fatalf("unharmed again: ends at %d, %v", last, err)
	}
}

// A bit that flipped in the last append is damage also if the append itself holds sectors of zeros. To lack one
// of the other sectors is still an append cut short.
func TestWALRefusesAFlippedBitBesideZeros(t *testing.T) {
	entry := func(index uint64, text string) *raft.Log {
		data, err := logv1.Seal(&logv1.Entry{Commands: []*logv1.Command{{Reason: text}}})
		if err != nil {
			t.Fatal(err)
		}
		return &raft.Log{Index: index, Term: 1, Type: raft.LogCommand, Data: data}
	}
	first := entry(1, "first")
	for name, appended := range map[string][]*raft.Log{
		"zeros in the middle": {entry(2, "before"), entry(3, "text"+strings.Repeat("\x00", 3*sector)+"text"), entry(4, "after")},
		"zeros alone":         {entry(2, strings.Repeat("\x00", 4*sector))},
		"many":                {entry(2, strings.Repeat("\x00", 2*sector)), entry(3, strings.Repeat("some text ", 100)), entry(4, strings.Repeat("\x00", 2*sector))},
	} {
		all := [][]*raft.Log{{first}, appended}
		path, segment := crashed(t, all)
		whole, length := walUsed(t, segment)
		bad := bytes.Clone(whole[:length+1024])
		start := scanSegment(bad).start
		for i := start; i < length; i += 5 {
			for bit := range 8 {
				bad[i] ^= 1 << bit
				if scan := scanSegment(bad); scan.end != start || torn(bad, scan.end) {
					t.Fatalf("%s: byte %d, bit %d of %d bytes: intact to %d, and the rest is taken for an append cut short", name, i, bit, length, scan.end)
				}
				bad[i] ^= 1 << bit
			}
		}
		bad[start+frameHeader+30] ^= 1
		patch(t, segment, bad)
		if last, err := reopen(t, path, all); err == nil {
			t.Errorf("%s: opened with a flipped bit, ends at %d", name, last)
		}
		for from := start; from < length; from = (from/sector + 1) * sector {
			to := min((from/sector+1)*sector, length)
			bad := bytes.Clone(whole[:length+1024])
			if allZero(bad[from:to]) {
				continue
			}
			clear(bad[from:to])
			if !torn(bad, scanSegment(bad).end) {
				t.Errorf("%s: without the bytes %d to %d of %d: taken for damage", name, from, to, length)
			}
		}
	}
}

// A bit that flipped in a checksum is damage also where the rest looks like an append cut short: the append
// has a sector of zeros in it, or the flipped bit was the only one in the last bytes of the checksum.
func TestWALRefusesAFlippedBitInAChecksum(t *testing.T) {
	_, segment := crashed(t, batches(t, 1, 3))
	whole, length := walUsed(t, segment)
	start, sum := scanSegment(whole).start, length-4
	seal := func(data []byte) {
		binary.LittleEndian.PutUint32(data[sum:], crc32.Checksum(data[start:length-frameHeader], castagnoli))
		if scan := scanSegment(data); scan.end != length {
			t.Fatalf("intact to %d of %d", scan.end, length)
		}
	}
	zeros := bytes.Clone(whole[:length+1024])
	from := (start/sector + 1) * sector
	if from+sector > length-frameHeader {
		t.Fatal("the append has no whole sector")
	}
	// In the payload of an entry, so that its frames stay.
	clear(zeros[from+2*frameHeader : from+sector])
	clear(zeros[from : from+2*frameHeader])
	binary.LittleEndian.PutUint32(zeros[sum:], crc32.Checksum(zeros[start:length-frameHeader], castagnoli))
	for bit := range 32 {
		zeros[sum+bit/8] ^= 1 << (bit % 8)
		if torn(zeros, start) {
			t.Errorf("bit %d of the checksum flipped, of an append with a sector of zeros: taken for one cut short", bit)
		}
		zeros[sum+bit/8] ^= 1 << (bit % 8)
	}

	single := bytes.Clone(whole[:length+1024])
	payload := start + frameHeader + 40
	found := 0
	for i := range 1 << 16 {
		binary.LittleEndian.PutUint16(single[payload:], uint16(i))
		seal(single)
		last := single[sum+3]
		if bits.OnesCount8(last) != 1 {
			continue
		}
		found++
		single[sum+3] = 0
		if torn(single, start) {
			t.Fatalf("the last byte of the checksum was %#x and is 0: taken for an append cut short", last)
		}
	}
	if found == 0 {
		t.Fatal("no checksum ends with a single bit")
	}
}

// Behind the last append there is nothing to lose.
func TestWALForgetsWhatStandsBehindTheLastAppend(t *testing.T) {
	all := batches(t, 3)
	path, segment := crashed(t, all)
	whole, length := walUsed(t, segment)
	for _, at := range []int{length, length + 1, length + 4000} {
		bad := bytes.Clone(whole[:length+8192])
		bad[at] ^= 4
		patch(t, segment, bad)
		if last, err := reopen(t, path, all); err != nil || last != 3 {
			t.Errorf("byte %d: ends at %d, %v", at, last, err)
		}
	}
}

func TestWALRefusesWhatIsLost(t *testing.T) {
	remove := func(t *testing.T, name string) {
		t.Helper()
		if err := os.RemoveAll(name); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name  string
		clean bool // closed in order
		spoil func(t *testing.T, path, segment string)
		want  []string
	}{
		{"the last segment", false, func(t *testing.T, _, segment string) { remove(t, segment) }, []string{"missing", "lost its log"}},
		{"wal/", false, func(t *testing.T, path, _ string) { remove(t, filepath.Join(path, DirName)) }, []string{"missing", "lost its log"}},
		{"raft.db, which lists the segments", false, func(t *testing.T, path, _ string) { remove(t, filepath.Join(path, FileName)) },
			[]string{"raft.db is missing", "lost its votes"}},
		{"the end of the file", false, func(t *testing.T, _, segment string) {
			if err := os.Truncate(segment, 1<<16-1); err != nil {
				t.Fatal(err)
			}
		}, []string{"damaged", "cut short"}},
		{"all of the file", false, func(t *testing.T, _, segment string) {
			if err := os.Truncate(segment, 0); err != nil {
				t.Fatal(err)
			}
		}, []string{"damaged", "cut short"}},
		{"the content of the last append, after an end in order", true, func(t *testing.T, _, segment string) {
			whole, length := walUsed(t, segment)
			clear(whole[scanSegment(whole).start:])
			patch(t, segment, whole[:length])
		}, []string{"damaged", "it ends at entry 4, but entry 6 was stored"}},
		{"everything, after an end in order", true, func(t *testing.T, _, segment string) {
			patch(t, segment, make([]byte, 1<<16))
		}, []string{"damaged", "it ends at entry 0, but entry 6 was stored"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			all := batches(t, 4, 2)
			path, segment := crashed(t, all)
			if tt.clean {
				_, l := openLog(t, path, Options{})
				l.Close()
			}
			tt.spoil(t, path, segment)
			_, err := reopen(t, path, all)
			storetest.Mention(t, err, append(tt.want, LostMember)...)
			if errors.Is(err, vfs.ErrInUse) {
				t.Error(err)
			}
		})
	}
}
