package cluster_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

// eventLog is the log as all followers together have seen it: an event that any of them was given at a
// revision is what all must be given there.
type eventLog struct {
	mu     sync.Mutex
	events map[int64]*rollcallv1.Event
	newest int64
}

func newEventLog() *eventLog { return &eventLog{events: map[int64]*rollcallv1.Event{}} }

func (l *eventLog) add(e *rollcallv1.Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	known := l.events[e.GetRevision()]
	if known == nil {
		l.events[e.GetRevision()] = e
		l.newest = max(l.newest, e.GetRevision())
		return nil
	}
	if !proto.Equal(known, e) {
		return fmt.Errorf("revision %d is %v here, and was %v elsewhere", e.GetRevision(), e, known)
	}
	return nil
}

// eventFollower checks one follower: what it is given goes on where it was, and is whole (P6).
type eventFollower struct {
	log      *eventLog
	prefix   string // of the services it follows; "": all events
	at       int64  // up to which it was given everything
	given    []int64
	messages int
}

func (f *eventFollower) take(events []*rollcallv1.Event, revision int64) error {
	f.messages++
	for i, e := range events {
		r := e.GetRevision()
		switch {
		case f.prefix == "" && r != f.at+1:
			return fmt.Errorf("revision %d comes after %d", r, f.at)
		case r <= f.at || r > revision:
			return fmt.Errorf("revision %d comes after %d in a message to %d", r, f.at, revision)
		case e.GetCommitRevision() > revision:
			return fmt.Errorf("a write from revision %d to %d is split at %d", r, e.GetCommitRevision(), revision)
		case i > 0 && e.GetTime().AsTime().Before(events[i-1].GetTime().AsTime()):
			return fmt.Errorf("revision %d is of before the one before", r)
		case !strings.HasPrefix(e.GetService(), f.prefix):
			return fmt.Errorf("revision %d is of %q", r, e.GetService())
		}
		if err := f.log.add(e); err != nil {
			return err
		}
		f.at = r
		f.given = append(f.given, r)
	}
	if f.prefix == "" && len(events) > 0 && f.at != revision || revision < f.at {
		return fmt.Errorf("a message with events to %d says that it goes to %d", f.at, revision)
	}
	f.at = revision
	return nil
}

// complete compares the log with itself: without gaps, no write split over others.
func (l *eventLog) complete(to int64) error {
	for r := int64(1); r <= to; r++ {
		e := l.events[r]
		if e == nil {
			return fmt.Errorf("nobody was given revision %d", r)
		}
		last := l.events[e.GetCommitRevision()]
		if e.GetCommitRevision() < r || last.GetCommitRevision() != e.GetCommitRevision() {
			return fmt.Errorf("revision %d is said to belong to the write to %d, which is %v", r, e.GetCommitRevision(), last)
		}
	}
	if l.newest > to {
		return fmt.Errorf("somebody was given revision %d; the registry is at %d", l.newest, to)
	}
	return nil
}

// visible is the newest revision up to r that ends a write.
func (l *eventLog) visible(r int64) int64 {
	for r > 0 && l.events[r].GetCommitRevision() != r {
		r--
	}
	return r
}

// state folds the log: the service's report at a visible revision.
func (l *eventLog) state(at int64) map[string]string {
	state := map[string]string{}
	for r := int64(1); r <= at; r++ {
		switch e := l.events[r]; e.GetType() {
		case rollcallv1.EventType_EVENT_TYPE_REPORTED:
			state[e.GetService()] = fmt.Sprint(e.GetStatus(), " ", r, " ", e.GetReason())
		case rollcallv1.EventType_EVENT_TYPE_DELETED:
			delete(state, e.GetService())
		}
	}
	return state
}

func stateOf(rec *rollcallv1.ServiceRecord) string {
	return fmt.Sprint(rec.GetStatus(), " ", rec.GetReport().GetRevision(), " ", rec.GetReport().GetReason())
}

// eventAck is a write that was acknowledged: the services it changed, in order, up to a revision.
type eventAck struct {
	revision int64
	reason   string // unique
	services []string
	statuses []client.Status
}

// acknowledged compares the log with the writes: each is there once, whole, at its revision.
func (l *eventLog) acknowledged(acks []eventAck) error {
	writes := map[string][]int64{} // revisions by reason
	for _, r := range slices.Sorted(maps.Keys(l.events)) {
		if e := l.events[r]; e.GetService() != "" {
			writes[e.GetReason()] = append(writes[e.GetReason()], r)
		}
	}
	for reason, revisions := range writes {
		first, last := revisions[0], revisions[len(revisions)-1]
		if int(last-first) != len(revisions)-1 || l.events[first].GetCommitRevision() != last {
			return fmt.Errorf("the write %q stands at revisions %v", reason, revisions)
		}
	}
	var errs []error
	for _, a := range acks {
		revisions := writes[a.reason]
		if len(revisions) != len(a.services) || len(revisions) > 0 && revisions[len(revisions)-1] != a.revision {
			errs = append(errs, fmt.Errorf("the write %q of %v, acknowledged at revision %d, stands at %v", a.reason, a.services, a.revision, revisions))
			continue
		}
		for i, r := range revisions {
			if e := l.events[r]; e.GetService() != a.services[i] || e.GetStatus() != a.statuses[i] {
				errs = append(errs, fmt.Errorf("revision %d is %v, acknowledged was %s %v", r, e, a.services[i], a.statuses[i]))
			}
		}
	}
	return errors.Join(errs...)
}

// TestP6ValidatorCanFail: each way in which a log of events can be wrong is found.
func TestP6ValidatorCanFail(t *testing.T) {
	event := func(revision, commit int64) *rollcallv1.Event {
		return &rollcallv1.Event{Revision: revision, CommitRevision: commit, Service: fmt.Sprint("s/", revision), Reason: fmt.Sprint("w", commit),
			Type: rollcallv1.EventType_EVENT_TYPE_REPORTED, Status: serving}
	}
	type message struct {
		to     int64
		events []*rollcallv1.Event
	}
	one, two, three, four := event(1, 1), event(2, 3), event(3, 3), event(4, 4)
	other := proto.CloneOf(four)
	other.Reason = "another"
	whole := []message{{0, nil}, {1, []*rollcallv1.Event{one}}, {3, []*rollcallv1.Event{two, three}}, {4, []*rollcallv1.Event{four}}}
	acks := []eventAck{{1, "w1", []string{"s/1"}, []client.Status{serving}}, {3, "w3", []string{"s/2", "s/3"}, []client.Status{serving, serving}}}
	for name, tt := range map[string]struct {
		messages []message
		acks     []eventAck
		message  string // of the error
	}{
		"right":               {whole, acks, ""},
		"a gap":               {[]message{whole[0], whole[1], whole[3]}, nil, "revision 4 comes after 1"},
		"again":               {append(slices.Clone(whole), whole[3]), nil, "revision 4 comes after 4"},
		"backwards":           {[]message{{0, nil}, {2, []*rollcallv1.Event{two, one}}}, nil, "revision 2 comes after 0"},
		"half a write":        {[]message{whole[0], whole[1], {2, []*rollcallv1.Event{two}}}, nil, "split at 2"},
		"a wrong bookmark":    {append(slices.Clone(whole), message{3, nil}), nil, "says that it goes to 3"},
		"a bookmark too far":  {append(slices.Clone(whole), message{6, nil}, message{7, []*rollcallv1.Event{event(6, 7), event(7, 7)}}), nil, "revision 6 comes after 6"},
		"not what others saw": {append(slices.Clone(whole[:3]), message{4, []*rollcallv1.Event{other}}), nil, "was"},
		"incomplete":          {whole[:3], nil, "nobody was given revision 4"},
		"not acknowledged so": {whole, []eventAck{{4, "w3", []string{"s/4"}, []client.Status{serving}}}, "stands at [2 3]"},
		"lost":                {whole, []eventAck{{4, "w9", []string{"s/4"}, []client.Status{serving}}}, "stands at []"},
		"another status":      {whole, []eventAck{{4, "w4", []string{"s/4"}, []client.Status{notServing}}}, "acknowledged was"},
	} {
		t.Run(name, func(t *testing.T) {
			log := newEventLog()
			if name == "not what others saw" {
				must(t, log.add(four))
			}
			f := &eventFollower{log: log}
			var err error
			for _, m := range tt.messages {
				if err = f.take(m.events, m.to); err != nil {
					break
				}
			}
			if err == nil {
				err = errors.Join(log.complete(4), log.acknowledged(tt.acks))
			}
			if (err == nil) != (tt.message == "") || err != nil && !strings.Contains(err.Error(), tt.message) {
				t.Errorf("%v, want %q", err, tt.message)
			}
		})
	}
}
