package server

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

func badRules() map[string]badLayer {
	set := func(field, says string, change func(r *rollcallv1.SetRuleRequest)) badLayer {
		return badLayer{func(ctx context.Context, n *testNode) error {
			r := &rollcallv1.SetRuleRequest{Name: "pay-min", Pattern: "pay/*", MinServing: ptr(int64(1))}
			change(r)
			_, err := n.admin().SetRule(ctx, r)
			return err
		}, field, says}
	}
	remove := func(field, says string, change func(r *rollcallv1.RemoveRuleRequest)) badLayer {
		return badLayer{func(ctx context.Context, n *testNode) error {
			r := &rollcallv1.RemoveRuleRequest{Name: "pay-min"}
			change(r)
			_, err := n.admin().RemoveRule(ctx, r)
			return err
		}, field, says}
	}
	least := func(n int64) func(r *rollcallv1.SetRuleRequest) {
		return func(r *rollcallv1.SetRuleRequest) { r.MinServing = &n }
	}
	percent := func(n int32) func(r *rollcallv1.SetRuleRequest) {
		return func(r *rollcallv1.SetRuleRequest) { r.MinServing, r.MinPercent = nil, &n }
	}
	all := map[string]badLayer{
		"no bound":            set("min_serving", "both missing", func(r *rollcallv1.SetRuleRequest) { r.MinServing = nil }),
		"min 0":               set("min_serving", "is 0; it must be 1 or more", least(0)),
		"min negative":        set("min_serving", "is -7; it must be 1 or more", least(-7)),
		"percent 0":           set("min_percent", "is 0; 1 to 100", percent(0)),
		"percent 101":         set("min_percent", "is 101; 1 to 100", percent(101)),
		"percent negative":    set("min_percent", "is -1; 1 to 100", percent(-1)),
		"no name":             set("name", "is empty; a rule's name has 1 to 64 bytes", func(r *rollcallv1.SetRuleRequest) { r.Name = "" }),
		"long name":           set("name", "65 bytes", func(r *rollcallv1.SetRuleRequest) { r.Name = strings.Repeat("x", 65) }),
		"name with a comma":   set("name", "kept for patterns and lists", func(r *rollcallv1.SetRuleRequest) { r.Name = "a,b" }),
		"name with a space":   set("name", "white space", func(r *rollcallv1.SetRuleRequest) { r.Name = "pay min" }),
		"**":                  set("pattern", `is for overrides only; for all services use "*"`, func(r *rollcallv1.SetRuleRequest) { r.Pattern = "**" }),
		"if_revision":         set("if_revision", "0 for a rule", func(r *rollcallv1.SetRuleRequest) { r.IfRevision = ptr(int64(-1)) }),
		"reason":              set("reason", "control character", func(r *rollcallv1.SetRuleRequest) { r.Reason = "\x1b[2J" }),
		"remove, no name":     remove("name", "is empty", func(r *rollcallv1.RemoveRuleRequest) { r.Name = "" }),
		"remove, if_revision": remove("if_revision", "0 for a rule", func(r *rollcallv1.RemoveRuleRequest) { r.IfRevision = ptr(int64(-1)) }),
		"remove, request_id":  remove("request_id", "does not show", func(r *rollcallv1.RemoveRuleRequest) { r.RequestId = "\u2060" }),
	}
	for pattern, says := range badPatterns {
		all[fmt.Sprintf("set %.20q", pattern)] = set("pattern", says, func(r *rollcallv1.SetRuleRequest) { r.Pattern = pattern })
	}
	return all
}

func TestRulesBecomeCommands(t *testing.T) {
	n := single(t)
	ctx := patient(t)
	check := func(payload *logv1.RuleCommand) {
		t.Helper()
		want := &logv1.Command{
			Actor: &logv1.Actor{Name: "ann"}, Reason: "why", RequestId: "id",
			Kind: recordCommand(logv1.Kind_KIND_RULE, payload),
		}
		if got := n.lastCommand(); !proto.Equal(got, want) {
			t.Errorf("got  %v\nwant %v", got, want)
		}
	}
	res, err := n.admin().SetRule(ctx, &rollcallv1.SetRuleRequest{
		Name: "pay-min", Pattern: "pay/*", MinServing: ptr(int64(2)), MinPercent: ptr(int32(50)), EnforceReports: true,
		Reason: "why", Actor: "ann", RequestId: "id", IfRevision: ptr(int64(0)),
	})
	if err != nil {
		t.Fatal(err)
	}
	check(&logv1.RuleCommand{Command: &logv1.RuleCommand_Set{Set: &logv1.SetRule{
		Name: "pay-min", Pattern: "pay/*", MinServing: 2, MinPercent: 50, EnforceReports: true, IfRevision: ptr(int64(0)),
	}}})
	want1 := &rollcallv1.Rule{Name: "pay-min", Pattern: "pay/*", MinServing: 2, MinPercent: 50, Revision: 8, Needed: 2, Serving: 1, Total: 2}
	res.Rule.Time = nil
	if !proto.Equal(res.GetRule(), want1) || !res.GetChanged() || res.GetClusterId() != "3f9a" {
		t.Errorf("a rule that is broken from the first: %v", res)
	}
	if _, err := n.admin().RemoveRule(ctx, &rollcallv1.RemoveRuleRequest{Name: "missing", AllowMissing: true, Reason: "why", Actor: "ann", RequestId: "id"}); err != nil {
		t.Error(err)
	}
	check(&logv1.RuleCommand{Command: &logv1.RuleCommand_Remove{Remove: &logv1.RemoveRule{Name: "missing", AllowMissing: true}}})
	_, err = n.admin().RemoveRule(ctx, &rollcallv1.RemoveRuleRequest{Name: "missing"})
	checkError(t, err, want{codes.NotFound, rpcerror.ReasonNotFound, rpcerror.WrittenNo, map[string]string{rpcerror.MetaRule: "missing"}, `rule "missing" does not exist`})

	n.registry.layers.rules = []*rollcallv1.Rule{{Name: "a", Needed: 3, Serving: 1, Total: 4}, {Name: "b"}}
	list, err := n.reads().ListRules(ctx, &rollcallv1.ListRulesRequest{})
	if err != nil || len(list.GetRules()) != 2 || list.GetRules()[0].GetNeeded() != 3 || list.GetClusterId() != "3f9a" {
		t.Errorf("%v %v", list, err)
	}
}

// TestRefusalsOfTheLogAreWorded: what the fold refuses reaches the caller with its values.
func TestRefusalsOfTheLogAreWorded(t *testing.T) {
	n := single(t)
	broken := []*logv1.BrokenRule{
		{Rule: "half", Pattern: "*", Needed: 4, Serving: 3, Total: 8},
		{Rule: "pay-min", Pattern: "shop/pay/*", Needed: 1, Serving: 0, Total: 3},
	}
	for name, tt := range map[string]struct {
		refusal *logv1.Refusal
		want    want
	}{
		"rules": {&logv1.Refusal{Reason: logv1.Refusal_REASON_RULE_BROKEN, Broken: broken}, want{
			codes.FailedPrecondition, rpcerror.ReasonRuleBroken, rpcerror.WrittenNo, nil,
			"not written: breaks half (*: 4 needed, 3 of 8 would serve); pay-min (shop/pay/*: 1 needed, 0 of 3 would serve)"}},
		"unknown rule in break_glass": {&logv1.Refusal{Reason: logv1.Refusal_REASON_NOT_FOUND, Kind: logv1.Kind_KIND_RULE, Key: "pay-mim", Field: "break_glass"}, want{
			codes.NotFound, rpcerror.ReasonNotFound, rpcerror.WrittenNo, map[string]string{rpcerror.MetaRule: "pay-mim"}, `break_glass names rule "pay-mim", which does not exist`}},
		"revision": {&logv1.Refusal{Reason: logv1.Refusal_REASON_REVISION_MISMATCH, Kind: logv1.Kind_KIND_OVERRIDE, Key: "shop/*", CurrentRevision: 9, Value: 4}, want{
			codes.FailedPrecondition, rpcerror.ReasonRevisionMismatch, rpcerror.WrittenNo, map[string]string{rpcerror.MetaPattern: "shop/*", rpcerror.MetaCurrentRevision: "9"},
			`an override of "shop/*" is at revision 9; if_revision asks for 4`}},
		"overrides": {&logv1.Refusal{Reason: logv1.Refusal_REASON_LIMIT, Kind: logv1.Kind_KIND_OVERRIDE, Field: "overrides", Limit: 10_000}, want{
			codes.ResourceExhausted, rpcerror.ReasonTableFull, rpcerror.WrittenNo, nil, "there are 10000 overrides, and there cannot be more; clear some first"}},
		"prefix overrides": {&logv1.Refusal{Reason: logv1.Refusal_REASON_LIMIT, Kind: logv1.Kind_KIND_OVERRIDE, Field: "prefix_overrides", Limit: 1_000}, want{
			codes.ResourceExhausted, rpcerror.ReasonTableFull, rpcerror.WrittenNo, nil, "there are 1000 prefix overrides, and there cannot be more; clear some first"}},
		"rules, too many": {&logv1.Refusal{Reason: logv1.Refusal_REASON_LIMIT, Kind: logv1.Kind_KIND_RULE, Field: "rules", Limit: 1_000}, want{
			codes.ResourceExhausted, rpcerror.ReasonTableFull, rpcerror.WrittenNo, nil, "there are 1000 rules, and there cannot be more; remove some first"}},
	} {
		t.Run(name, func(t *testing.T) {
			n.agreement.onPropose(func(context.Context, *logv1.Command) (*logv1.Result, error) {
				return &logv1.Result{Refusal: tt.refusal}, nil
			})
			_, err := n.admin().SetOverride(patient(t), &rollcallv1.SetOverrideRequest{Pattern: "*", Status: notServing.Enum()})
			checkError(t, err, tt.want)
			switch tt.want.reason {
			case rpcerror.ReasonTableFull:
				requireDetail[*errdetails.QuotaFailure](t, status.Convert(err))
			case rpcerror.ReasonRuleBroken:
				checkBroken(t, err, broken)
			}
		})
	}
}

// checkBroken checks that the details of err name exactly the rules.
func checkBroken(t *testing.T, err error, broken []*logv1.BrokenRule) {
	t.Helper()
	found := 0
	for _, d := range status.Convert(err).Details() {
		switch d := d.(type) {
		case *errdetails.PreconditionFailure:
			found++
			if len(d.GetViolations()) != len(broken) {
				t.Errorf("violations %v", d)
				continue
			}
			for i, v := range d.GetViolations() {
				r := broken[i]
				says := fmt.Sprintf("%s: %d needed, %d of %d would serve", r.Pattern, r.Needed, r.Serving, r.Total)
				if v.GetType() != rpcerror.ReasonRuleBroken || v.GetSubject() != r.Rule || v.GetDescription() != says {
					t.Errorf("violation %v", v)
				}
			}
		case *rollcallv1.BrokenRules:
			found++
			if len(d.GetRules()) != len(broken) || d.GetMore() != 0 {
				t.Errorf("rules %v", d)
				continue
			}
			for i, r := range d.GetRules() {
				if r.GetRule() != broken[i].Rule || r.GetNeeded() != broken[i].Needed || r.GetServing() != broken[i].Serving || r.GetTotal() != broken[i].Total {
					t.Errorf("rule %v", r)
				}
			}
		}
	}
	if found != 2 {
		t.Errorf("%d details about rules", found)
	}
}

// TestVeryManyBrokenRulesFitIntoHeaders: clients in some languages accept 8 KiB.
func TestVeryManyBrokenRulesFitIntoHeaders(t *testing.T) {
	for _, size := range []int{8, limits.MaxRuleNameBytes} {
		r := &logv1.Refusal{Reason: logv1.Refusal_REASON_RULE_BROKEN}
		for i := range limits.MaxRules {
			r.Broken = append(r.Broken, &logv1.BrokenRule{
				Rule: fmt.Sprintf("%0*d", size, i), Pattern: strings.Repeat("p", 4*size), Needed: 1 << 40, Serving: 1 << 39, Total: 1 << 41,
			})
		}
		st := status.Convert(rpcerror.ToStatus("n1", rpcerror.Refused(r)))
		if size := proto.Size(st.Proto())*4/3 + len(st.Message()); size > 8<<10 {
			t.Errorf("the headers have %d bytes", size)
		}
		if !strings.Contains(st.Message(), " more") {
			t.Errorf("message %q", st.Message())
		}
		var broken *rollcallv1.BrokenRules
		for _, d := range st.Details() {
			if b, ok := d.(*rollcallv1.BrokenRules); ok {
				broken = b
			}
		}
		if n := len(broken.GetRules()); n < 5 || int64(n)+broken.GetMore() != limits.MaxRules {
			t.Errorf("%d rules are named and %d counted", n, broken.GetMore())
		}
	}
}

// TestAnAnswerWithManyOverridesCanBeReceived: the records of a batch repeat what covers each service.
func TestAnAnswerWithManyOverridesCanBeReceived(t *testing.T) {
	override := &rollcallv1.Override{Pattern: strings.Repeat("p", 254) + "/*", Reason: strings.Repeat("r", 1024), Status: notServing}
	for covered, left := range map[int]string{1: "override", 3: "override", 1 + 10: "override"} {
		res := &rollcallv1.BatchSetServingStatusResponse{}
		result := &logv1.Result{}
		for i := range 2_000 {
			s := &rollcallv1.ServiceRecord{Service: fmt.Sprint("s", i), Status: notServing, Report: &rollcallv1.Report{Status: serving, Actor: &rollcallv1.Actor{Name: "ann"}}, Override: override}
			for range covered - 1 {
				s.Shadowed = append(s.Shadowed, override)
			}
			res.Services = append(res.Services, s)
			result.Services = append(result.Services, &logv1.ServiceResult{Changed: true})
		}
		shorten(res, result, maxAnswerBytes)
		if size := proto.Size(res); size > maxAnswerBytes {
			t.Errorf("%d overrides each: %d bytes", covered, size)
		}
		s := res.GetServices()[7]
		if s.GetOverride() == nil || s.GetReport().GetActor() == nil || s.GetStatus() != notServing {
			t.Errorf("%d overrides each: more than the %s's is left out: %v", covered, left, s)
		}
	}
	res, result := &rollcallv1.BatchSetServingStatusResponse{}, &logv1.Result{}
	for i := range limits.MaxChanges {
		res.Services = append(res.Services, &rollcallv1.ServiceRecord{Service: fmt.Sprint("s", i), Status: notServing, Override: override})
		result.Services = append(result.Services, &logv1.ServiceResult{})
	}
	if shorten(res, result, maxAnswerBytes); proto.Size(res) > maxAnswerBytes || res.GetServices()[0].GetStatus() != notServing {
		t.Errorf("the largest batch: %d bytes", proto.Size(res))
	}
}

// TestALargeChangeOfALayerIsCounted against the memory for clients while it waits.
func TestALargeChangeOfALayerIsCounted(t *testing.T) {
	n := single(t)
	held := make(chan int64, 1)
	n.agreement.onPropose(func(context.Context, *logv1.Command) (*logv1.Result, error) {
		for _, b := range n.Budgets() {
			if b.Name == "change-bytes" {
				held <- b.Used
			}
		}
		return &logv1.Result{Refusal: &logv1.Refusal{Reason: logv1.Refusal_REASON_NOT_FOUND}}, nil
	})
	use := func(reason, pattern string) int64 {
		t.Helper()
		_, err := n.admin().SetOverride(patient(t), &rollcallv1.SetOverrideRequest{Pattern: pattern, Status: notServing.Enum(), Reason: reason})
		if err == nil {
			t.Fatal("it was written")
		}
		return <-held
	}
	small, large := use("", "a"), use(strings.Repeat("r", 1024), strings.Repeat("p", 256))
	if large < small+2*1024+2*256-16 {
		t.Errorf("a large change holds %d bytes, a small one %d", large, small)
	}
}
