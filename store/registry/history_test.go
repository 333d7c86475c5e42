package registry

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store/storetest"
)

// history is a model of what a registry file should hold of events: all that ever were.
type history struct {
	rng    *rand.Rand
	index  uint64
	events []*logv1.Event // of revision 1, 2 …
	exists map[string]bool
}

func newHistory(seed uint64) *history {
	return &history{rng: rand.New(rand.NewPCG(seed, 7)), exists: map[string]bool{}}
}

// historyNames begin like each other, as far as names can.
var historyNames = []string{"a", "a!", "a/b", "a/b/c", "ab", "abc", "b", "z", "\u00e9", "\U0010ffff"}

func (h *history) revision() int64 { return int64(len(h.events)) }

// next is one more log entry: an atomic write of some services, a member, or nothing. Some have the
// time of the entry before.
func (h *history) next() *logv1.Delta {
	h.index++
	d := &logv1.Delta{Index: h.index, Term: 1, ClusterID: "3f9a", LogTime: int64(h.index) / 2 * 10}
	first := h.revision()
	if h.rng.IntN(8) == 0 {
		m := &logv1.Member{Name: fmt.Sprint("n", h.rng.IntN(3)), ApiAddress: fmt.Sprint("host:", h.index)}
		d.Records = []logv1.Record{storetest.Member(m)}
		d.Events = []*logv1.Event{{Type: logv1.EventType_EVENT_TYPE_MEMBER_CHANGED, Kind: logv1.Kind_KIND_MEMBER, Key: m.Name, After: storetest.Bytes(m)}}
	} else {
		for _, i := range h.rng.Perm(len(historyNames))[:h.rng.IntN(4)] {
			name := historyNames[i]
			e := &logv1.Event{Type: logv1.EventType_EVENT_TYPE_REPORTED, Kind: logv1.Kind_KIND_SERVICE, Key: name, Status: logv1.Status(h.rng.IntN(3))}
			switch {
			case h.exists[name] && h.rng.IntN(3) == 0:
				e.Type, e.Status, e.Deletes = logv1.EventType_EVENT_TYPE_DELETED, logv1.Status_STATUS_SERVICE_UNKNOWN, true
			}
			h.exists[name] = !e.Deletes
			d.Events = append(d.Events, e)
		}
	}
	d.Revision = first + int64(len(d.Events))
	for i, e := range d.Events {
		e.Revision, e.CommitRevision, e.Time = first+int64(i)+1, d.Revision, d.LogTime
		e.Reason = strings.Repeat("why ", h.rng.IntN(5))
		if h.rng.IntN(12) == 0 { // so that a few fill a block, and some are larger than one
			e.Reason = strings.Repeat("why ", h.rng.IntN(1200))
		}
		switch {
		case e.Kind != logv1.Kind_KIND_SERVICE:
		case e.Deletes:
			d.Records = append(d.Records, storetest.NoService(e.Key))
		default:
			d.Records = append(d.Records, logv1.Record{Kind: e.Kind, Key: e.Key, Value: storetest.ServiceAfter(e)})
		}
	}
	h.events = append(h.events, d.Events...)
	return d
}

// mapAt folds what e is of up to revision: service or member → revision of its newest event.
func mapAt(events []*logv1.Event, revision int64) map[string]int64 {
	now := map[string]int64{}
	for _, e := range events {
		switch {
		case e.GetRevision() > revision:
		case e.GetDeletes():
			delete(now, e.GetKey())
		case e.GetKind() == logv1.Kind_KIND_MEMBER:
			now["|"+e.GetKey()] = e.GetRevision()
		default:
			now[e.GetKey()] = e.GetRevision()
		}
	}
	return now
}

// listEvents reads all of q in pages of a few.
func listEvents(j *File, q logv1.EventQuery) (events []*logv1.Event, span logv1.EventSpan, err error) {
	for {
		n := 0
		span, err = j.Events(context.Background(), q, func(e *logv1.Event) (bool, error) {
			events = append(events, e)
			n++
			return n < 7, nil
		})
		if err != nil || n < 7 {
			return events, span, err
		}
		last := events[len(events)-1].GetRevision()
		if !q.Descending {
			q.From = last + 1
		} else if q.To = last - 1; q.To == 0 {
			return events, span, nil
		}
	}
}

func revisions(events []*logv1.Event) []int64 {
	list := []int64{}
	for _, e := range events {
		list = append(list, e.GetRevision())
	}
	return list
}

// compactTo is one more log entry, which moves the horizon.
func (h *history) compactTo(horizon int64) *logv1.Delta {
	h.index++
	return &logv1.Delta{Index: h.index, Term: 1, ClusterID: "3f9a", LogTime: int64(h.index) / 2 * 10, Revision: h.revision(), Horizon: horizon}
}

// boundary is a horizon from at least on that splits no atomic write.
func (h *history) boundary(least int64) int64 {
	r := max(1, least) + h.rng.Int64N(max(1, h.revision()+2-max(1, least)))
	for ; r > 1 && r <= h.revision() && h.events[r-2].CommitRevision != r-1; r++ {
	}
	return r
}

// retained is what is to be left when a compaction has come to a revision.
func (h *history) retained(compacted int64) []*logv1.Event {
	newest := map[string]int64{}
	for _, e := range h.events {
		if e.Revision < compacted {
			newest[indexName(e)] = e.Revision
		}
	}
	var left []*logv1.Event
	for _, e := range h.events {
		if e.Revision >= compacted || newest[indexName(e)] == e.Revision && !e.Deletes {
			left = append(left, e)
		}
	}
	return left
}

// check requires the file to hold exactly what it should, events and index, and that this still folds
// to the registry just before the horizon and at some revisions from there on.
func (h *history) check(j *File, durable int64) error {
	meta := j.Meta()
	var want []*logv1.Event
	for _, e := range h.retained(compactedTo(meta)) {
		if e.Revision <= durable {
			want = append(want, e)
		}
	}
	have, span, err := listEvents(j, logv1.EventQuery{From: 1})
	if err != nil {
		return err
	}
	if span.Oldest != max(meta.GetHorizon(), 1) || span.Newest != durable {
		return fmt.Errorf("span %+v; the horizon is %d, revision %d", span, meta.GetHorizon(), durable)
	}
	if !slices.EqualFunc(have, want, func(a, b *logv1.Event) bool { return proto.Equal(a, b) }) {
		return fmt.Errorf("compacted to %d of %d: events %v, want %v", meta.GetCompacted(), meta.GetHorizon(), revisions(have), revisions(want))
	}
	backwards, _, err := listEvents(j, logv1.EventQuery{From: 1, Descending: true})
	slices.Reverse(backwards)
	if err != nil || !slices.EqualFunc(backwards, want, func(a, b *logv1.Event) bool { return proto.Equal(a, b) }) {
		return fmt.Errorf("backwards: %w, events %v, want %v", err, revisions(backwards), revisions(want))
	}
	var index, wantIndex []string
	err = j.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketEventsByKey).ForEach(func(key, _ []byte) error {
			index = append(index, string(key))
			return nil
		})
	})
	if err != nil {
		return err
	}
	for _, e := range want {
		wantIndex = append(wantIndex, string(indexKey(indexName(e), e.Revision)))
	}
	if slices.Sort(wantIndex); !slices.Equal(index, wantIndex) {
		return fmt.Errorf("index %q, want %q", index, wantIndex)
	}
	stride := 1 + (durable-span.Oldest+1)/10
	for revision := span.Oldest - 1; revision <= durable; revision += stride {
		now := mapAt(h.events, revision)
		if left := mapAt(have, revision); !maps.Equal(left, now) {
			return fmt.Errorf("the retained events fold to %v at %d, all to %v", left, revision, now)
		}
		_, err := j.EventsAt(context.Background(), logv1.Kind_KIND_SERVICE, revision, "", "", 1000, func(e *logv1.Event) (bool, error) {
			if !e.Deletes {
				if now[e.Key] != e.Revision {
					return false, fmt.Errorf("at %d, %q is of %d, want %d", revision, e.Key, e.Revision, now[e.Key])
				}
				delete(now, e.Key)
			}
			return true, nil
		})
		if err != nil {
			return err
		}
		for name := range now {
			if !strings.HasPrefix(name, "|") { // a member
				return fmt.Errorf("at %d, %q is missing", revision, name)
			}
		}
	}
	return nil
}
