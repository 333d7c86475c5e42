package client

import (
	"context"
	"iter"
	"slices"

	"google.golang.org/grpc/codes"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// WatchNames is WatchServices of exactly these services: at least one, at most 10,000. One that is named twice
// counts once. A name that does not exist is in Deleted of the first update that is Synced. So after that update
// the state of every name is known.
//
// Changes of other services cost the watch nothing, neither here nor at the node: while nothing happens to its
// names it is silent, and Revision stays what it was. Prefer it to WatchServices where the names are known, and to a
// Watch of each where there are more than a few.
//
// The node's own names ("" and rollcall.…) have no record: Watch follows them, WatchNames is refused with
// INVALID_ARGUMENT.
func (c *Client) WatchNames(ctx context.Context, names ...string) iter.Seq2[ServicesUpdate, error] {
	op := operation{name: "watch names"}
	if len(names) == 0 { // the request would mean all services
		return refused(op.error(codes.InvalidArgument, "no name is given", nil))
	}
	return c.watchServices(ctx, op, &rollcallv1.WatchServicesRequest{Services: slices.Clone(names)})
}
