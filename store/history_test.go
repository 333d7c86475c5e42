package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// history is a model of what a journal should hold of events: all that ever were.
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
		d.Members = []*logv1.Member{m}
		d.Events = []*logv1.Event{{Type: logv1.EventType_EVENT_TYPE_MEMBER_CHANGED, Member: m}}
	} else {
		for _, i := range h.rng.Perm(len(historyNames))[:h.rng.IntN(4)] {
			name := historyNames[i]
			e := &logv1.Event{Type: logv1.EventType_EVENT_TYPE_REPORTED, Service: name, Status: logv1.Status(h.rng.IntN(3))}
			switch {
			case h.exists[name] && h.rng.IntN(3) == 0:
				e.Type, e.Status = logv1.EventType_EVENT_TYPE_DELETED, logv1.Status_STATUS_SERVICE_UNKNOWN
				d.DeletedServices = append(d.DeletedServices, name)
			default:
				d.Services = append(d.Services, &logv1.ServiceRecord{Service: name})
			}
			h.exists[name] = e.Type == logv1.EventType_EVENT_TYPE_REPORTED
			d.Events = append(d.Events, e)
		}
	}
	d.Revision = first + int64(len(d.Events))
	for i, e := range d.Events {
		e.Revision, e.CommitRevision, e.Time = first+int64(i)+1, d.Revision, d.LogTime
		e.Reason = strings.Repeat("why ", h.rng.IntN(5))
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
		case e.GetType() == logv1.EventType_EVENT_TYPE_DELETED:
			delete(now, e.GetService())
		default:
			now[e.GetService()+"|"+e.GetMember().GetName()] = e.GetRevision()
			if e.GetService() != "" {
				delete(now, e.GetService()+"|")
				now[e.GetService()] = e.GetRevision()
			}
		}
	}
	return now
}

// listEvents reads all of q in pages of a few.
func listEvents(j *Journal, q logv1.EventQuery) (events []*logv1.Event, span logv1.EventSpan, err error) {
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
