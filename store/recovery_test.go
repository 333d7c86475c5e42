package store_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rollcallhq/rollcall/store"
)

// TestNoNodeStartsWhereARecoveryWasCutOff: between the two renames of a file system that cannot exchange directories
// there is no directory. A node must not found an empty cluster in its place.
func TestNoNodeStartsWhereARecoveryWasCutOff(t *testing.T) {
	d := &directory{path: filepath.Join(t.TempDir(), "n1"), quiet: true}
	if err := d.source(); err != nil {
		t.Fatal(err)
	}
	old, err := store.OpenReadOnly(d.path)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	r := recovery(d.path, old.Identity())
	r.Step = func(step string) error {
		switch step {
		case "exchange":
			return errors.ErrUnsupported
		case "second rename":
			return errors.New("cut off")
		}
		return nil
	}
	if _, err := store.Recover(r); err == nil || err.Error() != "cut off" {
		t.Fatal(err)
	}
	if _, err := store.OpenDirectory(d.path, "n1"); err == nil || !strings.Contains(err.Error(), `run "rollcall recover --data `+d.path+`" again`) {
		t.Errorf("a node starts: %v", err)
	}
	if _, err := store.Restore("a.snapshot", store.Restoration{Path: d.path, Node: "n1"}); err == nil || !strings.Contains(err.Error(), `run "rollcall recover --data `+d.path+`" again`) {
		t.Errorf("a backup is restored there: %v", err)
	}
	if _, _, err := store.OpenDamaged(d.path); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), `run "rollcall recover --data `+d.path+`" again`) {
		t.Errorf("what is missing is not told: %v", err)
	}
	if _, err := os.Lstat(d.path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a directory was made: %v", err)
	}
	finished, err := store.FinishRecovery(d.path, false)
	if err != nil || finished == nil || finished.Identity.DirectoryID != restoredID || finished.DirectoryID != old.Identity().DirectoryID {
		t.Fatalf("%+v, %v", finished, err)
	}
	if kept, err := store.OpenReadOnly(finished.Kept); err != nil || kept.Identity().DirectoryID != old.Identity().DirectoryID {
		t.Errorf("%s: %v", finished.Kept, err)
	} else {
		kept.Close()
	}
}
