package boltfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/rollcallhq/rollcall/store/vfs"
)

// An error names the file and says what is wrong with it, each once.
func TestWhyAFileCannotBeOpened(t *testing.T) {
	dir := t.TempDir()
	missing, short := filepath.Join(dir, "missing"), filepath.Join(dir, "short")
	if err := os.WriteFile(short, make([]byte, 100), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		path string
		is   error
	}{
		{missing, fs.ErrNotExist},
		{short, vfs.ErrDamaged},
	} {
		_, err := Open(test.path, bbolt.Options{ReadOnly: true})
		if err == nil || !errors.Is(err, test.is) || strings.Count(err.Error(), test.path) != 1 || strings.Count(err.Error(), "cut short") > 1 {
			t.Errorf("%s: %v", test.path, err)
		}
	}
}
