package raftlog

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// directory is a data directory, which has an id.
type directory struct {
	path  string
	owner Owner
}

// openDirectory gives a directory an id if it has none.
func openDirectory(t testing.TB, path string) *directory {
	t.Helper()
	name := filepath.Join(path, "id")
	id, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		id = fmt.Appendf(nil, "directory-%x", rand.Uint64())
		err = os.WriteFile(name, id, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return &directory{path, Owner{DirectoryID: string(id)}}
}

func (d *directory) open(o Options) (*Log, error) { return Open(d.path, d.owner, o) }

func (d *directory) file(name string) string { return filepath.Join(d.path, name) }

func openLog(t *testing.T, path string, o Options) (*directory, *Log) {
	t.Helper()
	d := openDirectory(t, path)
	l, err := d.open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return d, l
}
