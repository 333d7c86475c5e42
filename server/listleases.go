package server

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/rollcallhq/rollcall/api/rollcall/convert"
	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/authz"
	"github.com/rollcallhq/rollcall/server/deadline"
	"github.com/rollcallhq/rollcall/server/flowcontrol"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// leaseTimesTimeout is how long the leader is asked how long leases still live.
const leaseTimesTimeout = time.Second

// ListLeases implements rollcall.v1.Registry.
func (s *registryService) ListLeases(ctx context.Context, req *rollcallv1.ListLeasesRequest) (res *rollcallv1.ListLeasesResponse, err error) {
	defer rpcerror.Recovered(s.log, s.Node, "Registry.ListLeases", false, &err)
	call, err := s.admitToRegistry(ctx)
	if err == nil {
		res, err = s.listLeases(ctx, req, call.may)
	}
	s.answered(ctx, call, err == nil && !call.may.Whole())
	if err != nil {
		return nil, rpcerror.ToStatus(s.Node, err)
	}
	return res, nil
}

func (s *registryService) listLeases(ctx context.Context, req *rollcallv1.ListLeasesRequest, may *authz.Reader) (*rollcallv1.ListLeasesResponse, error) {
	cluster := s.registry.ClusterID()
	after, err := validateListLeases(req, cluster)
	if err != nil {
		return nil, err
	}
	filter := may.Leases()
	limit := cmp.Or(int(req.GetPageSize()), limits.DefaultPageSize)
	if f := flowcontrol.Reserve(ctx, pageEstimate(limit), false); f != nil {
		return nil, f
	}
	res := &rollcallv1.ListLeasesResponse{ClusterId: cluster, Guard: convert.LeaseGuard(s.leases.LeaseGuard())}
	may.RedactGuard(res.Guard)
	if id := req.GetLeaseId(); id != "" {
		var l *rollcallv1.Lease
		if l, res.Revision = s.leases.GetLease(id, filter); l != nil && (req.GetAll() || !s.leases.Lease(id).GetEnd().GetDone()) {
			res.Leases = []*rollcallv1.Lease{l}
		}
	} else {
		var more bool
		res.Leases, more, res.Revision = s.leases.ListLeases(after, limit, req.GetAll(), filter)
		if n := fitting(res.Leases, maxAnswerBytes-pageOverhead-len(res.Leases)*leaseTimeBytes); n < len(res.Leases) {
			res.Leases, more = res.Leases[:n], true
		}
		if more {
			res.NextPageToken = encodeLeasesToken(cluster, res.Leases[len(res.Leases)-1].GetLeaseId())
		}
	}
	s.addLeaseTimes(ctx, res.Leases)
	return res, nil
}

// leaseTimeBytes is the most that time_left and late take in an answer.
const leaseTimeBytes = 24

// addLeaseTimes adds what only the leader knows, if it answers in time.
func (s *registryService) addLeaseTimes(ctx context.Context, list []*rollcallv1.Lease) {
	var ids []string
	var live []*rollcallv1.Lease
	for _, l := range list {
		if l.GetEndTime() == nil {
			ids, live = append(ids, l.GetLeaseId()), append(live, l)
		}
	}
	ctx, cancelAnswer := deadline.Answerable(ctx, leaseTimesTimeout) // a list without times is better than none
	defer cancelAnswer()
	ctx, cancel := context.WithTimeout(ctx, leaseTimesTimeout)
	defer cancel()
	times, err := s.renewer.Times(ctx, ids)
	if err != nil {
		return
	}
	for i, t := range times {
		if t.GetKnown() {
			live[i].TimeLeft, live[i].Late = durationpb.New(time.Duration(t.GetLeft())), t.GetLate()
		}
	}
}

// validateListLeases returns the last id of the page before; "" for the first page.
func validateListLeases(req *rollcallv1.ListLeasesRequest, cluster string) (after string, err error) {
	var vs violations
	vs.pageSize(req.GetPageSize())
	vs.lease("lease_id", req.GetLeaseId())
	of, after, bad := decodeLeasesToken(req.GetPageToken())
	switch {
	case bad != nil:
		vs.add("page_token", "%v", bad)
	case after != "" && req.GetLeaseId() != "":
		vs.add("page_token", "is given together with lease_id, of which there is one at most")
	}
	if len(vs) > 0 {
		return "", rpcerror.Invalid(vs...)
	}
	if after != "" {
		if f := rpcerror.CheckCluster(of, cluster); f != nil {
			return "", f
		}
	}
	return after, nil
}

// leasesTokenFormat is the first byte of a page token of ListLeases. The cluster and the last id of the page
// before follow. Any node of the cluster can go on from it.
const leasesTokenFormat = 7

func encodeLeasesToken(cluster, after string) string {
	return base64.RawURLEncoding.EncodeToString(append(appendCluster([]byte{leasesTokenFormat}, cluster), after...))
}

func decodeLeasesToken(token string) (cluster, after string, err error) {
	if token == "" {
		return "", "", nil
	}
	errToken := errors.New("is not one that ListLeases returned")
	if len(token) > base64.RawURLEncoding.EncodedLen(1+1+maxClusterIDBytes+limits.MaxLeaseIDBytes) {
		return "", "", errToken
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(b) < 1 || b[0] != leasesTokenFormat {
		return "", "", errToken
	}
	cluster, b, ok := cutCluster(b[1:])
	if !ok || len(b) == 0 || limits.LeaseID(string(b)) != nil {
		return "", "", errToken
	}
	return cluster, string(b), nil
}
