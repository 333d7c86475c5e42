package server

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/rollcallhq/rollcall/api/rollcall/convert"
	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/authn"
	"github.com/rollcallhq/rollcall/server/authz"
	"github.com/rollcallhq/rollcall/server/flowcontrol"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// SetOverride implements rollcall.v1.Admin.
func (a *admin) SetOverride(ctx context.Context, req *rollcallv1.SetOverrideRequest) (res *rollcallv1.SetOverrideResponse, err error) {
	defer rpcerror.Recovered(a.log, a.node, "Admin.SetOverride", true, &err)
	caller, err := a.admit(ctx)
	if err != nil {
		return nil, err
	}
	if err := validateSetOverride(req); err != nil {
		return nil, rpcerror.ToStatus(a.node, err)
	}
	set := &logv1.SetOverride{
		Pattern:    req.GetPattern(),
		Status:     logv1.Status(req.GetStatus()),
		IfRevision: req.IfRevision,
	}
	if !req.GetForever() {
		set.Ttl = int64(cmp.Or(req.GetTtl().AsDuration(), limits.DefaultOverrideTTL))
	}
	out, err := a.override(ctx, caller, req, &logv1.OverrideCommand{Command: &logv1.OverrideCommand_Set{Set: set}})
	if err != nil {
		return nil, err
	}
	if o := out.override; req.GetValidateOnly() && out.changed {
		// Only a change that is made has these. expire_time says until when it would last.
		if proto.Equal(o.GetStatusTime(), o.GetTime()) {
			o.StatusTime = nil
		}
		o.Revision, o.Time = 0, nil
	}
	return &rollcallv1.SetOverrideResponse{
		Override:      out.override,
		MatchedCount:  out.matched,
		Revision:      out.result.GetRevision(),
		Changed:       out.changed,
		ClusterId:     a.registry.ClusterID(),
		Affected:      convert.Affected(out.result.GetAffected()),
		AffectedTotal: out.result.GetAffectedTotal(),
		BrokenRules:   convert.BrokenRules(out.result.GetBrokenRules()),
	}, nil
}

// ClearOverride implements rollcall.v1.Admin.
func (a *admin) ClearOverride(ctx context.Context, req *rollcallv1.ClearOverrideRequest) (res *rollcallv1.ClearOverrideResponse, err error) {
	defer rpcerror.Recovered(a.log, a.node, "Admin.ClearOverride", true, &err)
	caller, err := a.admit(ctx)
	if err != nil {
		return nil, err
	}
	if err := validateClearOverride(req); err != nil {
		return nil, rpcerror.ToStatus(a.node, err)
	}
	out, err := a.override(ctx, caller, req, &logv1.OverrideCommand{Command: &logv1.OverrideCommand_Clear{Clear: &logv1.ClearOverride{
		Pattern:      req.GetPattern(),
		IfRevision:   req.IfRevision,
		AllowMissing: req.GetAllowMissing(),
	}}})
	if err != nil {
		return nil, err
	}
	return &rollcallv1.ClearOverrideResponse{
		MatchedCount:  out.matched,
		Revision:      out.result.GetRevision(),
		ClusterId:     a.registry.ClusterID(),
		Override:      out.override,
		Affected:      convert.Affected(out.result.GetAffected()),
		AffectedTotal: out.result.GetAffectedTotal(),
		BrokenRules:   convert.BrokenRules(out.result.GetBrokenRules()),
	}, nil
}

// overrideResult is what became of a command about an override.
type overrideResult struct {
	result   *logv1.Result
	override *rollcallv1.Override // nil: there was none to clear
	changed  bool
	matched  int64
}

// affectedEstimate is about how many bytes the answer has that lists what a change would affect.
const affectedEstimate = 64 << 10

// override routes a command about an override. The error is a status.
func (a *admin) override(ctx context.Context, caller *authn.Caller, req overridden, payload *logv1.OverrideCommand) (overrideResult, error) {
	if req.GetValidateOnly() {
		if f := flowcontrol.Reserve(ctx, affectedEstimate, false); f != nil {
			return overrideResult{}, a.notTaken(f)
		}
	}
	result, record, err := a.changeRecord(ctx, caller, req, logv1.Kind_KIND_OVERRIDE, payload)
	if err != nil || record == nil {
		return overrideResult{result: result}, err
	}
	var o logv1.Override
	if err := o.UnmarshalVT(record.GetValue()); err != nil {
		return overrideResult{}, rpcerror.ToStatus(a.node, rpcerror.OutcomeUnknown("the leader's answer cannot be read: %w", err))
	}
	return overrideResult{result, convert.Override(req.GetPattern(), &o), record.GetChanged(), record.GetMatchedCount()}, nil
}

// overridden is a change of an override.
type overridden interface {
	changeRequest
	GetPattern() string
}

func validateSetOverride(req *rollcallv1.SetOverrideRequest) error {
	var vs violations
	vs.text("pattern", limits.Pattern(req.GetPattern()))
	switch {
	case req.Status != nil && *req.Status == healthpb.HealthCheckResponse_SERVICE_UNKNOWN:
		vs.add("status", "cannot be SERVICE_UNKNOWN: an override makes no service disappear; to forget a service use DeleteService")
	default:
		vs.status("status", req.Status, false)
	}
	vs.overrideTTL(req.Ttl, req.GetForever())
	vs.ifRevision("if_revision", req.IfRevision, "an override")
	vs.common(req)
	return vs.err()
}

func (vs *violations) overrideTTL(ttl *durationpb.Duration, forever bool) {
	if ttl == nil {
		return
	}
	if forever {
		vs.add("ttl", "is given together with forever; give one of them")
		return
	}
	vs.duration("ttl", ttl, limits.MinOverrideTTL, limits.MaxOverrideTTL, "1s to 720h (30 days) is allowed, or forever")
}

func validateClearOverride(req *rollcallv1.ClearOverrideRequest) error {
	var vs violations
	vs.text("pattern", limits.Pattern(req.GetPattern()))
	vs.ifRevision("if_revision", req.IfRevision, "an override")
	vs.common(req)
	return vs.err()
}

// ListOverrides implements rollcall.v1.Registry.
func (s *registryService) ListOverrides(ctx context.Context, req *rollcallv1.ListOverridesRequest) (res *rollcallv1.ListOverridesResponse, err error) {
	defer rpcerror.Recovered(s.log, s.Node, "Registry.ListOverrides", false, &err)
	call, err := s.admitToRegistry(ctx)
	if err == nil {
		res, err = s.listOverrides(ctx, req, call.may)
	}
	s.answered(ctx, call, err == nil && !call.may.Whole())
	if err != nil {
		return nil, rpcerror.ToStatus(s.Node, err)
	}
	return res, nil
}

func (s *registryService) listOverrides(ctx context.Context, req *rollcallv1.ListOverridesRequest, may *authz.Reader) (*rollcallv1.ListOverridesResponse, error) {
	cluster := s.registry.ClusterID()
	var vs violations
	vs.pageSize(req.GetPageSize())
	of, after, bad := decodeOverridesToken(req.GetPageToken())
	if bad != nil {
		vs.add("page_token", "%v", bad)
	}
	if len(vs) > 0 {
		return nil, rpcerror.Invalid(vs...)
	}
	if after != "" {
		if f := rpcerror.CheckCluster(of, cluster); f != nil {
			return nil, f
		}
	}
	if err := s.deny(may.DeniedPrefixes()); err != nil {
		return nil, err
	}
	limit := cmp.Or(int(req.GetPageSize()), limits.DefaultPageSize)
	if f := flowcontrol.Reserve(ctx, pageEstimate(limit), false); f != nil {
		return nil, f
	}
	keep := may.Meets
	if may.Whole() {
		keep = nil
	}
	list, more, revision := s.layers.ListOverrides(after, limit, keep)
	if n := fitting(list, maxAnswerBytes-pageOverhead); n < len(list) {
		list, more = list[:n], true
	}
	res := &rollcallv1.ListOverridesResponse{Overrides: list, Revision: revision, ClusterId: cluster}
	if more {
		res.NextPageToken = encodeOverridesToken(cluster, list[len(list)-1].GetPattern())
	}
	return res, nil
}

// overridesTokenFormat is the first byte of a page token of ListOverrides. The cluster and the last pattern of
// the page before follow. Any node of the cluster can go on from it.
const overridesTokenFormat = 6

func encodeOverridesToken(cluster, after string) string {
	return base64.RawURLEncoding.EncodeToString(append(appendCluster([]byte{overridesTokenFormat}, cluster), after...))
}

func decodeOverridesToken(token string) (cluster, after string, err error) {
	if token == "" {
		return "", "", nil
	}
	errToken := errors.New("is not one that ListOverrides returned")
	if len(token) > base64.RawURLEncoding.EncodedLen(1+1+maxClusterIDBytes+limits.MaxPatternBytes) {
		return "", "", errToken
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(b) < 1 || b[0] != overridesTokenFormat {
		return "", "", errToken
	}
	cluster, b, ok := cutCluster(b[1:])
	if !ok || limits.Pattern(string(b)) != nil {
		return "", "", errToken
	}
	return cluster, string(b), nil
}

// breakGlass checks the rules that a change may break.
func (vs *violations) breakGlass(rules []string, reason string) {
	if len(rules) == 0 {
		return
	}
	if isBlank(reason) {
		vs.add("reason", "is required with break_glass, and stays in the history")
	}
	if len(rules) > limits.MaxBreakGlass {
		vs.add("break_glass", "names %d rules; at most %d are allowed, or \"*\" for all", len(rules), limits.MaxBreakGlass)
		return
	}
	first := make(map[string]int, len(rules))
	for i, name := range rules {
		field := fmt.Sprintf("break_glass[%d]", i)
		if j, again := first[name]; again {
			vs.add(field, "%s is already in break_glass[%d]", rpcerror.QuoteShort(name), j)
			continue
		}
		first[name] = i
		if name != "*" {
			vs.ruleName(field, name)
		}
	}
}
