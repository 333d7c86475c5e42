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
// [ReasonCompacted] means that From, or all of the range, is older than what is retained, or became so meanwhile.
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
		read := c.newReading(ctx, &op, o.From > 0 || o.To > 0)
		for {
			a, err := c.run(ctx, op, func(ctx context.Context, conn grpc.ClientConnInterface, o ...grpc.CallOption) (any, error) {
				return rollcallv1.NewRegistryClient(conn).ListEvents(read.outgoing(ctx), req, o...)
			})
			read.done(a)
			if err != nil {
				yield(nil, err)
				return
			}
			page := a.message.(*rollcallv1.ListEventsResponse)
			c.learnCluster(page.GetClusterId())
			op.cluster = page.GetClusterId()
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
