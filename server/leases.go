package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/rollcallhq/rollcall/api/rollcall/convert"
	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// GrantLease implements rollcall.v1.Admin.
func (a *admin) GrantLease(ctx context.Context, req *rollcallv1.GrantLeaseRequest) (res *rollcallv1.GrantLeaseResponse, err error) {
	defer rpcerror.Recovered(a.log, a.node, "Admin.GrantLease", true, &err)
	caller, err := a.admit(ctx)
	if err != nil {
		return nil, err
	}
	if err := validateGrantLease(req); err != nil {
		return nil, rpcerror.ToStatus(a.node, err)
	}
	onExpiry := logv1.Status_STATUS_NOT_SERVING
	if req.OnExpiry != nil {
		onExpiry = logv1.Status(req.GetOnExpiry())
	}
	result, record, err := a.changeRecord(ctx, caller, req, logv1.Kind_KIND_LEASE, &logv1.LeaseCommand{Command: &logv1.LeaseCommand_Grant{Grant: &logv1.GrantLease{
		LeaseId:     newLeaseID(),
		Ttl:         int64(req.GetTtl().AsDuration()),
		OnExpiry:    onExpiry,
		ForgetAfter: int64(req.GetForgetAfter().AsDuration()),
	}}})
	if err != nil {
		return nil, err
	}
	var lease logv1.Lease
	if err := lease.UnmarshalVT(record.GetValue()); err != nil {
		return nil, rpcerror.ToStatus(a.node, rpcerror.OutcomeUnknown("the leader's answer cannot be read: %w", err))
	}
	res = &rollcallv1.GrantLeaseResponse{
		LeaseId:   record.GetKey(),
		Ttl:       durationpb.New(time.Duration(lease.GetTtl())),
		Revision:  result.GetRevision(),
		ClusterId: a.registry.ClusterID(),
	}
	if req.GetValidateOnly() {
		res.LeaseId = "" // no lease has it
	}
	return res, nil
}

// newLeaseID returns an id that no other lease has.
func newLeaseID() string {
	var random [8]byte
	_, _ = rand.Read(random[:]) // it never fails: crypto/rand ends the process instead
	return hex.EncodeToString(random[:])
}

// RevokeLease implements rollcall.v1.Admin.
func (a *admin) RevokeLease(ctx context.Context, req *rollcallv1.RevokeLeaseRequest) (res *rollcallv1.RevokeLeaseResponse, err error) {
	defer rpcerror.Recovered(a.log, a.node, "Admin.RevokeLease", true, &err)
	caller, err := a.admit(ctx)
	if err != nil {
		return nil, err
	}
	if err := validateRevokeLease(req); err != nil {
		return nil, rpcerror.ToStatus(a.node, err)
	}
	revoke := &logv1.RevokeLease{LeaseId: req.GetLeaseId(), KeepReports: req.GetKeepReports(), AllowMissing: req.GetAllowMissing()}
	if req.Status != nil {
		revoke.Status = logv1.Status(req.GetStatus()).Enum()
	}
	result, record, err := a.changeRecord(ctx, caller, req, logv1.Kind_KIND_LEASE, &logv1.LeaseCommand{Command: &logv1.LeaseCommand_Revoke{Revoke: revoke}})
	if err != nil {
		return nil, err
	}
	res = &rollcallv1.RevokeLeaseResponse{
		Revision:     result.GetRevision(),
		MatchedCount: record.GetMatchedCount(),
		ClusterId:    a.registry.ClusterID(),
	}
	if record != nil && !record.GetDeleted() {
		var lease logv1.Lease
		if err := lease.UnmarshalVT(record.GetValue()); err != nil {
			return nil, rpcerror.ToStatus(a.node, rpcerror.OutcomeUnknown("the leader's answer cannot be read: %w", err))
		}
		res.Ending = lease.GetEnd() != nil && !lease.GetEnd().GetDone()
	}
	return res, nil
}

// ReleaseLeaseGuard implements rollcall.v1.Admin.
func (a *admin) ReleaseLeaseGuard(ctx context.Context, req *rollcallv1.ReleaseLeaseGuardRequest) (res *rollcallv1.ReleaseLeaseGuardResponse, err error) {
	defer rpcerror.Recovered(a.log, a.node, "Admin.ReleaseLeaseGuard", true, &err)
	caller, err := a.admit(ctx)
	if err != nil {
		return nil, err
	}
	if err := validateReleaseLeaseGuard(req); err != nil {
		return nil, rpcerror.ToStatus(a.node, err)
	}
	result, record, err := a.changeRecord(ctx, caller, req, logv1.Kind_KIND_LEASE_GUARD, &logv1.LeaseGuardCommand{})
	if err != nil {
		return nil, err
	}
	if record.GetDeleted() { // it was never engaged
		return &rollcallv1.ReleaseLeaseGuardResponse{Revision: result.GetRevision(), ClusterId: a.registry.ClusterID()}, nil
	}
	var guard logv1.LeaseGuard
	if err := guard.UnmarshalVT(record.GetValue()); err != nil {
		return nil, rpcerror.ToStatus(a.node, rpcerror.OutcomeUnknown("the leader's answer cannot be read: %w", err))
	}
	if req.GetValidateOnly() && record.GetChanged() {
		guard.Time, guard.ReleaseTime = 0, 0 // only a release that is made has these
	}
	return &rollcallv1.ReleaseLeaseGuardResponse{
		Changed:   record.GetChanged(),
		Guard:     convert.LeaseGuard(&guard),
		Revision:  result.GetRevision(),
		ClusterId: a.registry.ClusterID(),
	}, nil
}

func validateGrantLease(req *rollcallv1.GrantLeaseRequest) error {
	var vs violations
	if req.Ttl == nil {
		vs.add("ttl", "is required; "+ttlBounds)
	} else {
		vs.duration("ttl", req.Ttl, limits.MinLeaseTTL, limits.MaxLeaseTTL, ttlBounds)
	}
	if req.OnExpiry != nil {
		vs.status("on_expiry", req.OnExpiry, true)
	}
	if req.ForgetAfter != nil {
		vs.duration("forget_after", req.ForgetAfter, limits.MinForgetAfter, limits.MaxForgetAfter, "1s to 8760h (365 days) is allowed; leave it out for never")
	}
	vs.common(req)
	return vs.err()
}

const ttlBounds = "1s to 24h is allowed"

func validateRevokeLease(req *rollcallv1.RevokeLeaseRequest) error {
	var vs violations
	vs.requiredLease("lease_id", req.GetLeaseId())
	if req.Status != nil {
		vs.status("status", req.Status, true)
	}
	if req.Status != nil && req.GetKeepReports() {
		vs.add("keep_reports", "is given together with status; give one of them")
	}
	vs.common(req)
	return vs.err()
}

func validateReleaseLeaseGuard(req *rollcallv1.ReleaseLeaseGuardRequest) error {
	var vs violations
	vs.common(req)
	return vs.err()
}

// lease checks the lease that a change names, if it names one.
func (vs *violations) lease(field, id string) { vs.text(field, limits.LeaseID(id)) }

func (vs *violations) requiredLease(field, id string) {
	if id == "" {
		vs.add(field, "is empty; a lease's id has 1 to %d bytes", limits.MaxLeaseIDBytes)
		return
	}
	vs.lease(field, id)
}

// duration checks a duration that is given. bounds says in words what is allowed.
func (vs *violations) duration(field string, d *durationpb.Duration, least, most time.Duration, bounds string) {
	switch v := d.AsDuration(); {
	case d.CheckValid() != nil:
		vs.add(field, "is no duration: seconds %d, nanos %d; %s", d.GetSeconds(), d.GetNanos(), bounds)
	case v < least || v > most:
		vs.add(field, "is %v; %s", v, bounds)
	}
}
