package raftlog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/rollcallhq/rollcall/store/storetest"
)

// smallSegments makes a log roll often.
func smallSegments(l *Log) { l.wal.size = 4096 }

func TestWALRolls(t *testing.T) {
	path := t.TempDir()
	_, l := openLog(t, path, Options{Kind: WAL})
	smallSegments(l)
	for i := uint64(1); i <= 400; i += 4 {
		if err := l.StoreLogs(storetest.Entries(t, i, i+3)); err != nil {
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
	names, _ := segmentNames(filepath.Join(path, DirName))
	if len(names) != len(l.wal.segments) {
		t.Errorf("%d files, %d segments", len(names), len(l.wal.segments))
	}
	l.Close()
	if last, err := reopen(t, path, nil); err != nil || last != 400 {
		t.Errorf("ends at %d, %v", last, err)
	}
	// A segment in the middle is as necessary as the last.
	if err := os.Remove(filepath.Join(path, DirName, names[1])); err != nil {
		t.Fatal(err)
	}
	_, err := reopen(t, path, nil)
	storetest.Mention(t, err, names[1], "missing", "lost its log")
}

// A kill between any two steps of beginning a segment leaves a log that goes on. (raft-wal cannot
// append to one that was full when the process ended.)
func TestWALGoesOnAfterAKillWhileRolling(t *testing.T) {
	for _, step := range []string{"before", "made", "listed"} {
		t.Run(step, func(t *testing.T) {
			path := t.TempDir()
			_, l := openLog(t, path, Options{Kind: WAL})
			smallSegments(l)
			var last uint64
			for l.wal.takes(last+1) || last == 0 {
				last++
				if err := l.StoreLogs(storetest.Entries(t, last, last)); err != nil {
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
				if err := l.StoreLogs(storetest.Entries(t, last+1, last+1)); !errors.Is(err, killed) {
					t.Fatal(err)
				}
			}
			l.fail(killed)
			l.Close()
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
			_, l := openLog(t, path, Options{Kind: WAL})
			smallSegments(l)
			for i := uint64(1); i <= 120; i++ {
				if err := l.StoreLogs(storetest.Entries(t, i, i)); err != nil {
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
				_, l = openLog(t, path, Options{})
			}
		})
	}
}

// Entries are read while others are appended and old ones compacted, as raft's replication does.
func TestWALIsReadWhileItIsCompacted(t *testing.T) {
	failed := make(storetest.Failures, 4)
	_, l := openLog(t, t.TempDir(), Options{Kind: WAL, OnFailure: failed.Report})
	smallSegments(l)
	if err := l.StoreLogs(storetest.Entries(t, 1, 50)); err != nil {
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
		if err := l.StoreLogs(storetest.Entries(t, i, i+4)); err != nil {
			t.Fatal(err)
		}
		if err := l.DeleteRange(i-50, i-46); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	wg.Wait()
	failed.None(t)
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
			if err := storetest.CopyFile(foreign, filepath.Join(path, DirName, filepath.Base(foreign))); err != nil {
				t.Fatal(err)
			}
		}, []string{"belongs to another data directory"}},
		{"another directory's segment under our name", func(t *testing.T, path, segment string) {
			if err := storetest.CopyFile(foreign, segment); err != nil {
				t.Fatal(err)
			}
		}, []string{"damaged", "doesn't match metadata"}},
		{"a segment that raft.db knows nothing of", func(t *testing.T, path, segment string) {
			later := strings.TrimSuffix(segment, "1.wal") + "7.wal"
			if err := storetest.CopyFile(segment, later); err != nil {
				t.Fatal(err)
			}
		}, []string{"raft.db knows nothing of", LostMember}},
		{"something else", func(t *testing.T, path, segment string) {
			if err := os.WriteFile(filepath.Join(path, DirName, "copy of.wal"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, []string{"is not a segment of this log"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path, segment := crashed(t, all)
			tt.prepare(t, path, segment)
			_, err := reopen(t, path, all)
			storetest.Mention(t, err, tt.want...)
		})
	}
}

// The files of a segment are not for others to read, and as long as they will ever be.
func TestWALFiles(t *testing.T) {
	_, l := openLog(t, t.TempDir(), Options{Kind: WAL})
	if err := l.StoreLogs(storetest.Entries(t, 1, 1)); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(l.wal.file(l.wal.segments[0].SegmentInfo))
	if err != nil || info.Mode().Perm() != 0o600 || info.Size() != segmentSize {
		t.Errorf("%v, %v", info, err)
	}
}

// What keeps a segment from being made, a full disk in the first place, is said in the system's words.
func TestWALCannotBeginASegment(t *testing.T) {
	failed := make(storetest.Failures, 4)
	_, l := openLog(t, t.TempDir(), Options{Kind: WAL, OnFailure: failed.Report})
	taken := filepath.Join(l.where, fmt.Sprintf("%020d-%016x.wal", 1, l.wal.meta.NextID))
	if err := os.WriteFile(taken, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := l.StoreLogs(storetest.Entries(t, 1, 1))
	storetest.Mention(t, err, "cannot be written", "new segment", "file exists")
	failed.One(t, "cannot be written", "new segment")
	if err := l.StoreLogs(storetest.Entries(t, 1, 1)); err == nil {
		t.Error("stored after a failure")
	}
}
