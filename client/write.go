package client

import (
	"context"
	"slices"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// Change is one part of a batch. Status SERVICE_UNKNOWN deletes.
type Change struct {
	Service string
	Status  Status
	// IfRevision makes the whole batch depend on this being the revision of the service's report;
	// 0: that the service does not exist. Nil: no condition.
	IfRevision *int64
}

// WriteOptions go with any write. The zero value is an unconditional write by Config.Actor.
type WriteOptions struct {
	Reason    string // at most 1 KiB
	Actor     string // "" is Config.Actor
	RequestID string // at most 64 bytes; "" is a fresh UUID. The package's comment says when to give one
	// IfRevision is the condition of Set and Delete; in a batch each change has its own.
	IfRevision *int64
	// Cluster is the cluster that must make the change: another one refuses with ErrClusterChanged, and
	// nothing is written. "": the one of Client.Cluster if there is a condition on a revision, any if there
	// is none.
	Cluster string
	// DryRun asks what would happen and changes nothing. The answer has no revision.
	DryRun       bool
	AllowMissing bool // Delete only: no error if there is no such service
}

// Set reports the status of one service, which it makes exist. If it returns an *Error with
// WrittenUnknown, the package's comment says what to do.
func (c *Client) Set(ctx context.Context, service string, s Status, o WriteOptions) (*rollcallv1.SetServingStatusResponse, error) {
	op := c.writing("set", &o, isConditional(o.IfRevision))
	op.service, op.about = service, true
	req := &rollcallv1.SetServingStatusRequest{
		Service:      service,
		Status:       &s,
		Reason:       o.Reason,
		Actor:        o.Actor,
		RequestId:    o.RequestID,
		IfRevision:   o.IfRevision,
		ValidateOnly: o.DryRun,
	}
	var resp *rollcallv1.SetServingStatusResponse
	err := c.run(ctx, op, func(ctx context.Context, conn grpc.ClientConnInterface) (err error) {
		resp, err = rollcallv1.NewAdminClient(conn).SetServingStatus(ctx, req)
		return err
	})
	if err != nil {
		return nil, err
	}
	c.learnCluster(resp.GetClusterId())
	return resp, nil
}

// SetBatch makes all changes or none, and no reader sees some of them.
func (c *Client) SetBatch(ctx context.Context, changes []Change, o WriteOptions) (*rollcallv1.BatchSetServingStatusResponse, error) {
	op := c.writing("set batch", &o, slices.ContainsFunc(changes, func(change Change) bool { return isConditional(change.IfRevision) }))
	if o.IfRevision != nil {
		return nil, op.error(codes.InvalidArgument, "IfRevision is given for the whole; in a batch each change has its own", nil)
	}
	req := &rollcallv1.BatchSetServingStatusRequest{
		Reason:       o.Reason,
		Actor:        o.Actor,
		RequestId:    o.RequestID,
		ValidateOnly: o.DryRun,
	}
	for _, change := range changes {
		req.Changes = append(req.Changes, &rollcallv1.StatusChange{
			Service:    change.Service,
			Status:     change.Status.Enum(),
			IfRevision: change.IfRevision,
		})
	}
	var resp *rollcallv1.BatchSetServingStatusResponse
	err := c.run(ctx, op, func(ctx context.Context, conn grpc.ClientConnInterface) (err error) {
		resp, err = rollcallv1.NewAdminClient(conn).BatchSetServingStatus(ctx, req)
		return err
	})
	if err != nil {
		return nil, err
	}
	c.learnCluster(resp.GetClusterId())
	return resp, nil
}

// Delete forgets one service.
func (c *Client) Delete(ctx context.Context, service string, o WriteOptions) (*rollcallv1.DeleteServiceResponse, error) {
	op := c.writing("delete", &o, isConditional(o.IfRevision))
	op.service, op.about = service, true
	req := &rollcallv1.DeleteServiceRequest{
		Service:      service,
		Reason:       o.Reason,
		Actor:        o.Actor,
		RequestId:    o.RequestID,
		IfRevision:   o.IfRevision,
		AllowMissing: o.AllowMissing,
		ValidateOnly: o.DryRun,
	}
	var resp *rollcallv1.DeleteServiceResponse
	err := c.run(ctx, op, func(ctx context.Context, conn grpc.ClientConnInterface) (err error) {
		resp, err = rollcallv1.NewAdminClient(conn).DeleteService(ctx, req)
		return err
	})
	if err != nil {
		return nil, err
	}
	c.learnCluster(resp.GetClusterId())
	return resp, nil
}

// isConditional reports whether a condition names a revision, which belongs to one cluster. Revision 0 means
// that the service does not exist, in any cluster.
func isConditional(ifRevision *int64) bool { return ifRevision != nil && *ifRevision != 0 }

// writing completes o, so that every try of the call is the same request.
func (c *Client) writing(name string, o *WriteOptions, conditional bool) operation {
	op := operation{name: name, cluster: o.Cluster}
	if op.cluster == "" && conditional {
		op.cluster = c.Cluster()
	}
	if o.Actor == "" {
		o.Actor = c.cfg.Actor
	}
	if o.RequestID == "" {
		o.RequestID = uuid.NewString()
	}
	if !o.DryRun { // a dry run changes nothing, so it may be asked as often as a read
		op.write, op.requestID = true, o.RequestID
	}
	return op
}
