package registry

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/goleak"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store/snapshot"
	"github.com/rollcallhq/rollcall/store/storetest"
	"github.com/rollcallhq/rollcall/store/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// directoryID is of the data directory that the tests' registry files are of.
const directoryID = "directory-1"

// disk is a registry file, and the snapshots beside it.
type disk struct {
	t            testing.TB
	path         string
	snaps        *snapshot.Store
	registryFile *File
	failures     storetest.Failures
	logged       *bytes.Buffer
}

// openDisk opens the registry file in the directory path and makes it if it is missing.
func openDisk(t testing.TB, path string, o Options) *disk {
	t.Helper()
	d := &disk{t: t, path: path, failures: make(storetest.Failures, 16), logged: new(bytes.Buffer)}
	logger := slog.New(slog.NewTextHandler(d.logged, nil))
	err := vfs.MkdirAll(path)
	if err != nil {
		t.Fatal(err)
	}
	if d.snaps, err = snapshot.Open(path, logger); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(path, FileName)
	if there, err := vfs.Exists(name); err != nil {
		t.Fatal(err)
	} else if !there {
		made, _, err := Create(path, directoryID)
		if err != nil {
			t.Fatal(err)
		}
		if err := vfs.Install(made, name); err != nil {
			t.Fatal(err)
		}
	}
	o.OnFailure = d.failures.Report
	if o.Logger == nil {
		o.Logger = logger
	}
	if d.registryFile, err = Open(name, o); err != nil {
		t.Fatal(err)
	}
	d.registryFile.Start()
	return d
}

func (d *disk) close() {
	d.t.Helper()
	if err := d.registryFile.Close(); err != nil {
		d.t.Errorf("close registry file: %v", err)
	}
}

// snapshot takes one into raft's store, at the raft index given.
func (d *disk) snapshot(index uint64) string {
	d.t.Helper()
	s, err := d.registryFile.Snapshot()
	if err != nil {
		d.t.Fatal(err)
	}
	defer s.Release()
	sink, err := d.snaps.Create(1, index, 1, raft.Configuration{}, 1, nil)
	if err != nil {
		d.t.Fatal(err)
	}
	if err := s.Persist(sink); err != nil {
		d.t.Fatal(err)
	}
	return sink.ID()
}

// stream returns the snapshot stream of what the registry file holds.
func (d *disk) stream() []byte {
	d.t.Helper()
	s, err := d.registryFile.Snapshot()
	if err != nil {
		d.t.Fatal(err)
	}
	defer s.Release()
	sink := new(storetest.MemorySink)
	if err := s.Persist(sink); err != nil {
		d.t.Fatal(err)
	}
	return sink.Bytes()
}

func (d *disk) load() storetest.Content {
	d.t.Helper()
	c, err := storetest.LoadContent(d.registryFile)
	if err != nil {
		d.t.Fatal(err)
	}
	return c
}

// changes appends one change per log entry.
func (d *disk) changes(from, to uint64) {
	for i := from; i <= to; i++ {
		d.registryFile.Append(storetest.Change(i, fmt.Sprintf("shop/svc-%d", i%50)))
	}
}

func (d *disk) flush() {
	d.t.Helper()
	if err := d.registryFile.Flush(context.Background()); err != nil {
		d.t.Fatal(err)
	}
}

// noTemps requires that no file which was being made is left in a directory.
func noTemps(t testing.TB, path string) {
	t.Helper()
	entries, err := os.ReadDir(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "spool-") {
			t.Errorf("%s is left", e.Name())
		}
	}
}

// lazy never flushes by itself.
var lazy = Options{FlushInterval: 24 * time.Hour, FlushBytes: 1 << 30}

// bucketServices is the bucket of the services.
var bucketServices = bucketOf(logv1.Kind_KIND_SERVICE).name

// serviceName is how the index names a service.
func serviceName(service string) string {
	name, _ := recordName(logv1.Kind_KIND_SERVICE, service)
	return name
}
