package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// fakeLayers are the overrides and rules of a fake; its mutex guards them.
type fakeLayers struct {
	overrides map[string]*rollcallv1.Override
	rules     map[string]*rollcallv1.Rule
	asked     []proto.Message // requests of changes, in order
}

// shown is a record as overrides show it.
func (f *fake) shown(rec *rollcallv1.ServiceRecord) *rollcallv1.ServiceRecord {
	return shownBeneath(f.layers.overrides, rec)
}

func shownBeneath(overrides map[string]*rollcallv1.Override, rec *rollcallv1.ServiceRecord) *rollcallv1.ServiceRecord {
	if rec == nil {
		return nil
	}
	rec = proto.CloneOf(rec)
	pattern.Each(rec.GetService(), func(p string) bool {
		switch o := overrides[p]; {
		case o == nil:
		case rec.Override == nil:
			rec.Override, rec.Status, rec.StatusTime = o, o.GetStatus(), o.GetStatusTime()
		default:
			rec.Shadowed = append(rec.Shadowed, o)
		}
		return true
	})
	return rec
}

// counted is a rule with what it counts.
func (f *fake) counted(r *rollcallv1.Rule) *rollcallv1.Rule {
	r = proto.CloneOf(r)
	for name, rec := range f.services {
		if !pattern.Covers(r.GetPattern(), name) {
			continue
		}
		r.Total++
		if f.shown(rec).GetStatus() == serving {
			r.Serving++
		}
	}
	r.Needed = max(r.GetMinServing(), (r.GetTotal()*int64(r.GetMinPercent())+99)/100)
	return r
}

// keepRules does what change does, and returns the rules that it made worse than they allow. Unless all of them
// are in breakGlass, nothing is changed.
func (f *fake) keepRules(breakGlass []string, dryRun bool, change func()) ([]*rollcallv1.BrokenRule, error) {
	for _, name := range breakGlass {
		if f.layers.rules[name] == nil && name != "*" {
			return nil, refusal(codes.NotFound, "NOT_FOUND", fmt.Sprintf("break_glass names rule %q, which does not exist", name), map[string]string{"rule": name})
		}
	}
	services, overrides := maps.Clone(f.services), maps.Clone(f.layers.overrides)
	undo := func() { f.services, f.layers.overrides = services, overrides }
	before := map[string]int64{}
	for name, r := range f.layers.rules {
		before[name] = f.counted(r).GetServing()
	}
	change()
	var broken []*rollcallv1.BrokenRule
	allowed := true
	for _, name := range slices.Sorted(maps.Keys(f.layers.rules)) {
		r := f.counted(f.layers.rules[name])
		if r.GetServing() < before[name] && r.GetServing() < r.GetNeeded() {
			broken = append(broken, &rollcallv1.BrokenRule{Rule: name, Pattern: r.GetPattern(), Needed: r.GetNeeded(), Serving: r.GetServing(), Total: r.GetTotal()})
			allowed = allowed && (slices.Contains(breakGlass, name) || slices.Contains(breakGlass, "*"))
		}
	}
	if !allowed {
		undo()
		s, err := status.New(codes.FailedPrecondition, "it would break rules").WithDetails(
			&errdetails.ErrorInfo{Domain: "rollcall", Reason: "RULE_BROKEN", Metadata: map[string]string{"written": "no"}}, &rollcallv1.BrokenRules{Rules: broken})
		if err != nil {
			return nil, err
		}
		return nil, s.Err()
	}
	if dryRun {
		undo()
	}
	return broken, nil
}

// affected is what change would change.
func (f *fake) affected(change func()) (list []*rollcallv1.AffectedService) {
	before := map[string]healthpb.HealthCheckResponse_ServingStatus{}
	for name, rec := range f.services {
		before[name] = f.shown(rec).GetStatus()
	}
	overrides := maps.Clone(f.layers.overrides)
	change()
	for _, name := range slices.Sorted(maps.Keys(f.services)) {
		if now := f.shown(f.services[name]).GetStatus(); now != before[name] {
			list = append(list, &rollcallv1.AffectedService{Service: name, Before: before[name], After: now})
		}
	}
	f.layers.overrides = overrides
	return list
}

func (f *fake) matched(p string) (n int64) {
	for name := range f.services {
		if pattern.Covers(p, name) {
			n++
		}
	}
	return n
}

func (f *fake) SetOverride(_ context.Context, req *rollcallv1.SetOverrideRequest) (*rollcallv1.SetOverrideResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.layers.asked = append(f.layers.asked, req)
	if f.refuse != nil {
		return nil, f.refuse
	}
	o := &rollcallv1.Override{
		Pattern: req.GetPattern(), Status: req.GetStatus(), Reason: req.GetReason(), Actor: &rollcallv1.Actor{Name: req.GetActor(), Peer: "127.0.0.1:4711"},
		Time: timestamppb.New(reported), StatusTime: timestamppb.New(reported), Revision: f.revision + 1,
	}
	if !req.GetForever() {
		ttl := time.Hour
		if req.GetTtl() != nil {
			ttl = req.GetTtl().AsDuration()
		}
		o.ExpireTime = timestamppb.New(reported.Add(ttl))
	}
	resp := &rollcallv1.SetOverrideResponse{Override: o, MatchedCount: f.matched(o.GetPattern()), Changed: true, Revision: f.revision}
	if old := f.layers.overrides[o.GetPattern()]; old != nil && old.GetStatus() == o.GetStatus() && old.GetExpireTime() == nil && o.GetExpireTime() == nil && old.GetReason() == o.GetReason() {
		resp.Override, resp.Changed = old, false
		return resp, nil
	}
	set := func() { f.layers.overrides[o.GetPattern()] = o }
	var err error
	if resp.BrokenRules, err = f.keepRules(req.GetBreakGlass(), req.GetValidateOnly(), set); err != nil {
		return nil, err
	}
	if req.GetValidateOnly() {
		resp.Affected = f.affected(set)
		resp.AffectedTotal = int64(len(resp.Affected))
		return resp, nil
	}
	f.revision++
	resp.Revision = f.revision
	f.overridden(rollcallv1.EventType_EVENT_TYPE_OVERRIDE_SET, o, req.GetReason(), resp.GetBrokenRules(), req.GetBreakGlass())
	return resp, nil
}

func (f *fake) overridden(t rollcallv1.EventType, o *rollcallv1.Override, reason string, broken []*rollcallv1.BrokenRule, breakGlass []string) {
	e := &rollcallv1.Event{
		Revision: f.revision, CommitRevision: f.revision, Type: t, Pattern: o.GetPattern(), Time: timestamppb.New(timeOf(f.revision)), Actor: o.GetActor(),
		Reason: reason, Status: o.GetStatus(), MatchedCount: f.matched(o.GetPattern()), BrokenRules: broken, BreakGlass: breakGlass,
	}
	if t == rollcallv1.EventType_EVENT_TYPE_OVERRIDE_SET {
		e.ExpireTime = o.GetExpireTime()
	}
	f.append(e)
}

func (f *fake) ClearOverride(_ context.Context, req *rollcallv1.ClearOverrideRequest) (*rollcallv1.ClearOverrideResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.layers.asked = append(f.layers.asked, req)
	o := f.layers.overrides[req.GetPattern()]
	resp := &rollcallv1.ClearOverrideResponse{Override: o, MatchedCount: f.matched(req.GetPattern()), Revision: f.revision}
	switch {
	case o == nil && req.GetAllowMissing():
		return resp, nil
	case o == nil:
		return nil, refusal(codes.NotFound, "NOT_FOUND", fmt.Sprintf("an override of %q does not exist", req.GetPattern()), map[string]string{"pattern": req.GetPattern()})
	}
	clear := func() { delete(f.layers.overrides, req.GetPattern()) }
	var err error
	if resp.BrokenRules, err = f.keepRules(req.GetBreakGlass(), req.GetValidateOnly(), clear); err != nil {
		return nil, err
	}
	if req.GetValidateOnly() {
		resp.Affected = f.affected(clear)
		resp.AffectedTotal = int64(len(resp.Affected))
		return resp, nil
	}
	f.revision++
	resp.Revision = f.revision
	f.overridden(rollcallv1.EventType_EVENT_TYPE_OVERRIDE_CLEARED, o, req.GetReason(), resp.GetBrokenRules(), req.GetBreakGlass())
	return resp, nil
}

func (f *fake) ListOverrides(context.Context, *rollcallv1.ListOverridesRequest) (*rollcallv1.ListOverridesResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	resp := &rollcallv1.ListOverridesResponse{Revision: f.revision}
	for _, p := range slices.Sorted(maps.Keys(f.layers.overrides)) {
		resp.Overrides = append(resp.Overrides, f.layers.overrides[p])
	}
	return resp, nil
}

func (f *fake) SetRule(_ context.Context, req *rollcallv1.SetRuleRequest) (*rollcallv1.SetRuleResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.layers.asked = append(f.layers.asked, req)
	r := &rollcallv1.Rule{
		Name: req.GetName(), Pattern: req.GetPattern(), MinServing: req.GetMinServing(), MinPercent: req.GetMinPercent(), EnforceReports: req.GetEnforceReports(),
		Reason: req.GetReason(), Actor: &rollcallv1.Actor{Name: req.GetActor()}, Time: timestamppb.New(reported), Revision: f.revision + 1,
	}
	resp := &rollcallv1.SetRuleResponse{Rule: r, Changed: true, Revision: f.revision}
	if c := f.counted(r); c.GetServing() < c.GetNeeded() {
		resp.Rule = c
	}
	if old := f.layers.rules[r.GetName()]; old != nil && old.GetPattern() == r.GetPattern() && old.GetMinServing() == r.GetMinServing() && old.GetMinPercent() == r.GetMinPercent() {
		resp.Rule, resp.Changed = old, false
		return resp, nil
	}
	if req.GetValidateOnly() {
		return resp, nil
	}
	f.revision++
	f.layers.rules[r.GetName()] = r
	resp.Revision = f.revision
	f.append(&rollcallv1.Event{
		Revision: f.revision, CommitRevision: f.revision, Type: rollcallv1.EventType_EVENT_TYPE_RULE_SET, Pattern: r.GetPattern(), Rule: r,
		Time: timestamppb.New(timeOf(f.revision)), Actor: r.GetActor(), Reason: r.GetReason(),
	})
	return resp, nil
}

func (f *fake) RemoveRule(_ context.Context, req *rollcallv1.RemoveRuleRequest) (*rollcallv1.RemoveRuleResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.layers.asked = append(f.layers.asked, req)
	r := f.layers.rules[req.GetName()]
	switch {
	case r == nil && !req.GetAllowMissing():
		return nil, refusal(codes.NotFound, "NOT_FOUND", fmt.Sprintf("rule %q does not exist", req.GetName()), map[string]string{"rule": req.GetName()})
	case r == nil || req.GetValidateOnly():
		return &rollcallv1.RemoveRuleResponse{Revision: f.revision}, nil
	}
	f.revision++
	delete(f.layers.rules, req.GetName())
	f.append(&rollcallv1.Event{
		Revision: f.revision, CommitRevision: f.revision, Type: rollcallv1.EventType_EVENT_TYPE_RULE_REMOVED, Rule: &rollcallv1.Rule{Name: req.GetName()},
		Time: timestamppb.New(timeOf(f.revision)), Actor: &rollcallv1.Actor{Name: req.GetActor()}, Reason: req.GetReason(),
	})
	return &rollcallv1.RemoveRuleResponse{Revision: f.revision}, nil
}

func (f *fake) ListRules(ctx context.Context, _ *rollcallv1.ListRulesRequest) (*rollcallv1.ListRulesResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := grpc.SetHeader(ctx, metadata.Pairs("rollcall-revision", fmt.Sprint(f.revision))); err != nil {
		return nil, err
	}
	resp := &rollcallv1.ListRulesResponse{Revision: f.revision}
	for _, name := range slices.Sorted(maps.Keys(f.layers.rules)) {
		resp.Rules = append(resp.Rules, f.counted(f.layers.rules[name]))
	}
	return resp, nil
}
