package store_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/encoding/protowire"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store"
	"github.com/rollcallhq/rollcall/store/disktest"
	"github.com/rollcallhq/rollcall/store/raftlog"
	"github.com/rollcallhq/rollcall/store/registry"
	"github.com/rollcallhq/rollcall/store/storetest"
	"github.com/rollcallhq/rollcall/store/vfs"
)

// recoverable is a closed data directory: log 1 to 100, registry file at 80, and, if wanted, a snapshot of
// index 60 (62 in raft's log).
func recoverable(t *testing.T, snapshot bool) (path string, at60 storetest.Content) {
	t.Helper()
	d := disktest.Open(t, t.TempDir(), disktest.Lazy)
	d.Fill(1, 100)
	d.Changes(1, 60)
	d.Flush()
	at60 = d.Load()
	if snapshot {
		d.Snapshot(62)
	}
	d.Changes(61, 80)
	d.Close()
	return d.Path, at60
}

func setMeta(change func(*logv1.RegistryMeta)) func(tx *bbolt.Tx) error {
	return func(tx *bbolt.Tx) error {
		meta, bucket, key := new(logv1.RegistryMeta), tx.Bucket([]byte("meta")), []byte("meta")
		if err := logv1.Open(bucket.Get(key), meta); err != nil {
			return err
		}
		change(meta)
		sealed, err := logv1.Seal(meta)
		if err != nil {
			return err
		}
		return bucket.Put(key, sealed)
	}
}

func quarantine(t *testing.T, path, reason string) {
	t.Helper()
	d, err := store.OpenDirectory(path, "n1")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.QuarantineRegistry(reason), d.Close()); err != nil {
		t.Fatal(err)
	}
}

// faults are ways in which a registry file is not to be believed.
var faults = []struct {
	name  string
	spoil func(t *testing.T, registryFile string)
	aside bool   // the file is kept
	want  string // in the warning
}{
	{"missing", func(t *testing.T, registryFile string) {
		if err := os.Remove(registryFile); err != nil {
			t.Fatal(err)
		}
	}, false, "no such file"},
	{"empty", func(t *testing.T, registryFile string) {
		if err := os.Truncate(registryFile, 0); err != nil {
			t.Fatal(err)
		}
	}, true, "no bucket meta"},
	{"garbage", func(t *testing.T, registryFile string) {
		if err := os.WriteFile(registryFile, bytes.Repeat([]byte{0xa5}, 100_000), 0o600); err != nil {
			t.Fatal(err)
		}
	}, true, "damaged"},
	{"cut short", func(t *testing.T, registryFile string) {
		if err := os.Truncate(registryFile, 3*4096); err != nil {
			t.Fatal(err)
		}
	}, true, "damaged"},
	{"a flipped bit in a service", func(t *testing.T, registryFile string) {
		storetest.Flip(t, registryFile, []byte("shop/svc-17"))
	}, true, "damaged"},
	{"a service lost", func(t *testing.T, registryFile string) {
		storetest.Update(t, registryFile, func(tx *bbolt.Tx) error { return tx.Bucket([]byte("kind.1")).Delete([]byte("shop/svc-17")) })
	}, true, "bucket kind.1"},
	{"an old record in the place of its successor", func(t *testing.T, registryFile string) {
		storetest.Update(t, registryFile, func(tx *bbolt.Tx) error {
			old, err := logv1.Seal(storetest.Change(17, "shop/svc-17").Records[0].Value)
			if err != nil {
				return err
			}
			return tx.Bucket([]byte("kind.1")).Put([]byte("shop/svc-17"), old)
		})
	}, true, "bucket kind.1"},
	{"no meta", func(t *testing.T, registryFile string) {
		storetest.Update(t, registryFile, func(tx *bbolt.Tx) error { return tx.Bucket([]byte("meta")).Delete([]byte("meta")) })
	}, true, "bucket meta"},
	{"an older format", func(t *testing.T, registryFile string) {
		storetest.Update(t, registryFile, setMeta(func(m *logv1.RegistryMeta) { m.Format = 0 }))
	}, true, "format 0"},
	{"another directory's", func(t *testing.T, registryFile string) {
		storetest.Update(t, registryFile, setMeta(func(m *logv1.RegistryMeta) { m.DirectoryId = "another" }))
	}, true, `belongs to data directory \"another\"`},
	{"quarantined", func(t *testing.T, registryFile string) {
		quarantine(t, filepath.Dir(registryFile), "at log entry 80 the majority held something else")
	}, true, "is quarantined: at log entry 80"},
	{"events beyond its revision", func(t *testing.T, registryFile string) {
		storetest.Update(t, registryFile, setMeta(func(m *logv1.RegistryMeta) { m.Revision = 3 }))
	}, true, "bucket events"},
}

func TestOpenRegistryRebuildsWhatItDoesNotBelieve(t *testing.T) {
	for _, withSnapshot := range []bool{true, false} {
		for _, tt := range faults {
			t.Run(fmt.Sprintf("%s/snapshot %v", tt.name, withSnapshot), func(t *testing.T) {
				path, at60 := recoverable(t, withSnapshot)
				tt.spoil(t, filepath.Join(path, registry.FileName))
				d := disktest.Open(t, path, disktest.Lazy)
				defer func() { d.Close() }()
				want := storetest.Content{Meta: &logv1.RegistryMeta{Format: logv1.RegistryFormat, Horizon: 1}}
				if withSnapshot {
					want = at60
				}
				storetest.Same(t, d.Load(), want)
				if d.Registry.Meta().GetDirectoryId() != d.Dir.Identity().DirectoryID {
					t.Error("the rebuilt registry file is not of this directory")
				}
				if out := d.Logged.String(); !strings.Contains(out, "level=WARN") || !strings.Contains(out, tt.want) {
					t.Errorf("logged %q, want a warning with %q", out, tt.want)
				}
				if there, _ := vfs.Exists(filepath.Join(path, registry.FileName+".damaged-1")); there != tt.aside {
					t.Errorf("kept aside: %v, want %v", there, tt.aside)
				}
				disktest.NoTemps(t, path)
				// Raft folds the rest again.
				d.Changes(d.Registry.DurableIndex()+1, 80)
				d.Close()
				d = disktest.Open(t, path, disktest.Lazy)
				if have := d.Load(); have.Meta.GetIndex() != 80 || len(have.Services()) != 50 {
					t.Errorf("index %d, %d services", have.Meta.GetIndex(), len(have.Services()))
				}
			})
		}
	}
}

// A flipped bit anywhere in the file is repaired or harmless: what is loaded is never wrong, and
// nothing panics.
func TestOpenRegistryWithAFlippedBitAnywhere(t *testing.T) {
	path, at60 := recoverable(t, true)
	d := disktest.Open(t, path, disktest.Lazy)
	at80 := d.Load()
	d.Close()
	good, err := os.ReadFile(filepath.Join(path, registry.FileName))
	if err != nil {
		t.Fatal(err)
	}
	used := len(bytes.TrimRight(good, "\x00"))
	step := used/150 + 1
	if testing.Short() {
		step = used/20 + 1
	}
	for i := 0; i < used; i += step {
		bad := bytes.Clone(good[:used])
		bad[i] ^= 1 << (i % 8)
		name := filepath.Join(path, registry.FileName)
		if err := os.WriteFile(name, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(name, int64(len(good))); err != nil {
			t.Fatal(err)
		}
		d, err := disktest.TryOpen(t, path, disktest.Lazy)
		if err != nil {
			t.Errorf("byte %d: %v", i, err)
			continue
		}
		have := d.Load()
		if storetest.Differ(have, at60) != nil && storetest.Differ(have, at80) != nil {
			t.Errorf("byte %d: loaded what never was: %v", i, have.Meta)
		}
		d.Close()
		disktest.NoTemps(t, path)
	}
}

func TestOpenRegistryKeepsOneDamagedFile(t *testing.T) {
	path, _ := recoverable(t, true)
	for range 3 {
		if err := os.WriteFile(filepath.Join(path, registry.FileName), []byte("garbage"), 0o600); err != nil {
			t.Fatal(err)
		}
		disktest.Open(t, path, disktest.Lazy).Close()
	}
	kept, err := filepath.Glob(filepath.Join(path, registry.FileName+".damaged-*"))
	if err != nil || len(kept) != 1 || !strings.HasSuffix(kept[0], "-3") {
		t.Errorf("kept %v, %v", kept, err)
	}
}

func TestOpenRegistryBehindTheSnapshot(t *testing.T) {
	path, at60 := recoverable(t, true)
	storetest.Update(t, filepath.Join(path, registry.FileName), setMeta(func(m *logv1.RegistryMeta) { m.Index = 59 }))
	d := disktest.Open(t, path, disktest.Lazy)
	defer d.Close()
	storetest.Same(t, d.Load(), at60)
	if !strings.Contains(d.Logged.String(), "behind the newest snapshot") {
		t.Errorf("logged %q", d.Logged)
	}
}

// The storetest.Content of a snapshot may end before its index in raft's log: a registry file that holds all of it is
// not behind.
func TestOpenRegistryAtTheSnapshotsContent(t *testing.T) {
	d := disktest.Open(t, t.TempDir(), disktest.Lazy)
	d.Fill(1, 100)
	d.Changes(1, 60)
	d.Snapshot(62)
	d.Close()
	d = disktest.Open(t, d.Path, disktest.Lazy)
	defer d.Close()
	if d.Logged.Len() > 0 {
		t.Errorf("logged %q", d.Logged)
	}
	// And raft may compact its log up to the snapshot's index, but not further.
	if err := d.Log.DeleteRange(1, 63); err == nil {
		t.Error("compacted an entry that neither registry file nor snapshot holds")
	}
	if err := d.Log.DeleteRange(1, 62); err != nil {
		t.Error(err)
	}
}

// unknownField is a field that no message has.
var unknownField = protowire.AppendVarint(protowire.AppendTag(nil, 500, protowire.VarintType), 1)

// newerSnapshot puts a snapshot with a field in its header that this binary does not know among those of a
// data directory.
func newerSnapshot(t *testing.T, path string) {
	t.Helper()
	meta := &logv1.RegistryMeta{Format: logv1.RegistryFormat, ClusterId: "3f9a", Index: 60, Term: 1}
	meta.ProtoReflect().SetUnknown(unknownField)
	header, err := logv1.Seal(&logv1.SnapshotHeader{Format: 1, Meta: meta, Size: 1})
	if err != nil {
		t.Fatal(err)
	}
	stream := binary.BigEndian.AppendUint32([]byte("rollcall"), uint32(len(header)))
	stream = append(append(stream, header...), 'x')
	sum := sha256.Sum256(stream)
	snapshots, err := raft.NewFileSnapshotStore(path, 2, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	sink, err := snapshots.Create(1, 60, 1, raft.Configuration{}, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sink.Write(append(stream, sum[:]...)); err != nil {
		t.Fatal(err)
	}
	if err := sink.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestOpenRegistryRefuses(t *testing.T) {
	truncate := func(t *testing.T, path string, max uint64) {
		d, err := store.OpenDirectory(path, "n1")
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		l, err := store.OpenLog(d, raftlog.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if err := l.DeleteRange(1, max); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name     string
		snapshot bool
		prepare  func(t *testing.T, path string)
		want     []string
	}{
		{"a newer registry file", true, func(t *testing.T, path string) {
			storetest.Update(t, filepath.Join(path, registry.FileName), setMeta(func(m *logv1.RegistryMeta) { m.Format = logv1.RegistryFormat + 1 }))
		}, []string{registry.FileName, "written by a newer rollcall"}},
		{"a newer envelope", true, func(t *testing.T, path string) {
			data := storetest.NewerEnvelope(t)
			storetest.Update(t, filepath.Join(path, registry.FileName), func(tx *bbolt.Tx) error { return tx.Bucket([]byte("meta")).Put([]byte("meta"), data) })
		}, []string{registry.FileName, "written by a newer rollcall"}},
		{"an unknown field in the meta", true, func(t *testing.T, path string) {
			storetest.Update(t, filepath.Join(path, registry.FileName), setMeta(func(m *logv1.RegistryMeta) {
				m.StateHash = new(logv1.StateHash)
				m.StateHash.ProtoReflect().SetUnknown(unknownField)
			}))
		}, []string{registry.FileName, "written by a newer rollcall", "StateHash has an unknown field 500"}},
		{"a newer snapshot, and no registry file", false, func(t *testing.T, path string) {
			newerSnapshot(t, path)
			if err := os.Remove(filepath.Join(path, registry.FileName)); err != nil {
				t.Fatal(err)
			}
		}, []string{"snapshots", "written by a newer rollcall", "RegistryMeta has an unknown field 500"}},
		{"a registry file ahead of raft", true, func(t *testing.T, path string) {
			storetest.Update(t, filepath.Join(path, registry.FileName), setMeta(func(m *logv1.RegistryMeta) { m.Index = 101 }))
		}, []string{"holds log entry 101", "end at 100"}},
		{"a registry file ahead of an empty raft", false, func(t *testing.T, path string) {
			truncate(t, path, 100)
		}, []string{"holds log entry 80", "end at 0"}},
		{"a damaged registry file, no snapshot and a compacted log", false, func(t *testing.T, path string) {
			truncate(t, path, 50)
			if err := os.WriteFile(filepath.Join(path, registry.FileName), []byte("garbage"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, []string{"lacks the entries 1 to 50", "no intact snapshot"}},
		{"a log with a gap after the snapshot", true, func(t *testing.T, path string) {
			truncate(t, path, 70)
		}, []string{"lacks the entries 63 to 70", "no intact snapshot"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path, _ := recoverable(t, tt.snapshot)
			tt.prepare(t, path)
			before, err := os.ReadFile(filepath.Join(path, registry.FileName))
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
			_, err = disktest.TryOpen(t, path, disktest.Lazy)
			storetest.Mention(t, err, tt.want...)
			after, err := os.ReadFile(filepath.Join(path, registry.FileName))
			if err != nil && !errors.Is(err, os.ErrNotExist) || !bytes.Equal(before, after) {
				t.Errorf("a refused registry file was changed (%v)", err)
			}
			disktest.NoTemps(t, path)
		})
	}
}

func TestOpenRegistryRefusesAClusterThatIsNotOurs(t *testing.T) {
	path, _ := recoverable(t, true) // of cluster 3f9a
	dir, err := store.OpenDirectory(path, "n1")
	if err != nil {
		t.Fatal(err)
	}
	if err := dir.SetFounding(store.Founding{ClusterID: "4711"}); err != nil {
		t.Fatal(err)
	}
	dir.Close()
	_, err = disktest.TryOpen(t, path, disktest.Lazy)
	storetest.Mention(t, err, `cluster "3f9a", not of "4711"`)
}
