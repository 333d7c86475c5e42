package server

import (
	"context"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

func badLeases() map[string]badLayer {
	grant := func(field, says string, change func(r *rollcallv1.GrantLeaseRequest)) badLayer {
		return badLayer{func(ctx context.Context, n *testNode) error {
			r := &rollcallv1.GrantLeaseRequest{Ttl: durationpb.New(10 * time.Second)}
			change(r)
			_, err := n.admin().GrantLease(ctx, r)
			return err
		}, field, says}
	}
	revoke := func(field, says string, change func(r *rollcallv1.RevokeLeaseRequest)) badLayer {
		return badLayer{func(ctx context.Context, n *testNode) error {
			r := &rollcallv1.RevokeLeaseRequest{LeaseId: "a"}
			change(r)
			_, err := n.admin().RevokeLease(ctx, r)
			return err
		}, field, says}
	}
	release := func(field, says string, r *rollcallv1.ReleaseLeaseGuardRequest) badLayer {
		return badLayer{func(ctx context.Context, n *testNode) error {
			_, err := n.admin().ReleaseLeaseGuard(ctx, r)
			return err
		}, field, says}
	}
	ttl := func(d time.Duration) func(r *rollcallv1.GrantLeaseRequest) {
		return func(r *rollcallv1.GrantLeaseRequest) { r.Ttl = durationpb.New(d) }
	}
	forget := func(d time.Duration) func(r *rollcallv1.GrantLeaseRequest) {
		return func(r *rollcallv1.GrantLeaseRequest) { r.ForgetAfter = durationpb.New(d) }
	}
	all := map[string]badLayer{
		"no ttl":                   grant("ttl", "is required; 1s to 24h is allowed", func(r *rollcallv1.GrantLeaseRequest) { r.Ttl = nil }),
		"ttl 0":                    grant("ttl", "is 0s; 1s to 24h", ttl(0)),
		"ttl 999ms":                grant("ttl", "is 999ms; 1s to 24h", ttl(999*time.Millisecond)),
		"ttl a little too short":   grant("ttl", "is 999.999999ms; 1s to 24h", ttl(time.Second-1)),
		"ttl 25h":                  grant("ttl", "is 25h0m0s; 1s to 24h", ttl(25*time.Hour)),
		"ttl a little too long":    grant("ttl", "is 24h0m0.000000001s; 1s to 24h", ttl(24*time.Hour+1)),
		"ttl negative":             grant("ttl", "is -10s; 1s to 24h", ttl(-10*time.Second)),
		"ttl beyond all":           grant("ttl", "is no duration", func(r *rollcallv1.GrantLeaseRequest) { r.Ttl = &durationpb.Duration{Seconds: math.MaxInt64} }),
		"ttl of two signs":         grant("ttl", "is no duration", func(r *rollcallv1.GrantLeaseRequest) { r.Ttl = &durationpb.Duration{Seconds: 5, Nanos: -1} }),
		"ttl, nanos of seconds":    grant("ttl", "is no duration", func(r *rollcallv1.GrantLeaseRequest) { r.Ttl = &durationpb.Duration{Seconds: 5, Nanos: 1e9} }),
		"on_expiry 9":              grant("on_expiry", "is 9", func(r *rollcallv1.GrantLeaseRequest) { r.OnExpiry = Status(9).Enum() }),
		"on_expiry -1":             grant("on_expiry", "is -1", func(r *rollcallv1.GrantLeaseRequest) { r.OnExpiry = Status(-1).Enum() }),
		"forget_after 0":           grant("forget_after", "is 0s; 1s to 8760h (365 days)", forget(0)),
		"forget_after 999ms":       grant("forget_after", "is 999ms; 1s to 8760h", forget(999*time.Millisecond)),
		"forget_after too long":    grant("forget_after", "is 8760h0m0.000000001s; 1s to 8760h", forget(365*24*time.Hour+1)),
		"forget_after negative":    grant("forget_after", "is -1h0m0s; 1s to 8760h", forget(-time.Hour)),
		"forget_after beyond all":  grant("forget_after", "is no duration", func(r *rollcallv1.GrantLeaseRequest) { r.ForgetAfter = &durationpb.Duration{Seconds: math.MinInt64} }),
		"grant, long reason":       grant("reason", "1025 bytes", func(r *rollcallv1.GrantLeaseRequest) { r.Reason = strings.Repeat("x", 1025) }),
		"grant, long actor":        grant("actor", "257 bytes", func(r *rollcallv1.GrantLeaseRequest) { r.Actor = strings.Repeat("x", 257) }),
		"grant, long request_id":   grant("request_id", "65 bytes", func(r *rollcallv1.GrantLeaseRequest) { r.RequestId = strings.Repeat("x", 65) }),
		"revoke, no id":            revoke("lease_id", "is empty; a lease's id has 1 to 64 bytes", func(r *rollcallv1.RevokeLeaseRequest) { r.LeaseId = "" }),
		"revoke, status 4":         revoke("status", "is 4", func(r *rollcallv1.RevokeLeaseRequest) { r.Status = Status(4).Enum() }),
		"revoke, keep and status":  revoke("keep_reports", "together with status", func(r *rollcallv1.RevokeLeaseRequest) { r.KeepReports, r.Status = true, serving.Enum() }),
		"revoke, actor of lines":   revoke("actor", "control character", func(r *rollcallv1.RevokeLeaseRequest) { r.Actor = "a\nb" }),
		"release, long reason":     release("reason", "1025 bytes", &rollcallv1.ReleaseLeaseGuardRequest{Reason: strings.Repeat("x", 1025)}),
		"release, long request_id": release("request_id", "65 bytes", &rollcallv1.ReleaseLeaseGuardRequest{RequestId: strings.Repeat("x", 65)}),
	}
	for id, says := range map[string]string{
		strings.Repeat("x", 65): "65 bytes", "a\nb": "control character", "a\x00": "control character", "a\u200b": "does not show", "cafe\u0301": "Normalization Form C",
	} {
		all[fmt.Sprintf("revoke %.9q", id)] = revoke("lease_id", says, func(r *rollcallv1.RevokeLeaseRequest) { r.LeaseId = id })
		all[fmt.Sprintf("set %.9q", id)] = badLayer{func(ctx context.Context, n *testNode) error {
			r := setRequest("a", serving)
			r.LeaseId = id
			_, err := n.admin().SetServingStatus(ctx, r)
			return err
		}, "lease_id", says}
		all[fmt.Sprintf("delete %.9q", id)] = badLayer{func(ctx context.Context, n *testNode) error {
			_, err := n.admin().DeleteService(ctx, &rollcallv1.DeleteServiceRequest{Service: "a", LeaseId: id})
			return err
		}, "lease_id", says}
		all[fmt.Sprintf("batch %.9q", id)] = badLayer{func(ctx context.Context, n *testNode) error {
			_, err := n.admin().BatchSetServingStatus(ctx, &rollcallv1.BatchSetServingStatusRequest{Changes: []*rollcallv1.StatusChange{
				{Service: "a", Status: serving.Enum(), LeaseId: "fine"}, {Service: "b", Status: serving.Enum(), LeaseId: id},
			}})
			return err
		}, "changes[1].lease_id", says}
	}
	return all
}

// TestBadLeasesAreRefusedAtTheDoor: on any node, and nothing is proposed anywhere.
func TestBadLeasesAreRefusedAtTheDoor(t *testing.T) {
	c := newTestCluster(t, 2)
	c.elect("n2")
	for name, bad := range badLeases() {
		for _, n := range c.nodes {
			t.Run(name+" at "+n.name, func(t *testing.T) {
				err := bad.do(patient(t), n)
				checkError(t, err, want{codes.InvalidArgument, rpcerror.ReasonInvalidArgument, rpcerror.WrittenNo, nil, bad.field + " "})
				if !strings.Contains(err.Error(), bad.says) || strings.Contains(err.Error(), "more)") {
					t.Errorf("%v; want one violation that says %q", err, bad.says)
				}
			})
		}
	}
	for _, n := range c.nodes {
		if n.agreement.count() != 0 {
			t.Errorf("%s: something was proposed", n.name)
		}
	}
}

var leaseID = regexp.MustCompile(`^[0-9a-f]{16}$`)

// TestGrantLease: what the caller asks for goes to the leader, in the command that the fold knows.
func TestGrantLease(t *testing.T) {
	for _, through := range []string{"n1", "n2"} {
		bubble(t, "through "+through, func(t *testing.T) {
			c := newTestCluster(t, 2)
			c.elect("n2")
			n, leader := c.nodes[through], c.nodes["n2"]
			ids := map[string]bool{}
			for _, test := range []struct {
				req  *rollcallv1.GrantLeaseRequest
				want *logv1.GrantLease
			}{
				{&rollcallv1.GrantLeaseRequest{Ttl: durationpb.New(time.Second)}, &logv1.GrantLease{Ttl: 1e9, OnExpiry: logv1.Status_STATUS_NOT_SERVING}},
				{&rollcallv1.GrantLeaseRequest{Ttl: durationpb.New(24 * time.Hour), OnExpiry: serviceUnknown.Enum(), Reason: "r", Actor: "ann", RequestId: "one"},
					&logv1.GrantLease{Ttl: int64(24 * time.Hour), OnExpiry: logv1.Status_STATUS_SERVICE_UNKNOWN}},
				{&rollcallv1.GrantLeaseRequest{Ttl: durationpb.New(1500 * time.Millisecond), OnExpiry: unknown.Enum(), ForgetAfter: durationpb.New(365 * 24 * time.Hour)},
					&logv1.GrantLease{Ttl: 15e8, OnExpiry: logv1.Status_STATUS_UNKNOWN, ForgetAfter: int64(365 * 24 * time.Hour)}},
			} {
				res, err := n.admin().GrantLease(timeout(t, 5*time.Second), test.req)
				if err != nil {
					t.Fatal(err)
				}
				if !leaseID.MatchString(res.GetLeaseId()) || ids[res.GetLeaseId()] || res.GetClusterId() != "3f9a" || !proto.Equal(res.GetTtl(), test.req.GetTtl()) {
					t.Errorf("got %v", res)
				}
				ids[res.GetLeaseId()] = true
				cmd := leader.agreement.proposed[len(leader.agreement.proposed)-1]
				var lease logv1.LeaseCommand
				if err := lease.UnmarshalVT(cmd.GetRecord().GetPayload()); err != nil {
					t.Fatal(err)
				}
				test.want.LeaseId = res.GetLeaseId()
				if !proto.Equal(lease.GetGrant(), test.want) || cmd.GetRecord().GetKind() != logv1.Kind_KIND_LEASE ||
					cmd.GetReason() != test.req.GetReason() || cmd.GetActor().GetName() != test.req.GetActor() || cmd.GetRequestId() != test.req.GetRequestId() {
					t.Errorf("proposed %v: %v", cmd, &lease)
				}
			}
			before := leader.agreement.count()
			res, err := n.admin().GrantLease(timeout(t, 5*time.Second), &rollcallv1.GrantLeaseRequest{Ttl: durationpb.New(time.Minute), ValidateOnly: true})
			if err != nil || res.GetLeaseId() != "" || res.GetRevision() != 0 || res.GetTtl().AsDuration() != time.Minute || leader.agreement.count() != before {
				t.Errorf("validate_only: %v, %v", res, err)
			}
		})
	}
}

func TestRevokeLease(t *testing.T) {
	n := single(t)
	ctx := patient(t)
	last := func() *logv1.RevokeLease {
		var lease logv1.LeaseCommand
		if err := lease.UnmarshalVT(n.agreement.proposed[len(n.agreement.proposed)-1].GetRecord().GetPayload()); err != nil {
			t.Fatal(err)
		}
		return lease.GetRevoke()
	}
	for name, test := range map[string]struct {
		req    *rollcallv1.RevokeLeaseRequest
		want   *logv1.RevokeLease
		ending bool
	}{
		"plain":           {&rollcallv1.RevokeLeaseRequest{LeaseId: "a"}, &logv1.RevokeLease{LeaseId: "a"}, false},
		"status UNKNOWN":  {&rollcallv1.RevokeLeaseRequest{LeaseId: "kept", Status: unknown.Enum()}, &logv1.RevokeLease{LeaseId: "kept", Status: logv1.Status_STATUS_UNKNOWN.Enum()}, false},
		"delete":          {&rollcallv1.RevokeLeaseRequest{LeaseId: "a b", Status: serviceUnknown.Enum()}, &logv1.RevokeLease{LeaseId: "a b", Status: logv1.Status_STATUS_SERVICE_UNKNOWN.Enum()}, false},
		"keep":            {&rollcallv1.RevokeLeaseRequest{LeaseId: strings.Repeat("x", 64), KeepReports: true}, &logv1.RevokeLease{LeaseId: strings.Repeat("x", 64), KeepReports: true}, false},
		"a large one":     {&rollcallv1.RevokeLeaseRequest{LeaseId: "large"}, &logv1.RevokeLease{LeaseId: "large"}, true},
		"may be missing":  {&rollcallv1.RevokeLeaseRequest{LeaseId: "b", AllowMissing: true}, &logv1.RevokeLease{LeaseId: "b", AllowMissing: true}, false},
		"a caller's name": {&rollcallv1.RevokeLeaseRequest{LeaseId: "agent-7", Reason: "stop", Actor: "bob"}, &logv1.RevokeLease{LeaseId: "agent-7"}, false},
	} {
		res, err := n.admin().RevokeLease(ctx, test.req)
		if err != nil || res.GetMatchedCount() != 3 || res.GetEnding() != test.ending || res.GetClusterId() != "3f9a" || !proto.Equal(last(), test.want) {
			t.Errorf("%s: %v, %v; proposed %v", name, res, err, last())
		}
	}
	_, err := n.admin().RevokeLease(ctx, &rollcallv1.RevokeLeaseRequest{LeaseId: "missing"})
	checkError(t, err, want{codes.NotFound, rpcerror.ReasonNotFound, rpcerror.WrittenNo, map[string]string{rpcerror.MetaLease: "missing"}, `lease "missing" does not exist`})
	res, err := n.admin().RevokeLease(ctx, &rollcallv1.RevokeLeaseRequest{LeaseId: "missing", AllowMissing: true})
	if err != nil || res.GetMatchedCount() != 0 || res.GetEnding() {
		t.Errorf("allow_missing: %v, %v", res, err)
	}
	before := n.agreement.count()
	res, err = n.admin().RevokeLease(ctx, &rollcallv1.RevokeLeaseRequest{LeaseId: "a", ValidateOnly: true})
	if err != nil || res.GetMatchedCount() != 3 || res.GetRevision() != 0 || n.agreement.count() != before {
		t.Errorf("validate_only: %v, %v", res, err)
	}
}

func TestReleaseLeaseGuard(t *testing.T) {
	n := single(t)
	ctx := patient(t)
	res, err := n.admin().ReleaseLeaseGuard(ctx, &rollcallv1.ReleaseLeaseGuardRequest{Actor: "ann"})
	if err != nil || !res.GetChanged() || res.GetGuard().GetEngaged() || res.GetGuard().GetLate() != 41 || res.GetGuard().GetReleaseTime() == nil || res.GetClusterId() != "3f9a" {
		t.Errorf("got %v, %v", res, err)
	}
	before := n.agreement.count()
	res, err = n.admin().ReleaseLeaseGuard(ctx, &rollcallv1.ReleaseLeaseGuardRequest{Reason: "why", ValidateOnly: true})
	if err != nil || !res.GetChanged() || res.GetRevision() != 0 || res.GetGuard().GetReleaseTime() != nil || n.agreement.count() != before {
		t.Errorf("validate_only: %v, %v", res, err)
	}
}

// TestWritesNameLeases: the lease of a set, of each change of a batch, and of a delete reaches the leader.
func TestWritesNameLeases(t *testing.T) {
	n := single(t)
	ctx := patient(t)
	set := setRequest("a", serving)
	set.LeaseId = "l1"
	if _, err := n.admin().SetServingStatus(ctx, set); err != nil {
		t.Fatal(err)
	}
	if _, err := n.admin().BatchSetServingStatus(ctx, &rollcallv1.BatchSetServingStatusRequest{Changes: []*rollcallv1.StatusChange{
		{Service: "a", Status: serving.Enum(), LeaseId: "l2"}, {Service: "b", Status: serving.Enum()}, {Service: "c", Status: serviceUnknown.Enum(), LeaseId: "l3"},
	}}); err != nil {
		t.Fatal(err)
	}
	if _, err := n.admin().DeleteService(ctx, &rollcallv1.DeleteServiceRequest{Service: "a", LeaseId: "l4"}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, cmd := range n.agreement.proposed {
		for _, c := range cmd.GetWrite().GetChanges() {
			got = append(got, c.GetService()+":"+c.GetLeaseId())
		}
	}
	if want := []string{"a:l1", "a:l2", "b:", "c:l3", "a:l4"}; !slices.Equal(got, want) {
		t.Errorf("proposed %q, want %q", got, want)
	}
	n.agreement.onPropose(func(context.Context, *logv1.Command) (*logv1.Result, error) {
		return &logv1.Result{Refusal: &logv1.Refusal{Reason: logv1.Refusal_REASON_LEASE_HELD, Kind: logv1.Kind_KIND_SERVICE, Key: "a", Held: "l9"}}, nil
	})
	_, err := n.admin().SetServingStatus(ctx, setRequest("a", serving))
	checkError(t, err, want{codes.FailedPrecondition, rpcerror.ReasonLeaseHeld, rpcerror.WrittenNo, map[string]string{rpcerror.MetaLease: "l9"}, "override set"})
}

// TestListLeases: pages, the filter, and what only the leader knows.
func TestListLeases(t *testing.T) {
	for _, leader := range []string{"n1", "n2"} {
		bubble(t, leader+" leads", func(t *testing.T) {
			c := newTestCluster(t, 2)
			c.elect(leader)
			n := c.nodes["n1"]
			n.leases.put(10*time.Second, "a", "late b", "c", "lost d")
			n.leases.leases["ending"] = &logv1.Lease{Ttl: 5, End: &logv1.LeaseEnd{Time: 7}}
			n.leases.leases["ended"] = &logv1.Lease{Ttl: 5, End: &logv1.LeaseEnd{Time: 7, Done: true, ForgetTime: 9}}
			list := func(req *rollcallv1.ListLeasesRequest) (got []string, next string) {
				t.Helper()
				res, err := n.reads().ListLeases(timeout(t, 5*time.Second), req)
				if err != nil {
					t.Fatal(err)
				}
				if res.GetRevision() != 9 || res.GetClusterId() != "3f9a" || res.GetGuard() != nil {
					t.Errorf("got %v", res)
				}
				for _, l := range res.GetLeases() {
					left := "?"
					if l.TimeLeft != nil {
						left = l.GetTimeLeft().AsDuration().String()
					}
					got = append(got, fmt.Sprintf("%s %s %v", l.GetLeaseId(), left, l.GetLate()))
				}
				return got, res.GetNextPageToken()
			}
			live := []string{"a 7s false", "c 7s false", "ending ? false", "late b 7s true", "lost d ? false"}
			if got, next := list(&rollcallv1.ListLeasesRequest{}); !slices.Equal(got, live) || next != "" {
				t.Errorf("got %q %q", got, next)
			}
			if got, next := list(&rollcallv1.ListLeasesRequest{All: true}); !slices.Equal(got, []string{live[0], live[1], "ended ? false", live[2], live[3], live[4]}) || next != "" {
				t.Errorf("all: %q %q", got, next)
			}
			got, next := list(&rollcallv1.ListLeasesRequest{PageSize: 3})
			if rest, end := list(&rollcallv1.ListLeasesRequest{PageSize: 3, PageToken: next}); !slices.Equal(append(got, rest...), live) || end != "" || len(rest) != 2 {
				t.Errorf("pages: %q, %q %q", got, rest, end)
			}
			for _, f := range []struct {
				id   string
				all  bool
				want string
			}{{"c", false, live[1]}, {"ended", false, ""}, {"ending", false, live[2]}, {"ended", true, "ended ? false"}, {"nobody", true, ""}} {
				if got, next := list(&rollcallv1.ListLeasesRequest{LeaseId: f.id, All: f.all}); strings.Join(got, ",") != f.want || next != "" {
					t.Errorf("%v: %q", f, got)
				}
			}
			// A leader that does not answer costs a second, and what only it knows.
			c.nodes[leader].lessor.times = func([]string) ([]*peerv1.LeaseTime, error) { return nil, errNotLeading }
			start := time.Now()
			if got, _ := list(&rollcallv1.ListLeasesRequest{}); !slices.Equal(got, []string{"a ? false", "c ? false", "ending ? false", "late b ? false", "lost d ? false"}) {
				t.Errorf("got %q", got)
			}
			if took := time.Since(start); took != leaseTimesTimeout {
				t.Errorf("took %v", took)
			}
			n.agreement.change(func(st *NodeStatus) { st.Leader, st.Leading = "", false })
			start = time.Now()
			list(&rollcallv1.ListLeasesRequest{})
			if took := time.Since(start); took != 0 {
				t.Errorf("without a leader it took %v", took)
			}
		})
	}
}

func TestListLeasesRefusesWhatItCannotRead(t *testing.T) {
	n := single(t)
	n.leases.put(time.Minute, "a", "b")
	n.leases.setGuard(&logv1.LeaseGuard{Engaged: true, Time: 5, Late: 3, Live: 4})
	ctx := patient(t)
	res, err := n.reads().ListLeases(ctx, &rollcallv1.ListLeasesRequest{PageSize: 1})
	if err != nil || !res.GetGuard().GetEngaged() || res.GetGuard().GetLive() != 4 {
		t.Fatalf("%v, %v", res, err)
	}
	for name, test := range map[string]struct {
		req         *rollcallv1.ListLeasesRequest
		field, says string
	}{
		"page_size -1":       {&rollcallv1.ListLeasesRequest{PageSize: -1}, "page_size", "is -1"},
		"page_size 10001":    {&rollcallv1.ListLeasesRequest{PageSize: 10_001}, "page_size", "1 to 10000"},
		"lease_id":           {&rollcallv1.ListLeasesRequest{LeaseId: strings.Repeat("x", 65)}, "lease_id", "65 bytes"},
		"garbage":            {&rollcallv1.ListLeasesRequest{PageToken: "x"}, "page_token", "is not one that ListLeases returned"},
		"a long token":       {&rollcallv1.ListLeasesRequest{PageToken: strings.Repeat("A", 10_000)}, "page_token", "is not one"},
		"a token of others":  {&rollcallv1.ListLeasesRequest{PageToken: encodeOverridesToken("3f9a", "a")}, "page_token", "is not one"},
		"a token without id": {&rollcallv1.ListLeasesRequest{PageToken: encodeLeasesToken("3f9a", "")}, "page_token", "is not one"},
		"a token and an id":  {&rollcallv1.ListLeasesRequest{PageToken: res.GetNextPageToken(), LeaseId: "a"}, "page_token", "together with lease_id"},
	} {
		_, err := n.reads().ListLeases(ctx, test.req)
		checkError(t, err, want{codes.InvalidArgument, rpcerror.ReasonInvalidArgument, "", nil, test.field + " "})
		if err != nil && !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err = n.reads().ListLeases(ctx, &rollcallv1.ListLeasesRequest{PageToken: encodeLeasesToken("b00c", "a")})
	checkError(t, err, want{codes.FailedPrecondition, rpcerror.ReasonClusterChanged, "", nil, ""})
}

// TestStatusTellsOfTheLeaseGuard: while it holds leases, and a little while after somebody released it.
func TestStatusTellsOfTheLeaseGuard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := single(t)
		ago := func(d time.Duration) int64 { return n.now.Add(-d).UnixNano() }
		for name, test := range map[string]struct {
			guard *logv1.LeaseGuard
			want  string
		}{
			"none":              {nil, ""},
			"over":              {&logv1.LeaseGuard{Time: ago(time.Minute), Late: 41, Live: 52}, ""},
			"engaged":           {&logv1.LeaseGuard{Engaged: true, Time: ago(3 * time.Minute), Late: 41, Live: 52}, `leases held: 41 of 52 reporters late since 03:43 UTC; "rollcall lease release-guard" lets them expire`},
			"engaged for days":  {&logv1.LeaseGuard{Engaged: true, Time: ago(25 * time.Hour), Late: 41, Live: 52}, `leases held: 41 of 52 reporters late since 1970-01-01 02:46 UTC; "rollcall lease release-guard" lets them expire`},
			"engaged again":     {&logv1.LeaseGuard{Engaged: true, Time: ago(0), Late: 1, Live: 2, ReleaseTime: ago(time.Minute)}, `leases held: 1 of 2 reporters late since 03:46 UTC; "rollcall lease release-guard" lets them expire`},
			"released":          {&logv1.LeaseGuard{Time: ago(time.Minute), ReleaseTime: ago(time.Minute), Actor: &logv1.Actor{Name: "ann"}, Reason: "ours\nis down"}, `the lease guard was released by ann 60s ago: ours\nis down: leases of reporters that are late expire`},
			"released, no why":  {&logv1.LeaseGuard{ReleaseTime: ago(5 * time.Minute), Actor: &logv1.Actor{Peer: "10.0.0.1:5"}}, `the lease guard was released by 10.0.0.1:5 5m ago: leases of reporters that are late expire`},
			"released long ago": {&logv1.LeaseGuard{ReleaseTime: ago(releaseTold)}, ""},
		} {
			n.now = time.Unix(100_000, 0).UTC()
			n.leases.setGuard(test.guard)
			res, err := n.cluster().GetStatus(timeout(t, 5*time.Second), &rollcallv1.GetStatusRequest{})
			if err != nil || strings.Join(res.GetProblems(), "; ") != test.want {
				t.Errorf("%s: %q, %v; want %q", name, res.GetProblems(), err, test.want)
			}
		}
	})
}
