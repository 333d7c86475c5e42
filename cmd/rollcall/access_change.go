package main

import (
	"context"
	"errors"
	"time"

	"github.com/rollcallhq/rollcall/client"
)

// changeAsRead changes what read returns with its revision, so that nobody's change in between is lost: the change is
// made only if the revision is still the same, and else begins anew. With a condition of the caller's own, or a request
// id, which stands for one request, it does not begin anew. read returns what is to be written.
func changeAsRead[T, Response any](
	ctx context.Context, o client.WriteOptions,
	read func(context.Context) (T, int64, error),
	write func(context.Context, T, client.WriteOptions) (Response, error),
) (Response, error) {
	const tries, between = 5, 50 * time.Millisecond
	once := o.IfRevision != nil || o.RequestID != ""
	for n, least := 1, int64(0); ; n++ {
		reading := client.ReadOptions{MinRevision: least, Cluster: o.Cluster, Info: new(client.ReadInfo)}
		to, revision, err := read(client.WithReadOptions(ctx, reading))
		if err != nil {
			var none Response
			return none, err
		}
		attempt := o
		if attempt.IfRevision == nil {
			attempt.IfRevision = &revision
		}
		resp, err := write(ctx, to, attempt)
		e, refused := errors.AsType[*client.Error](err)
		if !refused || e.Reason != reasonRevisionMismatch || once || n == tries {
			return resp, err
		}
		least = e.CurrentRevision
		pause(ctx, between)
	}
}
