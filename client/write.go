package client

import (
	"cmp"
	"context"
	"math"
	"slices"
	"time"

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
	LeaseID    string // as WriteOptions.LeaseID, which stands for "" here
}

// WriteOptions go with any write. The zero value is an unconditional write by Config.Actor.
type WriteOptions struct {
	Reason    string // at most 1 KiB
	Actor     string // "" is Config.Actor
	RequestID string // at most 64 bytes; "" is a fresh UUID. The package's comment says when to give one
	// IfRevision is a condition on the revision of what is changed: the service's report, the override, the
	// rule, the role, the grants, the setting of SetAuth. 0: it must not exist. In a batch each change has its own.
	IfRevision *int64
	// Cluster is the cluster that must make the change: another one refuses with ErrClusterChanged, and
	// nothing is written. "": the one of Client.Cluster if there is a condition on a revision, any if there
	// is none.
	Cluster string
	// DryRun asks what would happen and changes nothing. A change that would be refused is the same error. The answer has
	// no revision.
	DryRun bool
	// AllowMissing of Delete, ClearOverride, Resume, RemoveRule, RevokeLease, RevokeToken and DeleteRole: it is no error
	// if there is nothing to remove.
	AllowMissing bool
	// BreakGlass names safety rules that the change may break; "*": all. It needs a Reason, and both stay in
	// the history. It is not for SetRule and RemoveRule, which break none.
	BreakGlass []string
	// LeaseID of Set and Delete is the lease that the change is made under: it must live, and is renewed by the
	// write. A report stays attached to it, and turns when it ends. "" is no lease: the change is refused with
	// ReasonLeaseHeld if a live lease holds the report. A change that names another live lease takes it over. Of
	// SetBatch it is that of each change that names none.
	LeaseID string
	// TTL of SetOverride and Shutdown is how long the override lasts, 1 s to 30 days; 0: one hour; Forever:
	// until it is cleared.
	TTL time.Duration
}

// Forever is a WriteOptions.TTL.
const Forever time.Duration = math.MaxInt64

// option is a field of WriteOptions that not every change has.
type option int

const (
	optionIfRevision option = 1 << iota
	optionAllowMissing
	optionBreakGlass
	optionTTL
	optionLease
)

// refuse returns an error if o has a field set, of those that not every change has, that is not one of
// allowed: it would have no effect, and the caller relies on one.
func (o *WriteOptions) refuse(op operation, allowed option) error {
	for _, f := range []struct {
		option option
		set    bool
		name   string
	}{
		{optionIfRevision, o.IfRevision != nil, "IfRevision"},
		{optionAllowMissing, o.AllowMissing, "AllowMissing"},
		{optionBreakGlass, len(o.BreakGlass) > 0, "BreakGlass"},
		{optionTTL, o.TTL != 0, "TTL"},
		{optionLease, o.LeaseID != "", "LeaseID"},
	} {
		if f.set && allowed&f.option == 0 {
			message := "WriteOptions." + f.name + " is given, and means nothing to this call"
			if f.option == optionIfRevision && op.name == "set batch" {
				message = "IfRevision is given for the whole; in a batch each change has its own"
			}
			return op.error(codes.InvalidArgument, message, nil)
		}
	}
	return nil
}

// Set reports the status of one service, which it makes exist. If it returns an *Error with
// WrittenUnknown, the package's comment says what to do.
func (c *Client) Set(ctx context.Context, service string, s Status, o WriteOptions) (*rollcallv1.SetServingStatusResponse, error) {
	op := c.writing("set", &o, isConditional(o.IfRevision))
	op.service, op.about = service, true
	if err := o.refuse(op, optionIfRevision|optionBreakGlass|optionLease); err != nil {
		return nil, err
	}
	req := &rollcallv1.SetServingStatusRequest{
		Service:      service,
		Status:       &s,
		Reason:       o.Reason,
		Actor:        o.Actor,
		RequestId:    o.RequestID,
		IfRevision:   o.IfRevision,
		LeaseId:      o.LeaseID,
		ValidateOnly: o.DryRun,
		BreakGlass:   o.BreakGlass,
	}
	return change(ctx, c, op, req, rollcallv1.AdminClient.SetServingStatus)
}

// SetBatch makes all changes or none, and no reader sees some of them.
func (c *Client) SetBatch(ctx context.Context, changes []Change, o WriteOptions) (*rollcallv1.BatchSetServingStatusResponse, error) {
	op := c.writing("set batch", &o, slices.ContainsFunc(changes, func(change Change) bool { return isConditional(change.IfRevision) }))
	if err := o.refuse(op, optionBreakGlass|optionLease); err != nil {
		return nil, err
	}
	req := &rollcallv1.BatchSetServingStatusRequest{
		Reason:       o.Reason,
		Actor:        o.Actor,
		RequestId:    o.RequestID,
		ValidateOnly: o.DryRun,
		BreakGlass:   o.BreakGlass,
	}
	for _, change := range changes {
		req.Changes = append(req.Changes, &rollcallv1.StatusChange{
			Service:    change.Service,
			Status:     change.Status.Enum(),
			IfRevision: change.IfRevision,
			LeaseId:    cmp.Or(change.LeaseID, o.LeaseID),
		})
	}
	return change(ctx, c, op, req, rollcallv1.AdminClient.BatchSetServingStatus)
}

// Delete forgets one service.
func (c *Client) Delete(ctx context.Context, service string, o WriteOptions) (*rollcallv1.DeleteServiceResponse, error) {
	op := c.writing("delete", &o, isConditional(o.IfRevision))
	op.service, op.about = service, true
	if err := o.refuse(op, optionIfRevision|optionAllowMissing|optionBreakGlass|optionLease); err != nil {
		return nil, err
	}
	req := &rollcallv1.DeleteServiceRequest{
		Service:      service,
		Reason:       o.Reason,
		Actor:        o.Actor,
		RequestId:    o.RequestID,
		IfRevision:   o.IfRevision,
		AllowMissing: o.AllowMissing,
		LeaseId:      o.LeaseID,
		ValidateOnly: o.DryRun,
		BreakGlass:   o.BreakGlass,
	}
	return change(ctx, c, op, req, rollcallv1.AdminClient.DeleteService)
}

// isConditional reports whether a condition names a revision, which belongs to one cluster. Revision 0 means
// that there is nothing yet, in any cluster.
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

// change makes one change, over a stream if several wait (package writestream), and remembers the cluster that answered.
func change[Request any, Response interface{ GetClusterId() string }](
	ctx context.Context, c *Client, op operation, req Request,
	call func(rollcallv1.AdminClient, context.Context, Request, ...grpc.CallOption) (Response, error),
) (Response, error) {
	if op.write && !c.cfg.UnaryWrites {
		op.streamed = newStreamedChange(ctx, req, func(answer any) bool {
			_, ok := answer.(Response)
			return ok
		})
	}
	a, err := c.run(ctx, op, func(ctx context.Context, conn grpc.ClientConnInterface, o ...grpc.CallOption) (any, error) {
		return call(rollcallv1.NewAdminClient(conn), ctx, req, o...)
	})
	if err != nil {
		var none Response
		return none, err
	}
	resp := a.message.(Response)
	c.learnCluster(resp.GetClusterId())
	return resp, nil
}
