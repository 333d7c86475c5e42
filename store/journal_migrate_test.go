package store

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// toFormat1 makes of a journal what the code of format 1 would have written.
func toFormat1(t *testing.T, name string) {
	t.Helper()
	meddle(t, name, func(tx *bbolt.Tx) error {
		all := tx.Bucket(bucketEvents)
		var events []*logv1.Event
		var block eventBlock
		err := all.ForEach(func(key, value []byte) error {
			if err := openBlock(key, value, &block); err != nil {
				return err
			}
			for r := block.first; r <= block.last(); r++ {
				e, err := block.event(r)
				if err != nil {
					return err
				}
				events = append(events, e)
			}
			return nil
		})
		if err != nil {
			return err
		}
		if err := errors.Join(tx.DeleteBucket(bucketEvents)); err != nil {
			return err
		}
		if all, err = tx.CreateBucket(bucketEvents); err != nil {
			return err
		}
		for _, e := range events {
			sealed, err := logv1.Seal(e)
			if err == nil {
				err = all.Put(revisionKey(e.Revision), sealed)
			}
			if err != nil {
				return err
			}
		}
		services, named, sum := tx.Bucket(bucketServices), map[string][]byte{}, sums{}
		err = services.ForEach(func(key, value []byte) error {
			r := new(logv1.ServiceRecord)
			if err := logv1.Open(value, r); err != nil {
				return err
			}
			r.Service = string(key)
			sealed, err := logv1.Seal(r)
			named[r.Service] = sealed
			sum.add(key, sealed)
			return err
		})
		for name, sealed := range named {
			err = errors.Join(err, services.Put([]byte(name), sealed))
		}
		if err := errors.Join(err, writeSum(tx, bucketServices, sum)); err != nil {
			return err
		}
		meta, err := readMeta(tx)
		if err != nil {
			return err
		}
		meta.Format = 1
		return putMeta(tx, meta)
	})
}

// midway is a stopped journal of format 1 of which a compaction has done a part.
func midway(t *testing.T) (*disk, *history, content) {
	t.Helper()
	o := lazy
	o.compactByHand, o.compactEvents = true, 50
	d, h := openDisk(t, t.TempDir(), o), newHistory(4)
	if err := d.dir.SetFounding(Founding{ClusterID: "3f9a"}); err != nil {
		t.Fatal(err)
	}
	d.fill(1, 1000)
	for range 300 {
		d.journal.Append(h.next())
	}
	d.journal.Append(h.compactTo(h.boundary(h.revision() - 30)))
	d.flush()
	for range 3 {
		if err := d.journal.compact(); err != nil {
			t.Fatal(err)
		}
	}
	if compacted(d.journal) || compactedTo(d.journal.Meta()) == 1 {
		t.Fatal("the compaction is not midway", d.journal.Meta())
	}
	loaded := d.load()
	d.close()
	toFormat1(t, d.journal.path)
	return d, h, loaded
}

func TestMigrateJournal(t *testing.T) {
	d, h, loaded := midway(t)
	o := lazy
	o.compactByHand = true
	before, err := os.ReadFile(d.journal.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("is not done by looking at it", func(t *testing.T) {
		checks, err := VerifyDirectory(d.path, inspectNothing)
		if problems := problemsOf(checks); err != nil || len(problems) > 0 {
			t.Error(problems, err)
		}
		unchanged(t, d.journal.path, before)
	})
	t.Run("that ends before its last step leaves the old one", func(t *testing.T) {
		old, err := openBolt(d.journal.path, bbolt.Options{ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		name, _, err := copyJournal(d.path, old)
		old.letGo(err)
		if err != nil {
			t.Fatal(err)
		}
		unchanged(t, d.journal.path, before)
		if err := os.Truncate(name, 5000); err != nil { // it did not all reach the disk
			t.Fatal(err)
		}
	})
	t.Run("keeps all", func(t *testing.T) {
		again := openDisk(t, d.path, o)
		defer again.close()
		noSpool(t, d.path)
		same(t, again.load(), loaded)
		if err := h.check(again.journal, h.revision()); err != nil {
			t.Error(err)
		}
		again.compact()
		again.journal.Append(h.next())
		again.flush()
		if err := h.check(again.journal, h.revision()); err != nil {
			t.Error(err)
		}
	})
	t.Run("was done once", func(t *testing.T) {
		again := openDisk(t, d.path, o)
		defer again.close()
		if again.logged.Len() > 0 {
			t.Error(again.logged)
		}
	})
}

func TestMigrateByRewriting(t *testing.T) {
	d, h, loaded := midway(t)
	if _, err := RewriteJournal(d.path); err != nil {
		t.Fatal(err)
	}
	o := lazy
	o.compactByHand = true
	again := openDisk(t, d.path, o)
	defer again.close()
	if again.logged.Len() > 0 {
		t.Error(again.logged)
	}
	same(t, again.load(), loaded)
	if err := h.check(again.journal, h.revision()); err != nil {
		t.Error(err)
	}
}

// A snapshot of a node that was not updated yet, and a backup that it made.
func TestMigrateWhatArrives(t *testing.T) {
	d, h, loaded := midway(t)
	journal, err := os.ReadFile(d.journal.path)
	if err != nil {
		t.Fatal(err)
	}
	meta := proto.CloneOf(loaded.Meta)
	meta.Format, meta.DirectoryId = 1, d.dir.Identity().DirectoryID
	var stream bytes.Buffer
	if err := writeStream(&stream, meta, int64(len(journal)), bytes.NewReader(journal)); err != nil {
		t.Fatal(err)
	}
	t.Run("as a snapshot", func(t *testing.T) {
		o := lazy
		o.compactByHand = true
		to := openDisk(t, t.TempDir(), o)
		defer to.close()
		if err := to.journal.Replace(bytes.NewReader(stream.Bytes())); err != nil {
			t.Fatal(err)
		}
		noSpool(t, to.path)
		have := to.load()
		if id := to.dir.Identity().DirectoryID; have.Meta.GetDirectoryId() != id {
			t.Errorf("it is of directory %q, not %q", have.Meta.GetDirectoryId(), id)
		}
		have.Meta.DirectoryId = loaded.Meta.GetDirectoryId()
		same(t, have, loaded)
		if err := h.check(to.journal, h.revision()); err != nil {
			t.Error(err)
		}
	})
	t.Run("as a backup", func(t *testing.T) {
		name := filepath.Join(t.TempDir(), "backup")
		if err := os.WriteFile(name, stream.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "n1")
		id := "8d3f0a52-1c64-4c57-9b1e-0a4f6d2c7b10"
		_, err := Restore(name, Restoration{Path: path, Node: "n1", DirectoryID: id,
			Founding: Founding{ClusterID: "new", Members: []FoundingMember{{Name: "n1", PeerAddress: "127.0.0.1:1", DirectoryID: id}}},
			Rehash:   func(*JournalFile) (*logv1.StateHash, error) { return nil, nil }})
		if err != nil {
			t.Fatal(err)
		}
		checks, err := VerifyDirectory(path, inspectNothing)
		if problems := problemsOf(checks); err != nil || len(problems) > 0 {
			t.Error(problems, err)
		}
		unchanged(t, name, stream.Bytes())
	})
}

// A damaged event is as damaged after it, and takes no other with it.
func TestMigrateLeavesDamageAsItIs(t *testing.T) {
	d, h := recorded(t, 100)
	d.close()
	toFormat1(t, d.journal.path)
	meddle(t, d.journal.path, func(tx *bbolt.Tx) error {
		return errors.Join(tx.Bucket(bucketEvents).Put(revisionKey(9), []byte("rubbish")), tx.Bucket(bucketEvents).Delete(revisionKey(20)))
	})
	f, err := OpenJournalFile(d.journal.path)
	if err != nil {
		t.Fatal(err)
	}
	problems := problemsOf(f.Check(inspectNothing))
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	for _, want := range []string{`events: bucket events, key "\x00\x00\x00\x00\x00\x00\x00\t": damaged`, "events: revisions 20 to 20 are missing"} {
		if !slices.ContainsFunc(problems, func(p string) bool { return bytes.Contains([]byte(p), []byte(want)) }) {
			t.Errorf("problems %q, want %q", problems, want)
		}
	}
	d = openDisk(t, d.path, lazy)
	defer d.close()
	for _, part := range []struct{ from, to int64 }{{1, 8}, {10, 19}, {21, h.revision()}} {
		have, _, err := listEvents(d.journal, logv1.EventQuery{From: part.from, To: part.to})
		backwards, _, errBack := listEvents(d.journal, logv1.EventQuery{From: part.from, To: part.to, Descending: true})
		if len(backwards) != len(have) || errBack != nil {
			t.Errorf("%v: backwards %v, %v", part, revisions(backwards), errBack)
		}
		if err != nil || !slices.EqualFunc(have, h.events[part.from-1:part.to], func(a, b *logv1.Event) bool { return proto.Equal(a, b) }) {
			t.Errorf("%v: events %v, %v", part, revisions(have), err)
		}
	}
	for revision, want := range map[int64]string{9: "bucket events", 20: "revision 20 is missing"} {
		_, _, err := listEvents(d.journal, logv1.EventQuery{From: revision, To: revision})
		mention(t, err, want)
	}
}

func unchanged(t *testing.T, name string, want []byte) {
	t.Helper()
	if have, err := os.ReadFile(name); err != nil || !bytes.Equal(have, want) {
		t.Errorf("%s was changed, or %v", name, err)
	}
}
