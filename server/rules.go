package server

import (
	"context"
	"strings"

	"github.com/rollcallhq/rollcall/api/rollcall/convert"
	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/flowcontrol"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// SetRule implements rollcall.v1.Admin.
func (a *admin) SetRule(ctx context.Context, req *rollcallv1.SetRuleRequest) (res *rollcallv1.SetRuleResponse, err error) {
	defer rpcerror.Recovered(a.log, a.node, "Admin.SetRule", true, &err)
	caller, err := a.admit(ctx)
	if err != nil {
		return nil, err
	}
	if err := validateSetRule(req); err != nil {
		return nil, rpcerror.ToStatus(a.node, err)
	}
	result, record, err := a.changeRecord(ctx, caller, req, logv1.Kind_KIND_RULE, &logv1.RuleCommand{Command: &logv1.RuleCommand_Set{Set: &logv1.SetRule{
		Name:           req.GetName(),
		Pattern:        req.GetPattern(),
		MinServing:     req.GetMinServing(),
		MinPercent:     uint32(req.GetMinPercent()),
		EnforceReports: req.GetEnforceReports(),
		IfRevision:     req.IfRevision,
	}}})
	if err != nil {
		return nil, err
	}
	var rule logv1.Rule
	if err := rule.UnmarshalVT(record.GetValue()); err != nil {
		return nil, rpcerror.ToStatus(a.node, rpcerror.OutcomeUnknown("the leader's answer cannot be read: %w", err))
	}
	if req.GetValidateOnly() && record.GetChanged() {
		rule.Revision, rule.Time = 0, 0 // only a rule that is set has these
	}
	return &rollcallv1.SetRuleResponse{
		Rule:      convert.RuleResult(req.GetName(), &rule, result.GetBrokenRules()),
		Changed:   record.GetChanged(),
		Revision:  result.GetRevision(),
		ClusterId: a.registry.ClusterID(),
	}, nil
}

// RemoveRule implements rollcall.v1.Admin.
func (a *admin) RemoveRule(ctx context.Context, req *rollcallv1.RemoveRuleRequest) (res *rollcallv1.RemoveRuleResponse, err error) {
	defer rpcerror.Recovered(a.log, a.node, "Admin.RemoveRule", true, &err)
	caller, err := a.admit(ctx)
	if err != nil {
		return nil, err
	}
	if err := validateRemoveRule(req); err != nil {
		return nil, rpcerror.ToStatus(a.node, err)
	}
	result, _, err := a.changeRecord(ctx, caller, req, logv1.Kind_KIND_RULE, &logv1.RuleCommand{Command: &logv1.RuleCommand_Remove{Remove: &logv1.RemoveRule{
		Name:         req.GetName(),
		IfRevision:   req.IfRevision,
		AllowMissing: req.GetAllowMissing(),
	}}})
	if err != nil {
		return nil, err
	}
	return &rollcallv1.RemoveRuleResponse{Revision: result.GetRevision(), ClusterId: a.registry.ClusterID()}, nil
}

func validateSetRule(req *rollcallv1.SetRuleRequest) error {
	var vs violations
	vs.ruleName("name", req.GetName())
	vs.text("pattern", limits.RulePattern(req.GetPattern()))
	if req.MinServing == nil && req.MinPercent == nil {
		vs.add("min_serving", "and min_percent are both missing; a rule needs one of them at least")
	}
	if n := req.MinServing; n != nil && *n < 1 {
		vs.add("min_serving", "is %d; it must be 1 or more", *n)
	}
	if n := req.MinPercent; n != nil && (*n < 1 || *n > 100) {
		vs.add("min_percent", "is %d; 1 to 100 is allowed", *n)
	}
	vs.ifRevision("if_revision", req.IfRevision, "a rule")
	vs.common(req)
	return vs.err()
}

func validateRemoveRule(req *rollcallv1.RemoveRuleRequest) error {
	var vs violations
	vs.ruleName("name", req.GetName())
	vs.ifRevision("if_revision", req.IfRevision, "a rule")
	vs.common(req)
	return vs.err()
}

func (vs *violations) ruleName(field, name string) {
	if name == "" {
		vs.add(field, "is empty; a rule's name has 1 to %d bytes", limits.MaxRuleNameBytes)
		return
	}
	vs.text(field, limits.RuleName(name))
}

func isBlank(s string) bool { return strings.TrimSpace(s) == "" }

// rulesEstimate is about how many bytes an answer has that lists all rules.
const rulesEstimate = 64 << 10

// ListRules implements rollcall.v1.Registry.
func (s *registryService) ListRules(ctx context.Context, _ *rollcallv1.ListRulesRequest) (res *rollcallv1.ListRulesResponse, err error) {
	defer rpcerror.Recovered(s.log, s.Node, "Registry.ListRules", false, &err)
	call, err := s.admitToRegistry(ctx)
	if err == nil {
		err = s.deny(call.may.DeniedPrefixes())
	}
	if err == nil {
		if f := flowcontrol.Reserve(ctx, rulesEstimate, false); f != nil {
			err = f
		} else {
			res = &rollcallv1.ListRulesResponse{ClusterId: s.registry.ClusterID()}
			res.Rules, res.Revision = s.layers.ListRules()
			res.Rules = call.may.Rules(res.Rules)
		}
	}
	s.answered(ctx, call, err == nil && !call.may.Whole())
	if err != nil {
		return nil, rpcerror.ToStatus(s.Node, err)
	}
	return res, nil
}
