package client_test

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strconv"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// layers are the overrides and rules of a fakeCluster. Each change of an override is an event of no service.
type layers struct {
	changes []layerChange
	rules   map[string]*rollcallv1.Rule
}

type layerChange struct {
	revision int64
	pattern  string
	override *rollcallv1.Override // nil: cleared
}

// overridesAt are the overrides as of a revision, by pattern.
func (l *layers) overridesAt(revision int64) map[string]*rollcallv1.Override {
	live := map[string]*rollcallv1.Override{}
	for _, c := range l.changes {
		if c.revision <= revision {
			live[c.pattern] = c.override
		}
	}
	maps.DeleteFunc(live, func(_ string, o *rollcallv1.Override) bool { return o == nil })
	return live
}

// since is when a service was last shown again after an override, as of a revision; 0: never, or before what is retained.
func (l *layers) since(name string, revision, oldest int64) (since int64) {
	for _, c := range l.changes {
		if c.override == nil && c.revision <= revision && c.revision >= oldest && pattern.Covers(c.pattern, name) {
			since = c.revision
		}
	}
	return since
}

// show adds the overrides to a record as of a revision.
func (l *layers) show(r *rollcallv1.ServiceRecord, revision int64) *rollcallv1.ServiceRecord {
	live := l.overridesAt(revision)
	pattern.Each(r.GetService(), func(p string) bool {
		switch o := live[p]; {
		case o == nil:
		case r.Override == nil:
			r.Override, r.Status = o, o.GetStatus()
		default:
			r.Shadowed = append(r.Shadowed, o)
		}
		return true
	})
	return r
}

// changeOverride makes an event of no service; f.mu is held.
func (f *fakeCluster) changeOverride(p string, o *rollcallv1.Override) int64 {
	revision := int64(len(f.events) + 1)
	if o != nil {
		o.Revision = revision
	}
	f.layers.changes = append(f.layers.changes, layerChange{revision, p, o})
	return f.append(event{status: missing})
}

// covered are the names of services that the override changed at a revision covers; f.mu is held.
func (f *fakeCluster) covered(revision int64) []string {
	names := map[string]bool{}
	for _, c := range f.layers.changes {
		for _, e := range f.events[:revision] {
			if c.revision == revision && pattern.Covers(c.pattern, e.service) {
				names[e.service] = true
			}
		}
	}
	return sorted(names)
}

func (f *fakeCluster) override(p string, s healthpb.HealthCheckResponse_ServingStatus) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changeOverride(p, &rollcallv1.Override{Pattern: p, Status: s})
}

func (f *fakeCluster) clear(p string) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changeOverride(p, nil)
}

// changeLayer answers as the first try of the request was answered, or asks allowed and calls do. Both run with
// the lock held.
func (n *fakeNode) changeLayer(ctx context.Context, method string, req interface {
	GetRequestId() string
	GetValidateOnly() bool
}, allowed func() error, do func() int64) (int64, error) {
	if err := n.enter(ctx, method, req); err != nil {
		return 0, err
	}
	n.cluster.mu.Lock()
	count, onWrite := len(n.calls), n.onWrite
	n.cluster.mu.Unlock()
	if onWrite != nil {
		if err := onWrite(ctx, count); err != nil {
			return 0, err
		}
	}
	n.cluster.mu.Lock()
	a, known := n.cluster.answers[req.GetRequestId()]
	if !known || req.GetValidateOnly() {
		a = answer{int64(len(n.cluster.events)), allowed()}
		if a.err == nil && !req.GetValidateOnly() {
			a.revision = do()
		}
		if !req.GetValidateOnly() {
			n.cluster.answers[req.GetRequestId()] = a
		}
	}
	onAnswer := n.onAnswer
	n.cluster.mu.Unlock()
	if onAnswer != nil {
		if err := onAnswer(ctx, count); err != nil {
			return 0, err
		}
	}
	return a.revision, a.err
}

// affected are the services that an override of p, nil for none, changes; f.mu is held.
func (f *fakeCluster) affected(p string, o *rollcallv1.Override) (changed []*rollcallv1.AffectedService) {
	now := int64(len(f.events))
	names := map[string]bool{}
	for _, e := range f.events {
		names[e.service] = true
	}
	for _, name := range sorted(names) {
		before := f.record(name, now)
		f.layers.changes = append(f.layers.changes, layerChange{now, p, o})
		after := f.record(name, now)
		f.layers.changes = f.layers.changes[:len(f.layers.changes)-1]
		if before.GetStatus() != after.GetStatus() {
			changed = append(changed, &rollcallv1.AffectedService{Service: name, Before: before.GetStatus(), After: after.GetStatus()})
		}
	}
	return changed
}

// count is how many services a pattern covers, and how many of them serve; f.mu is held.
func (f *fakeCluster) count(p string) (serving, total int64) {
	names := map[string]bool{}
	for _, e := range f.events {
		names[e.service] = true
	}
	for name := range names {
		if r := f.record(name, int64(len(f.events))); r != nil && pattern.Covers(p, name) {
			total++
			if r.GetStatus() == healthpb.HealthCheckResponse_SERVING {
				serving++
			}
		}
	}
	return serving, total
}

// breaks returns the rules that an override of p breaks, and an error if glass does not name all of them. It
// knows rules of a minimum only. f.mu is held.
func (f *fakeCluster) breaks(p string, o *rollcallv1.Override, glass []string) ([]*rollcallv1.BrokenRule, error) {
	var broken, refused []*rollcallv1.BrokenRule
	for _, name := range slices.Sorted(maps.Keys(f.layers.rules)) {
		r := f.layers.rules[name]
		before, _ := f.count(r.GetPattern())
		f.layers.changes = append(f.layers.changes, layerChange{int64(len(f.events)), p, o})
		after, total := f.count(r.GetPattern())
		f.layers.changes = f.layers.changes[:len(f.layers.changes)-1]
		if after < before && after < r.GetMinServing() {
			b := &rollcallv1.BrokenRule{Rule: name, Pattern: r.GetPattern(), Needed: r.GetMinServing(), Serving: after, Total: total}
			if broken = append(broken, b); !slices.Contains(glass, name) && !slices.Contains(glass, "*") {
				refused = append(refused, b)
			}
		}
	}
	if len(refused) == 0 {
		return broken, nil
	}
	st, err := status.New(codes.FailedPrecondition, "not written: breaks "+refused[0].GetRule()).WithDetails([]protoadapt.MessageV1{
		&errdetails.ErrorInfo{Domain: "rollcall", Reason: "RULE_BROKEN", Metadata: map[string]string{"written": "no"}},
		&rollcallv1.BrokenRules{Rules: refused},
	}...)
	if err != nil {
		return nil, err
	}
	return nil, st.Err()
}

func (n *fakeNode) SetOverride(ctx context.Context, req *rollcallv1.SetOverrideRequest) (*rollcallv1.SetOverrideResponse, error) {
	res := &rollcallv1.SetOverrideResponse{Changed: true, ClusterId: "3f9a"}
	o := &rollcallv1.Override{Pattern: req.GetPattern(), Status: req.GetStatus(), Reason: req.GetReason(), Actor: &rollcallv1.Actor{Name: req.GetActor()}}
	if !req.GetForever() {
		ttl := cmp.Or(req.GetTtl().AsDuration(), time.Hour)
		o.ExpireTime = timestamppb.New(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(ttl))
	}
	var err error
	res.Revision, err = n.changeLayer(ctx, "SetOverride", req, func() (err error) {
		if current := n.cluster.layers.overridesAt(1 << 60)[req.GetPattern()].GetRevision(); req.IfRevision != nil && current != req.GetIfRevision() {
			return refusal(codes.FailedPrecondition, "REVISION_MISMATCH", map[string]string{"current_revision": strconv.FormatInt(current, 10), "written": "no"})
		}
		res.BrokenRules, err = n.cluster.breaks(req.GetPattern(), o, req.GetBreakGlass())
		if req.GetValidateOnly() {
			res.Affected = n.cluster.affected(req.GetPattern(), o)
			res.AffectedTotal = int64(len(res.Affected))
		}
		return err
	}, func() int64 { return n.cluster.changeOverride(req.GetPattern(), o) })
	if err != nil {
		return nil, err
	}
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	res.Override = o
	_, res.MatchedCount = n.cluster.count(req.GetPattern())
	return res, nil
}

func (n *fakeNode) ClearOverride(ctx context.Context, req *rollcallv1.ClearOverrideRequest) (*rollcallv1.ClearOverrideResponse, error) {
	res := &rollcallv1.ClearOverrideResponse{ClusterId: "3f9a"}
	var err error
	res.Revision, err = n.changeLayer(ctx, "ClearOverride", req, func() (err error) {
		res.Override = n.cluster.layers.overridesAt(1 << 60)[req.GetPattern()]
		if res.Override == nil && !req.GetAllowMissing() {
			return refusal(codes.NotFound, "NOT_FOUND", map[string]string{"written": "no"})
		}
		if req.GetValidateOnly() {
			res.Affected = n.cluster.affected(req.GetPattern(), nil)
			res.AffectedTotal = int64(len(res.Affected))
		}
		res.BrokenRules, err = n.cluster.breaks(req.GetPattern(), nil, req.GetBreakGlass())
		return err
	}, func() int64 {
		if res.Override == nil {
			return int64(len(n.cluster.events))
		}
		return n.cluster.changeOverride(req.GetPattern(), nil)
	})
	if err != nil {
		return nil, err
	}
	return res, nil
}

func (n *fakeNode) ListOverrides(ctx context.Context, req *rollcallv1.ListOverridesRequest) (*rollcallv1.ListOverridesResponse, error) {
	if err := n.enter(ctx, "ListOverrides", req); err != nil {
		return nil, err
	}
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	res := &rollcallv1.ListOverridesResponse{Revision: n.applied, ClusterId: n.cluster.id}
	live := n.cluster.layers.overridesAt(n.applied)
	for _, p := range slices.Sorted(maps.Keys(live)) {
		if p <= req.GetPageToken() {
			continue
		}
		if size := int(req.GetPageSize()); size > 0 && len(res.Overrides) == size {
			res.NextPageToken = res.Overrides[size-1].GetPattern()
			break
		}
		res.Overrides = append(res.Overrides, live[p])
	}
	return res, nil
}

func (n *fakeNode) SetRule(ctx context.Context, req *rollcallv1.SetRuleRequest) (*rollcallv1.SetRuleResponse, error) {
	r := &rollcallv1.Rule{Name: req.GetName(), Pattern: req.GetPattern(), MinServing: req.GetMinServing(), MinPercent: req.GetMinPercent(), Reason: req.GetReason()}
	revision, err := n.changeLayer(ctx, "SetRule", req, func() error { return nil }, func() int64 {
		if n.cluster.layers.rules == nil {
			n.cluster.layers.rules = map[string]*rollcallv1.Rule{}
		}
		n.cluster.layers.rules[r.GetName()] = r
		r.Revision = n.cluster.append(event{status: missing})
		return r.Revision
	})
	if err != nil {
		return nil, err
	}
	return &rollcallv1.SetRuleResponse{Rule: r, Changed: true, Revision: revision, ClusterId: n.clusterID()}, nil
}

func (n *fakeNode) RemoveRule(ctx context.Context, req *rollcallv1.RemoveRuleRequest) (*rollcallv1.RemoveRuleResponse, error) {
	revision, err := n.changeLayer(ctx, "RemoveRule", req, func() error {
		if n.cluster.layers.rules[req.GetName()] == nil && !req.GetAllowMissing() {
			return refusal(codes.NotFound, "NOT_FOUND", map[string]string{"written": "no"})
		}
		return nil
	}, func() int64 {
		if n.cluster.layers.rules[req.GetName()] == nil {
			return int64(len(n.cluster.events))
		}
		delete(n.cluster.layers.rules, req.GetName())
		return n.cluster.append(event{status: missing})
	})
	if err != nil {
		return nil, err
	}
	return &rollcallv1.RemoveRuleResponse{Revision: revision, ClusterId: n.clusterID()}, nil
}

func (n *fakeNode) ListRules(ctx context.Context, req *rollcallv1.ListRulesRequest) (*rollcallv1.ListRulesResponse, error) {
	if err := n.enter(ctx, "ListRules", req); err != nil {
		return nil, err
	}
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	res := &rollcallv1.ListRulesResponse{Revision: n.applied, ClusterId: n.cluster.id}
	for _, name := range slices.Sorted(maps.Keys(n.cluster.layers.rules)) {
		r := n.cluster.layers.rules[name]
		serving, total := n.cluster.count(r.GetPattern())
		res.Rules = append(res.Rules, &rollcallv1.Rule{
			Name: name, Pattern: r.GetPattern(), MinServing: r.GetMinServing(), Needed: r.GetMinServing(), Serving: serving, Total: total,
		})
	}
	return res, nil
}
