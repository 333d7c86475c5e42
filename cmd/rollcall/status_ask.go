package main

import (
	"context"
	"time"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

// clusterStatus asks for the status of the cluster. The first node that answers may wait to be made a member, and knows
// of no leader and no revision; then the first of the other endpoints that belongs to a cluster says how that is. If
// none does, it is the answer of the first.
func (a *app) clusterStatus(ctx context.Context, c *client.Client) (*rollcallv1.GetStatusResponse, error) {
	endpoints, err := a.endpointList()
	if err != nil {
		return nil, err
	}
	return a.clusterStatusOf(ctx, c, endpoints)
}

// clusterStatusOf is clusterStatus with endpoints in place of those of the command line; c asks the same.
func (a *app) clusterStatusOf(ctx context.Context, c *client.Client, endpoints []string) (*rollcallv1.GetStatusResponse, error) {
	const attempt = 2 * time.Second // members are given 1 s each, side by side, to answer the node that is asked
	first, err := c.ClusterStatus(ctx)
	if err != nil || first.GetClusterId() != "" || len(endpoints) == 1 {
		return first, err
	}
	for _, e := range endpoints {
		if ctx.Err() != nil {
			break
		}
		other, err := a.dialTo([]string{e})
		if err != nil {
			break
		}
		try, done := context.WithTimeout(ctx, attempt)
		s, err := other.ClusterStatus(try)
		done()
		other.Close()
		if err == nil && s.GetClusterId() != "" {
			return s, nil
		}
	}
	return first, nil
}
