package server

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// badPatterns are refused everywhere, with this in the message.
var badPatterns = map[string]string{
	"":                              "is empty",
	"shop*":                         `use "shop/*" or "shop.*"`,
	"shop/ca*":                      `use "shop/ca/*" or "shop/ca.*"`,
	"*/x":                           "only at the end",
	"a/*/b":                         "only at the end",
	"*shop":                         "only at the end",
	"*.*":                           "only at the end",
	"***":                           `for all services use "*"`,
	"/*":                            `for all services use "*"`,
	".*":                            `for all services use "*"`,
	"shop/**":                       `use "shop/*"`,
	"rollcall.*":                    "kept for the node's own names",
	"rollcall.live":                 "kept for the node's own names",
	"rollcall.a/*":                  "kept for the node's own names",
	strings.Repeat("x", 257):        "257 bytes",
	strings.Repeat("x", 255) + "/*": "257 bytes",
	"shop /*":                       "white space",
	"a,b":                           "kept for patterns and lists",
	"a=b/*":                         "kept for patterns and lists",
	"caf\u0065\u0301/*":             "Normalization Form C",
	"a/\u200b/*":                    "does not show",
}

type badLayer struct {
	do    func(ctx context.Context, n *testNode) error
	field string
	says  string
}

func badOverrides() map[string]badLayer {
	set := func(field, says string, change func(r *rollcallv1.SetOverrideRequest)) badLayer {
		return badLayer{func(ctx context.Context, n *testNode) error {
			r := &rollcallv1.SetOverrideRequest{Pattern: "shop/*", Status: notServing.Enum()}
			change(r)
			_, err := n.admin().SetOverride(ctx, r)
			return err
		}, field, says}
	}
	clear := func(field, says string, change func(r *rollcallv1.ClearOverrideRequest)) badLayer {
		return badLayer{func(ctx context.Context, n *testNode) error {
			r := &rollcallv1.ClearOverrideRequest{Pattern: "shop/*"}
			change(r)
			_, err := n.admin().ClearOverride(ctx, r)
			return err
		}, field, says}
	}
	ttl := func(d time.Duration) func(r *rollcallv1.SetOverrideRequest) {
		return func(r *rollcallv1.SetOverrideRequest) { r.Ttl = durationpb.New(d) }
	}
	glass := func(reason string, rules ...string) func(r *rollcallv1.SetOverrideRequest) {
		return func(r *rollcallv1.SetOverrideRequest) { r.Reason, r.BreakGlass = reason, rules }
	}
	all := map[string]badLayer{
		"no status":              set("status", "is required", func(r *rollcallv1.SetOverrideRequest) { r.Status = nil }),
		"status 9":               set("status", "is 9", func(r *rollcallv1.SetOverrideRequest) { r.Status = Status(9).Enum() }),
		"status -1":              set("status", "is -1", func(r *rollcallv1.SetOverrideRequest) { r.Status = Status(-1).Enum() }),
		"SERVICE_UNKNOWN":        set("status", "use DeleteService", func(r *rollcallv1.SetOverrideRequest) { r.Status = serviceUnknown.Enum() }),
		"ttl 0":                  set("ttl", "is 0s; 1s to 720h", ttl(0)),
		"ttl 999ms":              set("ttl", "is 999ms; 1s to 720h", ttl(999*time.Millisecond)),
		"ttl negative":           set("ttl", "is -1m0s; 1s to 720h", ttl(-time.Minute)),
		"ttl a little too long":  set("ttl", "720h0m0.000000001s; 1s to 720h", ttl(720*time.Hour+1)),
		"ttl beyond all":         set("ttl", "is no duration", func(r *rollcallv1.SetOverrideRequest) { r.Ttl = &durationpb.Duration{Seconds: 1 << 62} }),
		"ttl of two signs":       set("ttl", "is no duration", func(r *rollcallv1.SetOverrideRequest) { r.Ttl = &durationpb.Duration{Seconds: 5, Nanos: -1} }),
		"ttl and forever":        set("ttl", "together with forever", func(r *rollcallv1.SetOverrideRequest) { ttl(time.Hour)(r); r.Forever = true }),
		"if_revision":            set("if_revision", "is -1; it must be a revision, or 0 for an override", func(r *rollcallv1.SetOverrideRequest) { r.IfRevision = ptr(int64(-1)) }),
		"long reason":            set("reason", "1025 bytes", func(r *rollcallv1.SetOverrideRequest) { r.Reason = strings.Repeat("x", 1025) }),
		"actor of two lines":     set("actor", "control character", func(r *rollcallv1.SetOverrideRequest) { r.Actor = "a\nb" }),
		"long request_id":        set("request_id", "65 bytes", func(r *rollcallv1.SetOverrideRequest) { r.RequestId = strings.Repeat("x", 65) }),
		"break_glass, no reason": set("reason", "is required with break_glass", glass("", "pay-min")),
		"break_glass, blank":     set("reason", "is required with break_glass", glass(" \n\t", "*")),
		"break_glass, no name":   set("break_glass[1]", "is empty", glass("why", "a", "")),
		"break_glass, twice":     set("break_glass[2]", `"a" is already in break_glass[0]`, glass("why", "a", "b", "a")),
		"break_glass, pattern":   set("break_glass[0]", "kept for patterns", glass("why", "pay-*")),
		"break_glass, long name": set("break_glass[0]", "65 bytes", glass("why", strings.Repeat("x", 65))),
		"break_glass, too many":  set("break_glass", "names 101 rules", func(r *rollcallv1.SetOverrideRequest) { r.Reason, r.BreakGlass = "why", make([]string, 101) }),
		"clear, if_revision":     clear("if_revision", "an override", func(r *rollcallv1.ClearOverrideRequest) { r.IfRevision = ptr(int64(-3)) }),
		"clear, long actor":      clear("actor", "257 bytes", func(r *rollcallv1.ClearOverrideRequest) { r.Actor = strings.Repeat("x", 257) }),
		"clear, break_glass":     clear("reason", "is required with break_glass", func(r *rollcallv1.ClearOverrideRequest) { r.BreakGlass = []string{"*"} }),
		"write, break_glass": {func(ctx context.Context, n *testNode) error {
			_, err := n.admin().SetServingStatus(ctx, &rollcallv1.SetServingStatusRequest{Service: "a", Status: serving.Enum(), BreakGlass: []string{"*"}})
			return err
		}, "reason", "is required with break_glass"},
		"batch, break_glass": {func(ctx context.Context, n *testNode) error {
			_, err := n.admin().BatchSetServingStatus(ctx, &rollcallv1.BatchSetServingStatusRequest{
				Changes: []*rollcallv1.StatusChange{{Service: "a", Status: serving.Enum()}}, Reason: "why", BreakGlass: []string{"a b"},
			})
			return err
		}, "break_glass[0]", "white space"},
		"delete, break_glass": {func(ctx context.Context, n *testNode) error {
			_, err := n.admin().DeleteService(ctx, &rollcallv1.DeleteServiceRequest{Service: "a", BreakGlass: []string{"r", "r"}, Reason: "why"})
			return err
		}, "break_glass[1]", "already"},
	}
	for pattern, says := range badPatterns {
		all[fmt.Sprintf("set %.20q", pattern)] = set("pattern", says, func(r *rollcallv1.SetOverrideRequest) { r.Pattern = pattern })
		all[fmt.Sprintf("clear %.20q", pattern)] = clear("pattern", says, func(r *rollcallv1.ClearOverrideRequest) { r.Pattern = pattern })
	}
	return all
}

// TestBadLayersAreRefusedAtTheDoor: each bad input is one clear error about one field, and nothing is proposed.
func TestBadLayersAreRefusedAtTheDoor(t *testing.T) {
	n := single(t)
	for kind, all := range map[string]map[string]badLayer{"override": badOverrides(), "rule": badRules()} {
		for name, tt := range all {
			t.Run(kind+"/"+name, func(t *testing.T) {
				err := tt.do(patient(t), n)
				checkError(t, err, want{codes.InvalidArgument, rpcerror.ReasonInvalidArgument, rpcerror.WrittenNo, nil, tt.field + " "})
				var fields []string
				for _, d := range status.Convert(err).Details() {
					if bad, ok := d.(*errdetails.BadRequest); ok {
						for _, v := range bad.GetFieldViolations() {
							fields = append(fields, v.GetField())
							if !strings.Contains(v.GetDescription(), tt.says) {
								t.Errorf("%s %s; want %q", v.GetField(), v.GetDescription(), tt.says)
							}
						}
					}
				}
				if !slices.Equal(fields, []string{tt.field}) {
					t.Errorf("violations of %q, want one of %q: %v", fields, tt.field, err)
				}
			})
		}
	}
	if n.agreement.count() != 0 {
		t.Error("something was proposed")
	}
}

// TestGoodPatterns are proposed as they are.
func TestGoodPatterns(t *testing.T) {
	n := single(t)
	for _, p := range []string{"a", "shop/*", "shop.*", "*", "**", "shop/cart/*", "rollcall", "rollcall/*", "rollcaller.*", "shop/", "café/*", strings.Repeat("x", 254) + "/*"} {
		res, err := n.admin().SetOverride(patient(t), &rollcallv1.SetOverrideRequest{Pattern: p, Status: serving.Enum()})
		if err != nil || res.GetOverride().GetPattern() != p {
			t.Errorf("%q: %v %v", p, res, err)
		}
		if _, err := n.admin().ClearOverride(patient(t), &rollcallv1.ClearOverrideRequest{Pattern: p}); err != nil {
			t.Errorf("%q: %v", p, err)
		}
	}
}

// lastCommand is the newest one that was proposed, without the caller's address.
func (n *testNode) lastCommand() *logv1.Command {
	n.agreement.mu.Lock()
	defer n.agreement.mu.Unlock()
	cmd := proto.CloneOf(n.agreement.proposed[len(n.agreement.proposed)-1])
	cmd.Actor.Peer = ""
	return cmd
}

func recordCommand(kind logv1.Kind, p payload) *logv1.Command_Record {
	b, err := p.MarshalVT()
	if err != nil {
		panic(err)
	}
	return &logv1.Command_Record{Record: &logv1.RecordCommand{Kind: kind, Payload: b}}
}

func TestOverridesBecomeCommands(t *testing.T) {
	n := single(t)
	ctx := patient(t)
	check := func(payload *logv1.OverrideCommand) {
		t.Helper()
		want := &logv1.Command{
			Actor: &logv1.Actor{Name: "ann"}, Reason: "disk swap", RequestId: "id", BreakGlass: []string{"pay-min"},
			Kind: recordCommand(logv1.Kind_KIND_OVERRIDE, payload),
		}
		if got := n.lastCommand(); !proto.Equal(got, want) {
			t.Errorf("got  %v\nwant %v", got, want)
		}
	}
	set := &rollcallv1.SetOverrideRequest{
		Pattern: "shop/*", Status: notServing.Enum(), Reason: "disk swap", Actor: "ann", RequestId: "id", IfRevision: ptr(int64(4)), BreakGlass: []string{"pay-min"},
	}
	for _, tt := range []struct {
		ttl     *durationpb.Duration
		forever bool
		want    time.Duration
	}{{nil, false, time.Hour}, {nil, true, 0}, {durationpb.New(time.Second), false, time.Second}, {durationpb.New(720 * time.Hour), false, 720 * time.Hour}} {
		set.Ttl, set.Forever = tt.ttl, tt.forever
		res, err := n.admin().SetOverride(ctx, set)
		if err != nil {
			t.Fatal(err)
		}
		check(&logv1.OverrideCommand{Command: &logv1.OverrideCommand_Set{Set: &logv1.SetOverride{
			Pattern: "shop/*", Status: logv1.Status_STATUS_NOT_SERVING, Ttl: int64(tt.want), IfRevision: ptr(int64(4)),
		}}})
		if o := res.GetOverride(); o.GetPattern() != "shop/*" || o.GetStatus() != notServing || o.GetReason() != "disk swap" || o.GetRevision() != 7 ||
			res.GetMatchedCount() != 3 || !res.GetChanged() || res.GetClusterId() != "3f9a" {
			t.Errorf("answered %v", res)
		}
	}
	clear, err := n.admin().ClearOverride(ctx, &rollcallv1.ClearOverrideRequest{
		Pattern: "missing/*", AllowMissing: true, Reason: "disk swap", Actor: "ann", RequestId: "id", BreakGlass: []string{"pay-min"},
	})
	if err != nil || clear.GetOverride() != nil || clear.GetClusterId() != "3f9a" {
		t.Errorf("answered %v %v", clear, err)
	}
	check(&logv1.OverrideCommand{Command: &logv1.OverrideCommand_Clear{Clear: &logv1.ClearOverride{Pattern: "missing/*", AllowMissing: true}}})
	_, err = n.admin().ClearOverride(ctx, &rollcallv1.ClearOverrideRequest{Pattern: "missing/*"})
	checkError(t, err, want{codes.NotFound, rpcerror.ReasonNotFound, rpcerror.WrittenNo, map[string]string{rpcerror.MetaPattern: "missing/*"}, `an override of "missing/*" does not exist`})
}

func TestADryRunOfAnOverrideTellsWhatWouldChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 2)
		c.elect("n2")
		for _, name := range c.names { // forwarded, and not
			n := c.nodes[name]
			set, err := n.admin().SetOverride(timeout(t, 5*time.Second), &rollcallv1.SetOverrideRequest{Pattern: "*", Status: notServing.Enum(), ValidateOnly: true})
			want := []*rollcallv1.AffectedService{{Service: "a", Before: serving, After: notServing}}
			if err != nil || len(set.GetAffected()) != 1 || !proto.Equal(set.GetAffected()[0], want[0]) || set.GetAffectedTotal() != 1_001 {
				t.Errorf("%s: %v %v", name, set, err)
			}
			if o := set.GetOverride(); set.GetRevision() != 0 || o.GetRevision() != 0 || o.GetTime() != nil || o.GetStatusTime() != nil || o.GetExpireTime() == nil {
				t.Errorf("%s: what is tried has the revision or the time of a change: %v", name, set)
			}
			rule, err := n.admin().SetRule(timeout(t, 5*time.Second), &rollcallv1.SetRuleRequest{Name: "r", Pattern: "*", MinServing: ptr(int64(1)), ValidateOnly: true})
			if err != nil || rule.GetRevision() != 0 || rule.GetRule().GetRevision() != 0 || rule.GetRule().GetTime() != nil {
				t.Errorf("%s: %v %v", name, rule, err)
			}
			clear, err := n.admin().ClearOverride(timeout(t, 5*time.Second), &rollcallv1.ClearOverrideRequest{Pattern: "*", ValidateOnly: true})
			if err != nil || len(clear.GetAffected()) != 1 || clear.GetAffectedTotal() != 1_001 {
				t.Errorf("%s: %v %v", name, clear, err)
			}
			if n.agreement.count() != 0 {
				t.Errorf("%s proposed something", name)
			}
		}
	})
}

func TestListOverridesInPages(t *testing.T) {
	n := single(t)
	ctx := patient(t)
	var want []string
	for i := range 25 {
		want = append(want, fmt.Sprintf("s/%02d", i))
	}
	for _, p := range want {
		n.registry.layers.overrides = append(n.registry.layers.overrides, &rollcallv1.Override{Pattern: p, Reason: strings.Repeat("r", 1024)})
	}
	list := func(size int32) (got []string, pages int) {
		t.Helper()
		for token := ""; ; pages++ {
			res, err := n.reads().ListOverrides(ctx, &rollcallv1.ListOverridesRequest{PageSize: size, PageToken: token})
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range res.GetOverrides() {
				got = append(got, o.GetPattern())
			}
			if token = res.GetNextPageToken(); token == "" {
				return got, pages + 1
			}
		}
	}
	for size, wantPages := range map[int32]int{0: 1, 7: 4, 25: 1, 10_000: 1} {
		if got, pages := list(size); !slices.Equal(got, want) || pages != wantPages {
			t.Errorf("pages of %d: %d pages, %q", size, pages, got)
		}
	}
	page, err := n.reads().ListOverrides(ctx, &rollcallv1.ListOverridesRequest{PageSize: 1})
	if err != nil {
		t.Fatal(err)
	}
	for token, says := range map[string]string{
		"x":                                   "is not one that ListOverrides returned",
		encodeToken("3f9a", "a", nil):         "is not one that ListOverrides returned",
		encodeOverridesToken("3f9a", "shop*"): "is not one that ListOverrides returned",
		strings.Repeat("A", 1<<10):            "is not one that ListOverrides returned",
	} {
		_, err := n.reads().ListOverrides(ctx, &rollcallv1.ListOverridesRequest{PageToken: token})
		checkError(t, err, want4(codes.InvalidArgument, rpcerror.ReasonInvalidArgument, says))
	}
	for _, size := range []int32{-1, 10_001} {
		_, err := n.reads().ListOverrides(ctx, &rollcallv1.ListOverridesRequest{PageSize: size})
		checkError(t, err, want4(codes.InvalidArgument, rpcerror.ReasonInvalidArgument, "page_size"))
	}
	n.registry.mu.Lock()
	n.registry.cluster = "77aa"
	n.registry.mu.Unlock()
	_, err = n.reads().ListOverrides(ctx, &rollcallv1.ListOverridesRequest{PageToken: page.GetNextPageToken()})
	checkError(t, err, want4(codes.FailedPrecondition, rpcerror.ReasonClusterChanged, "77aa"))
}

func want4(code codes.Code, reason, message string) want {
	return want{code: code, reason: reason, message: message}
}

// TestAPageOfLargeOverridesCanBeReceived: the page ends before 4 MiB, and the next one goes on.
func TestAPageOfLargeOverridesCanBeReceived(t *testing.T) {
	n := single(t)
	const many = 5_000
	for i := range many {
		n.registry.layers.overrides = append(n.registry.layers.overrides, &rollcallv1.Override{Pattern: fmt.Sprintf("s/%05d", i), Reason: strings.Repeat("r", 1024)})
	}
	total := 0
	for token := ""; ; {
		res, err := n.reads().ListOverrides(patient(t), &rollcallv1.ListOverridesRequest{PageSize: 10_000, PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		total += len(res.GetOverrides())
		if token = res.GetNextPageToken(); token == "" {
			break
		}
	}
	if total != many {
		t.Errorf("the pages have %d of %d overrides", total, many)
	}
}

// TestReadsOfLayersWaitAsOthersDo: metadata of reads holds for them too.
func TestReadsOfLayersWaitAsOthersDo(t *testing.T) {
	n := single(t)
	ctx := metadata.AppendToOutgoingContext(patient(t), "rollcall-cluster", "0000")
	_, err := n.reads().ListOverrides(ctx, &rollcallv1.ListOverridesRequest{})
	checkError(t, err, want4(codes.FailedPrecondition, rpcerror.ReasonClusterChanged, "3f9a"))
	_, err = n.reads().ListRules(ctx, &rollcallv1.ListRulesRequest{})
	checkError(t, err, want4(codes.FailedPrecondition, rpcerror.ReasonClusterChanged, "3f9a"))
	_, err = n.admin().SetOverride(ctx, &rollcallv1.SetOverrideRequest{Pattern: "a", Status: serving.Enum()})
	checkError(t, err, want{codes.FailedPrecondition, rpcerror.ReasonClusterChanged, rpcerror.WrittenNo, nil, "3f9a"})
	_, err = n.admin().RemoveRule(ctx, &rollcallv1.RemoveRuleRequest{Name: "r"})
	checkError(t, err, want{codes.FailedPrecondition, rpcerror.ReasonClusterChanged, rpcerror.WrittenNo, nil, "3f9a"})
	if n.agreement.count() != 0 {
		t.Error("something was proposed")
	}
}
