package store

import (
	"os"
	"path/filepath"
	"testing"
)

func TestUsageCountsEachPart(t *testing.T) {
	d, err := OpenDirectory(filepath.Join(t.TempDir(), "data"), "n1")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if u, err := d.Usage(); err != nil || u.Registry+u.Log+u.Snapshots != 0 {
		t.Errorf("of an empty directory: %+v, %v", u, err)
	}
	for name, size := range map[string]int{
		"registry.db": 1000, "raft.db": 200, "wal/1.wal": 30, "wal/2.wal": 4,
		"snapshots/1-2-3/state.bin": 50_000, "snapshots/1-2-3/meta.json": 6, "registry.db.damaged-1": 7_000_000,
	} {
		file := filepath.Join(d.Path(), name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	u, err := d.Usage()
	if err != nil || u.Registry != 1000 || u.Log != 234 || u.Snapshots != 50_006 {
		t.Errorf("%+v, %v", u, err)
	}
	if u.Free == 0 {
		t.Error("no free disk, although files were just written; -1 says that it is not known")
	}
}
