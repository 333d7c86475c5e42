package boltfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/rollcallhq/rollcall/store/vfs"
)

// TestOpenError: only what is wrong with the content of a file makes it damaged. A damaged file is rebuilt, or
// its node is given up.
func TestOpenError(t *testing.T) {
	for name, tt := range map[string]struct {
		err  error
		want error
	}{
		"overwritten":           {berrors.ErrChecksum, vfs.ErrDamaged},
		"cut short":             {errors.New("file size too small 0"), vfs.ErrDamaged},
		"open elsewhere":        {berrors.ErrTimeout, vfs.ErrInUse},
		"no memory to map it":   {syscall.ENOMEM, syscall.ENOMEM},
		"no memory, and more":   {fmt.Errorf("%w; rollback unmap also failed: x", syscall.ENOMEM), syscall.ENOMEM},
		"a system without mmap": {syscall.ENODEV, syscall.ENODEV},
	} {
		got := new(DB).OpenError("registry.db", tt.err)
		if !errors.Is(got, tt.want) {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
		if errors.Is(got, vfs.ErrDamaged) != errors.Is(tt.want, vfs.ErrDamaged) {
			t.Errorf("%s: %v: damaged or not?", name, got)
		}
	}
}

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
