package server

import (
	"context"
	"maps"
	"slices"
	"time"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// fakeHistory is what makes a fakeRegistry Followers and History: its events, in memory. Everything is
// guarded by the registry's mu.
type fakeHistory struct {
	events []*logv1.Event
	oldest int64 // 0: 1
	looks  int   // that ReadEvents makes at most; 0: any
}

// note adds an event, a second after the one before.
func (f *fakeHistory) note(name string, s Status, revision, commit int64) {
	e := &logv1.Event{
		Revision: revision, CommitRevision: commit, Time: int64(commit) * int64(time.Second),
		Kind: logv1.Kind_KIND_SERVICE, Key: name,
		Type: logv1.EventType_EVENT_TYPE_REPORTED, Status: logv1.Status(s), EffectiveStatus: logv1.Status(s),
		Actor: &logv1.Actor{Name: "ann"},
	}
	if s == serviceUnknown {
		e.Type, e.Deletes = logv1.EventType_EVENT_TYPE_DELETED, true
	}
	f.events = append(f.events, e)
}

func (f *fakeRegistry) read() ([]*logv1.Event, logv1.EventSpan) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.events), logv1.EventSpan{Oldest: max(f.oldest, 1), Newest: f.revision}
}

func (f *fakeRegistry) FollowEvents(ctx context.Context, from int64, how logv1.Following, send func([]*logv1.Event, int64) error) error {
	_, span := f.read()
	if from == 0 {
		from = span.Newest + 1
	}
	if from < span.Oldest {
		return &logv1.CompactedError{Asked: from, Oldest: span.Oldest}
	}
	at := from - 1
	if err := send(nil, at); err != nil {
		return err
	}
	for {
		f.mu.Lock()
		changed := f.changed
		var page []*logv1.Event
		if at < int64(len(f.events)) {
			page = slices.Clone(f.events[at:])
		}
		f.mu.Unlock()
		if len(page) > 0 {
			at += int64(len(page))
			if err := send(page, at); err != nil {
				return err
			}
		}
		timer := time.NewTimer(how.Quiet)
		select {
		case <-changed:
		case <-timer.C:
			if err := send(nil, at); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
		timer.Stop()
	}
}

func (f *fakeRegistry) FollowServices(ctx context.Context, prefixes []string, how logv1.Following, complete <-chan struct{}, send func(*rollcallv1.WatchServicesResponse) error) error {
	select {
	case <-complete:
	case <-ctx.Done():
		return ctx.Err()
	}
	return f.FollowEvents(ctx, how.Resume+1, how, func(events []*logv1.Event, revision int64) error {
		m := &rollcallv1.WatchServicesResponse{Revision: revision, Synced: true, Resumed: how.Resume > 0 && len(events) == 0}
		for _, e := range events {
			if e.GetKind() == logv1.Kind_KIND_SERVICE && matches(e, prefixes) && (how.Keep == nil || how.Keep(e.GetKey())) {
				r := recordOf(e)
				if how.StatusOnly {
					r.Report = nil
				}
				m.Services = append(m.Services, r)
			}
		}
		return send(m)
	})
}

func (f *fakeRegistry) FollowNames(ctx context.Context, names []string, how logv1.Following, complete <-chan struct{}, send func(*rollcallv1.WatchServicesResponse) error) error {
	return f.FollowServices(ctx, nil, how, complete, func(m *rollcallv1.WatchServicesResponse) error {
		m.Services = slices.DeleteFunc(m.Services, func(r *rollcallv1.ServiceRecord) bool { return !slices.Contains(names, r.GetService()) })
		return send(m)
	})
}

func recordOf(e *logv1.Event) *rollcallv1.ServiceRecord {
	return &rollcallv1.ServiceRecord{Service: e.GetKey(), Status: Status(e.GetStatus()), Report: &rollcallv1.Report{Revision: e.GetRevision()}}
}

func (f *fakeRegistry) ReadEvents(_ context.Context, q logv1.EventQuery, limit int, keep func(*logv1.Event) bool) (page logv1.EventPage, err error) {
	events, span := f.read()
	page.Span = span
	if q.From == 0 {
		q.From = span.Oldest
	}
	if q.From < span.Oldest {
		return page, &logv1.CompactedError{Asked: q.From, Oldest: span.Oldest}
	}
	if q.Descending {
		slices.Reverse(events)
	}
	looks := 0
	for _, e := range events {
		if e.Revision < q.From || e.Revision > q.To || q.Key != "" && e.Key != q.Key {
			continue
		}
		if looks++; len(page.Events) == limit || f.looks > 0 && looks > f.looks {
			page.Next = e.Revision
			break
		}
		if keep(e) {
			page.Events = append(page.Events, e)
		}
	}
	return page, nil
}

func (f *fakeRegistry) RevisionAt(_ context.Context, time int64) (at int64, err error) {
	events, span := f.read()
	for _, e := range events {
		if e.Time <= time && e.Revision >= span.Oldest {
			at = e.Revision
		}
	}
	if at == 0 && span.Oldest > 1 {
		return 0, &logv1.CompactedError{Asked: span.Oldest - 1, Oldest: span.Oldest}
	}
	return at, nil
}

func (f *fakeRegistry) VisibleRevision(_ context.Context, revision int64) (int64, error) {
	events, span := f.read()
	if revision < span.Oldest-1 {
		return 0, &logv1.CompactedError{Asked: revision, Oldest: span.Oldest}
	}
	for revision > 0 && events[revision-1].CommitRevision > revision {
		revision--
	}
	return revision, nil
}

func (f *fakeRegistry) at(revision int64) map[string]*rollcallv1.ServiceRecord {
	events, _ := f.read()
	all := map[string]*rollcallv1.ServiceRecord{}
	for _, e := range events[:revision] {
		if e.Kind != logv1.Kind_KIND_SERVICE {
			continue
		}
		if delete(all, e.Key); e.Type != logv1.EventType_EVENT_TYPE_DELETED {
			all[e.Key] = recordOf(e)
		}
	}
	return all
}

func (f *fakeRegistry) GetServiceAt(_ context.Context, name string, revision int64) (*rollcallv1.ServiceRecord, error) {
	return f.at(revision)[name], nil
}

func (f *fakeRegistry) ListServicesAt(_ context.Context, revision int64, within pattern.Spans, after string, limit int, statuses []Status) (recs []*rollcallv1.ServiceRecord, next string, err error) {
	all := f.at(revision)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if !within.Has(name) || name <= after || len(statuses) > 0 && !slices.Contains(statuses, all[name].Status) {
			continue
		}
		if len(recs) == limit {
			return recs, recs[limit-1].GetService(), nil
		}
		recs = append(recs, all[name])
	}
	return recs, "", nil
}
