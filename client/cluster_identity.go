package client

import (
	"context"
	"errors"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// ErrClusterChanged means that the endpoints serve another cluster than before: it was restored from a
// backup, or founded anew. Revisions and request ids of the old one mean nothing to it. Every *Error with
// ReasonClusterChanged matches it, and names the new cluster in ClusterID.
var ErrClusterChanged = errors.New("the cluster is another one than before")

// clusterKey is request metadata, and a header of answers.
const clusterKey = "rollcall-cluster"

// Cluster returns the id of the cluster that this client belongs to: that of the first answer, or the one
// that a call, or a watch, has since reported as changed. It is "" before the first answer. A revision that
// is given to a call without naming its cluster counts as one of this cluster.
func (c *Client) Cluster() string {
	if id := c.cluster.Load(); id != nil {
		return *id
	}
	return ""
}

// learnCluster takes the cluster of an answer, if it is the first.
func (c *Client) learnCluster(id string) {
	if id != "" {
		c.cluster.CompareAndSwap(nil, &id)
	}
}

// adoptCluster takes another cluster. It is called where the caller learns of it, by an error or an update.
func (c *Client) adoptCluster(id string) {
	if id != "" {
		c.cluster.Store(&id)
	}
}

// withCluster names the cluster that a request is for.
func withCluster(ctx context.Context, id string) context.Context {
	if id == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, clusterKey, id)
}

// clusterChangedError is what a node of another cluster answers.
func clusterChangedError(id string) error {
	st, err := status.New(codes.FailedPrecondition, "this node belongs to cluster "+id).WithDetails(&errdetails.ErrorInfo{
		Domain: errorDomain, Reason: ReasonClusterChanged, Metadata: map[string]string{clusterIDKey: id},
	})
	if err != nil {
		return err
	}
	return st.Err()
}
