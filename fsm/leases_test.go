package fsm

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
)

const second = int64(time.Second)

// services is what is held of all services: status, lease and reason.
func (h *harness) services() string {
	var b strings.Builder
	page := h.ListServices(pattern.Everything, "", 1000, nil, false)
	for _, s := range page.Records {
		fmt.Fprintf(&b, "%s=%v", s.Service, s.GetReport().GetStatus())
		if id := s.GetReport().GetLeaseId(); id != "" {
			fmt.Fprintf(&b, "@%s", id[:1])
		}
		if r := s.GetReport().GetReason(); r != "" {
			fmt.Fprintf(&b, "(%s)", r)
		}
		b.WriteByte(' ')
	}
	return strings.TrimSpace(b.String())
}

// TestLeaseOfAReport goes through what a lease does to writes.
func TestLeaseOfAReport(t *testing.T) {
	h := newHarness(t)
	for _, s := range []struct {
		what     string
		cmd      *logv1.Command
		refused  string // reason, kind and key
		services string
	}{
		{"a write without leases", write(change("a", serving)), "", "a=SERVING"},
		{"a lease that is not there", write(leased("a", serving, leaseA)), "NOT_FOUND KIND_LEASE " + leaseA, "a=SERVING"},
		{"a lease is granted", grantOf(leaseA), "", "a=SERVING"},
		{"its id is taken", grantOf(leaseA), "INVALID KIND_LEASE " + leaseA, "a=SERVING"},
		{"it takes a report", write(leased("a", serving, leaseA)), "", "a=SERVING@a"},
		{"and makes one", write(leased("b", notServing, leaseA)), "", "a=SERVING@a b=NOT_SERVING@a"},
		{"the same again", write(leased("b", notServing, leaseA)), "", "a=SERVING@a b=NOT_SERVING@a"},
		{"without the lease", write(change("a", notServing)), "LEASE_HELD KIND_SERVICE a", "a=SERVING@a b=NOT_SERVING@a"},
		{"without the lease, nothing new", write(change("a", serving)), "LEASE_HELD KIND_SERVICE a", "a=SERVING@a b=NOT_SERVING@a"},
		{"a delete without the lease", write(change("a", gone)), "LEASE_HELD KIND_SERVICE a", "a=SERVING@a b=NOT_SERVING@a"},
		{"all or nothing", write(change("c", serving), leased("a", serving, leaseA), change("b", serving)), "LEASE_HELD KIND_SERVICE b", "a=SERVING@a b=NOT_SERVING@a"},
		{"another revision of what is held", write(changeIf("a", serving, 77)), "LEASE_HELD KIND_SERVICE a", "a=SERVING@a b=NOT_SERVING@a"},
		{"the right revision of what is held", write(changeIf("a", serving, 3)), "LEASE_HELD KIND_SERVICE a", "a=SERVING@a b=NOT_SERVING@a"},
		{"another lease", grantOf(leaseB), "", "a=SERVING@a b=NOT_SERVING@a"},
		{"takes over", write(leased("a", serving, leaseB)), "", "a=SERVING@b b=NOT_SERVING@a"},
		{"a delete by another lease", write(leased("b", gone, leaseB)), "", "a=SERVING@b"},
		{"a delete of nothing", write(leased("b", gone, leaseB)), "", "a=SERVING@b"},
		{"of nothing by nobody", write(leased("b", gone, leaseC)), "NOT_FOUND KIND_LEASE " + leaseC, "a=SERVING@b"},
		{"the first one is revoked, without reports", revoke(leaseA), "", "a=SERVING@b"},
		{"it may be gone", revoking(&logv1.RevokeLease{LeaseId: leaseA, AllowMissing: true}), "", "a=SERVING@b"},
		{"it is gone", revoke(leaseA), "NOT_FOUND KIND_LEASE " + leaseA, "a=SERVING@b"},
		{"a write by it", write(leased("a", serving, leaseA)), "NOT_FOUND KIND_LEASE " + leaseA, "a=SERVING@b"},
		{"the second one is revoked", because(revoke(leaseB), "stopped"), "", "a=NOT_SERVING(stopped)"},
		{"nothing is held", write(change("a", serving)), "", "a=SERVING"},
	} {
		before := h.dump()
		got := h.do(t, h.LogTime()+1, s.cmd)[0]
		refused := ""
		if r := got.GetRefusal(); r != nil {
			refused = fmt.Sprint(strings.TrimPrefix(r.Reason.String(), "REASON_"), " ", r.Kind, " ", r.Key)
			if r.Reason == logv1.Refusal_REASON_LEASE_HELD && r.Held != leaseA {
				t.Errorf("%s: held by %q", s.what, r.Held)
			}
			if tail(before) != tail(h.dump()) {
				t.Errorf("%s: something changed", s.what)
			}
		}
		if have := h.services(); refused != s.refused || have != s.services {
			t.Errorf("%s: %s, %s; want %s, %s", s.what, refused, have, s.refused, s.services)
		}
	}
}

// TestSameReportWithTheSameLease is no event, whoever holds it.
func TestSameReportWithTheSameLease(t *testing.T) {
	h := newHarness(t)
	h.do(t, 1, grantOf(leaseA), grantOf(leaseB), write(leased("a", serving, leaseA)))
	for _, s := range []struct {
		cmd     *logv1.Command
		changed bool
	}{
		{write(leased("a", serving, leaseA)), false},
		{because(write(leased("a", serving, leaseA)), "r"), true},
		{write(leased("a", serving, leaseB)), true},
		{write(leased("a", serving, leaseB)), false},
		{write(leased("x", gone, leaseB)), false},
	} {
		events := len(h.registryFile.events)
		got := h.do(t, 2, s.cmd)[0]
		if c := got.GetServices()[0].GetChanged(); c != s.changed || len(h.registryFile.events) != events+map[bool]int{true: 1}[s.changed] {
			t.Errorf("%v: changed %v, %d events more", s.cmd, c, len(h.registryFile.events)-events)
		}
	}
	if since := h.registryFile.service("a").StatusTime; since != 1 {
		t.Errorf("another lease moved status_time to %d", since)
	}
	if a, b := h.attachedTo(leaseA), h.attachedTo(leaseB); len(a) != 0 || !slices.Equal(b, []string{"a"}) {
		t.Errorf("attached are %v and %v", a, b)
	}
}

// TestExpire goes through the life of leases that are not renewed.
func TestExpire(t *testing.T) {
	deleting := granting(&logv1.GrantLease{LeaseId: leaseC, Ttl: second, OnExpiry: gone, ForgetAfter: 5 * second})
	for _, s := range []struct {
		what     string
		before   []*logv1.Command
		cmd      *logv1.Command
		services string
		lease    string // leaseA, afterwards
		events   string
	}{
		{"two of three reports change their status",
			[]*logv1.Command{grantOf(leaseA), write(leased("a", serving, leaseA), leased("b", notServing, leaseA), change("c", serving))},
			expireLeases(4, leaseA), "a=NOT_SERVING(lease expired) b=NOT_SERVING(lease expired) c=SERVING", "none",
			"LEASE_ENDED lease expired of 2; EXPIRED a lease expired a; EXPIRED b lease expired a"},
		{"no report", []*logv1.Command{grantOf(leaseA)}, expireLeases(1, leaseA), "", "none", "LEASE_ENDED lease expired of 0"},
		{"a report that it took from another one",
			[]*logv1.Command{grantOf(leaseA), grantOf(leaseB), write(leased("a", serving, leaseA)), write(leased("a", serving, leaseB))},
			expireLeases(9, leaseA), "a=SERVING@b", "none", "LEASE_ENDED lease expired of 0"},
		{"attached since the leader looked",
			[]*logv1.Command{grantOf(leaseA), write(leased("a", serving, leaseA)), write(leased("b", serving, leaseA))},
			expireLeases(2, leaseA), "a=SERVING@a b=SERVING@a", "lives", ""},
		{"granted since the leader looked", []*logv1.Command{write(change("a", serving)), grantOf(leaseA)}, expireLeases(1, leaseA), "a=SERVING", "lives", ""},
		{"deletes, and has nothing to forget", []*logv1.Command{deleting, write(leased("a", serving, leaseC))},
			expireLeases(9, leaseC, leaseC, "x", leaseA), "", "none", "LEASE_ENDED lease expired of 1; DELETED a lease expired 0"},
		{"leaves what is to be forgotten", []*logv1.Command{grantForgetting(leaseA, 5*second), write(leased("a", serving, leaseA))},
			expireLeases(9, leaseA), "a=NOT_SERVING@a(lease expired)", "ended at 7 by revision 3, done true, forgotten at 5000000007",
			"LEASE_ENDED lease expired of 1; EXPIRED a lease expired a"},
		{"has nothing left to be forgotten", []*logv1.Command{grantForgetting(leaseA, 5*second), write(leased("a", serving, leaseA)), write(leased("a", gone, leaseA))},
			expireLeases(9, leaseA), "", "none", "LEASE_ENDED lease expired of 0"},
		{"two leases", []*logv1.Command{grantOf(leaseA), grantOf(leaseB), write(leased("a", serving, leaseA), leased("b", serving, leaseB))},
			expireLeases(9, leaseB, leaseA), "a=NOT_SERVING(lease expired) b=NOT_SERVING(lease expired)", "none",
			"LEASE_ENDED lease expired of 1; LEASE_ENDED lease expired of 1; EXPIRED b lease expired b; EXPIRED a lease expired a"},
		{"not of one in two of a batch", []*logv1.Command{grantOf(leaseA), write(leased("a", serving, leaseA))},
			forgetLeases(leaseA), "a=SERVING@a", "lives", ""},
	} {
		t.Run(s.what, func(t *testing.T) {
			h := newHarness(t)
			h.do(t, 1, s.before...)
			seen := len(h.registryFile.events)
			got := h.do(t, 7, s.cmd)[0]
			if got.GetRefusal() != nil || len(got.GetServices()) != 0 {
				t.Errorf("answer %v", got)
			}
			if have, lease := h.services(), leaseText(h.Lease(leaseA)); have != s.services || lease != s.lease {
				t.Errorf("%s; %s; want %s; %s", have, lease, s.services, s.lease)
			}
			if have := eventsText(h.registryFile.events[seen:]); have != s.events {
				t.Errorf("events\n%s, want\n%s", have, s.events)
			}
			h.sound(t)
		})
	}
}

// eventsText is events in short.
func eventsText(events []*logv1.Event) string {
	var list []string
	for _, e := range events {
		text := strings.TrimPrefix(e.Type.String(), "EVENT_TYPE_") + " "
		if e.Kind == logv1.Kind_KIND_SERVICE {
			text += e.Key + " "
		}
		text += e.Reason
		switch e.Kind {
		case logv1.Kind_KIND_SERVICE:
			text += " " + e.LeaseId[:min(len(e.LeaseId), 1)]
		case logv1.Kind_KIND_LEASE:
			text += fmt.Sprint(" of ", e.MatchedCount)
		}
		list = append(list, text)
	}
	return strings.Join(list, "; ")
}

// sound requires that a start from the registry file, and a scrub, find the same as the fold.
func (h *harness) sound(t *testing.T) {
	t.Helper()
	restarted := harnessOn(t, h.registryFile)
	if have, want := restarted.dump(), h.dump(); have != want {
		t.Errorf("restarted\n%swas\n%s", have, want)
	}
	for _, e := range h.registryFile.events {
		if e.Kind == logv1.Kind_KIND_SERVICE && !e.Deletes {
			r := h.registryFile.service(e.Key)
			if r.GetReport().GetRevision() == e.Revision && string(serviceAfter(e)) != string(h.registryFile.records[e.Kind][e.Key]) {
				t.Errorf("event %v leaves another record than %v", e, r)
			}
		}
	}
}

// TestForget goes on after an expiry whose reports are to be forgotten.
func TestForget(t *testing.T) {
	h := newHarness(t)
	h.do(t, 1, grantForgetting(leaseA, 5*second), write(leased("a", serving, leaseA), leased("b", serving, leaseA), leased("c", serving, leaseA)))
	h.do(t, second, expireLeases(4, leaseA))
	if got := h.do(t, 2*second, write(leased("b", serving, leaseA)))[0].GetRefusal(); got.GetReason() != logv1.Refusal_REASON_NOT_FOUND {
		t.Errorf("a write that names an ended lease: %v", got)
	}
	if got := h.do(t, 2*second, revoke(leaseA))[0].GetRefusal(); got.GetReason() != logv1.Refusal_REASON_NOT_FOUND {
		t.Errorf("an ended lease is revoked: %v", got)
	}
	h.do(t, 2*second, write(change("b", serving)))
	if have := h.services(); have != "a=NOT_SERVING@a(lease expired) b=SERVING c=NOT_SERVING@a(lease expired)" {
		t.Error(have)
	}
	if s := h.LayerStats(); s.Leases != 0 || s.LeasesEnded != 1 || s.LeasesExpired != 1 || s.LeasesRevoked != 0 {
		t.Errorf("%+v", s)
	}
	if list, more, _ := h.ListLeases("", 10, false, nil); len(list) != 0 || more {
		t.Errorf("listed %v", list)
	}
	if list, _, _ := h.ListLeases("", 10, true, nil); len(list) != 1 || list[0].ServiceCount != 2 || list[0].EndTime.AsTime().UnixNano() != second {
		t.Errorf("listed %v", list)
	}
	if s, _ := h.GetService("a"); s.GetLease().GetForgetTime().AsTime().UnixNano() != 6*second || s.GetLease().GetRevoked() {
		t.Errorf("a is %v", s)
	}
	h.do(t, 6*second-1, forgetLeases(leaseA))
	if have := h.services(); have != "a=NOT_SERVING@a(lease expired) b=SERVING c=NOT_SERVING@a(lease expired)" {
		t.Errorf("forgotten too early: %s", have)
	}
	seen := len(h.registryFile.events)
	h.do(t, 6*second, forgetLeases(leaseA, leaseA))
	if have := h.services(); have != "b=SERVING" || h.Lease(leaseA) != nil {
		t.Errorf("%s, %v", have, h.Lease(leaseA))
	}
	const r = " forgotten "
	if have := eventsText(h.registryFile.events[seen:]); have != "LEASE_FORGOTTEN"+r+"of 2; DELETED a"+r+"a; DELETED c"+r+"a" {
		t.Error(have)
	}
	h.sound(t)
}

// TestRevoke goes through the ways to end a lease by hand.
func TestRevoke(t *testing.T) {
	const all = "LEASE_ENDED stopped of 2; "
	for _, s := range []struct {
		what     string
		cmd      *logv1.RevokeLease
		services string
		lease    string
		events   string
	}{
		{"as it expires", &logv1.RevokeLease{}, "a=NOT_SERVING@a(stopped) b=NOT_SERVING@a(stopped)",
			"ended at 7 by revision 4, done true, forgotten at 5000000007", all + "REPORTED a stopped a; REPORTED b stopped a"},
		{"with another status", &logv1.RevokeLease{Status: unknown.Enum()}, "a=UNKNOWN@a(stopped) b=UNKNOWN@a(stopped)",
			"ended at 7 by revision 4, done true, forgotten at 5000000007", all + "REPORTED a stopped a; REPORTED b stopped a"},
		{"deleting", &logv1.RevokeLease{Status: gone.Enum()}, "", "none", all + "DELETED a stopped a; DELETED b stopped a"},
		{"keeping", &logv1.RevokeLease{KeepReports: true}, "a=SERVING(stopped) b=NOT_SERVING(stopped)", "none", all + "REPORTED a stopped a; REPORTED b stopped a"},
	} {
		t.Run(s.what, func(t *testing.T) {
			h := newHarness(t)
			h.do(t, 1, grantForgetting(leaseA, 5*second), write(leased("a", serving, leaseA), leased("b", notServing, leaseA)))
			s.cmd.LeaseId = leaseA
			cmd := because(revoking(s.cmd), "stopped")
			cmd.Actor = &logv1.Actor{Name: "ann"}
			preview := h.Preview(cmd, 7).Proto()
			got := h.do(t, 7, cmd)[0]
			preview.Index = got.Index
			if !proto.Equal(preview, got) {
				t.Errorf("preview\n%v, did\n%v", preview, got)
			}
			r := got.GetRecords()[0]
			if len(got.Services) != 0 || len(got.Records) != 1 || r.Key != leaseA || r.MatchedCount != 2 || r.Deleted != (s.lease == "none") {
				t.Errorf("answer %v", got)
			}
			if have, lease := h.services(), leaseText(h.Lease(leaseA)); have != s.services || lease != s.lease {
				t.Errorf("%s; %s; want %s; %s", have, lease, s.services, s.lease)
			}
			events := h.registryFile.events[3:]
			if have := eventsText(events); have != s.events {
				t.Errorf("events\n%s, want\n%s", have, s.events)
			}
			for _, e := range events {
				if e.Actor.GetName() != "ann" {
					t.Errorf("event %v is not ann's", e)
				}
			}
			if st := h.LayerStats(); st.LeasesRevoked != 1 || st.LeasesExpired != 0 {
				t.Errorf("%+v", st)
			}
			if len(h.attachedTo(leaseA)) != strings.Count(s.services, "@a") {
				t.Errorf("attached are %v", h.attachedTo(leaseA))
			}
			h.sound(t)
		})
	}
}

// TestBadLeases: what is refused as malformed, or too much.
func TestBadLeases(t *testing.T) {
	ok := func() *logv1.GrantLease { return &logv1.GrantLease{LeaseId: leaseA, Ttl: second, OnExpiry: notServing} }
	bad := func(edit func(*logv1.GrantLease)) *logv1.Command {
		g := ok()
		edit(g)
		return granting(g)
	}
	other := revoking(&logv1.RevokeLease{LeaseId: leaseB, Status: serving.Enum(), KeepReports: true})
	for what, s := range map[string]struct {
		cmd     *logv1.Command
		field   string
		problem problem
		value   int64
		limit   int64
	}{
		"no ttl":           {bad(func(g *logv1.GrantLease) { g.Ttl = 0 }), "ttl", logv1.Refusal_PROBLEM_TOO_LOW, 0, second},
		"999 ms":           {bad(func(g *logv1.GrantLease) { g.Ttl = second - 1 }), "ttl", logv1.Refusal_PROBLEM_TOO_LOW, second - 1, second},
		"25 h":             {bad(func(g *logv1.GrantLease) { g.Ttl = 25 * 3600 * second }), "ttl", logv1.Refusal_PROBLEM_TOO_HIGH, 25 * 3600 * second, 24 * 3600 * second},
		"negative ttl":     {bad(func(g *logv1.GrantLease) { g.Ttl = -second }), "ttl", logv1.Refusal_PROBLEM_TOO_LOW, -second, second},
		"forget at once":   {bad(func(g *logv1.GrantLease) { g.ForgetAfter = 1 }), "forget_after", logv1.Refusal_PROBLEM_TOO_LOW, 1, second},
		"forget before":    {bad(func(g *logv1.GrantLease) { g.ForgetAfter = -1 }), "forget_after", logv1.Refusal_PROBLEM_TOO_LOW, -1, second},
		"forget never":     {bad(func(g *logv1.GrantLease) { g.ForgetAfter = 1 << 62 }), "forget_after", logv1.Refusal_PROBLEM_TOO_HIGH, 1 << 62, int64(limits.MaxForgetAfter)},
		"status 9":         {bad(func(g *logv1.GrantLease) { g.OnExpiry = 9 }), "command", logv1.Refusal_PROBLEM_UNKNOWN, 0, 0},
		"no id":            {bad(func(g *logv1.GrantLease) { g.LeaseId = "" }), "lease_id", logv1.Refusal_PROBLEM_EMPTY, 0, 0},
		"short id":         {bad(func(g *logv1.GrantLease) { g.LeaseId = leaseA[1:] }), "lease_id", logv1.Refusal_PROBLEM_UNKNOWN, 0, 0},
		"upper case":       {bad(func(g *logv1.GrantLease) { g.LeaseId = strings.ToUpper(leaseA) }), "lease_id", logv1.Refusal_PROBLEM_UNKNOWN, 0, 0},
		"long id":          {bad(func(g *logv1.GrantLease) { g.LeaseId = strings.Repeat("a", 65) }), "lease_id", logv1.Refusal_PROBLEM_TOO_LONG, 65, 64},
		"revoke nothing":   {revoke(""), "lease_id", logv1.Refusal_PROBLEM_EMPTY, 0, 0},
		"revoke: status 9": {revoking(&logv1.RevokeLease{LeaseId: leaseB, Status: logv1.Status(9).Enum()}), "command", logv1.Refusal_PROBLEM_UNKNOWN, 0, 0},
		"keep and change":  {other, "keep_reports", logv1.Refusal_PROBLEM_CONFLICT, 0, 0},
		"no command":       {leaseCommand(&logv1.LeaseCommand{}), "command", logv1.Refusal_PROBLEM_UNKNOWN, 0, 0},
		"no bytes":         {&logv1.Command{Kind: &logv1.Command_Record{Record: &logv1.RecordCommand{Kind: logv1.Kind_KIND_LEASE, Payload: []byte{1}}}}, "command", logv1.Refusal_PROBLEM_UNKNOWN, 0, 0},
		"no guard's bytes": {&logv1.Command{Kind: &logv1.Command_Record{Record: &logv1.RecordCommand{Kind: logv1.Kind_KIND_LEASE_GUARD, Payload: []byte{1}}}}, "command", logv1.Refusal_PROBLEM_UNKNOWN, 0, 0},
		"late":             {hold(&logv1.HoldLeases{Term: 1, Engaged: true, Late: -1}), "late", logv1.Refusal_PROBLEM_TOO_LOW, -1, 0},
		"live":             {hold(&logv1.HoldLeases{Term: 1, Engaged: true, Live: -5}), "live", logv1.Refusal_PROBLEM_TOO_LOW, -5, 0},
		"both to expire": {&logv1.Command{Kind: &logv1.Command_Expire{Expire: &logv1.Expire{Term: 1, Overrides: []*logv1.ExpiredOverride{{}}, ForgottenLeases: []string{"a"}}}},
			"overrides", logv1.Refusal_PROBLEM_CONFLICT, 0, 0},
	} {
		h := newHarness(t)
		h.do(t, 1, grantOf(leaseB))
		got := h.do(t, 2, s.cmd)[0].GetRefusal()
		if got.GetReason() != logv1.Refusal_REASON_INVALID || got.Field != s.field || got.Problem != s.problem || got.Value != s.value || got.Limit != s.limit {
			t.Errorf("%s: %v", what, got)
		}
	}
	for _, ttl := range []int64{second, 24 * 3600 * second} {
		for _, st := range []logv1.Status{unknown, serving, notServing, gone} {
			h := newHarness(t)
			g := &logv1.GrantLease{LeaseId: leaseA, Ttl: ttl, OnExpiry: st, ForgetAfter: second}
			if got := h.do(t, 2, granting(g))[0]; got.GetRefusal() != nil || len(got.Records) != 1 || got.Records[0].Key != leaseA || got.Records[0].Kind != logv1.Kind_KIND_LEASE {
				t.Errorf("%v: %v", g, got)
			}
		}
	}
}

// TestStaleLeader: what a leader of another term proposed does nothing.
func TestStaleLeader(t *testing.T) {
	h := newHarness(t)
	h.do(t, 1, grantForgetting(leaseA, second), write(leased("a", serving, leaseA)))
	for _, term := range []uint64{0, 2} {
		x := expireLeases(9, leaseA)
		x.GetExpire().Term = term
		for _, cmd := range []*logv1.Command{x, hold(&logv1.HoldLeases{Term: term, Engaged: true})} {
			if got := h.do(t, 9*second, cmd)[0].GetRefusal(); got.GetReason() != logv1.Refusal_REASON_STALE || got.Value != int64(term) {
				t.Errorf("%v: %v", cmd, got)
			}
		}
	}
	if have := h.services(); have != "a=SERVING@a" || h.LeaseGuard() != nil {
		t.Error(have, h.LeaseGuard())
	}
}
