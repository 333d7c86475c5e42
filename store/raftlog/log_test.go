package raftlog

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store/snapshot"
	"github.com/rollcallhq/rollcall/store/storetest"
	"github.com/rollcallhq/rollcall/store/vfs"
)

func TestLogKeepsStateAcrossReopening(t *testing.T) { eachKind(t, testLogKeepsStateAcrossReopening) }

func testLogKeepsStateAcrossReopening(t *testing.T, kind Kind) {
	path := t.TempDir()
	_, l := openLog(t, path, Options{Kind: kind})
	if has, err := l.HasState(); has || err != nil {
		t.Errorf("new log: state %v, %v", has, err)
	}
	if _, err := l.Get([]byte("CurrentTerm")); err == nil || err.Error() != "not found" {
		t.Errorf("missing value: %v; raft compares with \"not found\"", err)
	}
	if err := l.SetUint64([]byte("CurrentTerm"), 7); err != nil {
		t.Fatal(err)
	}
	if has, err := l.HasState(); !has || err != nil {
		t.Errorf("with a term: state %v, %v", has, err)
	}
	if err := l.StoreLogs(storetest.Entries(t, 1, 3)); err != nil {
		t.Fatal(err)
	}
	l.Close()

	_, l = openLog(t, path, Options{Kind: kind})
	if term, err := l.GetUint64([]byte("CurrentTerm")); term != 7 || err != nil {
		t.Errorf("term %d, %v", term, err)
	}
	var entry raft.Log
	if err := l.GetLog(3, &entry); err != nil || entry.Index != 3 {
		t.Errorf("entry %+v, %v", entry, err)
	}
	if err := l.GetLog(4, &entry); err != raft.ErrLogNotFound {
		t.Errorf("missing entry: %v", err)
	}
}

func TestLogRefusesToStoreDamage(t *testing.T) { eachKind(t, testLogRefusesToStoreDamage) }

func testLogRefusesToStoreDamage(t *testing.T, kind Kind) {
	failed := make(storetest.Failures, 4)
	_, l := openLog(t, t.TempDir(), Options{Kind: kind, OnFailure: failed.Report})
	logs := storetest.Entries(t, 1, 3)
	logs[1].Data[len(logs[1].Data)-1] ^= 1
	err := l.StoreLogs(logs)
	storetest.Mention(t, err, "refused to store entry 2")
	if !errors.Is(err, vfs.ErrDamaged) {
		t.Errorf("%v is not ErrDamaged", err)
	}
	if last, _ := l.LastIndex(); last != 0 {
		t.Errorf("%d entries were stored", last)
	}
	failed.None(t)
	if err := l.StoreLogs(storetest.Entries(t, 1, 3)); err != nil {
		t.Errorf("right ones after that: %v", err)
	}
	if err := l.StoreLog(&raft.Log{Index: 4, Type: raft.LogConfiguration, Data: []byte("garbage")}); err == nil {
		t.Error("stored a configuration that raft cannot decode")
	}
}

// eachKind runs a test on both kinds of log.
func eachKind(t *testing.T, test func(t *testing.T, kind Kind)) {
	for _, kind := range Kinds() {
		t.Run(string(kind), func(t *testing.T) { test(t, kind) })
	}
}

// base is the name of what holds the entries.
func (k Kind) base() string {
	if k == WAL {
		return DirName
	}
	return FileName
}

// damageEntry changes a stored entry behind the wrapper's back.
func damageEntry(t *testing.T, l *Log, index uint64) {
	t.Helper()
	var entry raft.Log
	if err := l.entries.GetLog(index, &entry); err != nil {
		t.Fatal(err)
	}
	if l.wal != nil {
		storetest.Flip(t, l.wal.file(l.wal.segments[0].SegmentInfo), entry.Data)
		return
	}
	entry.Data[len(entry.Data)-1] ^= 1
	if err := l.entries.StoreLog(&entry); err != nil {
		t.Fatal(err)
	}
}

func TestLogReportsADamagedEntryOnce(t *testing.T) { eachKind(t, testLogReportsADamagedEntryOnce) }

func testLogReportsADamagedEntryOnce(t *testing.T, kind Kind) {
	path := t.TempDir()
	failed := make(storetest.Failures, 4)
	_, l := openLog(t, path, Options{Kind: kind, OnFailure: failed.Report})
	if err := l.StoreLogs(storetest.Entries(t, 1, 3)); err != nil {
		t.Fatal(err)
	}
	damageEntry(t, l, 2)
	var entry raft.Log
	for range 2 {
		storetest.Mention(t, l.GetLog(2, &entry), kind.base(), "entry 2", "checksum")
	}
	failed.One(t, kind.base(), "entry 2", "checksum")
	if err := l.StoreLogs(storetest.Entries(t, 4, 4)); err == nil {
		t.Error("stored after a failure")
	}
	l.Close()

	_, err := openDirectory(t, path).open(Options{Kind: kind})
	if kind == WAL {
		storetest.Mention(t, err, "damaged", "after entry 0", "checksum", LostMember) // the three were one append
	} else {
		storetest.Mention(t, err, FileName, "entry 2", "checksum", LostMember)
	}
}

func TestLogFailedWriteIsReportedOnce(t *testing.T) { eachKind(t, testLogFailedWriteIsReportedOnce) }

func testLogFailedWriteIsReportedOnce(t *testing.T, kind Kind) {
	failed := make(storetest.Failures, 4)
	noSpace := &os.PathError{Op: "write", Path: "disk", Err: errors.New("no space left on device")}
	_, l := openLog(t, t.TempDir(), Options{
		Kind:      kind,
		OnFailure: failed.Report,
		Intercept: func(logs []*raft.Log) error {
			if logs[0].Index == 2 {
				return noSpace
			}
			return nil
		},
	})
	if err := l.StoreLogs(storetest.Entries(t, 1, 1)); err != nil {
		t.Fatal(err)
	}
	err := l.StoreLogs(storetest.Entries(t, 2, 2))
	storetest.Mention(t, err, kind.base(), "no space left on device")
	if !errors.Is(err, noSpace) {
		t.Errorf("%v does not wrap its cause", err)
	}
	failed.One(t, kind.base(), "no space left on device")
	for name, f := range map[string]func() error{
		"StoreLogs":   func() error { return l.StoreLogs(storetest.Entries(t, 3, 3)) },
		"SetUint64":   func() error { return l.SetUint64([]byte("CurrentTerm"), 9) },
		"DeleteRange": func() error { return l.DeleteRange(1, 1) },
	} {
		if err := f(); err == nil {
			t.Errorf("%s wrote after a failure", name)
		}
	}
	failed.None(t)
}

func TestLogClosedIsNoFailure(t *testing.T) { eachKind(t, testLogClosedIsNoFailure) }

func testLogClosedIsNoFailure(t *testing.T, kind Kind) {
	failed := make(storetest.Failures, 4)
	_, l := openLog(t, t.TempDir(), Options{Kind: kind, OnFailure: failed.Report})
	l.Close()
	var entry raft.Log
	if err := l.GetLog(1, &entry); !errors.Is(err, vfs.ErrClosed) {
		t.Errorf("GetLog: %v", err)
	}
	if err := l.StoreLogs(storetest.Entries(t, 1, 1)); !errors.Is(err, vfs.ErrClosed) {
		t.Errorf("StoreLogs: %v", err)
	}
	failed.None(t)
}

func TestLogChecksRaftsValues(t *testing.T) { eachKind(t, testLogChecksRaftsValues) }

func testLogChecksRaftsValues(t *testing.T, kind Kind) {
	path := t.TempDir()
	_, l := openLog(t, path, Options{Kind: kind})
	if err := l.Set([]byte("LastVoteCand"), []byte("n1-as-candidate")); err != nil {
		t.Fatal(err)
	}
	l.Close()
	storetest.Flip(t, filepath.Join(path, FileName), []byte("n1-as-candidate"))
	_, err := openDirectory(t, path).open(Options{Kind: kind})
	storetest.Mention(t, err, "LastVoteCand", "checksum")
}

func TestOpenLogRefuses(t *testing.T) { eachKind(t, testOpenLogRefuses) }

func testOpenLogRefuses(t *testing.T, kind Kind) {
	tests := []struct {
		name    string
		prepare func(t *testing.T, d *directory)
		want    []string
	}{
		{"lost votes", func(t *testing.T, d *directory) {
			if err := os.Remove(d.file(FileName)); err != nil {
				t.Fatal(err)
			}
		}, []string{"raft.db is missing: this node has lost its votes and its log", LostMember}},
		{"another directory's", func(t *testing.T, d *directory) {
			other, l := openLog(t, t.TempDir(), Options{Kind: kind})
			l.Close()
			if err := storetest.CopyFile(other.file(FileName), d.file(FileName)); err != nil {
				t.Fatal(err)
			}
		}, []string{"belongs to data directory", "not to this one"}},
		{"empty", func(t *testing.T, d *directory) {
			if err := os.Truncate(d.file(FileName), 0); err != nil {
				t.Fatal(err)
			}
		}, []string{"damaged", "empty"}},
		{"cut short", func(t *testing.T, d *directory) {
			if err := os.Truncate(d.file(FileName), 2*4096+100); err != nil {
				t.Fatal(err)
			}
		}, []string{FileName, "damaged"}},
		{"garbage", func(t *testing.T, d *directory) {
			if err := os.WriteFile(d.file(FileName), make([]byte, 1<<16), 0o600); err != nil {
				t.Fatal(err)
			}
		}, []string{FileName, "damaged"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := t.TempDir()
			d, l := openLog(t, path, Options{Kind: kind})
			d.owner.Founded = true
			if err := l.StoreLogs(storetest.Entries(t, 1, 200)); err != nil {
				t.Fatal(err)
			}
			l.Close()
			tt.prepare(t, d)
			_, err := d.open(Options{Kind: kind})
			storetest.Mention(t, err, tt.want...)
		})
	}
}

func TestLogCompactsOnlyWhatTheRegistryFileHolds(t *testing.T) {
	eachKind(t, testLogCompactsOnlyWhatTheRegistryFileHolds)
}

func testLogCompactsOnlyWhatTheRegistryFileHolds(t *testing.T, kind Kind) {
	tests := []struct {
		name        string
		first, last uint64 // of the log
		durable     uint64
		min, max    uint64
		refused     bool
	}{
		{"prefix the registry file holds", 1, 10, 5, 1, 5, false},
		{"prefix beyond the registry file", 1, 10, 5, 1, 6, true},
		{"all, of which the registry file holds part", 1, 10, 5, 1, 10, true},
		{"all, which the registry file holds", 1, 10, 10, 1, 10, false},
		{"conflicting suffix", 1, 10, 5, 8, 10, false},
		{"conflicting suffix below what the registry file holds", 1, 10, 9, 8, 10, false},
		{"a log of nothing but a conflicting suffix", 6, 10, 5, 6, 10, false},
		{"nothing of the registry file's, but not to the end", 6, 10, 5, 6, 9, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, l := openLog(t, t.TempDir(), Options{Kind: kind})
			if err := l.StoreLogs(storetest.Entries(t, tt.first, tt.last)); err != nil {
				t.Fatal(err)
			}
			l.SetDurable(func() uint64 { return tt.durable })
			err := l.DeleteRange(tt.min, tt.max)
			var entry raft.Log
			gone := l.GetLog(tt.min, &entry) == raft.ErrLogNotFound
			if (err != nil) != tt.refused || gone == tt.refused {
				t.Errorf("error %v, gone %v; want refused %v", err, gone, tt.refused)
			}
			if tt.refused {
				storetest.Mention(t, err, "refused to compact", "durably only up to")
			}
		})
	}
}

// nothingFSM is a raft.FSM without state.
type nothingFSM struct{}

func (nothingFSM) Apply(*raft.Log) any                 { return nil }
func (nothingFSM) Snapshot() (raft.FSMSnapshot, error) { return nil, raft.ErrNothingNewToSnapshot }
func (nothingFSM) Restore(r io.ReadCloser) error       { return r.Close() }

func quietConfig() *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = "n1"
	c.Logger = hclog.NewNullLogger()
	c.NoSnapshotRestoreOnStart = true
	return c
}

// A node whose disk fails must end with the reason, never with raft's panic, and raft must still shut
// down: the goroutine that met the fault is gone by then.
func TestRaftEndsInOrderWhenTheLogFails(t *testing.T) {
	eachKind(t, testRaftEndsInOrderWhenTheLogFails)
}

func testRaftEndsInOrderWhenTheLogFails(t *testing.T, kind Kind) {
	tests := []struct {
		name  string
		spoil func(t *testing.T, l *Log, intercept *atomic.Pointer[error])
		want  []string
	}{
		{"damaged entry on the apply path", func(t *testing.T, l *Log, _ *atomic.Pointer[error]) { damageEntry(t, l, 2) }, []string{"entry 2", "checksum"}},
		{"term cannot be stored", func(_ *testing.T, l *Log, _ *atomic.Pointer[error]) {
			l.fail(errors.New("raft.db: no space left on device"))
		}, []string{"no space left"}},
		{"entry cannot be stored", func(_ *testing.T, _ *Log, intercept *atomic.Pointer[error]) {
			err := errors.New("no space left on device")
			intercept.Store(&err)
		}, []string{"no space left"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				failed := make(storetest.Failures, 4)
				var intercepted atomic.Pointer[error]
				d := openDirectory(t, path)
				l, err := d.open(Options{Kind: kind, OnFailure: failed.Report, Intercept: func([]*raft.Log) error {
					if err := intercepted.Load(); err != nil {
						return *err
					}
					return nil
				}})
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				snaps, err := snapshot.Open(d.path, nil)
				if err != nil {
					t.Fatal(err)
				}
				_, trans := raft.NewInmemTransport("n1")
				servers := raft.Configuration{Servers: []raft.Server{{ID: "n1", Address: "n1"}}}
				if err := raft.BootstrapCluster(quietConfig(), l, l, snaps, trans, servers); err != nil {
					t.Fatal(err)
				}
				if err := l.StoreLogs(storetest.Entries(t, 2, 3)); err != nil {
					t.Fatal(err)
				}
				// NewRaft looks through the log on this goroutine; the damage comes after.
				r, err := raft.NewRaft(quietConfig(), nothingFSM{}, l, l, snaps, trans)
				if err != nil {
					t.Fatal(err)
				}
				tt.spoil(t, l, &intercepted)
				time.Sleep(time.Minute) // in virtual time: it elects itself and applies its log
				synctest.Wait()
				if err := r.Shutdown().Error(); err != nil {
					t.Error(err)
				}
				failed.One(t, tt.want...)
			})
		})
	}
}

func TestLogEntryOfANewerFormat(t *testing.T) { eachKind(t, testLogEntryOfANewerFormat) }

func testLogEntryOfANewerFormat(t *testing.T, kind Kind) {
	_, l := openLog(t, t.TempDir(), Options{Kind: kind})
	data := storetest.NewerEnvelope(t)
	if err := l.StoreLog(&raft.Log{Index: 1, Type: raft.LogCommand, Data: data}); !errors.Is(err, vfs.ErrNewer) || !errors.Is(err, logv1.ErrFormat) {
		t.Errorf("%v, want ErrNewer", err)
	}
}
