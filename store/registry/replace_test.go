package registry

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store/snapshot"
	"github.com/rollcallhq/rollcall/store/storetest"
	"github.com/rollcallhq/rollcall/store/vfs"
)

// corrupt changes a value behind the registry file's back.
func corrupt(t *testing.T, j *File, bucket, key, value []byte) {
	t.Helper()
	err := j.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucket).Put(key, value) })
	if err != nil {
		t.Fatal(err)
	}
}

func TestSnapshotRoundTripThroughRaftsStore(t *testing.T) {
	leader := openDisk(t, t.TempDir(), lazy)
	defer leader.close()
	leader.changes(1, 60)
	id := leader.snapshot(62)
	leader.changes(61, 80) // not in the snapshot
	noTemps(t, leader.path)

	metas, err := leader.snaps.List()
	if err != nil || len(metas) != 1 || metas[0].ID != id || metas[0].Index != 62 {
		t.Fatalf("snapshots %v, %v", metas, err)
	}
	_, stream, err := leader.snaps.Open(id)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()

	follower := openDisk(t, t.TempDir(), lazy)
	defer func() { follower.close() }()
	follower.registryFile.Append(&logv1.Delta{Index: 3, Term: 1, Revision: 3, Records: []logv1.Record{storetest.Service(&logv1.ServiceRecord{Service: "superseded"})}})
	if err := follower.registryFile.Replace(stream); err != nil {
		t.Fatal(err)
	}
	noTemps(t, follower.path)
	have := follower.load()
	if have.Meta.GetIndex() != 60 || have.Meta.GetRevision() != 60 || len(have.Services()) != 50 || have.Services()["superseded"] != nil {
		t.Errorf("follower holds %v, %d services", have.Meta, len(have.Services()))
	}
	if have.Meta.GetDirectoryId() != directoryID {
		t.Error("the registry file has the leader's directory id")
	}
	// It goes on, with events where they were.
	follower.changes(61, 61)
	follower.close()
	follower = openDisk(t, follower.path, lazy)
	if i := follower.load().Meta.GetIndex(); i != 61 {
		t.Errorf("index %d after the next change", i)
	}
	err = follower.registryFile.db.View(func(tx *bbolt.Tx) error {
		if n := tx.Bucket(bucketEventsByKey).Stats().KeyN; n != 61 {
			t.Errorf("%d keys in the index, want 61", n)
		}
		var block eventBlock
		err := openBlock(revisionKey(1), tx.Bucket(bucketEvents).Get(revisionKey(1)), &block)
		if n := tx.Bucket(bucketEvents).Stats().KeyN; n != 1 || block.last() != 61 {
			t.Errorf("%d blocks, up to %d, %v; want one that has grown to 61", n, block.last(), err)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestReplaceRefusesABadStreamAndGoesOn(t *testing.T) {
	leader := openDisk(t, t.TempDir(), lazy)
	defer leader.close()
	leader.changes(1, 60)
	good := leader.stream()

	other := openDisk(t, t.TempDir(), lazy)
	defer other.close()
	other.registryFile.Append(&logv1.Delta{Index: 90, Term: 1, Revision: 5, ClusterID: "4711"})

	// A stream that is right as such, around a registry file that is not.
	corrupt(t, leader.registryFile, bucketServices, []byte("shop/svc-7"), []byte("nonsense"))
	damaged := leader.stream()
	var misdescribed bytes.Buffer
	registryFile := registryFileIn(t, good)
	if err := snapshot.Write(&misdescribed, &logv1.RegistryMeta{Format: logv1.RegistryFormat, Index: 99}, int64(len(registryFile)), bytes.NewReader(registryFile)); err != nil {
		t.Fatal(err)
	}
	var notBolt bytes.Buffer
	if err := snapshot.Write(&notBolt, &logv1.RegistryMeta{Format: logv1.RegistryFormat, Index: 99}, 5000, bytes.NewReader(make([]byte, 5000))); err != nil {
		t.Fatal(err)
	}
	var cut bytes.Buffer
	if err := snapshot.Write(&cut, leader.registryFile.Meta(), 3*4096, bytes.NewReader(registryFile)); err != nil {
		t.Fatal(err)
	}

	flipped := bytes.Clone(good)
	flipped[len(flipped)/2] ^= 4
	tests := []struct {
		name   string
		stream io.Reader
		want   string
	}{
		{"empty", bytes.NewReader(nil), "cut short"},
		{"truncated", bytes.NewReader(good[:len(good)-1]), "cut short"},
		{"bit flipped", bytes.NewReader(flipped), "SHA-256"},
		{"garbage", bytes.NewReader(make([]byte, 1000)), "not a snapshot"},
		{"of another cluster", bytes.NewReader(other.stream()), `cluster "4711", not of "3f9a"`},
		{"with a damaged record", bytes.NewReader(damaged), "shop/svc-7"},
		{"with another registry file than its header says", &misdescribed, "not the one its header describes"},
		{"with no bbolt file", &notBolt, "damaged"},
		{"with a registry file whose end is missing", &cut, "damaged"},
		{"that breaks", io.MultiReader(bytes.NewReader(good[:5000]), brokenReader{}), "connection lost"},
	}
	d := openDisk(t, t.TempDir(), lazy)
	defer d.close()
	d.changes(1, 10)
	d.flush()
	want := d.load()
	d.changes(11, 11) // waits, and must not be forgotten
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			storetest.Mention(t, d.registryFile.Replace(tt.stream), "replace", tt.want)
			storetest.Same(t, d.load(), want)
			noTemps(t, d.path)
		})
	}
	d.flush()
	if have := d.load(); have.Meta.GetIndex() != 11 || have.Services()["shop/svc-11"] == nil {
		t.Errorf("what was waiting was lost: %v", have.Meta)
	}
	d.failures.None(t)
	if err := d.registryFile.Replace(bytes.NewReader(good)); err != nil {
		t.Errorf("the good one: %v", err)
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("connection lost") }

// registryFileIn returns the registry file inside a stream.
func registryFileIn(t *testing.T, stream []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := snapshot.Read(bytes.NewReader(stream), &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestSnapshotLifeCycle(t *testing.T) {
	d := openDisk(t, t.TempDir(), lazy)
	d.changes(1, 5)
	take := func() raft.FSMSnapshot {
		t.Helper()
		s, err := d.registryFile.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}

	s := take()
	s.Release()
	s.Release()
	sink := new(storetest.MemorySink)
	storetest.Mention(t, firstLine(s.Persist(sink)), "released")
	if !sink.Cancelled {
		t.Error("the sink was not cancelled")
	}

	// What is appended and written after the snapshot is not in it.
	s = take()
	d.changes(6, 20)
	d.flush()
	sink = new(storetest.MemorySink)
	if err := s.Persist(sink); err != nil {
		t.Fatal(err)
	}
	s.Release()
	header, err := snapshot.Read(bytes.NewReader(sink.Bytes()), nil)
	if err != nil || header.GetMeta().GetIndex() != 5 {
		t.Errorf("snapshot of index %d, %v", header.GetMeta().GetIndex(), err)
	}

	// A sink that fails is cancelled, and no spool file stays.
	s = take()
	failing := &failingSink{}
	storetest.Mention(t, firstLine(s.Persist(failing)), "disk full")
	if !failing.Cancelled {
		t.Error("the sink was not cancelled")
	}
	s.Release()
	noTemps(t, d.path)

	// Neither Replace nor Close waits for a snapshot that nobody persists.
	stream := d.stream()
	s = take()
	if err := d.registryFile.Replace(bytes.NewReader(stream)); err != nil {
		t.Fatal(err)
	}
	if err := s.Persist(new(storetest.MemorySink)); err == nil {
		t.Error("persisted a snapshot of a registry file that was replaced")
	}
	s.Release()
	s = take()
	d.close()
	s.Release()
}

type failingSink struct{ storetest.MemorySink }

func (s *failingSink) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func firstLine(err error) error {
	if err == nil {
		return nil
	}
	line, _, _ := bytes.Cut([]byte(err.Error()), []byte("\n"))
	return errors.New(string(line))
}

func TestSnapshotsHidesDamagedOnes(t *testing.T) {
	d := openDisk(t, t.TempDir(), lazy)
	d.changes(1, 10)
	older := d.snapshot(10)
	d.changes(11, 20)
	newer := d.snapshot(20)
	d.close()

	state := filepath.Join(d.path, snapshot.DirName) + "/" + newer + "/state.bin"
	data, err := os.ReadFile(state)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(state, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(d.path, snapshot.DirName)+"/1-2-3.tmp", 0o700); err != nil {
		t.Fatal(err)
	}
	d = openDisk(t, d.path, lazy)
	defer d.close()
	metas, err := d.snaps.List()
	if err != nil || len(metas) != 1 || metas[0].ID != older {
		t.Errorf("snapshots %v, %v; want only %s", metas, err, older)
	}
	if !bytes.Contains(d.logged.Bytes(), []byte(newer)) {
		t.Error("nothing was logged about the damaged one")
	}
	if there, _ := vfs.Exists(filepath.Join(d.path, snapshot.DirName) + "/1-2-3.tmp"); there {
		t.Error("an unfinished snapshot was left")
	}
}

// What raft has compacted its log for is not followed by something older: a follower that is sent that
// would have to go back, and no entries lead on from it.
func TestSnapshotsNeverGoBack(t *testing.T) {
	for what, damage := range map[string]func(t *testing.T, d *disk, path string){
		"found when it is opened": func(t *testing.T, d *disk, path string) {
			damageFile(t, path+"/state.bin")
			if _, _, err := d.snaps.Open(filepath.Base(path)); err == nil {
				t.Error("a damaged snapshot was opened")
			}
		},
		"found by the scrubber": func(t *testing.T, d *disk, path string) {
			damageFile(t, path+"/state.bin")
			if err := d.snaps.Scrub(); err != nil {
				t.Error(err)
			}
		},
		"its meta is damaged": func(t *testing.T, d *disk, path string) {
			if err := os.WriteFile(path+"/meta.json", []byte("not JSON"), 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"its meta is changed": func(t *testing.T, d *disk, path string) {
			meta, err := os.ReadFile(path + "/meta.json")
			changed := bytes.Replace(meta, []byte(`"ConfigurationIndex":1`), []byte(`"ConfigurationIndex":3`), 1)
			if err != nil || bytes.Equal(meta, changed) {
				t.Fatalf("%s, %v", meta, err)
			}
			if err := os.WriteFile(path+"/meta.json", changed, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, _, err := d.snaps.Open(filepath.Base(path)); err == nil {
				t.Error("a snapshot with another meta was opened")
			}
		},
		"it is gone": func(t *testing.T, d *disk, path string) { os.RemoveAll(path) },
	} {
		t.Run(what, func(t *testing.T) {
			d := openDisk(t, t.TempDir(), lazy)
			defer d.close()
			d.changes(1, 10)
			d.snapshot(10)
			d.changes(11, 20)
			newer := d.snapshot(20)
			if metas, err := d.snaps.List(); err != nil || len(metas) != 2 {
				t.Fatalf("snapshots %v, %v", metas, err)
			}
			if err := d.snaps.Scrub(); err != nil {
				t.Error(err)
			}
			select {
			case <-d.snaps.Damaged():
				t.Error("a snapshot that is right is called damaged")
			default:
			}
			damage(t, d, filepath.Join(d.path, snapshot.DirName)+"/"+newer)
			if metas, err := d.snaps.List(); err != nil || len(metas) != 0 {
				t.Errorf("snapshots %v, %v; want none", metas, err)
			}
			select {
			case <-d.snaps.Damaged():
			default:
				t.Error("nobody is told")
			}
			another := d.snapshot(20)
			metas, err := d.snaps.List()
			if err != nil || len(metas) == 0 || metas[0].ID != another {
				t.Errorf("snapshots %v, %v; want %s first", metas, err, another)
			}
		})
	}
}

func damageFile(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 0x10
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A bad stream from a leader must not become a snapshot, which would push a good one out.
func TestSnapshotsTakeInOnlyWholeStreams(t *testing.T) {
	d := openDisk(t, t.TempDir(), lazy)
	defer d.close()
	d.changes(1, 10)
	d.snapshot(10)
	stream := d.stream()
	stream[len(stream)/2] ^= 1
	sink, err := d.snaps.Create(1, 50, 1, raft.Configuration{}, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sink.Write(stream); err != nil {
		t.Fatal(err)
	}
	storetest.Mention(t, sink.Close(), "SHA-256")
	metas, err := d.snaps.List()
	if err != nil || len(metas) != 1 || metas[0].Index != 10 {
		t.Errorf("snapshots %v, %v", metas, err)
	}
}
