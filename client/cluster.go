package client

import (
	"context"

	"google.golang.org/grpc"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// ClusterStatus returns what the first endpoint that answers knows of all nodes.
func (c *Client) ClusterStatus(ctx context.Context) (*rollcallv1.GetStatusResponse, error) {
	a, err := c.run(ctx, operation{name: "status"}, func(ctx context.Context, conn grpc.ClientConnInterface, o ...grpc.CallOption) (any, error) {
		return rollcallv1.NewClusterClient(conn).GetStatus(ctx, &rollcallv1.GetStatusRequest{}, o...)
	})
	if err != nil {
		return nil, err
	}
	return a.message.(*rollcallv1.GetStatusResponse), nil
}

// Verify makes one node ask every member for the hash of its registry after one log entry, and returns
// whether all hashes are the same. It is no error if they differ, or if a member did not answer.
func (c *Client) Verify(ctx context.Context) (*rollcallv1.VerifyResponse, error) {
	a, err := c.run(ctx, operation{name: "verify", alone: true}, func(ctx context.Context, conn grpc.ClientConnInterface, o ...grpc.CallOption) (any, error) {
		return rollcallv1.NewClusterClient(conn).Verify(ctx, &rollcallv1.VerifyRequest{}, o...)
	})
	if err != nil {
		return nil, err
	}
	return a.message.(*rollcallv1.VerifyResponse), nil
}
