package fsm

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/rollcallhq/rollcall/api/rollcall/convert"
	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// attach attaches n services to a lease, as many as it may in each command.
func (h *harness) attach(t testing.TB, lease string, n int) {
	t.Helper()
	for from := 0; from < n; from += limits.MaxChanges {
		var changes []*logv1.Change
		for i := from; i < min(from+limits.MaxChanges, n); i++ {
			changes = append(changes, leased(fmt.Sprintf("%s/%05d", lease, i), serving, lease))
		}
		if r := h.do(t, h.LogTime(), write(changes...))[0].GetRefusal(); r != nil {
			t.Fatal(r)
		}
	}
}

// count is how many services have a status.
func (h *harness) count(status servingStatus) int { return int(h.Stats().Services[status]) }

// TestVeryManyOnOneLease: what is attached to a lease changes in three commands, with others' writes between. What
// others took from it stays theirs, and nothing of it is in an answer.
func TestVeryManyOnOneLease(t *testing.T) {
	const services = 25_000
	for what, s := range map[string]struct {
		grant, end *logv1.Command
		status     servingStatus
		event      logv1.EventType
		lease      string // of the reports, afterwards
	}{
		"expires":           {grantOf(leaseA), nil, isNotServing, logv1.EventType_EVENT_TYPE_EXPIRED, ""},
		"expires, forgets":  {grantForgetting(leaseA, second), nil, isNotServing, logv1.EventType_EVENT_TYPE_EXPIRED, leaseA},
		"is revoked":        {grantOf(leaseA), because(revoking(&logv1.RevokeLease{LeaseId: leaseA, Status: unknown.Enum()}), "stopped"), 0, logv1.EventType_EVENT_TYPE_REPORTED, ""},
		"revoked, it keeps": {grantForgetting(leaseA, second), revoking(&logv1.RevokeLease{LeaseId: leaseA, KeepReports: true}), isServing, logv1.EventType_EVENT_TYPE_REPORTED, ""},
	} {
		t.Run(what, func(t *testing.T) {
			h := newHarness(t)
			h.do(t, 1, s.grant, grantOf(leaseB))
			h.attach(t, leaseA, services)
			name := func(i int) string { return fmt.Sprintf("%s/%05d", leaseA, i) }
			expire := expireLeases(h.Revision(), leaseA)
			first := s.end
			if first == nil {
				first = expire
			} else {
				first.Actor = &logv1.Actor{Name: "ann"}
			}
			from := len(h.registryFile.events)
			if r := h.do(t, 2, first)[0]; r.Refusal != nil || len(r.Services) != 0 || len(r.Records) != 1 || r.Records[0].MatchedCount != services || r.Records[0].Deleted {
				t.Fatalf("the first command: %v", r.Refusal)
			}
			if n := len(h.attachedTo(leaseA)); leaseText(h.Lease(leaseA))[:5] != "ended" || h.Lease(leaseA).End.Done || (s.lease == "" && n != 15_000) {
				t.Errorf("%v, with %d", h.Lease(leaseA), n)
			}
			if events := h.registryFile.events[from:]; len(events) != 10_001 || events[0].Type != logv1.EventType_EVENT_TYPE_LEASE_ENDING {
				t.Errorf("%d events, the first is %v", len(events), events[0])
			}
			// Between: a write of something else, one without a lease, one by another lease, a delete.
			for _, cmd := range []*logv1.Command{
				write(change("other", serving)),
				write(change(name(24_000), notServing)),
				write(leased(name(24_001), serving, leaseB)),
				write(change(name(24_002), gone)),
				write(change(name(1), serving)), // which has ended already
			} {
				if r := h.do(t, 3, cmd)[0]; r.Refusal != nil {
					t.Errorf("%v: %v", cmd, r.Refusal)
				}
			}
			if r := h.do(t, 3, write(leased("x", serving, leaseA)))[0]; r.Refusal.GetReason() != logv1.Refusal_REASON_NOT_FOUND {
				t.Errorf("it takes another report: %v", r)
			}
			for i, want := range []int{10_000, 4_997} {
				from := len(h.registryFile.events)
				h.do(t, 4, expire)
				events := h.registryFile.events[from:]
				if i == 1 {
					if e := events[0]; e.Type != logv1.EventType_EVENT_TYPE_LEASE_ENDED || e.MatchedCount != services || e.Deletes != (s.lease == "") {
						t.Errorf("the last command begins with %v", e)
					}
					events = events[1:]
				}
				if len(events) != want {
					t.Errorf("command %d has %d events", i+2, len(events))
				}
				for _, e := range events {
					if e.Type != s.event || e.LeaseId != leaseA || e.Detached != (s.lease == "") || s.end != nil && (e.Actor.GetName() != "ann" || e.Reason != first.Reason) {
						t.Fatalf("event %v", e)
					}
				}
			}
			left := services - 4
			if s.status == isServing {
				left += 3
			}
			if got := h.count(s.status); got != left && !(s.status == isNotServing && got == left+1) {
				t.Errorf("%d are %v", got, s.status)
			}
			if n := len(h.attachedTo(leaseA)); s.lease == "" && (n != 0 || h.Lease(leaseA) != nil) || s.lease != "" && (n != services-4 || !h.Lease(leaseA).End.Done) {
				t.Errorf("%d are left, %v", n, h.Lease(leaseA))
			}
			if events := len(h.registryFile.events); h.do(t, 5, expire)[0].Refusal != nil || len(h.registryFile.events) != events {
				t.Error("it goes on after its end")
			}
			if sc, err := h.ScrubMemory(t.Context(), 1); err != nil || !sc.Agrees() {
				t.Errorf("scrub %+v, %v", sc, err)
			}
			h.sound(t)
			if s.lease == "" {
				return
			}
			for i, want := range []int{14_996, 4_996, 0} {
				h.do(t, 4*second, forgetLeases(leaseA))
				if n := len(h.attachedTo(leaseA)); n != want || (h.Lease(leaseA) == nil) != (i == 2) {
					t.Errorf("%d are left, %v", n, h.Lease(leaseA))
				}
			}
			if n := h.ServiceCount(); n != 4 { // other, and those that were changed between
				t.Errorf("%d services are left", n)
			}
			h.sound(t)
		})
	}
}

// TestLeasesShareACommand: one that does not fit into what others have left waits; smaller ones behind it do not.
func TestLeasesShareACommand(t *testing.T) {
	h := newHarness(t)
	h.do(t, 1, grantOf(leaseA), grantOf(leaseB), grantOf(leaseC))
	h.attach(t, leaseA, 6000)
	h.attach(t, leaseB, 6000)
	h.attach(t, leaseC, 4000)
	x := expireLeases(h.Revision(), leaseA, leaseB, leaseC)
	h.do(t, 2, x)
	if a, b, c := h.Lease(leaseA), h.Lease(leaseB), h.Lease(leaseC); a != nil || leaseText(b) != "lives" || c != nil || h.count(isNotServing) != 10_000 {
		t.Errorf("%v, %v, %v; %d", a, b, c, h.count(isNotServing))
	}
	h.do(t, 3, x)
	if h.Lease(leaseB) != nil || h.count(isServing) != 0 {
		t.Errorf("%v; %d", h.Lease(leaseB), h.count(isServing))
	}
	h.sound(t)
}

// TestRulesAndLeases: reports with a lease are facts: only rules that are enforced on reports refuse them. What facts
// break stands in the first event.
func TestRulesAndLeases(t *testing.T) {
	enforced := rule(&logv1.SetRule{Name: "hard", Pattern: "a/*", MinServing: 2, EnforceReports: true})
	soft := &logv1.BrokenRule{Rule: "soft", Pattern: "a/*", Needed: 2, Serving: 1, Total: 2}
	for _, s := range []struct {
		what    string
		rules   []*logv1.Command
		cmd     *logv1.Command
		refused []string
		broken  *logv1.BrokenRule
	}{
		{"a report with a lease", nil, write(leased("a/1", notServing, leaseA)), nil, soft},
		{"several with leases", nil, write(leased("a/1", notServing, leaseA), leased("x", serving, leaseB)), nil, soft},
		{"one of them without", nil, write(leased("a/1", notServing, leaseA), change("x", serving)), []string{"soft"}, nil},
		{"without", nil, write(change("a/2", notServing)), []string{"soft"}, nil},
		{"a delete with a lease", nil, write(leased("a/1", gone, leaseA)), nil, &logv1.BrokenRule{Rule: "soft", Pattern: "a/*", Needed: 2, Serving: 1, Total: 1}},
		{"one that is enforced", []*logv1.Command{enforced}, write(leased("a/1", notServing, leaseA)), []string{"hard"}, nil},
		{"without, all of them", []*logv1.Command{enforced}, write(change("a/2", notServing)), []string{"hard", "soft"}, nil},
		{"an expiry", []*logv1.Command{removeRule("soft"), enforced}, expireLeases(99, leaseA), nil, &logv1.BrokenRule{Rule: "hard", Pattern: "a/*", Needed: 2, Serving: 1, Total: 2}},
		{"a revoke", nil, revoke(leaseA), nil, soft},
		{"a revoke that keeps", nil, revoking(&logv1.RevokeLease{LeaseId: leaseA, KeepReports: true}), nil, nil},
	} {
		t.Run(s.what, func(t *testing.T) {
			h := newHarness(t)
			h.do(t, 1, grantOf(leaseA), grantOf(leaseB), write(leased("a/1", serving, leaseA), change("a/2", serving)), atLeast("soft", "a/*", 2))
			h.do(t, 1, append(s.rules, write(change("other", serving)))...)
			from := len(h.registryFile.events)
			r := h.do(t, 2, s.cmd)[0]
			var refused []string
			for _, b := range r.GetRefusal().GetBroken() {
				refused = append(refused, b.Rule)
			}
			if !slices.Equal(refused, s.refused) || (r.Refusal == nil) != (s.refused == nil) {
				t.Fatalf("refused by %v, %v; want %v", refused, r.Refusal, s.refused)
			}
			if s.refused != nil {
				return
			}
			said := h.registryFile.events[from].GetRuleBreak().GetBroken()
			for _, broken := range [][]*logv1.BrokenRule{r.BrokenRules, said} {
				if s.broken == nil && len(broken) != 0 || s.broken != nil && (len(broken) != 1 || !proto.Equal(broken[0], s.broken)) {
					t.Errorf("broken are %v, want %v", broken, s.broken)
				}
			}
			h.sound(t)
		})
	}
}

// TestExpiryUnderAnOverride: what is shown does not change; the event says what is shown and what was reported.
func TestExpiryUnderAnOverride(t *testing.T) {
	h := newHarness(t)
	h.do(t, 1, grantOf(leaseA), write(leased("a", serving, leaseA), leased("b", serving, leaseA)), over("a", serving))
	h.do(t, 2, expireLeases(9, leaseA))
	for name, want := range map[string]servingStatus{"a": isServing, "b": isNotServing} {
		s, _ := h.Status(name)
		r, _ := h.GetService(name)
		if s != want || r.GetStatus() != want || r.GetReport().GetStatus() != isNotServing {
			t.Errorf("%s is %v, %v", name, s, r)
		}
	}
	for _, e := range h.registryFile.events[4:] {
		want := map[string]logv1.Status{"a": serving, "b": notServing}[e.Key]
		if e.Kind == logv1.Kind_KIND_SERVICE && (e.EffectiveStatus != want || e.Status != notServing || e.PreviousStatus != serving) {
			t.Errorf("event %v", e)
		}
	}
}

// TestTooManyLeases: so many may live. Those that wait to be forgotten do not count; when too many wait, what more
// leases leave is not forgotten, and not attached to anything.
func TestTooManyLeases(t *testing.T) {
	h := newHarness(t)
	id := func(i int) string { return fmt.Sprintf("%016x", i) }
	var grants []*logv1.Command
	var changes []*logv1.Change
	var ids []string
	step := func() {
		for _, r := range h.do(t, 1, append(grants, write(changes...))...) {
			if r.Refusal != nil {
				t.Fatal(r.Refusal)
			}
		}
		grants, changes = nil, nil
	}
	for i := range limits.MaxLeases {
		ids = append(ids, id(i))
		grants = append(grants, grantForgetting(id(i), second))
		changes = append(changes, leased(id(i), serving, id(i)))
		if len(changes) == limits.MaxChanges {
			step()
		}
	}
	if r := h.do(t, 1, grantOf(leaseA))[0].GetRefusal(); r.GetReason() != logv1.Refusal_REASON_LIMIT || r.Field != "leases" || r.Limit != limits.MaxLeases {
		t.Errorf("one too many: %v", r)
	}
	for i := 0; i < len(ids); i += 1000 {
		h.do(t, 2, expireLeases(1<<40, ids[i:i+1000]...))
	}
	if s := h.LayerStats(); s.Leases != 0 || s.LeasesEnded != limits.MaxEndedLeases || s.LeasesExpired != limits.MaxLeases {
		t.Errorf("%+v", s)
	}
	if r := h.do(t, 3, grantForgetting(leaseA, second), write(leased("a", serving, leaseA)), expireLeases(1<<40, leaseA)); r[0].Refusal != nil || r[1].Refusal != nil {
		t.Errorf("another one: %v", r)
	}
	if s, _ := h.GetService("a"); h.Lease(leaseA) != nil || s.GetReport().GetLeaseId() != "" || s.GetStatus() != isNotServing {
		t.Errorf("%v, %v", h.Lease(leaseA), s)
	}
	h.do(t, 4*second, forgetLeases(ids[:1000]...))
	h.do(t, 4*second, grantForgetting(leaseB, second), write(leased("b", serving, leaseB)), expireLeases(1<<40, leaseB))
	if s := h.LayerStats(); h.Lease(leaseB) == nil || s.LeasesEnded != limits.MaxEndedLeases-999 || h.ServiceCount() != limits.MaxLeases-1000+2 {
		t.Errorf("%v, %+v, %d services", h.Lease(leaseB), s, h.ServiceCount())
	}
	if s, err := h.ScrubMemory(t.Context(), 1); err != nil || !s.Agrees() {
		t.Errorf("scrub %+v, %v", s, err)
	}
	if again := harnessOn(t, h.registryFile); again.LayerStats().LeasesEnded != h.LayerStats().LeasesEnded || again.state.leaseCounts != h.state.leaseCounts {
		t.Errorf("a restart counts %+v, it was %+v", again.state.leaseCounts, h.state.leaseCounts)
	}
}

// TestLeaseGuard goes through the life of the guard.
func TestLeaseGuard(t *testing.T) {
	h := newHarness(t)
	engage := func(engaged bool, late, live int64) *logv1.Command {
		return hold(&logv1.HoldLeases{Term: 1, Engaged: engaged, Late: late, Live: live})
	}
	for i, s := range []struct {
		cmd   *logv1.Command
		guard *logv1.LeaseGuard
	}{
		{because(releaseGuard(), "nothing to release"), nil},
		{engage(false, 1, 2), nil},
		{engage(true, 8, 10), &logv1.LeaseGuard{Engaged: true, Time: 3, Revision: 1, Late: 8, Live: 10}},
		{engage(true, 9, 10), &logv1.LeaseGuard{Engaged: true, Time: 3, Revision: 1, Late: 8, Live: 10}},
		{engage(false, 1, 10), &logv1.LeaseGuard{Time: 5, Revision: 2, Late: 1, Live: 10}},
		{because(releaseGuard(), "late"), &logv1.LeaseGuard{Time: 5, Revision: 2, Late: 1, Live: 10}},
		{engage(true, 3, 4), &logv1.LeaseGuard{Engaged: true, Time: 7, Revision: 3, Late: 3, Live: 4}},
		{because(releaseGuard(), "they are gone"), &logv1.LeaseGuard{Time: 8, Revision: 4, Late: 3, Live: 4, ReleaseTime: 8, Reason: "they are gone"}},
		{engage(false, 0, 0), &logv1.LeaseGuard{Time: 8, Revision: 4, Late: 3, Live: 4, ReleaseTime: 8, Reason: "they are gone"}},
		{engage(true, 5, 5), &logv1.LeaseGuard{Engaged: true, Time: 10, Revision: 5, Late: 5, Live: 5}},
	} {
		events := h.Revision()
		r := h.do(t, int64(i+1), s.cmd)[0]
		changed := h.Revision() != events
		if s.cmd.GetRecord() != nil {
			if x := r.Records[0]; len(r.Records) != 1 || x.Kind != logv1.Kind_KIND_LEASE_GUARD || x.Key != "guard" || x.Changed != changed {
				t.Errorf("step %d: %v", i, r)
			}
		}
		if g := h.LeaseGuard(); r.Refusal != nil || !proto.Equal(g, s.guard) || h.LayerStats().LeaseGuard != s.guard.GetEngaged() {
			t.Errorf("step %d: %v, %v; want %v", i, r.Refusal, g, s.guard)
		}
		if g := h.LeaseGuard(); changed && g.Revision != h.Revision() {
			t.Errorf("step %d: revision %d of %d", i, g.Revision, h.Revision())
		}
	}
	for _, e := range h.registryFile.events {
		if e.Type != logv1.EventType_EVENT_TYPE_LEASE_GUARD || e.Deletes {
			t.Errorf("event %v", e)
		}
	}
	h.sound(t)
}

// TestP3AGrantAgain: the node that takes the request picks the id of a lease, so another try has another one. It gets
// the first one.
func TestP3AGrantAgain(t *testing.T) {
	h := withIDs(t, 100, 1000)
	try := func(id string, edit func(*logv1.GrantLease)) *logv1.Command {
		g := &logv1.GrantLease{LeaseId: id, Ttl: 10 * second, OnExpiry: notServing, ForgetAfter: second}
		edit(g)
		cmd := because(granting(g), "mine")
		cmd.RequestId, cmd.Actor = "1", &logv1.Actor{Name: "ann"}
		return cmd
	}
	same := func(*logv1.GrantLease) {}
	first := h.do(t, 1, try(leaseA, same))[0]
	for range 2 {
		again := h.do(t, 2, try(leaseB, same))[0]
		if !again.Replayed || len(again.Records) != 1 || !proto.Equal(again.Records[0], first.Records[0]) || h.Lease(leaseB) != nil || h.Lease(leaseA) == nil {
			t.Errorf("%v, the first was %v", again, first)
		}
		h = harnessOn(t, h.registryFile)
	}
	for what, edit := range map[string]func(*logv1.GrantLease){
		"ttl":          func(g *logv1.GrantLease) { g.Ttl++ },
		"on_expiry":    func(g *logv1.GrantLease) { g.OnExpiry = unknown },
		"forget_after": func(g *logv1.GrantLease) { g.ForgetAfter = 0 },
	} {
		if r := h.do(t, 3, try(leaseA, edit))[0].GetRefusal(); r.GetProblem() != logv1.Refusal_PROBLEM_REUSED {
			t.Errorf("another %s: %v", what, r)
		}
	}
	end := revoke(leaseA)
	end.RequestId, end.Actor = "2", &logv1.Actor{Name: "ann"}
	if a, b := h.do(t, 4, end)[0], h.do(t, 5, end)[0]; a.Refusal != nil || !b.Replayed || !proto.Equal(a.Records[0], b.Records[0]) {
		t.Errorf("a revoke again: %v, %v", a, b)
	}
}

// TestLeasesAreTold: whoever keeps account of the leases is told of each that changed, after it is shown, and of a
// restore.
func TestLeasesAreTold(t *testing.T) {
	var said []string
	var h *harness
	cfg := Config{RegistryFile: newMemRegistryFile(),
		OnLease: func(id string, l *logv1.Lease) {
			if !proto.Equal(h.Lease(id), l) {
				t.Errorf("told %v, shown is %v", l, h.Lease(id))
			}
			said = append(said, id[:1]+" "+leaseText(l))
		},
		OnLeasesReplaced: func() {
			n := 0
			h.ScanLeases(func(string, *logv1.Lease) bool { n++; return true })
			said = append(said, fmt.Sprint("all, ", n))
		},
	}
	h = harnessWith(t, cfg)
	h.do(t, 1, grantForgetting(leaseA, second), grantOf(leaseB), write(leased("a", serving, leaseA)))
	h.do(t, 2, write(leased("b", serving, leaseB)))
	h.do(t, 3, expireLeases(99, leaseA, leaseB), grantOf(leaseC), revoke(leaseC))
	h.do(t, 3*second, forgetLeases(leaseA))
	other := newHarness(t)
	other.do(t, 1, grantOf(leaseA), write(change("a", serving)))
	for range 9 {
		other.do(t, 1, write(change("a", serving), change("b", notServing)), write(change("b", gone)))
	}
	if err := h.Restore(other.snapshot(t)); err != nil {
		t.Fatal(err)
	}
	want := []string{"a lives", "b lives", "a ended at 3 by revision 5, done true, forgotten at 1000000003", "b none", "0 none", "a none", "all, 1"}
	if !slices.Equal(said, want) {
		t.Errorf("told\n%q, want\n%q", said, want)
	}
}

// TestHistoryOfALease: compaction keeps the newest event of a lease that is there, and none of one that is gone; a
// service as of then has the lease as of then.
func TestHistoryOfALease(t *testing.T) {
	h := newHarness(t)
	h.do(t, 1, grantForgetting(leaseA, second), grantOf(leaseB), write(leased("a", serving, leaseA), leased("b", serving, leaseB)))
	h.do(t, 2, expireLeases(99, leaseB)) // 5, 6
	h.do(t, 3, write(change("x", serving)))
	h.do(t, 4, expireLeases(99, leaseA)) // 8, 9
	ctx := context.Background()
	lease := func(name string, revision int64) string {
		t.Helper()
		r, err := h.GetServiceAt(ctx, name, revision)
		list, _, listErr := h.ListServicesAt(ctx, revision, name, "", 1, nil)
		if err != nil || listErr != nil || len(list) != 1 || !proto.Equal(list[0], r) {
			t.Fatalf("%s at %d: %v, %v; %v, %v", name, revision, r, err, list, listErr)
		}
		if (r.Lease != nil) != (r.GetReport().GetLeaseId() != "") {
			t.Errorf("%s at %d: %v", name, revision, r)
		}
		if r.Lease == nil {
			return "none"
		}
		if r.Lease.EndTime == nil {
			return r.Lease.LeaseId[:1] + " lives"
		}
		return r.Lease.LeaseId[:1] + " ended"
	}
	at := func(revision int64) string { return lease("a", revision) + ", " + lease("b", revision) }
	for revision, want := range map[int64]string{4: "a lives, b lives", 6: "a lives, none", 7: "a lives, none", 9: "a ended, none"} {
		if got := at(revision); got != want {
			t.Errorf("at %d: %s, want %s", revision, got, want)
		}
	}
	h.do(t, 5, compact(8))
	if got := at(7); got != "a lives, none" {
		t.Errorf("below the horizon: %s", got)
	}
	_, span, err := h.registryFile.read()
	if err != nil || span.Oldest != 8 {
		t.Fatalf("span %v, %v", span, err)
	}
	v, err := h.RecordAt(ctx, logv1.Kind_KIND_LEASE, leaseA, 7)
	if l, _ := v.(*logv1.Lease); err != nil || l == nil || l.End != nil {
		t.Errorf("the lease at 7: %v, %v", v, err)
	}
	if v, err := h.RecordAt(ctx, logv1.Kind_KIND_LEASE, leaseB, 7); err != nil || v != nil {
		t.Errorf("the lease that is gone at 7: %v, %v", v, err)
	}
}

// TestDamagedLeases: a start refuses what the fold could not have made.
func TestDamagedLeases(t *testing.T) {
	good := func() *logv1.Lease {
		return &logv1.Lease{Ttl: second, OnExpiry: notServing, Revision: 1, End: &logv1.LeaseEnd{Revision: 2, Status: notServing}}
	}
	guard := func(edit func(*logv1.LeaseGuard)) Value {
		g := &logv1.LeaseGuard{Engaged: true, Revision: 1}
		edit(g)
		return g
	}
	lease := func(edit func(*logv1.Lease)) Value {
		l := good()
		edit(l)
		return l
	}
	if _, err := leaseKind.decode(leaseA, appendValue(nil, good())); err != nil {
		t.Fatal(err)
	}
	if _, err := leaseGuardKind.decode("guard", appendValue(nil, guard(func(*logv1.LeaseGuard) {}))); err != nil {
		t.Fatal(err)
	}
	for what, s := range map[string]struct {
		kind *Kind
		key  string
		v    Value
	}{
		"id":                    {leaseKind, "lease", good()},
		"no ttl":                {leaseKind, leaseA, lease(func(l *logv1.Lease) { l.Ttl = 0 })},
		"no revision":           {leaseKind, leaseA, lease(func(l *logv1.Lease) { l.Revision = 0 })},
		"ends before":           {leaseKind, leaseA, lease(func(l *logv1.Lease) { l.End.Revision = 1 })},
		"done, for ever":        {leaseKind, leaseA, lease(func(l *logv1.Lease) { l.End.Done = true })},
		"key of the guard":      {leaseGuardKind, "other", guard(func(*logv1.LeaseGuard) {})},
		"guard of no event":     {leaseGuardKind, "guard", guard(func(g *logv1.LeaseGuard) { g.Revision = 0 })},
		"released, but engaged": {leaseGuardKind, "guard", guard(func(g *logv1.LeaseGuard) { g.ReleaseTime = 1 })},
	} {
		j := newMemRegistryFile()
		harnessOn(t, j).do(t, 1, write(change("a", serving)), write(change("a", notServing)))
		j.meta.StateHash = nil
		j.put(s.kind.Number, s.key, appendValue(nil, s.v))
		if f, err := New(Config{RegistryFile: j}); err == nil {
			f.Close()
			t.Errorf("%s: it starts", what)
		}
	}
}

// TestScrubFindsWhatIsAttached: an index that is not that of the records is found.
func TestScrubFindsWhatIsAttached(t *testing.T) {
	for what, damage := range map[string]func(*state){
		"lost":  func(s *state) { s.attached.Remove(leaseA, 2) },
		"extra": func(s *state) { s.attached.Add(leaseA, 7, &record{name: "x"}) },
		"other": func(s *state) { s.attached.Add(leaseA, 2, &record{name: "x"}) },
	} {
		h := newHarness(t)
		h.do(t, 1, grantOf(leaseA), write(leased("a", serving, leaseA)))
		damage(h.state)
		h.do(t, 1, write(change("b", serving)))
		if s, err := h.ScrubMemory(t.Context(), 1); err != nil || s.Agrees() || s.Derived == "" {
			t.Errorf("%s: %+v, %v", what, s, err)
		}
	}
}

// TestLeaseThatIsNotThere: a report whose lease text names no lease is held by nobody.
func TestLeaseThatIsNotThere(t *testing.T) {
	j := newMemRegistryFile()
	harnessOn(t, j).do(t, 1, write(change("a", serving), change("b", serving)))
	j.meta.StateHash = nil
	for name, lease := range map[string]string{"a": "l1", "b": leaseB} {
		r := j.service(name)
		r.Report.LeaseId = lease
		j.setService(r)
	}
	h := harnessOn(t, j)
	if s, _ := h.GetService("b"); s.Lease != nil || s.GetReport().GetLeaseId() != leaseB {
		t.Errorf("%v", s)
	}
	if r := h.do(t, 2, write(change("a", notServing), change("b", notServing)), grantOf(leaseB), expireLeases(99, leaseB, "l1")); r[0].Refusal != nil || r[2].Refusal != nil {
		t.Errorf("%v", r)
	}
	if have := h.services(); have != "a=NOT_SERVING b=NOT_SERVING" {
		t.Error(have)
	}
}

// TestEndOfALeaseSaysWhatItWas: whoever reads the history learns how a lease ended, also if its record is gone.
func TestEndOfALeaseSaysWhatItWas(t *testing.T) {
	h := newHarness(t)
	h.do(t, 1, grantOf(leaseA), grantOf(leaseB), grantForgetting(leaseC, second), write(leased("a", serving, leaseC)))
	h.do(t, 2, expireLeases(99, leaseA), because(revoke(leaseB), "stopped"), expireLeases(99, leaseC))
	h.do(t, 2*second, forgetLeases(leaseC))
	ends := 0
	for _, e := range h.registryFile.events {
		switch e.Type {
		case logv1.EventType_EVENT_TYPE_LEASE_ENDED, logv1.EventType_EVENT_TYPE_LEASE_FORGOTTEN:
		default:
			continue
		}
		ends++
		l := convert.Event(e).GetLease()
		if l.GetLeaseId() != e.Key || l.GetTtl().AsDuration() != 10*time.Second || l.GetEndTime().AsTime().UnixNano() != 2 || l.GetRevoked() != (e.Key == leaseB) ||
			(l.GetForgetTime() != nil) != (e.Key == leaseC) {
			t.Errorf("event %v says %v", e, l)
		}
	}
	if ends != 4 {
		t.Errorf("%d ends", ends)
	}
	for revision := int64(6); revision <= h.Revision(); revision++ {
		if v, err := h.RecordAt(t.Context(), logv1.Kind_KIND_LEASE, leaseA, revision); v != nil || err != nil {
			t.Errorf("at %d: %v, %v", revision, v, err)
		}
	}
	h.sound(t)
}

// TestAViewKeepsItsLeases: what is read of one cut never changes.
func TestAViewKeepsItsLeases(t *testing.T) {
	h := newHarness(t)
	h.do(t, 1, grantForgetting(leaseA, second), write(leased("a", serving, leaseA), leased("b", serving, leaseA)))
	v := h.view.Load()
	h.do(t, 2, write(change("x", serving)))
	if same := h.view.Load(); same.attached != v.attached {
		t.Error("a write without a lease made another index for the view")
	}
	h.do(t, 2, write(leased("c", serving, leaseA), leased("a", gone, leaseA)))
	h.do(t, 3, expireLeases(99, leaseA))
	if l := v.countedLease(leaseA, v.lease(leaseA)); l.ServiceCount != 2 || l.EndTime != nil || v.attached.Newest(leaseA) != 3 || v.leaseCounts.ended != 0 {
		t.Errorf("the view of before shows %v", l)
	}
	if l, _ := h.GetLease(leaseA); l.ServiceCount != 2 || l.EndTime == nil {
		t.Errorf("the newest shows %v", l)
	}
}
