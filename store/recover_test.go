package store

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// recoverable is a closed data directory: log 1 to 100, journal at 80, and, if wanted, a snapshot of
// index 60 (62 in raft's log).
func recoverable(t *testing.T, snapshot bool) (path string, at60 content) {
	t.Helper()
	d := openDisk(t, t.TempDir(), lazy)
	d.fill(1, 100)
	d.changes(1, 60)
	d.flush()
	at60 = d.load()
	if snapshot {
		d.snapshot(62)
	}
	d.changes(61, 80)
	d.close()
	return d.path, at60
}

// meddle opens a database of a closed directory.
func meddle(t *testing.T, name string, f func(tx *bbolt.Tx) error) {
	t.Helper()
	db, err := bbolt.Open(name, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(f); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func setMeta(change func(*logv1.JournalMeta)) func(tx *bbolt.Tx) error {
	return func(tx *bbolt.Tx) error {
		meta, err := readMeta(tx)
		if err != nil {
			return err
		}
		change(meta)
		return putMeta(tx, meta)
	}
}

// faults are ways in which a journal is not to be believed.
var faults = []struct {
	name  string
	spoil func(t *testing.T, journal string)
	aside bool   // the file is kept
	want  string // in the warning
}{
	{"missing", func(t *testing.T, journal string) {
		if err := os.Remove(journal); err != nil {
			t.Fatal(err)
		}
	}, false, "no such file"},
	{"empty", func(t *testing.T, journal string) {
		if err := os.Truncate(journal, 0); err != nil {
			t.Fatal(err)
		}
	}, true, "no bucket meta"},
	{"garbage", func(t *testing.T, journal string) {
		if err := os.WriteFile(journal, bytes.Repeat([]byte{0xa5}, 100_000), 0o600); err != nil {
			t.Fatal(err)
		}
	}, true, "damaged"},
	{"cut short", func(t *testing.T, journal string) {
		if err := os.Truncate(journal, 3*4096); err != nil {
			t.Fatal(err)
		}
	}, true, "damaged"},
	{"a flipped bit in a service", func(t *testing.T, journal string) {
		flip(t, journal, []byte("shop/svc-17"))
	}, true, "damaged"},
	{"a service lost", func(t *testing.T, journal string) {
		meddle(t, journal, func(tx *bbolt.Tx) error { return tx.Bucket(bucketServices).Delete([]byte("shop/svc-17")) })
	}, true, "bucket services"},
	{"an old record in the place of its successor", func(t *testing.T, journal string) {
		meddle(t, journal, func(tx *bbolt.Tx) error {
			old, err := logv1.Seal(change(17, "shop/svc-17").Services[0])
			if err != nil {
				return err
			}
			return tx.Bucket(bucketServices).Put([]byte("shop/svc-17"), old)
		})
	}, true, "bucket services"},
	{"no meta", func(t *testing.T, journal string) {
		meddle(t, journal, func(tx *bbolt.Tx) error { return tx.Bucket(bucketMeta).Delete(keyMeta) })
	}, true, "bucket meta"},
	{"an older format", func(t *testing.T, journal string) {
		meddle(t, journal, setMeta(func(m *logv1.JournalMeta) { m.Format = 0 }))
	}, true, "format 0"},
	{"another directory's", func(t *testing.T, journal string) {
		meddle(t, journal, setMeta(func(m *logv1.JournalMeta) { m.DirectoryId = "another" }))
	}, true, `belongs to data directory \"another\"`},
	{"distrusted", func(t *testing.T, journal string) {
		if err := (&Directory{path: filepath.Dir(journal)}).Distrust("at log entry 80 the majority held something else"); err != nil {
			t.Fatal(err)
		}
	}, true, "is not believed: at log entry 80"},
	{"events beyond its revision", func(t *testing.T, journal string) {
		meddle(t, journal, setMeta(func(m *logv1.JournalMeta) { m.Revision = 3 }))
	}, true, "bucket events"},
}

func TestOpenJournalRebuildsWhatItDoesNotBelieve(t *testing.T) {
	for _, withSnapshot := range []bool{true, false} {
		for _, tt := range faults {
			t.Run(fmt.Sprintf("%s/snapshot %v", tt.name, withSnapshot), func(t *testing.T) {
				path, at60 := recoverable(t, withSnapshot)
				tt.spoil(t, filepath.Join(path, journalName))
				d := openDisk(t, path, lazy)
				defer func() { d.close() }()
				want := content{Meta: &logv1.JournalMeta{Format: journalFormat, Horizon: 1}}
				if withSnapshot {
					want = at60
				}
				same(t, d.load(), want)
				if d.journal.Meta().GetDirectoryId() != d.dir.Identity().DirectoryID {
					t.Error("the rebuilt journal is not of this directory")
				}
				if out := d.logged.String(); !strings.Contains(out, "level=WARN") || !strings.Contains(out, tt.want) {
					t.Errorf("logged %q, want a warning with %q", out, tt.want)
				}
				if there, _ := exists(filepath.Join(path, journalName+".damaged-1")); there != tt.aside {
					t.Errorf("kept aside: %v, want %v", there, tt.aside)
				}
				noSpool(t, path)
				// Raft folds the rest again.
				d.changes(d.journal.durableIndex()+1, 80)
				d.close()
				d = openDisk(t, path, lazy)
				if have := d.load(); have.Meta.GetIndex() != 80 || len(have.Services) != 50 {
					t.Errorf("index %d, %d services", have.Meta.GetIndex(), len(have.Services))
				}
			})
		}
	}
}

// A flipped bit anywhere in the file is repaired or harmless: what is loaded is never wrong, and
// nothing panics.
func TestOpenJournalWithAFlippedBitAnywhere(t *testing.T) {
	path, at60 := recoverable(t, true)
	d := openDisk(t, path, lazy)
	at80 := d.load()
	d.close()
	good, err := os.ReadFile(filepath.Join(path, journalName))
	if err != nil {
		t.Fatal(err)
	}
	used := len(bytes.TrimRight(good, "\x00"))
	step := used/150 + 1
	if testing.Short() {
		step = used/20 + 1
	}
	for i := 0; i < used; i += step {
		bad := bytes.Clone(good[:used])
		bad[i] ^= 1 << (i % 8)
		name := filepath.Join(path, journalName)
		if err := os.WriteFile(name, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(name, int64(len(good))); err != nil {
			t.Fatal(err)
		}
		d, err := tryOpenDisk(t, path, lazy)
		if err != nil {
			t.Errorf("byte %d: %v", i, err)
			continue
		}
		have := d.load()
		if differ(have, at60) != nil && differ(have, at80) != nil {
			t.Errorf("byte %d: loaded what never was: %v", i, have.Meta)
		}
		d.close()
		noSpool(t, path)
	}
}

func TestOpenJournalKeepsOneDamagedFile(t *testing.T) {
	path, _ := recoverable(t, true)
	for range 3 {
		if err := os.WriteFile(filepath.Join(path, journalName), []byte("garbage"), 0o600); err != nil {
			t.Fatal(err)
		}
		openDisk(t, path, lazy).close()
	}
	kept, err := filepath.Glob(filepath.Join(path, journalName+".damaged-*"))
	if err != nil || len(kept) != 1 || !strings.HasSuffix(kept[0], "-3") {
		t.Errorf("kept %v, %v", kept, err)
	}
}

func TestOpenJournalBehindTheSnapshot(t *testing.T) {
	path, at60 := recoverable(t, true)
	meddle(t, filepath.Join(path, journalName), setMeta(func(m *logv1.JournalMeta) { m.Index = 59 }))
	d := openDisk(t, path, lazy)
	defer d.close()
	same(t, d.load(), at60)
	if !strings.Contains(d.logged.String(), "behind the newest snapshot") {
		t.Errorf("logged %q", d.logged)
	}
}

// The content of a snapshot may end before its index in raft's log: a journal that holds all of it is
// not behind.
func TestOpenJournalAtTheSnapshotsContent(t *testing.T) {
	d := openDisk(t, t.TempDir(), lazy)
	d.fill(1, 100)
	d.changes(1, 60)
	d.snapshot(62)
	d.close()
	d = openDisk(t, d.path, lazy)
	defer d.close()
	if d.logged.Len() > 0 {
		t.Errorf("logged %q", d.logged)
	}
	// And raft may compact its log up to the snapshot's index, but not further.
	if err := d.log.DeleteRange(1, 63); err == nil {
		t.Error("compacted an entry that neither journal nor snapshot holds")
	}
	if err := d.log.DeleteRange(1, 62); err != nil {
		t.Error(err)
	}
}

func TestOpenJournalRefuses(t *testing.T) {
	truncate := func(t *testing.T, path string, max uint64) {
		d, l := openLog(t, path, LogOptions{})
		if err := l.DeleteRange(1, max); err != nil {
			t.Fatal(err)
		}
		l.Close()
		d.Close()
	}
	tests := []struct {
		name     string
		snapshot bool
		prepare  func(t *testing.T, path string)
		want     []string
	}{
		{"a newer journal", true, func(t *testing.T, path string) {
			meddle(t, filepath.Join(path, journalName), setMeta(func(m *logv1.JournalMeta) { m.Format = journalFormat + 1 }))
		}, []string{journalName, "written by a newer rollcall"}},
		{"a newer envelope", true, func(t *testing.T, path string) {
			data := newerEnvelope(t)
			meddle(t, filepath.Join(path, journalName), func(tx *bbolt.Tx) error { return tx.Bucket(bucketMeta).Put(keyMeta, data) })
		}, []string{journalName, "written by a newer rollcall"}},
		{"a journal ahead of raft", true, func(t *testing.T, path string) {
			meddle(t, filepath.Join(path, journalName), setMeta(func(m *logv1.JournalMeta) { m.Index = 101 }))
		}, []string{"holds log entry 101", "end at 100"}},
		{"a journal ahead of an empty raft", false, func(t *testing.T, path string) {
			truncate(t, path, 100)
		}, []string{"holds log entry 80", "end at 0"}},
		{"a damaged journal, no snapshot and a compacted log", false, func(t *testing.T, path string) {
			truncate(t, path, 50)
			if err := os.WriteFile(filepath.Join(path, journalName), []byte("garbage"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, []string{"lacks the entries 1 to 50", "no intact snapshot"}},
		{"a log with a gap after the snapshot", true, func(t *testing.T, path string) {
			truncate(t, path, 70)
		}, []string{"lacks the entries 63 to 70", "no intact snapshot"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path, _ := recoverable(t, tt.snapshot)
			tt.prepare(t, path)
			before, err := os.ReadFile(filepath.Join(path, journalName))
			if err != nil {
				t.Fatal(err)
			}
			_, err = tryOpenDisk(t, path, lazy)
			mention(t, err, tt.want...)
			after, err := os.ReadFile(filepath.Join(path, journalName))
			if err != nil || !bytes.Equal(before, after) {
				t.Errorf("a refused journal was changed (%v)", err)
			}
			noSpool(t, path)
		})
	}
}

func TestOpenJournalRefusesAClusterThatIsNotOurs(t *testing.T) {
	path, _ := recoverable(t, true) // of cluster 3f9a
	dir, err := OpenDirectory(path, "n1")
	if err != nil {
		t.Fatal(err)
	}
	if err := dir.SetFounding(Founding{ClusterID: "4711"}); err != nil {
		t.Fatal(err)
	}
	dir.Close()
	_, err = tryOpenDisk(t, path, lazy)
	mention(t, err, `cluster "3f9a", not of "4711"`)
}
