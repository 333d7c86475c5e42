package fsm

import (
	"fmt"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

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
	const services = 5_000
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
			h.state.mostRevoked = h.state.mostExpired
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
			if n := len(h.attachedTo(leaseA)); leaseText(h.Lease(leaseA))[:5] != "ended" || h.Lease(leaseA).End.Done || (s.lease == "" && n != 3_000) {
				t.Errorf("%v, with %d", h.Lease(leaseA), n)
			}
			if events := h.registryFile.events[from:]; len(events) != 2_001 || events[0].Type != logv1.EventType_EVENT_TYPE_LEASE_ENDING {
				t.Errorf("%d events, the first is %v", len(events), events[0])
			}
			// Between: a write of something else, one without a lease, one by another lease, a delete.
			for _, cmd := range []*logv1.Command{
				write(change("other", serving)),
				write(change(name(4_800), notServing)),
				write(leased(name(4_801), serving, leaseB)),
				write(change(name(4_802), gone)),
				write(change(name(1), serving)), // which has ended already
			} {
				if r := h.do(t, 3, cmd)[0]; r.Refusal != nil {
					t.Errorf("%v: %v", cmd, r.Refusal)
				}
			}
			if r := h.do(t, 3, write(leased("x", serving, leaseA)))[0]; r.Refusal.GetReason() != logv1.Refusal_REASON_NOT_FOUND {
				t.Errorf("it takes another report: %v", r)
			}
			for i, want := range []int{2_000, 997} {
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
			for i, want := range []int{2_996, 996, 0} {
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

// TestARevocationEndsManyAtOnce: as many as one batch can change.
func TestARevocationEndsManyAtOnce(t *testing.T) {
	for _, services := range []int{10_000, 10_001} {
		h := newHarness(t)
		h.do(t, 1, grantOf(leaseA))
		h.attach(t, leaseA, services)
		h.do(t, 2, revoking(&logv1.RevokeLease{LeaseId: leaseA}))
		if got := h.count(isNotServing); got != 10_000 || (h.Lease(leaseA) == nil) != (services == 10_000) {
			t.Errorf("%d of %d have changed, and the lease is %v", got, services, h.Lease(leaseA))
		}
		h.sound(t)
	}
}

// TestLeasesShareACommand: one that does not fit into what others have left waits; smaller ones behind it do not.
func TestLeasesShareACommand(t *testing.T) {
	h := newHarness(t)
	h.do(t, 1, grantOf(leaseA), grantOf(leaseB), grantOf(leaseC))
	h.attach(t, leaseA, 1200)
	h.attach(t, leaseB, 1200)
	h.attach(t, leaseC, 800)
	x := expireLeases(h.Revision(), leaseA, leaseB, leaseC)
	h.do(t, 2, x)
	if a, b, c := h.Lease(leaseA), h.Lease(leaseB), h.Lease(leaseC); a != nil || leaseText(b) != "lives" || c != nil || h.count(isNotServing) != 2_000 {
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
