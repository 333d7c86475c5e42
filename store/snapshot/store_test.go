package snapshot

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
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

// TestStoreTellsOnceOfASnapshot, though raft closes a sink that was closed.
func TestStoreTellsOnceOfASnapshot(t *testing.T) {
	var logged bytes.Buffer
	s, err := Open(t.TempDir(), slog.New(slog.NewTextHandler(&logged, nil)))
	if err != nil {
		t.Fatal(err)
	}
	sink, err := s.Create(1, 7, 1, raft.Configuration{}, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	meta := &logv1.RegistryMeta{Format: logv1.RegistryFormat, Index: 7, Term: 1}
	if err := Write(sink, meta, 4, strings.NewReader("data")); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(sink.Close(), sink.Close()); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(logged.String(), "snapshot stored"); n != 1 {
		t.Errorf("told %d times: %s", n, logged.String())
	}
	if metas, err := s.List(); err != nil || len(metas) != 1 || metas[0].Index != 7 {
		t.Errorf("%v, %v", metas, err)
	}
}
