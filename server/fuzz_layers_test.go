package server

import (
	"testing"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// fuzzed validates the request that b holds, if it holds one, and calls accepted if nothing is wrong with it.
func fuzzed[M proto.Message](t *testing.T, b []byte, req M, validate func(M) error, accepted func(M)) {
	t.Helper()
	if proto.Unmarshal(b, req) != nil {
		return
	}
	if err := validate(req); err == nil {
		accepted(req)
	} else if proto.Size(errorInfoOf(err)) == 0 {
		t.Errorf("%v has no details", err)
	}
}

func acceptedGlass(t *testing.T, rules []string, reason string) {
	t.Helper()
	if len(rules) > 0 && reason == "" || len(rules) > limits.MaxBreakGlass {
		t.Errorf("accepted %d rules with reason %q", len(rules), reason)
	}
	for _, name := range rules {
		if name != "*" && limits.RuleName(name) != nil {
			t.Errorf("accepted the rule %q", name)
		}
	}
}

// FuzzLayersValidate: what the door accepts the fold accepts.
func FuzzLayersValidate(f *testing.F) {
	for _, m := range []proto.Message{
		&rollcallv1.SetOverrideRequest{Pattern: "shop/*", Status: notServing.Enum(), Ttl: durationpb.New(1 << 40), BreakGlass: []string{"*"}, Reason: "r"},
		&rollcallv1.SetOverrideRequest{Pattern: "**", Status: Status(3).Enum(), Forever: true, IfRevision: ptr(int64(-1))},
		&rollcallv1.ClearOverrideRequest{Pattern: "shop*", RequestId: "id"},
		&rollcallv1.SetRuleRequest{Name: "r", Pattern: "*", MinServing: ptr(int64(1)), MinPercent: ptr(int32(101))},
		&rollcallv1.RemoveRuleRequest{Name: "a,b"},
		&rollcallv1.ListOverridesRequest{PageToken: encodeOverridesToken("3f9a", "shop/*")},
	} {
		b, _ := proto.Marshal(m)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		fuzzed(t, b, &rollcallv1.SetOverrideRequest{}, validateSetOverride, func(r *rollcallv1.SetOverrideRequest) {
			acceptedCommon(t, r)
			acceptedGlass(t, r.GetBreakGlass(), r.GetReason())
			if limits.Pattern(r.GetPattern()) != nil || r.Status == nil || *r.Status < 0 || *r.Status >= healthpb.HealthCheckResponse_SERVICE_UNKNOWN || r.GetIfRevision() < 0 {
				t.Errorf("accepted %v", r)
			}
			if d := r.GetTtl().AsDuration(); r.Ttl != nil && (r.GetForever() || d < limits.MinOverrideTTL || d > limits.MaxOverrideTTL) {
				t.Errorf("accepted ttl %v", d)
			}
		})
		fuzzed(t, b, &rollcallv1.ClearOverrideRequest{}, validateClearOverride, func(r *rollcallv1.ClearOverrideRequest) {
			acceptedCommon(t, r)
			acceptedGlass(t, r.GetBreakGlass(), r.GetReason())
			if limits.Pattern(r.GetPattern()) != nil || r.GetIfRevision() < 0 {
				t.Errorf("accepted %v", r)
			}
		})
		fuzzed(t, b, &rollcallv1.SetRuleRequest{}, validateSetRule, func(r *rollcallv1.SetRuleRequest) {
			acceptedCommon(t, r)
			least, percent := r.GetMinServing(), r.GetMinPercent()
			if limits.RuleName(r.GetName()) != nil || limits.RulePattern(r.GetPattern()) != nil || least < 0 || percent < 0 || percent > 100 || least == 0 && percent == 0 {
				t.Errorf("accepted %v", r)
			}
		})
		fuzzed(t, b, &rollcallv1.RemoveRuleRequest{}, validateRemoveRule, func(r *rollcallv1.RemoveRuleRequest) {
			acceptedCommon(t, r)
			if limits.RuleName(r.GetName()) != nil {
				t.Errorf("accepted %v", r)
			}
		})
		if cluster, after, err := decodeOverridesToken(string(b)); err == nil && after != "" && encodeOverridesToken(cluster, after) != string(b) {
			t.Errorf("the token %q stands for %q of %q", b, after, cluster)
		}
	})
}

// FuzzLeasesValidate: what the door accepts is within the bounds that the fold knows.
func FuzzLeasesValidate(f *testing.F) {
	for _, m := range []proto.Message{
		&rollcallv1.GrantLeaseRequest{Ttl: durationpb.New(1 << 40), OnExpiry: serviceUnknown.Enum(), ForgetAfter: durationpb.New(1 << 50)},
		&rollcallv1.GrantLeaseRequest{Ttl: &durationpb.Duration{Seconds: 5, Nanos: -1}, OnExpiry: Status(4).Enum()},
		&rollcallv1.RevokeLeaseRequest{LeaseId: "00112233445566ff", Status: notServing.Enum(), KeepReports: true},
		&rollcallv1.RevokeLeaseRequest{LeaseId: "a\nb", AllowMissing: true},
		&rollcallv1.ReleaseLeaseGuardRequest{Reason: "r", RequestId: "id"},
		&rollcallv1.KeepAliveRequest{LeaseIds: []string{"a", "", "a"}},
		&rollcallv1.ListLeasesRequest{PageToken: encodeLeasesToken("3f9a", "a"), LeaseId: "b"},
	} {
		b, _ := proto.Marshal(m)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		fuzzed(t, b, &rollcallv1.GrantLeaseRequest{}, validateGrantLease, func(r *rollcallv1.GrantLeaseRequest) {
			acceptedCommon(t, r)
			if d := r.GetTtl().AsDuration(); r.Ttl == nil || d < limits.MinLeaseTTL || d > limits.MaxLeaseTTL || r.Ttl.CheckValid() != nil {
				t.Errorf("accepted ttl %v", r.Ttl)
			}
			if d := r.GetForgetAfter().AsDuration(); r.ForgetAfter != nil && (d < limits.MinForgetAfter || d > limits.MaxForgetAfter) {
				t.Errorf("accepted forget_after %v", d)
			}
			if s := r.GetOnExpiry(); s < 0 || s > healthpb.HealthCheckResponse_SERVICE_UNKNOWN {
				t.Errorf("accepted on_expiry %v", s)
			}
		})
		fuzzed(t, b, &rollcallv1.RevokeLeaseRequest{}, validateRevokeLease, func(r *rollcallv1.RevokeLeaseRequest) {
			acceptedCommon(t, r)
			if s := r.GetStatus(); r.GetLeaseId() == "" || limits.LeaseID(r.GetLeaseId()) != nil || s < 0 || s > healthpb.HealthCheckResponse_SERVICE_UNKNOWN || r.Status != nil && r.GetKeepReports() {
				t.Errorf("accepted %v", r)
			}
		})
		fuzzed(t, b, &rollcallv1.ReleaseLeaseGuardRequest{}, validateReleaseLeaseGuard, func(r *rollcallv1.ReleaseLeaseGuardRequest) { acceptedCommon(t, r) })
		fuzzed(t, b, &rollcallv1.KeepAliveRequest{}, validateKeepAlive, func(r *rollcallv1.KeepAliveRequest) {
			for _, id := range r.GetLeaseIds() {
				if id == "" || limits.LeaseID(id) != nil {
					t.Errorf("accepted the id %q", id)
				}
			}
			before := len(r.GetLeaseIds())
			if after := distinct(r.GetLeaseIds()); len(after) > before || before > 0 && len(after) == 0 {
				t.Errorf("%d ids became %d", before, len(after))
			}
		})
		if cluster, after, err := decodeLeasesToken(string(b)); err == nil && after != "" && encodeLeasesToken(cluster, after) != string(b) {
			t.Errorf("the token %q stands for %q of %q", b, after, cluster)
		}
	})
}
