package fsm

import (
	"context"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/fsm/follow"
)

// Watching, following and history are packages of their own; an FSM offers what they do.

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
func (f *FSM) ListServicesAt(ctx context.Context, revision int64, prefix, after string, limit int, statuses []servingStatus) (records []*rollcallv1.ServiceRecord, next string, err error) {
	return f.history.ListServicesAt(ctx, revision, prefix, after, limit, statuses)
}

// shownRegistry is an FSM as followers see it.
type shownRegistry struct{ *FSM }

// Newest implements follow.Registry.
func (r shownRegistry) Newest() follow.Cut { return r.view.Load() }

// The methods of follow.Cut.

func (v *view) Revision() int64 { return v.revision }

func (v *view) Service(name string) *rollcallv1.ServiceRecord {
	if r := v.get(name); r != nil {
		return r.public()
	}
	return nil
}

func (v *view) Ascend(from string, visit func(*rollcallv1.ServiceRecord) (more bool)) {
	v.services.Ascend(&record{name: from}, func(r *record) bool { return visit(r.public()) })
}

// recordAfter is what the registry held of a service after its event e; nil if nothing.
func recordAfter(e *logv1.Event) *rollcallv1.ServiceRecord {
	if e.GetStatus() == logv1.Status_STATUS_SERVICE_UNKNOWN {
		return nil
	}
	r := &rollcallv1.ServiceRecord{
		Service: e.GetService(),
		Status:  servingStatus(e.GetEffectiveStatus()),
		Report: &rollcallv1.Report{
			Status:   servingStatus(e.GetStatus()),
			Reason:   e.GetReason(),
			Time:     timestamp(e.GetTime()),
			Revision: e.GetRevision(),
		},
	}
	if e.GetStatusTime() != 0 {
		r.StatusTime = timestamp(e.GetStatusTime())
	}
	if a := e.GetActor(); a != nil {
		r.Report.Actor = &rollcallv1.Actor{Name: a.GetName(), Verified: a.GetVerified(), Peer: a.GetPeer()}
	}
	return r
}
