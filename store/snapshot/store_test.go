package snapshot

import (
	"os"
	"path/filepath"
	"testing"
)

// TestOpenRemovesWhatACrashLeft: of a snapshot that was being made or removed; nothing else.
func TestOpenRemovesWhatACrashLeft(t *testing.T) {
	dir := t.TempDir()
	for name, keep := range map[string]bool{
		"1-2-3.tmp/state.bin":   false,
		"1-2-3/state.bin":       false,
		"1-2-4/meta.json":       false,
		"lost+found/x":          true,
		"my own backups/1-2-30": true,
	} {
		path := filepath.Join(dir, DirName, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if _, err := os.Stat(filepath.Dir(path)); (err == nil) != keep {
				t.Errorf("%s: %v", filepath.Dir(path), err)
			}
		})
	}
	if _, err := Open(dir, nil); err != nil {
		t.Fatal(err)
	}
}
