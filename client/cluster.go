package client

import (
	"context"

	"google.golang.org/grpc"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// ClusterStatus returns what the first endpoint that answers knows of all nodes.
func (c *Client) ClusterStatus(ctx context.Context) (*rollcallv1.GetStatusResponse, error) {
	var resp *rollcallv1.GetStatusResponse
	err := c.run(ctx, operation{name: "status"}, func(ctx context.Context, conn grpc.ClientConnInterface) (err error) {
		resp, err = rollcallv1.NewClusterClient(conn).GetStatus(ctx, &rollcallv1.GetStatusRequest{})
		return err
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// Verify makes one node ask every member for the hash of its registry after one log entry, and returns
// whether all hashes are the same. It is no error if they differ, or if a member did not answer.
func (c *Client) Verify(ctx context.Context) (*rollcallv1.VerifyResponse, error) {
	var resp *rollcallv1.VerifyResponse
	err := c.run(ctx, operation{name: "verify"}, func(ctx context.Context, conn grpc.ClientConnInterface) (err error) {
		resp, err = rollcallv1.NewClusterClient(conn).Verify(ctx, &rollcallv1.VerifyRequest{})
		return err
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}
