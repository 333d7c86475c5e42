package store

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/raft"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
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
	d, err := OpenDirectory(path, "n1")
	if err != nil {
		t.Fatal(err)
	}
	l, err := OpenLog(d, LogOptions{Kind: LogWAL})
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
	d.Close()
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
	d, err := OpenDirectory(path, "n1")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	l, err := OpenLog(d, LogOptions{})
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
			for from := start; from < length; from++ {
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
			for from := start; from < length; from += 301 {
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
	d, l := openLog(t, path, LogOptions{})
	if err := l.StoreLogs(all[1][:3]); err != nil {
		t.Fatal(err)
	}
	l.fail(errors.New("killed"))
	l.Close()
	d.Close()
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
		mention(t, err, segment, "damaged", "member replace")
		bad[i] ^= 1 << (i % 8)
	}
	patch(t, segment, bad)
	if last, err := reopen(t, path, all); err != nil || last != 6 {
		t.Fatalf("unharmed again: ends at %d, %v", last, err)
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
		{"wal/", false, func(t *testing.T, path, _ string) { remove(t, filepath.Join(path, walName)) }, []string{"missing", "lost its log"}},
		{"raft.db, which lists the segments", false, func(t *testing.T, path, _ string) { remove(t, filepath.Join(path, logName)) },
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
				d, l := openLog(t, path, LogOptions{})
				l.Close()
				d.Close()
			}
			tt.spoil(t, path, segment)
			_, err := reopen(t, path, all)
			mention(t, err, append(tt.want, "member replace")...)
			if errors.Is(err, ErrInUse) {
				t.Error(err)
			}
		})
	}
}

// smallSegments makes a log roll often.
func smallSegments(l *Log) { l.wal.size = 4096 }

func TestWALRolls(t *testing.T) {
	path := t.TempDir()
	d, l := openLog(t, path, LogOptions{Kind: LogWAL})
	smallSegments(l)
	for i := uint64(1); i <= 400; i += 4 {
		if err := l.StoreLogs(entries(t, i, i+3)); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(l.wal.segments); n < 3 {
		t.Fatalf("%d segments", n)
	}
	if err := l.DeleteRange(1, 150); err != nil {
		t.Fatal(err)
	}
	first, _ := l.FirstIndex()
	var entry raft.Log
	if err := l.GetLog(150, &entry); first != 151 || err != raft.ErrLogNotFound {
		t.Errorf("begins at %d, entry 150: %v", first, err)
	}
	names, _ := segmentNames(filepath.Join(path, walName))
	if len(names) != len(l.wal.segments) {
		t.Errorf("%d files, %d segments", len(names), len(l.wal.segments))
	}
	l.Close()
	d.Close()
	if last, err := reopen(t, path, nil); err != nil || last != 400 {
		t.Errorf("ends at %d, %v", last, err)
	}
	// A segment in the middle is as necessary as the last.
	if err := os.Remove(filepath.Join(path, walName, names[1])); err != nil {
		t.Fatal(err)
	}
	_, err := reopen(t, path, nil)
	mention(t, err, names[1], "missing", "lost its log")
}

// A kill between any two steps of beginning a segment leaves a log that goes on. (raft-wal cannot
// append to one that was full when the process ended.)
func TestWALGoesOnAfterAKillWhileRolling(t *testing.T) {
	for _, step := range []string{"before", "made", "listed"} {
		t.Run(step, func(t *testing.T) {
			path := t.TempDir()
			d, l := openLog(t, path, LogOptions{Kind: LogWAL})
			smallSegments(l)
			var last uint64
			for l.wal.takes(last+1) || last == 0 {
				last++
				if err := l.StoreLogs(entries(t, last, last)); err != nil {
					t.Fatal(err)
				}
			}
			killed := errors.New("killed")
			commit := l.wal.commit
			switch step {
			case "made":
				l.wal.commit = func(walMeta) error { return killed }
			case "listed":
				l.wal.commit = func(m walMeta) error { return errors.Join(commit(m), killed) }
			}
			if step != "before" {
				if err := l.StoreLogs(entries(t, last+1, last+1)); !errors.Is(err, killed) {
					t.Fatal(err)
				}
			}
			l.fail(killed)
			l.Close()
			d.Close()
			for range 2 {
				have, err := reopen(t, path, nil)
				if err != nil || have != last {
					t.Fatalf("ends at %d, %v, want %d", have, err, last)
				}
				last++ // reopen appends one
			}
		})
	}
}

// After entries were deleted from the end, the log can be opened again. (In raft-wal 0.4.0 it cannot.)
func TestWALDeletesASuffix(t *testing.T) {
	for _, min := range []uint64{2, 60, 100, 121} {
		t.Run(fmt.Sprint("from ", min), func(t *testing.T) {
			path := t.TempDir()
			d, l := openLog(t, path, LogOptions{Kind: LogWAL})
			smallSegments(l)
			for i := uint64(1); i <= 120; i++ {
				if err := l.StoreLogs(entries(t, i, i)); err != nil {
					t.Fatal(err)
				}
			}
			if err := l.DeleteRange(min, 120); err != nil {
				t.Fatal(err)
			}
			changed := &raft.Log{Index: min, Term: 7, Type: raft.LogNoop}
			if err := l.StoreLog(changed); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				var have raft.Log
				if err := l.GetLog(min, &have); err != nil || have.Term != 7 {
					t.Errorf("entry %d is %v, %v", min, have, err)
				}
				if err := l.GetLog(min-1, &have); err != nil || have.Term != 1 {
					t.Errorf("entry %d is %v, %v", min-1, have, err)
				}
				if last, _ := l.LastIndex(); last != min {
					t.Errorf("ends at %d, want %d", last, min)
				}
				l.Close()
				d.Close()
				d, l = openLog(t, path, LogOptions{})
			}
		})
	}
}

// Raft leaves a gap where it installs a snapshot; both kinds keep it.
func TestLogKeepsAGap(t *testing.T) {
	eachKind(t, func(t *testing.T, kind LogKind) {
		path := t.TempDir()
		d, l := openLog(t, path, LogOptions{Kind: kind})
		for _, run := range [][2]uint64{{1, 5}, {20, 25}} {
			if err := l.StoreLogs(entries(t, run[0], run[1])); err != nil {
				t.Fatal(err)
			}
		}
		l.Close()
		d.Close()
		_, l = openLog(t, path, LogOptions{})
		var entry raft.Log
		if err := l.GetLog(12, &entry); err != raft.ErrLogNotFound || l.contiguous != 20 {
			t.Errorf("entry 12: %v, unbroken from %d", err, l.contiguous)
		}
		if err := l.DeleteRange(1, 12); err != nil {
			t.Fatal(err)
		}
		first, _ := l.FirstIndex()
		last, _ := l.LastIndex()
		if first != 20 || last != 25 {
			t.Errorf("log from %d to %d", first, last)
		}
	})
}

// Both kinds do the same, whatever raft asks of them.
func TestLogKindsAgree(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	type open struct {
		d *Directory
		l *Log
	}
	logs := map[LogKind]open{}
	paths := map[LogKind]string{}
	for _, kind := range LogKinds() {
		paths[kind] = t.TempDir()
		d, l := openLog(t, paths[kind], LogOptions{Kind: kind})
		logs[kind] = open{d, l}
	}
	rounds := 80
	if testing.Short() {
		rounds = 30
	}
	for range rounds {
		first, _ := logs[LogBoltDB].l.FirstIndex()
		last, _ := logs[LogBoltDB].l.LastIndex()
		action, n, gap := random.IntN(10), uint64(random.IntN(20)), random.IntN(20) == 0
		for kind, o := range logs {
			if o.l.wal != nil {
				smallSegments(o.l)
			}
			var err error
			switch {
			case action < 6:
				from := last + 1
				if gap {
					from += 10
				}
				err = o.l.StoreLogs(entries(t, from, from+n))
			case last == 0:
			case action == 6:
				err = o.l.DeleteRange(first, min(first+n, last))
			case action == 7:
				err = o.l.DeleteRange(max(last-min(n, last), 1), last)
			case action == 8:
				err = o.l.SetUint64([]byte("CurrentTerm"), n)
			default:
				o.l.Close()
				o.d.Close()
				o.d, o.l = openLog(t, paths[kind], LogOptions{})
				logs[kind] = o
			}
			if err != nil {
				t.Fatal(kind, err)
			}
		}
		a, b := logs[LogBoltDB].l, logs[LogWAL].l
		for _, bound := range []func(*Log) (uint64, error){(*Log).FirstIndex, (*Log).LastIndex} {
			if x, _ := bound(a); true {
				if y, _ := bound(b); x != y {
					t.Fatalf("bounds differ: %d and %d", x, y)
				}
			}
		}
		first, _ = a.FirstIndex()
		last, _ = a.LastIndex()
		for i := first; i <= last+1; i++ {
			var x, y raft.Log
			ex, ey := a.GetLog(i, &x), b.GetLog(i, &y)
			if ex != ey || !x.AppendedAt.Equal(y.AppendedAt) || x.Index != y.Index || x.Term != y.Term || !bytes.Equal(x.Data, y.Data) {
				t.Fatalf("entry %d: %v %v and %v %v", i, x, ex, y, ey)
			}
		}
		if a.contiguous != b.contiguous {
			t.Fatalf("unbroken from %d and from %d", a.contiguous, b.contiguous)
		}
	}
}

// Entries are read while others are appended and old ones compacted, as raft's replication does.
func TestWALIsReadWhileItIsCompacted(t *testing.T) {
	failed := make(failures, 4)
	_, l := openLog(t, t.TempDir(), LogOptions{Kind: LogWAL, OnFailure: failed.report})
	smallSegments(l)
	if err := l.StoreLogs(entries(t, 1, 50)); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				first, _ := l.FirstIndex()
				last, _ := l.LastIndex()
				for i := first; i <= last; i++ {
					var entry raft.Log
					if err := l.GetLog(i, &entry); err != nil && err != raft.ErrLogNotFound {
						t.Errorf("entry %d: %v", i, err)
						return
					}
				}
			}
		})
	}
	for i := uint64(51); i < 400; i += 5 {
		if err := l.StoreLogs(entries(t, i, i+4)); err != nil {
			t.Fatal(err)
		}
		if err := l.DeleteRange(i-50, i-46); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	wg.Wait()
	failed.none(t)
}

func TestWALRefusesFilesThatAreNotItsOwn(t *testing.T) {
	all := batches(t, 2, 2)
	_, foreign := crashed(t, all)
	tests := []struct {
		name    string
		prepare func(t *testing.T, path, segment string)
		want    []string
	}{
		{"another directory's segment", func(t *testing.T, path, segment string) {
			if err := copyFile(foreign, filepath.Join(path, walName, filepath.Base(foreign))); err != nil {
				t.Fatal(err)
			}
		}, []string{"belongs to another data directory"}},
		{"another directory's segment under our name", func(t *testing.T, path, segment string) {
			if err := copyFile(foreign, segment); err != nil {
				t.Fatal(err)
			}
		}, []string{"damaged", "doesn't match metadata"}},
		{"a segment that raft.db knows nothing of", func(t *testing.T, path, segment string) {
			later := strings.TrimSuffix(segment, "1.wal") + "7.wal"
			if err := copyFile(segment, later); err != nil {
				t.Fatal(err)
			}
		}, []string{"raft.db knows nothing of", "member replace"}},
		{"something else", func(t *testing.T, path, segment string) {
			if err := os.WriteFile(filepath.Join(path, walName, "copy of.wal"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, []string{"is not a segment of this log"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path, segment := crashed(t, all)
			tt.prepare(t, path, segment)
			_, err := reopen(t, path, all)
			mention(t, err, tt.want...)
		})
	}
}

func TestOpenLogOfTheOtherKind(t *testing.T) {
	for _, kind := range LogKinds() {
		other := LogKinds()[0]
		if kind == other {
			other = LogKinds()[1]
		}
		path := t.TempDir()
		d, l := openLog(t, path, LogOptions{Kind: kind})
		if err := l.StoreLogs(entries(t, 1, 3)); err != nil {
			t.Fatal(err)
		}
		l.Close()
		_, err := OpenLog(d, LogOptions{Kind: other})
		mention(t, err, path, "keeps its log in "+string(kind), "rollcall convert-log --data "+path+" --to "+string(other))
		l, err = OpenLog(d, LogOptions{})
		if err != nil || l.Kind() != kind {
			t.Fatalf("without a kind: %v", err)
		}
		l.Close()
		d.Close()
	}
	d, _ := openLog(t, t.TempDir(), LogOptions{})
	_, err := OpenLog(d, LogOptions{Kind: "leveldb"})
	mention(t, err, `"leveldb"`, "boltdb", "wal")
}

// The files of a segment are not for others to read, and as long as they will ever be.
func TestWALFiles(t *testing.T) {
	_, l := openLog(t, t.TempDir(), LogOptions{Kind: LogWAL})
	if err := l.StoreLogs(entries(t, 1, 1)); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(l.wal.file(l.wal.segments[0].SegmentInfo))
	if err != nil || info.Mode().Perm() != 0o600 || info.Size() != segmentSize {
		t.Errorf("%v, %v", info, err)
	}
}

// What keeps a segment from being made, a full disk in the first place, is said in the system's words.
func TestWALCannotBeginASegment(t *testing.T) {
	failed := make(failures, 4)
	_, l := openLog(t, t.TempDir(), LogOptions{Kind: LogWAL, OnFailure: failed.report})
	taken := filepath.Join(l.where, fmt.Sprintf("%020d-%016x.wal", 1, l.wal.meta.NextID))
	if err := os.WriteFile(taken, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := l.StoreLogs(entries(t, 1, 1))
	mention(t, err, "cannot be written", "new segment", "file exists")
	failed.one(t, "cannot be written", "new segment")
	if err := l.StoreLogs(entries(t, 1, 1)); err == nil {
		t.Error("stored after a failure")
	}
}
