package registry

import (
	"errors"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store/boltfile"
	"github.com/rollcallhq/rollcall/store/storetest"
)

func inspectNothing(*Reader) Check { return Check{Name: "registry"} }

func problemsOf(checks []Check) (all []string) {
	for _, c := range checks {
		for _, p := range c.Problems {
			all = append(all, c.Name+": "+p)
		}
	}
	return all
}

// TestVerifyFindsDamage: what no checksum of a single record shows is found too.
func TestVerifyFindsDamage(t *testing.T) {
	index := func(t *testing.T, j *File, key []byte, put bool) {
		t.Helper()
		err := j.db.Update(func(tx *bbolt.Tx) error {
			if put {
				return tx.Bucket(bucketEventsByKey).Put(key, []byte{})
			}
			return tx.Bucket(bucketEventsByKey).Delete(key)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	newest := func(h *history) *logv1.Event { // of a service that exists
		seen := map[string]bool{}
		for i := len(h.events) - 1; i >= 0; i-- {
			e := h.events[i]
			if e.Kind != logv1.Kind_KIND_SERVICE || seen[e.Key] {
				continue
			}
			if seen[e.Key] = true; !e.Deletes {
				return e
			}
		}
		panic("the history ends without a service")
	}
	replace := func(t *testing.T, j *File, e *logv1.Event) {
		t.Helper()
		corruptEvent(t, j, e.Revision, sealedBlock(t, e))
	}
	for _, tt := range []struct {
		name   string
		damage func(t *testing.T, d *disk, h *history)
		want   string // "": nothing is wrong
	}{
		{"nothing", func(*testing.T, *disk, *history) {}, ""},
		{"an event is missing", func(t *testing.T, d *disk, _ *history) { removeEvent(t, d.registryFile, 9) }, "events: revisions 9 to 9 are missing"},
		{"the newest event is missing", func(t *testing.T, d *disk, h *history) {
			removeEvent(t, d.registryFile, h.revision())
		}, "events: the events end at revision"},
		{"an event is rubbish", func(t *testing.T, d *disk, _ *history) {
			corruptEvent(t, d.registryFile, 9, []byte("rubbish"))
		}, "events: bucket events"},
		{"a block is rubbish", func(t *testing.T, d *disk, _ *history) {
			isolate(t, d.registryFile, 9) // so that there are others
			corrupt(t, d.registryFile, bucketEvents, revisionKey(1), []byte("rubbish"))
		}, "events: revisions 1 to 8 are missing"},
		{"a block is another's", func(t *testing.T, d *disk, h *history) {
			corruptEvent(t, d.registryFile, 9, sealedBlock(t, h.events[9], h.events[10]))
		}, "it holds the events from revision 10 on"},
		{"a block goes on in the next", func(t *testing.T, d *disk, h *history) {
			corruptEvent(t, d.registryFile, 9, sealedBlock(t, h.events[8], h.events[9]))
		}, "the block at revision 9 does not end where that at 10 begins"},
		{"a write ends in the middle of another", func(t *testing.T, d *disk, h *history) {
			for _, e := range h.events {
				if e.CommitRevision > e.Revision+1 {
					e = proto.CloneOf(e)
					e.CommitRevision--
					replace(t, d.registryFile, e)
					return
				}
			}
		}, "disagree about the write"},
		{"an index key is missing", func(t *testing.T, d *disk, h *history) {
			e := newest(h)
			index(t, d.registryFile, indexKey(serviceName(e.Key), e.Revision), false)
		}, "is not in the index of"},
		{"an index key too many", func(t *testing.T, d *disk, _ *history) {
			index(t, d.registryFile, indexKey(serviceName("nobody"), 3), true)
		}, "events: the index has 1 keys"},
		{"an event says another status", func(t *testing.T, d *disk, h *history) {
			e := proto.CloneOf(newest(h))
			e.Status ^= 3
			replace(t, d.registryFile, e)
		}, "fold: KIND_SERVICE"},
		{"an event says another reason", func(t *testing.T, d *disk, h *history) {
			e := proto.CloneOf(newest(h))
			e.Reason += "!"
			replace(t, d.registryFile, e)
		}, "is not as its newest event"},
		{"an event says another member", func(t *testing.T, d *disk, h *history) {
			for i := len(h.events) - 1; ; i-- {
				if e := h.events[i]; e.Kind == logv1.Kind_KIND_MEMBER {
					e = proto.CloneOf(e)
					e.After = storetest.Bytes(&logv1.Member{Name: e.Key, ApiAddress: "elsewhere"})
					replace(t, d.registryFile, e)
					return
				}
			}
		}, "fold: KIND_MEMBER"},
		{"an event deletes what exists", func(t *testing.T, d *disk, h *history) {
			e := proto.CloneOf(newest(h))
			e.Type, e.Deletes = logv1.EventType_EVENT_TYPE_DELETED, true
			replace(t, d.registryFile, e)
		}, "deleted it"},
		{"an event keeps what does not exist", func(t *testing.T, d *disk, h *history) {
			r := h.revision() + 1
			e := &logv1.Event{Type: logv1.EventType_EVENT_TYPE_DELETED, Kind: logv1.Kind_KIND_SERVICE, Key: newest(h).Key, Deletes: true, Revision: r, CommitRevision: r, Time: 10_000}
			d.registryFile.Append(&logv1.Delta{Index: 201, Term: 1, ClusterID: "3f9a", LogTime: 10_000, Revision: r,
				Records: []logv1.Record{storetest.NoService(e.Key)}, Events: []*logv1.Event{proto.CloneOf(e)}})
			d.flush()
			e.Type, e.Deletes = logv1.EventType_EVENT_TYPE_REPORTED, false
			replace(t, d.registryFile, e)
		}, "did not delete it"},
		{"a time falls", func(t *testing.T, d *disk, h *history) {
			e := proto.CloneOf(h.events[len(h.events)/2])
			e.Time = -1
			replace(t, d.registryFile, e)
		}, "has a time before"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, h := recorded(t, 200)
			tt.damage(t, d, h)
			d.close()
			f, err := OpenReader(filepath.Join(d.path, FileName))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			problems := problemsOf(f.Check(storetest.Kinds{}, inspectNothing))
			if tt.want == "" && len(problems) > 0 || tt.want != "" && !strings.Contains(strings.Join(problems, "\n"), tt.want) {
				t.Errorf("problems %q, want %q", problems, tt.want)
			}
		})
	}
}

// TestVerifyAfterCompaction: what compaction leaves is right, and what it should have deleted is not.
func TestVerifyAfterCompaction(t *testing.T) {
	d, h := recorded(t, 200)
	delta := h.next()
	delta.Horizon = h.revision() / 2
	d.registryFile.Append(delta)
	d.flush()
	d.compact()
	horizon := d.registryFile.Meta().GetHorizon()
	d.close()
	check := func(want string) {
		t.Helper()
		f, err := OpenReader(filepath.Join(d.path, FileName))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		problems := problemsOf(f.Check(storetest.Kinds{}, inspectNothing))
		if want == "" && len(problems) > 0 || want != "" && !strings.Contains(strings.Join(problems, "\n"), want) {
			t.Errorf("problems %q, want %q", problems, want)
		}
	}
	check("")
	db, err := boltfile.Open(filepath.Join(d.path, FileName), boltOptions())
	if err != nil {
		t.Fatal(err)
	}
	sealed := sealedBlock(t, &logv1.Event{Revision: horizon - 1, CommitRevision: horizon - 1, Type: logv1.EventType_EVENT_TYPE_DELETED,
		Kind: logv1.Kind_KIND_SERVICE, Key: "gone", Deletes: true})
	err = db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketEvents).Put(revisionKey(horizon-1), sealed) })
	if err != nil {
		t.Fatal(err)
	}
	db.CloseAfter(nil)
	check("should have been deleted")

	db, err = boltfile.Open(filepath.Join(d.path, FileName), boltOptions())
	if err != nil {
		t.Fatal(err)
	}
	sealed = sealedBlock(t, h.events[horizon-3], h.events[horizon-2])
	err = db.Update(func(tx *bbolt.Tx) error {
		return errors.Join(tx.Bucket(bucketEvents).Delete(revisionKey(horizon-1)), tx.Bucket(bucketEvents).Put(revisionKey(horizon-2), sealed))
	})
	if err != nil {
		t.Fatal(err)
	}
	db.CloseAfter(nil)
	check("below " + strconv.FormatInt(horizon, 10) + " each should have its own")
}

// TestVerifyAfterRefounding: a registry that was made another cluster's has no members, although their
// events are kept. That is right up to the revision of the backup and no further.
func TestVerifyAfterRefounding(t *testing.T) {
	d, h := recorded(t, 200)
	meta := d.registryFile.Meta()
	d.close()
	name := filepath.Join(d.path, FileName)
	for _, tt := range []struct {
		restored int64
		want     string // "": nothing is wrong
	}{{h.revision(), ""}, {0, "KIND_MEMBER"}} {
		meta.ClusterId, meta.RestoredRevision, meta.StateHash = "another", tt.restored, nil
		if err := Refound(name, meta, storetest.Kinds{}); err != nil {
			t.Fatal(err)
		}
		f, err := OpenReader(name)
		if err != nil {
			t.Fatal(err)
		}
		content, err := storetest.LoadContent(f)
		if err != nil || len(content.Records[logv1.Kind_KIND_MEMBER]) != 0 || len(content.Services()) == 0 {
			t.Errorf("it holds %d members and %d services: %v", len(content.Records[logv1.Kind_KIND_MEMBER]), len(content.Services()), err)
		}
		problems := problemsOf(f.Check(storetest.Kinds{}, inspectNothing))
		if tt.want == "" && len(problems) > 0 || tt.want != "" && !strings.Contains(strings.Join(problems, "\n"), tt.want) {
			t.Errorf("restored at %d: problems %q, want %q", tt.restored, problems, tt.want)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
