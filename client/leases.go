package client

import (
	"context"
	"iter"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// LeaseOptions are the terms of a lease.
type LeaseOptions struct {
	// TTL is how long the lease lives without being renewed, 1 s to 24 h. About ten seconds suit most: an
	// election takes two, and it ends no lease that is renewed in time.
	TTL time.Duration
	// OnExpiry is what the reports that are attached to the lease turn to when it ends by itself; nil: NotServing.
	// ServiceUnknown deletes them.
	OnExpiry *Status
	// ForgetAfter is how long after that end the reports that it left are deleted, unless somebody has changed
	// them; 1 s to 365 days, 0: never.
	ForgetAfter time.Duration
}

// GrantLease makes a lease, which lives for LeaseOptions.TTL and then for as long after each renewal. Reports that
// name it in WriteOptions.LeaseID are attached to it. Somebody must renew it: KeepAlive does, and [Client.KeepLease] does
// all of this.
func (c *Client) GrantLease(ctx context.Context, l LeaseOptions, o WriteOptions) (*rollcallv1.GrantLeaseResponse, error) {
	op := c.writing("grant lease", &o, false)
	if err := o.refuse(op, 0); err != nil {
		return nil, err
	}
	req := &rollcallv1.GrantLeaseRequest{
		Ttl:          durationpb.New(l.TTL),
		OnExpiry:     l.OnExpiry,
		Actor:        o.Actor,
		RequestId:    o.RequestID,
		Reason:       o.Reason,
		ValidateOnly: o.DryRun,
	}
	if l.ForgetAfter != 0 {
		req.ForgetAfter = durationpb.New(l.ForgetAfter)
	}
	return change(ctx, c, op, req, rollcallv1.AdminClient.GrantLease)
}

// RevokeOptions say what becomes of the reports that are attached to a lease that is revoked. The zero value:
// what would at its expiry.
type RevokeOptions struct {
	Status      *Status // they turn to this; ServiceUnknown deletes them
	KeepReports bool    // they stay as they are, attached to nothing; not together with Status
}

// RevokeLease ends a lease at once, as the last word of its reporter.
func (c *Client) RevokeLease(ctx context.Context, id string, r RevokeOptions, o WriteOptions) (*rollcallv1.RevokeLeaseResponse, error) {
	op := c.writing("revoke lease", &o, false)
	op.lease = id
	if err := o.refuse(op, optionAllowMissing); err != nil {
		return nil, err
	}
	req := &rollcallv1.RevokeLeaseRequest{
		LeaseId:      id,
		Reason:       o.Reason,
		Actor:        o.Actor,
		RequestId:    o.RequestID,
		Status:       r.Status,
		KeepReports:  r.KeepReports,
		AllowMissing: o.AllowMissing,
		ValidateOnly: o.DryRun,
	}
	return change(ctx, c, op, req, rollcallv1.AdminClient.RevokeLease)
}

// ReleaseLeaseGuard lets the leases expire that the lease guard holds because very many are late at once. It is
// no error if the guard is not engaged: then the answer's changed is false.
func (c *Client) ReleaseLeaseGuard(ctx context.Context, o WriteOptions) (*rollcallv1.ReleaseLeaseGuardResponse, error) {
	op := c.writing("release lease guard", &o, false)
	if err := o.refuse(op, 0); err != nil {
		return nil, err
	}
	req := &rollcallv1.ReleaseLeaseGuardRequest{Reason: o.Reason, Actor: o.Actor, RequestId: o.RequestID, ValidateOnly: o.DryRun}
	return change(ctx, c, op, req, rollcallv1.AdminClient.ReleaseLeaseGuard)
}

// ListLeasesOptions are of ListLeases. The zero value is useful.
type ListLeasesOptions struct {
	PageSize int    // 1,000 if 0; at most 10,000
	LeaseID  string // only this one; "": all
	// All gives those too that have ended and whose reports wait to be forgotten.
	All bool
	// AsOf, if not nil, is set to the revision that a page is as of, before its leases are given; also if there
	// are none. So is Guard, to what is known of the lease guard: nil if it was never engaged.
	AsOf  *int64
	Guard **rollcallv1.LeaseGuard
}

// ListLeases gives the leases that live, in the order of their ids, each with the time that the leader says is
// left. Pages, fail-over and errors are as for List.
func (c *Client) ListLeases(ctx context.Context, o ListLeasesOptions) iter.Seq2[*rollcallv1.Lease, error] {
	return func(yield func(*rollcallv1.Lease, error) bool) {
		req := &rollcallv1.ListLeasesRequest{
			PageSize: int32(min(o.PageSize, 1<<30)), // beyond every limit: for the node to refuse
			LeaseId:  o.LeaseID,
			All:      o.All,
		}
		op := operation{name: "list leases", lease: o.LeaseID}
		read := c.newReading(ctx, &op, false)
		for revision := int64(0); ; {
			a, err := c.run(ctx, op, func(ctx context.Context, conn grpc.ClientConnInterface, o ...grpc.CallOption) (any, error) {
				return rollcallv1.NewRegistryClient(conn).ListLeases(read.atLeast(ctx, revision), req, o...)
			})
			read.done(a)
			if err != nil {
				yield(nil, err)
				return
			}
			page := a.message.(*rollcallv1.ListLeasesResponse)
			c.learnCluster(page.GetClusterId())
			op.cluster = page.GetClusterId()
			if o.AsOf != nil {
				*o.AsOf = page.GetRevision()
			}
			if o.Guard != nil {
				*o.Guard = page.GetGuard()
			}
			for _, lease := range page.GetLeases() {
				if !yield(lease, nil) {
					return
				}
			}
			if page.GetNextPageToken() == "" {
				return
			}
			req.PageToken = page.GetNextPageToken()
			revision = max(revision, page.GetRevision())
		}
	}
}
