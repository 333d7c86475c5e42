package fsm

import (
	"context"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/fsm/follow"
)

// This file has the methods of FSM that the packages fsm/watch, fsm/follow and fsm/history carry out.

// WatchStatus is watch.Table.Watch. name may be one of the node's own.
func (f *FSM) WatchStatus(name string, group any, send func(servingStatus)) (ready, stop func()) {
	return f.watches.Watch(name, group, send)
}

// FollowEvents is follow.Followers.Events.
func (f *FSM) FollowEvents(ctx context.Context, from int64, how logv1.Following, send func(events []*logv1.Event, revision int64) error) error {
	return f.followers.Events(ctx, from, how, send)
}

// FollowServices is follow.Followers.Services.
func (f *FSM) FollowServices(ctx context.Context, prefixes []string, how logv1.Following, complete <-chan struct{}, send func(*rollcallv1.WatchServicesResponse) error) error {
	return f.followers.Services(ctx, prefixes, how, complete, send)
}

// FollowNames is follow.Followers.Names.
func (f *FSM) FollowNames(ctx context.Context, names []string, how logv1.Following, complete <-chan struct{}, send func(*rollcallv1.WatchServicesResponse) error) error {
	return f.followers.Names(ctx, names, how, complete, send)
}

// RecentEvents is history.Reader.Recent.
func (f *FSM) RecentEvents(revision int64, limit int) ([]*logv1.Event, bool) {
	return f.history.Recent(revision, limit)
}

// ReadEvents is history.Reader.ReadEvents.
func (f *FSM) ReadEvents(ctx context.Context, q logv1.EventQuery, limit int, keep func(*logv1.Event) bool) (logv1.EventPage, error) {
	return f.history.ReadEvents(ctx, q, limit, keep)
}

// RevisionAt is history.Reader.RevisionAt.
func (f *FSM) RevisionAt(ctx context.Context, time int64) (int64, error) {
	return f.history.RevisionAt(ctx, time)
}

// VisibleRevision is history.Reader.VisibleRevision.
func (f *FSM) VisibleRevision(ctx context.Context, revision int64) (int64, error) {
	return f.history.VisibleRevision(ctx, revision)
}

// GetServiceAt is history.Reader.GetServiceAt.
func (f *FSM) GetServiceAt(ctx context.Context, name string, revision int64) (*rollcallv1.ServiceRecord, error) {
	return f.history.GetServiceAt(ctx, name, revision)
}

// ListServicesAt is history.Reader.ListServicesAt.
func (f *FSM) ListServicesAt(ctx context.Context, revision int64, within pattern.Spans, after string, limit int, statuses []servingStatus) (records []*rollcallv1.ServiceRecord, next string, err error) {
	return f.history.ListServicesAt(ctx, revision, within, after, limit, statuses)
}

// RecordAt returns what the registry held of a record of a kind that has a history, at a revision that
// VisibleRevision returned; nil if nothing.
func (f *FSM) RecordAt(ctx context.Context, kind logv1.Kind, key string, revision int64) (Value, error) {
	e, err := f.history.EventAt(ctx, kind, key, revision)
	if err != nil || e == nil || e.GetDeletes() {
		return nil, err
	}
	return f.cfg.Kinds.find(kind).decode(key, e.GetAfter())
}

// shownRegistry implements follow.Registry.
type shownRegistry struct{ *FSM }

// Newest implements follow.Registry.
func (r shownRegistry) Newest() follow.Cut { return r.view.Load() }

// The methods of follow.Cut, which a view implements.

func (v *view) Revision() int64 { return v.revision }

func (v *view) ServiceCount() int { return v.services.Len() }

func (v *view) Service(name string, statusOnly bool) (rec *rollcallv1.ServiceRecord, reported int64) {
	r := v.get(name)
	if r == nil {
		return nil, 0
	}
	return v.shownAs(statusOnly, r, new(shownLease)), r.revision
}

func (v *view) Ascend(from string, statusOnly bool, visit func(*rollcallv1.ServiceRecord) (more bool)) {
	var lease shownLease
	v.services.Ascend(&record{name: from}, func(r *record) bool { return visit(v.shownAs(statusOnly, r, &lease)) })
}

// RightsSince is when the last change of who may do what was made, as far as this node knows: after a restart it may be
// a later revision.
func (v *view) RightsSince() int64 {
	if auth := v.access.auth; !auth.GetEnforced() {
		return auth.GetRevision()
	}
	return v.access.since
}
