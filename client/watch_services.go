package client

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// ServicesUpdate is what a watch of services received at once.
type ServicesUpdate struct {
	// Reset means that nothing that was given before this update counts any more: the endpoints serve
	// another cluster, because it was restored from a backup or founded anew. This update begins the state
	// of that cluster, as the first update of the watch began the state of the old one. Reset is not set in
	// the first update.
	Reset    bool
	Services []*rollcallv1.ServiceRecord // new, or newer than given before
	// Deleted were given before, and are gone. Those of a WatchNames that never existed are here once, in the
	// first update of a cluster that is Synced.
	Deleted []string
	// Revision is what the update is as of.
	Revision int64
	Cluster  string // that Revision belongs to
	// Synced means that what was given so far, with this update, is exactly the registry of Revision: all
	// that matches and nothing else. Without it more follows soon.
	Synced   bool
	Endpoint string // that answered
}

// WatchServices gives the state of all services whose names begin with one of prefixes (none: of all
// services), and then what changes in it. It may skip states in between, and never goes back, also when it
// moves to another node, which it does as Watch does: it gives what was deleted meanwhile, and does not give
// again what did not change. The next node sends only what changed meanwhile if it can be sure of that; else it sends
// the whole state, and the watch gives what differs. It ends as Watch does. If the cluster changes it begins anew, with
// an update that has Reset set.
//
// A slow consumer delays nobody else. The client keeps the name of every service that was given.
func (c *Client) WatchServices(ctx context.Context, prefixes ...string) iter.Seq2[ServicesUpdate, error] {
	return c.watchServices(ctx, operation{name: "watch services"}, &rollcallv1.WatchServicesRequest{Prefixes: prefixes})
}

// servicesWatch is one run of a WatchServices or a WatchNames.
type servicesWatch struct {
	failover
	yield func(ServicesUpdate, error) bool

	known  map[string]given // what was given, by name
	held   held             // what a stream can go on from
	found  map[string]bool  // names in this stream so far; nil once it is synced, or if it goes on from held
	names  map[string]bool  // those asked for, true: something was given of it; nil: it is a watch by prefixes
	synced bool             // as the last update said
	anew   bool             // the next update is a Reset
}

// watchServices runs a watch by prefixes, or by names if req has any.
func (c *Client) watchServices(ctx context.Context, op operation, req *rollcallv1.WatchServicesRequest) iter.Seq2[ServicesUpdate, error] {
	for _, text := range slices.Concat(req.GetPrefixes(), req.GetServices()) {
		if !utf8.ValidString(text) {
			return refused(op.error(codes.InvalidArgument, fmt.Sprintf("%q is not valid UTF-8", text), nil))
		}
	}
	return func(yield func(ServicesUpdate, error) bool) {
		ctx, done := c.begin(ctx)
		defer done()
		w := &servicesWatch{failover: failover{c: c, op: op}, yield: yield}
		w.forget(req.GetServices())
		w.onClusterChanged = func(*Error) error {
			w.anew = w.delivered
			w.forget(req.GetServices())
			return nil
		}
		err := w.run(ctx, func(ctx context.Context, e *endpoint, timeout time.Duration) error {
			w.found = map[string]bool{}
			from := w.goOnFrom()
			return receive(ctx, &w.failover, e, timeout,
				func(ctx context.Context, conn grpc.ClientConnInterface) (grpc.ServerStreamingClient[rollcallv1.WatchServicesResponse], error) {
					return rollcallv1.NewRegistryClient(conn).WatchServices(ctx, &rollcallv1.WatchServicesRequest{
						Prefixes: req.GetPrefixes(), Services: req.GetServices(), FromRevision: from,
					})
				},
				func(_ context.Context, _ grpc.ClientConnInterface, m *rollcallv1.WatchServicesResponse) error {
					if from > 0 && m.GetResumed() {
						if err := w.resume(); err != nil {
							return err
						}
					}
					return w.handle(e, m)
				})
		})
		if err != nil {
			yield(ServicesUpdate{}, err)
		}
	}
}

// refused is a watch that no node is asked for.
func refused(err *Error) iter.Seq2[ServicesUpdate, error] {
	return func(yield func(ServicesUpdate, error) bool) { yield(ServicesUpdate{}, err) }
}

// forget drops what was given, if anything: nothing of it belongs to the cluster that comes.
func (w *servicesWatch) forget(names []string) {
	w.known, w.held, w.synced = map[string]given{}, held{}, false
	if len(names) > 0 {
		w.names = make(map[string]bool, len(names))
		for _, name := range names {
			w.names[name] = false
		}
	}
}

// given tells one state of a service from another.
type given struct {
	report int64  // revision of its report
	layers uint64 // hash of the revisions of the overrides that cover it
	status Status
	since  int64 // its time: an override that came and went between two states changed only that
}

func stateOf(r *rollcallv1.ServiceRecord) given {
	const prime = 1<<40 + 0x1b3 // FNV's
	g := given{
		report: r.GetReport().GetRevision(),
		layers: uint64(r.GetOverride().GetRevision()),
		status: r.GetStatus(),
		since:  r.GetStatusTime().GetSeconds()*1e9 + int64(r.GetStatusTime().GetNanos()),
	}
	for _, o := range r.GetShadowed() {
		g.layers = g.layers*prime + uint64(o.GetRevision())
	}
	return g
}

// forgets reports that g is last but for a time that is earlier: the node has compacted that an override ended, and knows
// no more since when the status beneath is shown again. last is what is true.
func (g given) forgets(last given) bool {
	if g.since >= last.since {
		return false
	}
	g.since = last.since
	return g == last
}

// handle gives what of a message differs from what was given. A stream begins with the whole state, if it does not go
// on from held, and is no older than minRevision: so what it does not hold, once it is synced, is gone.
func (w *servicesWatch) handle(e *endpoint, m *rollcallv1.WatchServicesResponse) error {
	u := ServicesUpdate{Reset: w.anew, Revision: m.GetRevision(), Cluster: w.cluster, Synced: m.GetSynced(), Endpoint: e.address}
	for _, r := range m.GetServices() {
		name, state := r.GetService(), stateOf(r)
		if w.names != nil {
			if _, asked := w.names[name]; !asked {
				continue // of a node that knows no watch by names and sends all
			}
			w.names[name] = true
		}
		if w.found != nil {
			w.found[name] = true
		}
		// The report alone tells old from new only if no override came or went.
		if last := w.known[name]; state != last && state.report >= last.report && !state.forgets(last) {
			w.known[name] = state
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
		w.tellMissing(&u)
	}
	w.hold(m)
	news := u.Reset || len(u.Services)+len(u.Deleted) > 0 || u.Synced && (!w.synced || u.Revision > w.minRevision)
	w.minRevision = max(w.minRevision, u.Revision)
	if !news {
		return nil
	}
	w.delivered, w.synced, w.anew = true, u.Synced, false
	if !w.yield(u, nil) {
		return errStopped
	}
	return nil
}

// tellMissing adds the names that were asked for and of which nothing was given yet. The state is complete, so
// they do not exist. Before it was, the node may not have known.
func (w *servicesWatch) tellMissing(u *ServicesUpdate) {
	from := len(u.Deleted)
	for name, told := range w.names {
		if !told {
			w.names[name] = true
			u.Deleted = append(u.Deleted, name)
		}
	}
	slices.Sort(u.Deleted[from:])
}
