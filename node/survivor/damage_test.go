package survivor

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rollcallhq/rollcall/fsm"
	"github.com/rollcallhq/rollcall/store"
	"github.com/rollcallhq/rollcall/store/raftlog"
	"github.com/rollcallhq/rollcall/store/registry"
	"github.com/rollcallhq/rollcall/store/storetest"
)

// goWords are what Go's runtime and libraries say, and not people.
var goWords = regexp.MustCompile(`(?i)nil pointer|runtime error|invalid memory|panic|goroutine|unexpected EOF|end of JSON|invalid character|cannot unmarshal|slice bounds|index out of range|\bproto:|cannot parse|%!`)

// damagedNode has a snapshot at entry 52, a registry file that ends at 102, and a log up to 162 in several segments.
func damagedNode(t *testing.T, kind raftlog.Kind) *testNode {
	t.Helper()
	n := newTestNode(t, kind)
	n.report(50)
	n.apply()
	n.snapshot()
	n.report(50)
	n.apply()
	n.report(60)
	n.close()
	return n
}

// copyOf is a copy of a directory to be damaged.
func (n *testNode) copyOf(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "data")
	storetest.CopyDir(t, n.path, path)
	return path
}

func segments(t *testing.T, path string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(path, raftlog.DirName, "*.wal"))
	if err != nil || len(found) < 4 {
		t.Fatalf("%d segments, %v", len(found), err)
	}
	slices.Sort(found)
	return found
}

func said(s *Survivor) string { return strings.Join(slices.Concat(s.Notes, s.Missing), "\n") }

// TestDamage: what is damaged is named. What is whole is used, and what may be missing is told.
func TestDamage(t *testing.T) {
	remove := func(t *testing.T, name string) {
		t.Helper()
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	flip := func(t *testing.T, name string, at int) {
		t.Helper()
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		data[at] ^= 4
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	glob := func(t *testing.T, path, pattern string) string {
		t.Helper()
		found, err := filepath.Glob(filepath.Join(path, pattern))
		if err != nil || len(found) != 1 {
			t.Fatalf("%v, %v", found, err)
		}
		return found[0]
	}
	quarantine := func(t *testing.T, path string) {
		t.Helper()
		d, err := store.OpenDirectory(path, "n1")
		if err == nil {
			err = errors.Join(d.QuarantineRegistry("not what the cluster agreed on"), d.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	whole := map[raftlog.Kind]*testNode{}
	for _, kind := range raftlog.Kinds() {
		whole[kind] = damagedNode(t, kind)
	}
	for _, tt := range []struct {
		name   string
		damage func(t *testing.T, path string)
		wal    bool   // there is no such thing in the other log store
		last   uint64 // 0: an error
		base   string // what the log is folded onto, or part of the error
		lost   bool   // something may be missing
		says   string
	}{
		{"nothing", func(*testing.T, string) {}, false, 162, registry.FileName, false, ""},
		{"the registry file is quarantined", quarantine, false, 162, "snapshots", false, "is quarantined: not what the cluster agreed on"},
		{"the registry file is missing", func(t *testing.T, p string) { remove(t, filepath.Join(p, registry.FileName)) }, false, 162, "snapshots", false, "registry.db is missing"},
		{"the registry file is cut short", func(t *testing.T, p string) {
			if err := os.Truncate(filepath.Join(p, registry.FileName), 5000); err != nil {
				t.Fatal(err)
			}
		}, false, 162, "snapshots", false, "registry.db: damaged"},
		{"the snapshot is damaged", func(t *testing.T, p string) { flip(t, glob(t, p, "snapshots/*/state.bin"), 3000) }, false, 162, registry.FileName, false, "state.bin does not have the checksum"},
		{"the snapshot's meta.json is damaged", func(t *testing.T, p string) { flip(t, glob(t, p, "snapshots/*/meta.json"), 0) }, false, 162, registry.FileName, false, "meta.json is cut short or overwritten"},
		{"registry file and snapshot are damaged, the log begins at 1", func(t *testing.T, p string) {
			flip(t, glob(t, p, "snapshots/*/state.bin"), 3000)
			quarantine(t, p)
		}, false, 162, "the log alone", false, "quarantined"},
		{"the first segment is missing", func(t *testing.T, p string) { remove(t, segments(t, p)[0]) }, true, 162, registry.FileName, false, "is missing"},
		{"the first segment, registry file and snapshot are missing", func(t *testing.T, p string) {
			remove(t, segments(t, p)[0])
			quarantine(t, p)
			flip(t, glob(t, p, "snapshots/*/state.bin"), 3000)
		}, true, 0, "the raft log does not begin at entry 1", false, ""},
		{"the last segment is missing", func(t *testing.T, p string) { s := segments(t, p); remove(t, s[len(s)-1]) }, true, 157, registry.FileName, true, "held entries up to 162 at least, and those after 157 are missing"},
		{"one before the last is missing", func(t *testing.T, p string) { s := segments(t, p); remove(t, s[len(s)-2]) }, true, 117, registry.FileName, true, "entry 118 of the raft log is missing, and 5 later ones, up to entry 162, cannot be used without it"},
		{"a bit of an entry flips", func(t *testing.T, p string) { s := segments(t, p); flip(t, s[len(s)-2], 400) }, true, 117, registry.FileName, true, "damaged: it ends at entry 117, not 157"},
		{"the log is missing", func(t *testing.T, p string) { remove(t, filepath.Join(p, raftlog.FileName)) }, false, 102, registry.FileName, true, "the raft log is damaged: entries after 102, if there were any, are missing"},
		{"the log is of another directory", func(t *testing.T, p string) {
			other := damagedNode(t, "")
			if err := os.RemoveAll(filepath.Join(p, raftlog.DirName)); err != nil {
				t.Fatal(err)
			}
			if err := storetest.CopyFile(filepath.Join(other.path, raftlog.FileName), filepath.Join(p, raftlog.FileName)); err != nil {
				t.Fatal(err)
			}
		}, false, 102, registry.FileName, true, "belongs to data directory"},
		{"the identity is lost", func(t *testing.T, p string) { remove(t, filepath.Join(p, "identity.json")) }, false, 162, registry.FileName, false, "identity.json is missing"},
		{"the identity is damaged", func(t *testing.T, p string) { flip(t, filepath.Join(p, "identity.json"), 0) }, false, 162, registry.FileName, false, "identity.json: damaged"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			eachKind(t, func(t *testing.T, kind raftlog.Kind) {
				if tt.wal && kind != raftlog.WAL {
					return
				}
				path := whole[kind].copyOf(t)
				tt.damage(t, path)
				before := tree(t, path)
				s, err := Read(path, fsm.DefaultKinds())
				if tt.last == 0 {
					if !errors.Is(err, ErrNothing) || !strings.Contains(err.Error(), tt.base) || strings.Contains(err.Error(), "\n") {
						t.Errorf("%v", err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				if s.Last.Index != tt.last || s.Last.Revision != int64(tt.last-2) || !strings.Contains(s.Base, tt.base) {
					t.Errorf("last %+v of %s; want %d of %s", s.Last, s.Base, tt.last, tt.base)
				}
				if (len(s.Missing) > 0) != tt.lost || !strings.Contains(said(s), tt.says) || tt.says == "" && said(s) != "" || goWords.MatchString(said(s)) {
					t.Errorf("missing %q, notes %q; want %q", s.Missing, s.Notes, tt.says)
				}
				file := filepath.Join(t.TempDir(), "backup")
				b, err := s.Save(context.Background(), file, false, false)
				if err != nil || b.Meta.GetRevision() != int64(tt.last-2) {
					t.Errorf("saved %v, %v", b.Meta, err)
				}
				if after := tree(t, path); !maps.Equal(before, after) {
					t.Error("the directory was changed")
				}
			})
		})
	}
}

// TestAnyByte cuts each file of a log at any byte, and overwrites any: nothing is lost without a word, and nothing is
// made up.
func TestAnyByte(t *testing.T) {
	rounds := 60
	if testing.Short() {
		rounds = 10
	}
	eachKind(t, func(t *testing.T, kind raftlog.Kind) {
		n := damagedNode(t, kind)
		files := []string{filepath.Join(n.path, raftlog.FileName)}
		if kind == raftlog.WAL {
			s := segments(t, n.path)
			files = append(files, s[len(s)-1], s[len(s)-2], s[0])
		}
		for round := range rounds {
			rng := rand.New(rand.NewPCG(uint64(round), 7))
			name := files[rng.IntN(len(files))]
			whole, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			at := rng.IntN(len(bytes.TrimRight(whole, "\x00")) + 1)
			what := "cut"
			bad := whole[:at]
			switch rng.IntN(3) {
			case 0:
				what, bad = "flipped", bytes.Clone(whole)
				bad[min(at, len(whole)-1)] ^= 1 << rng.IntN(8)
			case 1:
				what, bad = "overwritten", slices.Concat(whole[:at], bytes.Repeat([]byte{0xa5}, len(whole)-at))
			}
			path := n.copyOf(t)
			rel, err := filepath.Rel(n.path, name)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(path, rel), bad, 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := Read(path, fsm.DefaultKinds())
			if err != nil {
				t.Errorf("round %d: %s %s at %d: %v", round, rel, what, at, err) // the registry file is whole
				continue
			}
			if s.Last.Index < 102 || s.Last.Index > 162 || s.Last.Revision != int64(s.Last.Index)-2 || s.Last.Index < 162 && len(s.Missing) == 0 || goWords.MatchString(said(s)) {
				t.Errorf("round %d: %s %s at %d: last %+v, missing %q, notes %q", round, rel, what, at, s.Last, s.Missing, s.Notes)
			}
			s.Close()
		}
	})
}

// TestCutShort: an append that a crash cut short was promised to nobody.
func TestCutShort(t *testing.T) {
	n := newTestNode(t, raftlog.WAL)
	n.report(3)
	n.apply()
	n.snapshot()
	// Killed: raft.db does not know of the last entries.
	n.report(4)
	n.report(1)
	path := n.copyOf(t)
	n.close()
	found, err := filepath.Glob(filepath.Join(path, raftlog.DirName, "*.wal"))
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	data, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	end := len(bytes.TrimRight(data, "\x00"))
	clear(data[end-20:])
	if err := os.WriteFile(found[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
	n.path = path
	s := n.read()
	if s.Last.Index != 9 || len(s.Missing) > 0 || !strings.Contains(said(s), "a crash cut the last append") {
		t.Errorf("last %+v, %q", s.Last, said(s))
	}
}

// TestDivergent: a registry that is not what the leader had is told, and the snapshot is used where it is right.
func TestDivergent(t *testing.T) {
	eachKind(t, func(t *testing.T, kind raftlog.Kind) {
		n := newTestNode(t, kind)
		n.report(3)
		n.apply()
		n.hash.Hash = bytes.Repeat([]byte{1}, 32)
		n.report(2)
		n.close()
		s := n.read()
		if len(s.Missing) != 1 || !strings.Contains(s.Missing[0], "after entry 5 this node did not hold what the leader held") {
			t.Errorf("%q", s.Missing)
		}
	})
}

// TestStale: entries of an earlier leader that follow a newer base are left out, and that is said.
func TestStale(t *testing.T) {
	eachKind(t, func(t *testing.T, kind raftlog.Kind) {
		n := newTestNode(t, kind)
		n.report(3)
		n.term = 5
		n.report(1)
		n.apply()
		n.term = 4
		n.report(2)
		n.term = 5
		n.close()
		s := n.read()
		if s.Last.Index != 6 || len(s.Missing) != 1 || !strings.Contains(s.Missing[0], "an earlier leader's, that never took effect; 2 entries are left out") {
			t.Errorf("last %+v, %q", s.Last, s.Missing)
		}
	})
}
