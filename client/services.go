package client

import (
	"context"
	"iter"
	"time"

	"google.golang.org/grpc"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// ServicesUpdate is what a watch of services received at once.
type ServicesUpdate struct {
	Services []*rollcallv1.ServiceRecord // new, or newer than given before
	Deleted  []string                    // given before, and gone
	// Revision is what the update is as of.
	Revision int64
	// Synced means that what was given so far, with this update, is exactly the registry of Revision: all
	// that matches and nothing else. Without it more follows at once.
	Synced   bool
	Endpoint string // that said so
}

// WatchServices gives the state of all services whose names begin with one of prefixes (none: of all
// services), and then what changes in it. It may skip states in between, and never goes back, also when
// it moves to another node, which it does as Watch does: what was deleted meanwhile is told, and what
// did not change is not told again. It ends as Watch does.
//
// A slow consumer delays nobody else. The client keeps the name of every service that was given.
func (c *Client) WatchServices(ctx context.Context, prefixes ...string) iter.Seq2[ServicesUpdate, error] {
	return func(yield func(ServicesUpdate, error) bool) {
		ctx, done := c.begin(ctx)
		defer done()
		w := &servicesWatch{roam: roam{c: c, op: operation{name: "watch services"}}, yield: yield, known: map[string]int64{}}
		req := &rollcallv1.WatchServicesRequest{Prefixes: prefixes}
		err := w.run(ctx, func(ctx context.Context, e *endpoint, patience time.Duration) error {
			w.found = map[string]bool{}
			return receive(ctx, &w.roam, e, patience,
				func(ctx context.Context, conn grpc.ClientConnInterface) (grpc.ServerStreamingClient[rollcallv1.WatchServicesResponse], error) {
					return rollcallv1.NewRegistryClient(conn).WatchServices(ctx, req)
				},
				func(_ context.Context, _ grpc.ClientConnInterface, m *rollcallv1.WatchServicesResponse) error {
					return w.take(e, m)
				})
		})
		if err != nil {
			yield(ServicesUpdate{}, err)
		}
	}
}

// servicesWatch is one run of a WatchServices.
type servicesWatch struct {
	roam
	yield func(ServicesUpdate, error) bool

	known  map[string]int64 // revision of the report that was given, by name
	found  map[string]bool  // names in this stream so far; nil once it is synced
	synced bool             // as the last update said
}

// take makes of a message what differs from what was given. Every stream begins with the whole state,
// and is no older than w.seen: so what it does not hold, once it is synced, is gone.
func (w *servicesWatch) take(e *endpoint, m *rollcallv1.WatchServicesResponse) error {
	u := ServicesUpdate{Revision: m.GetRevision(), Synced: m.GetSynced(), Endpoint: e.address}
	for _, r := range m.GetServices() {
		name, revision := r.GetService(), r.GetReport().GetRevision()
		if w.found != nil {
			w.found[name] = true
		}
		if revision > w.known[name] {
			w.known[name] = revision
			u.Services = append(u.Services, r)
		}
	}
	gone := func(name string) {
		if _, known := w.known[name]; known {
			delete(w.known, name)
			u.Deleted = append(u.Deleted, name)
		}
	}
	for _, name := range m.GetDeleted() {
		gone(name)
		delete(w.found, name)
	}
	if w.found != nil && m.GetSynced() {
		for name := range w.known {
			if !w.found[name] {
				gone(name)
			}
		}
		w.found = nil
	}
	news := len(u.Services)+len(u.Deleted) > 0 || u.Synced && (!w.synced || u.Revision > w.seen)
	w.seen = max(w.seen, u.Revision)
	if !news {
		return nil
	}
	w.told, w.synced = true, u.Synced
	if !w.yield(u, nil) {
		return errStopped
	}
	return nil
}
