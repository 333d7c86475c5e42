package client

import (
	"context"
	"iter"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// ListEventsOptions choose what ListEvents gives. The zero value chooses all retained events. Of the
// bounds those that are given all hold.
type ListEventsOptions struct {
	Prefixes     []string  // of service; none: all events, also those of no service
	Service      string    // of exactly this one; not together with Prefixes
	From, To     int64     // revisions, inclusive; 0: the oldest retained, the newest
	Since, Until time.Time // inclusive; zero: no bound
	Actor        string    // "": any
	Types        []rollcallv1.EventType
	NewestFirst  bool
	PageSize     int // 1,000 if 0; at most 10,000
}

// ListEvents gives the retained events, in order of revision, as they are when the first page is read:
// what is written while the list goes on is not in it. It reads page by page, from any node, as late as
// [WithReadOptions] says. An error is the last that it gives, with a nil event; one with
// [ReasonCompacted] means that From is older than what is retained, or became so meanwhile.
func (c *Client) ListEvents(ctx context.Context, o ListEventsOptions) iter.Seq2[*rollcallv1.Event, error] {
	return func(yield func(*rollcallv1.Event, error) bool) {
		req := &rollcallv1.ListEventsRequest{
			Prefixes:     o.Prefixes,
			Service:      o.Service,
			FromRevision: o.From,
			ToRevision:   o.To,
			Actor:        o.Actor,
			Types:        o.Types,
			NewestFirst:  o.NewestFirst,
			PageSize:     int32(min(o.PageSize, 1<<30)), // beyond every limit: for the node to refuse
		}
		if !o.Since.IsZero() {
			req.FromTime = timestamppb.New(o.Since)
		}
		if !o.Until.IsZero() {
			req.ToTime = timestamppb.New(o.Until)
		}
		op := operation{name: "list events", service: o.Service, about: o.Service != ""}
		read := readingOf(ctx)
		for {
			var page *rollcallv1.ListEventsResponse
			err := c.run(ctx, op, func(ctx context.Context, conn grpc.ClientConnInterface) (err error) {
				page, err = rollcallv1.NewRegistryClient(conn).ListEvents(read.Outgoing(ctx), req, read.callOptions()...)
				return err
			})
			read.done()
			if err != nil {
				yield(nil, err)
				return
			}
			for _, e := range page.GetEvents() {
				if !yield(e, nil) {
					return
				}
			}
			if page.GetNextPageToken() == "" {
				return
			}
			req.PageToken = page.GetNextPageToken()
		}
	}
}

// WatchEventsOptions choose what WatchEvents gives. The zero value chooses everything from now on.
type WatchEventsOptions struct {
	Prefixes []string // of service; none: all events, also those of no service
	From     int64    // revision of the first that is wanted; 0: from now on
}

// EventBatch is what a watch of events received at once: whole atomic writes, in order of revision.
type EventBatch struct {
	Events []*rollcallv1.Event // none: a bookmark, only to tell Revision
	// Revision is that up to which every event that was chosen has been given. A watch from the one
	// after it goes on without missing or repeating anything.
	Revision int64
	Endpoint string // that said so
}

// WatchEvents gives every event from a revision on, each once and in order, also when it has to move to
// another node, which it does as Watch does. The first batch says where it begins. It ends, with an
// error as the last that it gives, as Watch does, and with [ReasonCompacted] if what comes next is not
// retained any more: then Error.OldestRevision is where events begin, and the state in between can be
// had by List.
//
// A slow consumer delays nobody else. It keeps its node from sending, and misses nothing that is
// retained.
func (c *Client) WatchEvents(ctx context.Context, o WatchEventsOptions) iter.Seq2[EventBatch, error] {
	return func(yield func(EventBatch, error) bool) {
		ctx, done := c.begin(ctx)
		defer done()
		r := &roam{c: c, op: operation{name: "watch events"}}
		req := &rollcallv1.WatchEventsRequest{Prefixes: o.Prefixes, FromRevision: o.From}
		err := r.run(ctx, func(ctx context.Context, e *endpoint, patience time.Duration) error {
			return receive(ctx, r, e, patience,
				func(ctx context.Context, conn grpc.ClientConnInterface) (grpc.ServerStreamingClient[rollcallv1.WatchEventsResponse], error) {
					return rollcallv1.NewRegistryClient(conn).WatchEvents(ctx, req)
				},
				func(_ context.Context, _ grpc.ClientConnInterface, m *rollcallv1.WatchEventsResponse) error {
					again := r.told && len(m.GetEvents()) == 0 && m.GetRevision() < req.FromRevision // how each stream begins
					req.FromRevision = m.GetRevision() + 1
					if again {
						return nil
					}
					r.told = true
					if !yield(EventBatch{Events: m.GetEvents(), Revision: m.GetRevision(), Endpoint: e.address}, nil) {
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
