package disktest

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store"
	"github.com/rollcallhq/rollcall/store/raftlog"
	"github.com/rollcallhq/rollcall/store/registry"
	"github.com/rollcallhq/rollcall/store/snapshot"
	"github.com/rollcallhq/rollcall/store/storetest"
	"github.com/rollcallhq/rollcall/store/vfs"
)

// NewKind is the kind of log that ROLLCALL_LOG_STORE chooses, as it does for "rollcall serve", for a
// new directory; "" for one that has a log.
func NewKind(t testing.TB, path string) raftlog.Kind {
	t.Helper()
	there, err := vfs.Exists(filepath.Join(path, raftlog.FileName))
	if err != nil {
		t.Fatal(err)
	}
	if there {
		return ""
	}
	return raftlog.Kind(os.Getenv("ROLLCALL_LOG_STORE"))
}

// Disk is everything open on one data directory.
type Disk struct {
	t         testing.TB
	Path      string
	Dir       *store.Directory
	Log       *raftlog.Log
	Snapshots *snapshot.Store
	Registry  *registry.File
	Failures  storetest.Failures
	Logged    *bytes.Buffer
}

// Open opens a data directory.
func Open(t testing.TB, path string, o registry.Options) *Disk {
	t.Helper()
	d, err := TryOpen(t, path, o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TryOpen is Open for a directory that may be refused.
func TryOpen(t testing.TB, path string, o registry.Options) (_ *Disk, err error) {
	d := &Disk{t: t, Path: path, Failures: make(storetest.Failures, 16), Logged: new(bytes.Buffer)}
	defer func() {
		if err != nil {
			d.Close()
		}
	}()
	if d.Dir, err = store.OpenDirectory(path, "n1"); err != nil {
		return nil, err
	}
	if d.Log, err = store.OpenLog(d.Dir, raftlog.Options{Kind: NewKind(t, path), OnFailure: d.Failures.Report}); err != nil {
		return nil, err
	}
	logger := slog.New(slog.NewTextHandler(d.Logged, nil))
	if d.Snapshots, err = store.OpenSnapshots(d.Dir, logger); err != nil {
		return nil, err
	}
	o.OnFailure = d.Failures.Report
	if o.Logger == nil {
		o.Logger = logger
	}
	if d.Registry, err = store.OpenRegistry(d.Dir, d.Log, d.Snapshots, o); err != nil {
		return nil, err
	}
	return d, nil
}

// Close closes all.
func (d *Disk) Close() {
	d.t.Helper()
	if d.Registry != nil {
		if err := d.Registry.Close(); err != nil {
			d.t.Errorf("close registry file: %v", err)
		}
	}
	d.CloseRest()
}

// CloseRest closes all but the registry file.
func (d *Disk) CloseRest() {
	d.t.Helper()
	if d.Log != nil {
		if err := d.Log.Close(); err != nil {
			d.t.Errorf("close log: %v", err)
		}
	}
	if d.Dir != nil {
		if err := d.Dir.Close(); err != nil {
			d.t.Errorf("close directory: %v", err)
		}
	}
}

// Fill appends sealed entries to the log.
func (d *Disk) Fill(from, to uint64) {
	d.t.Helper()
	if err := d.Log.StoreLogs(storetest.Entries(d.t, from, to)); err != nil {
		d.t.Fatal(err)
	}
}

// Snapshot takes one into raft's store, at the raft index given.
func (d *Disk) Snapshot(index uint64) string {
	d.t.Helper()
	s, err := d.Registry.Snapshot()
	if err != nil {
		d.t.Fatal(err)
	}
	defer s.Release()
	sink, err := d.Snapshots.Create(1, index, 1, raft.Configuration{}, 1, nil)
	if err != nil {
		d.t.Fatal(err)
	}
	if err := s.Persist(sink); err != nil {
		d.t.Fatal(err)
	}
	return sink.ID()
}

// Stream returns the snapshot stream of what the registry file holds.
func (d *Disk) Stream() []byte {
	d.t.Helper()
	s, err := d.Registry.Snapshot()
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

// Load returns what the registry file holds.
func (d *Disk) Load() storetest.Content {
	d.t.Helper()
	c, err := storetest.LoadContent(d.Registry)
	if err != nil {
		d.t.Fatal(err)
	}
	return c
}

// Changes appends one change per log entry.
func (d *Disk) Changes(from, to uint64) {
	for i := from; i <= to; i++ {
		d.Registry.Append(storetest.Change(i, fmt.Sprintf("shop/svc-%d", i%50)))
	}
}

// Flush writes what was appended.
func (d *Disk) Flush() {
	d.t.Helper()
	if err := d.Registry.Flush(context.Background()); err != nil {
		d.t.Fatal(err)
	}
}

// Compact waits until the registry file has done what its horizon asks for.
func (d *Disk) Compact() {
	d.t.Helper()
	for {
		if m := d.Registry.Meta(); max(m.GetCompacted(), 1) >= m.GetHorizon() {
			return
		}
		d.Failures.None(d.t)
		runtime.Gosched()
	}
}

// Events reads the events of q.
func (d *Disk) Events(q logv1.EventQuery) ([]*logv1.Event, logv1.EventSpan, error) {
	var events []*logv1.Event
	span, err := d.Registry.Events(context.Background(), q, func(e *logv1.Event) (bool, error) {
		events = append(events, e)
		return true, nil
	})
	return events, span, err
}

// NoTemps requires that no file which was being made is left in a directory.
func NoTemps(t testing.TB, path string) {
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

// Lazy never flushes by itself.
var Lazy = registry.Options{FlushInterval: 24 * time.Hour, FlushBytes: 1 << 30}
