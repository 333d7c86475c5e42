package store

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/hashicorp/raft"
)

// held is all that a log holds.
type held struct {
	Entries []raft.Log
	Term    uint64
	Vote    string
}

func readLog(t *testing.T, path string) (LogKind, held) {
	t.Helper()
	d, l := openLog(t, path, LogOptions{})
	defer d.Close()
	defer l.Close()
	var h held
	first, _ := l.FirstIndex()
	last, _ := l.LastIndex()
	for i := first; i <= last && last > 0; i++ {
		var entry raft.Log
		if err := l.GetLog(i, &entry); err == raft.ErrLogNotFound {
			continue
		} else if err != nil {
			t.Fatal(err)
		}
		entry.AppendedAt = entry.AppendedAt.UTC()
		h.Entries = append(h.Entries, entry)
	}
	h.Term, _ = l.GetUint64([]byte("CurrentTerm"))
	vote, _ := l.Get([]byte("LastVoteCand"))
	h.Vote = string(vote)
	return l.Kind(), h
}

// convertible is a closed directory whose log has been compacted and has a gap.
func convertible(t *testing.T, kind LogKind) string {
	t.Helper()
	path := t.TempDir()
	d, l := openLog(t, path, LogOptions{Kind: kind})
	if err := d.SetFounding(Founding{ClusterID: "3f9a"}); err != nil {
		t.Fatal(err)
	}
	if err := l.SetUint64([]byte("CurrentTerm"), 7); err != nil {
		t.Fatal(err)
	}
	if err := l.Set([]byte("LastVoteCand"), []byte("n2")); err != nil {
		t.Fatal(err)
	}
	for _, run := range [][2]uint64{{1, 100}, {101, 700}, {900, 1000}} {
		if err := l.StoreLogs(entries(t, run[0], run[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.DeleteRange(1, 40); err != nil {
		t.Fatal(err)
	}
	l.Close()
	d.Close()
	return path
}

func other(kind LogKind) LogKind {
	return LogKinds()[1-slices.Index(LogKinds(), kind)]
}

func TestConvertLog(t *testing.T) {
	eachKind(t, func(t *testing.T, kind LogKind) {
		path := convertible(t, kind)
		_, before := readLog(t, path)
		to := other(kind)
		c, err := ConvertLog(path, to)
		if err != nil || c != (Conversion{From: kind, To: to, Entries: 761}) {
			t.Fatalf("%+v, %v", c, err)
		}
		is, after := readLog(t, path)
		if is != to || !reflect.DeepEqual(before, after) {
			t.Errorf("a log in %s of %d entries became one in %s of %d", kind, len(before.Entries), is, len(after.Entries))
		}
		if there, _ := exists(filepath.Join(path, walName)); there != (to == LogWAL) {
			t.Errorf("wal/ is there: %v", there)
		}
		noSpool(t, path)
		// Again: nothing to do. And back.
		if c, err := ConvertLog(path, to); err != nil || c.From != to || c.Entries != 0 {
			t.Errorf("again: %+v, %v", c, err)
		}
		if _, err := ConvertLog(path, kind); err != nil {
			t.Fatal(err)
		}
		if is, after := readLog(t, path); is != kind || !reflect.DeepEqual(before, after) {
			t.Errorf("and back: in %s, %d entries", is, len(after.Entries))
		}
	})
}

// Wherever a conversion ends, there is one log, whole, of the old kind or of the new one; and running
// it again completes it.
func TestConvertLogInterrupted(t *testing.T) {
	eachKind(t, func(t *testing.T, kind LogKind) {
		var steps []string
		if _, err := convertLog(convertible(t, kind), other(kind), func(s string) error { steps = append(steps, s); return nil }); err != nil {
			t.Fatal(err)
		}
		if len(steps) < 4 {
			t.Fatalf("steps %v", steps)
		}
		for i, name := range steps {
			t.Run(name, func(t *testing.T) {
				path := convertible(t, kind)
				_, before := readLog(t, path)
				killed, n := errors.New("killed"), 0
				_, err := convertLog(path, other(kind), func(string) error {
					if n++; n > i {
						return killed
					}
					return nil
				})
				if !errors.Is(err, killed) {
					t.Fatal(err)
				}
				want := kind
				if name == "switched" {
					want = other(kind)
				}
				is, after := readLog(t, path)
				if is != want || !reflect.DeepEqual(before, after) {
					t.Errorf("a log in %s of %d entries became one in %s of %d", kind, len(before.Entries), is, len(after.Entries))
				}
				if there, _ := exists(filepath.Join(path, walName)); there != (is == LogWAL) {
					t.Errorf("wal/ is there: %v, the log in %s", there, is)
				}
				if _, err := ConvertLog(path, other(kind)); err != nil {
					t.Fatal(err)
				}
				if is, after := readLog(t, path); is != other(kind) || !reflect.DeepEqual(before, after) {
					t.Errorf("completed: in %s, %d entries", is, len(after.Entries))
				}
			})
		}
	})
}

func TestConvertLogRefuses(t *testing.T) {
	_, err := ConvertLog(filepath.Join(t.TempDir(), "nothing"), LogWAL)
	mention(t, err, "is no data directory", identityName)
	_, err = ConvertLog(t.TempDir(), "leveldb")
	mention(t, err, "leveldb")

	path := convertible(t, LogBoltDB)
	d, err := OpenDirectory(path, "n1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ConvertLog(path, LogWAL); !errors.Is(err, ErrInUse) {
		t.Errorf("a directory in use: %v", err)
	}
	d.Close()

	if err := os.Remove(filepath.Join(path, logName)); err != nil {
		t.Fatal(err)
	}
	_, err = ConvertLog(path, LogWAL)
	mention(t, err, "lost its votes")
}

// A raft.db of another time, which keeps the log itself, does not have wal/ removed.
func TestOpenLogRefusesTwoLogs(t *testing.T) {
	path := convertible(t, LogBoltDB)
	old := filepath.Join(t.TempDir(), logName)
	if err := copyFile(filepath.Join(path, logName), old); err != nil {
		t.Fatal(err)
	}
	if _, err := ConvertLog(path, LogWAL); err != nil {
		t.Fatal(err)
	}
	if err := copyFile(old, filepath.Join(path, logName)); err != nil {
		t.Fatal(err)
	}
	d, err := OpenDirectory(path, "n1")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	_, err = OpenLog(d, LogOptions{})
	mention(t, err, walName, "stands beside", "not of the same time")
	if names, _ := segmentNames(filepath.Join(path, walName)); len(names) == 0 {
		t.Error("wal/ was removed")
	}
}
