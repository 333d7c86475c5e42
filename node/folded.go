package node

import (
	"context"

	"google.golang.org/grpc/peer"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/fsm"
	"github.com/rollcallhq/rollcall/fsm/history"
	"github.com/rollcallhq/rollcall/server"
)

// folded is the fold as the server reads it. It says which connection reads, because the history divides the
// disk among the connections.
type folded struct{ *fsm.FSM }

// byConnection says which connection a call of gRPC came by.
func byConnection(ctx context.Context) context.Context {
	if p, ok := peer.FromContext(ctx); ok && p.Addr != nil {
		return history.WithSource(ctx, p.Addr.String())
	}
	return ctx
}

func (r folded) ListServices(within pattern.Spans, after string, limit int, statuses []server.Status, statusOnly bool) ([]*rollcallv1.ServiceRecord, string, int64) {
	page := r.FSM.ListServices(within, after, limit, statuses, statusOnly)
	return page.Records, page.After, page.Revision
}

// FollowEvents implements server.Followers.
func (r folded) FollowEvents(ctx context.Context, from int64, how logv1.Following, send func(events []*logv1.Event, revision int64) error) error {
	return r.FSM.FollowEvents(byConnection(ctx), from, how, send)
}

// FollowServices implements server.Followers.
func (r folded) FollowServices(ctx context.Context, prefixes []string, how logv1.Following, complete <-chan struct{}, send func(*rollcallv1.WatchServicesResponse) error) error {
	return r.FSM.FollowServices(byConnection(ctx), prefixes, how, complete, send)
}

// FollowNames implements server.Followers.
func (r folded) FollowNames(ctx context.Context, names []string, how logv1.Following, complete <-chan struct{}, send func(*rollcallv1.WatchServicesResponse) error) error {
	return r.FSM.FollowNames(ctx, names, how, complete, send) // it reads no history
}

// ReadEvents implements server.History.
func (r folded) ReadEvents(ctx context.Context, q logv1.EventQuery, limit int, keep func(*logv1.Event) bool) (logv1.EventPage, error) {
	return r.FSM.ReadEvents(byConnection(ctx), q, limit, keep)
}

// RevisionAt implements server.History.
func (r folded) RevisionAt(ctx context.Context, time int64) (int64, error) {
	return r.FSM.RevisionAt(byConnection(ctx), time)
}

// VisibleRevision implements server.History.
func (r folded) VisibleRevision(ctx context.Context, revision int64) (int64, error) {
	return r.FSM.VisibleRevision(byConnection(ctx), revision)
}

// GetServiceAt implements server.History.
func (r folded) GetServiceAt(ctx context.Context, name string, revision int64) (*rollcallv1.ServiceRecord, error) {
	return r.FSM.GetServiceAt(byConnection(ctx), name, revision)
}

// ListServicesAt implements server.History.
func (r folded) ListServicesAt(ctx context.Context, revision int64, within pattern.Spans, after string, limit int, statuses []server.Status) ([]*rollcallv1.ServiceRecord, string, error) {
	return r.FSM.ListServicesAt(byConnection(ctx), revision, within, after, limit, statuses)
}
