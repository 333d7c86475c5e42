package client

import (
	"context"
	"iter"
	"time"

	"google.golang.org/grpc"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// WatchEventsOptions choose what WatchEvents gives. The zero value chooses everything from now on.
type WatchEventsOptions struct {
	Prefixes []string // of service; none: all events, also those of no service
	From     int64    // revision of the first that is wanted; 0: from now on
	// Cluster is the cluster that From belongs to; "": the one of Client.Cluster.
	Cluster string
}

// EventBatch is what a watch of events received at once: whole atomic writes, in order of revision.
type EventBatch struct {
	Events []*rollcallv1.Event // none: a bookmark, only to tell Revision
	// Revision is that up to which every event that was chosen has been given. A watch from the one after
	// it goes on without missing or repeating anything.
	Revision int64
	Cluster  string // that Revision belongs to
	Endpoint string // that answered
}

// WatchEvents gives every event from a revision on, each once and in order, also when it has to move to
// another node, which it does as Watch does. The first batch says where it begins. It ends, with an error as
// the last that it gives, as Watch does, and in two more cases:
//
//   - with [ReasonCompacted] if what comes next is not retained any more. Error.OldestRevision is where
//     events begin then, and List gives the state in between.
//   - with [ErrClusterChanged] if the endpoints serve another cluster. Its events are another history, and
//     what was given does not continue there. A watch from revision 1, or a List and a watch from after its
//     revision, follows the new one.
//
// A slow consumer delays nobody else. It keeps its node from sending, and misses nothing that is retained.
func (c *Client) WatchEvents(ctx context.Context, o WatchEventsOptions) iter.Seq2[EventBatch, error] {
	return func(yield func(EventBatch, error) bool) {
		ctx, done := c.begin(ctx)
		defer done()
		w := &failover{
			c: c, op: operation{name: "watch events"}, cluster: o.Cluster,
			onClusterChanged: func(f *Error) error { return f },
		}
		if w.cluster == "" && o.From > 0 {
			w.cluster = c.Cluster()
		}
		req := &rollcallv1.WatchEventsRequest{Prefixes: o.Prefixes, FromRevision: o.From}
		var part []*rollcallv1.Event // what came of an atomic write that is larger than one message
		err := w.run(ctx, func(ctx context.Context, e *endpoint, timeout time.Duration) error {
			return receive(ctx, w, e, timeout,
				func(ctx context.Context, conn grpc.ClientConnInterface) (grpc.ServerStreamingClient[rollcallv1.WatchEventsResponse], error) {
					part = nil // the request asks for the whole write again
					return rollcallv1.NewRegistryClient(conn).WatchEvents(ctx, req)
				},
				func(_ context.Context, _ grpc.ClientConnInterface, m *rollcallv1.WatchEventsResponse) error {
					if m.GetMore() {
						part = append(part, m.GetEvents()...)
						return nil
					}
					events := append(part, m.GetEvents()...)
					part = nil
					// Each stream begins with a bookmark. Only the first stream's is news.
					resumed := w.delivered && len(events) == 0 && m.GetRevision() < req.FromRevision
					req.FromRevision = m.GetRevision() + 1
					if resumed {
						return nil
					}
					w.delivered = true
					if !yield(EventBatch{Events: events, Revision: m.GetRevision(), Cluster: w.cluster, Endpoint: e.address}, nil) {
						return errStopped
					}
					return nil
				})
		})
		if err != nil {
			yield(EventBatch{}, err)
		}
	}
}
