package client

import (
	"cmp"
	"context"

	"google.golang.org/grpc"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// readAccess makes one call of Access that changes nothing.
func readAccess[Request any, Response interface{ GetClusterId() string }](
	ctx context.Context, c *Client, op operation, req Request,
	call func(rollcallv1.AccessClient, context.Context, Request, ...grpc.CallOption) (Response, error),
) (Response, error) {
	r := c.newReading(ctx, &op, false)
	a, err := c.run(ctx, op, func(ctx context.Context, conn grpc.ClientConnInterface, o ...grpc.CallOption) (any, error) {
		return call(rollcallv1.NewAccessClient(conn), r.outgoing(ctx), req, o...)
	})
	r.done(a)
	if err != nil {
		var none Response
		return none, err
	}
	resp := a.message.(Response)
	c.learnCluster(resp.GetClusterId())
	return resp, nil
}

// accessPage is what a list of Access answers.
type accessPage interface {
	GetClusterId() string
	GetRevision() int64
	GetNextPageToken() string
}

// listAccess reads a list of Access page by page, until take returns false. take sets the request's next page.
func listAccess[Request any, Response accessPage](
	ctx context.Context, c *Client, op operation, req Request,
	call func(rollcallv1.AccessClient, context.Context, Request, ...grpc.CallOption) (Response, error),
	take func(Response) bool, failed func(error),
) {
	r := c.newReading(ctx, &op, false)
	for revision := int64(0); ; {
		a, err := c.run(ctx, op, func(ctx context.Context, conn grpc.ClientConnInterface, o ...grpc.CallOption) (any, error) {
			return call(rollcallv1.NewAccessClient(conn), r.atLeast(ctx, revision), req, o...)
		})
		r.done(a)
		if err != nil {
			failed(err)
			return
		}
		p := a.message.(Response)
		c.learnCluster(p.GetClusterId())
		op.cluster = cmp.Or(p.GetClusterId(), op.cluster)
		revision = max(revision, p.GetRevision())
		if !take(p) || p.GetNextPageToken() == "" {
			return
		}
	}
}

// changeAccess makes one change of who may do what.
func changeAccess[Request any, Response interface{ GetClusterId() string }](
	ctx context.Context, c *Client, op operation, req Request,
	call func(rollcallv1.AccessClient, context.Context, Request, ...grpc.CallOption) (Response, error),
) (Response, error) {
	a, err := c.run(ctx, op, func(ctx context.Context, conn grpc.ClientConnInterface, o ...grpc.CallOption) (any, error) {
		return call(rollcallv1.NewAccessClient(conn), ctx, req, o...)
	})
	if err != nil {
		var none Response
		return none, err
	}
	resp := a.message.(Response)
	c.learnCluster(resp.GetClusterId())
	return resp, nil
}
