package devcluster

import (
	"os"
	"path/filepath"
	"testing"
)

func TestFreshRemovesTheNodesAndNothingElse(t *testing.T) {
	write := func(t *testing.T, path, content string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	exists := func(path string) bool {
		_, err := os.Stat(path)
		return err == nil
	}

	path := filepath.Join(t.TempDir(), "new")
	d, err := OpenDirectory(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Begin(5, 7600, false); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(path, "n5", "raft.db"), "x")
	write(t, filepath.Join(path, "notes.txt"), "mine")
	d.Close()

	again, err := OpenDirectory(path)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if again.Nodes() != 5 {
		t.Errorf("it holds %d nodes, want 5", again.Nodes())
	}
	if err := again.Begin(5, 7600, false); err != nil || !exists(filepath.Join(path, "n5", "raft.db")) {
		t.Errorf("data were removed without --fresh: %v", err)
	}
	if err := again.Begin(3, 7600, true); err != nil {
		t.Fatal(err)
	}
	if exists(filepath.Join(path, "n5")) || !exists(filepath.Join(path, "notes.txt")) {
		t.Error("--fresh removed too little or too much")
	}
}
