package fsm

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/rollcallhq/rollcall/api/rollcall/convert"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
)

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
		list, _, listErr := h.ListServicesAt(ctx, revision, pattern.Beginnings(name), "", 1, nil)
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
	if l := v.countedLease(leaseA, v.lease(leaseA), nil); l.ServiceCount != 2 || l.EndTime != nil || v.attached.Newest(leaseA) != 3 || v.leaseCounts.ended != 0 {
		t.Errorf("the view of before shows %v", l)
	}
	if l, _ := h.GetLease(leaseA, nil); l.ServiceCount != 2 || l.EndTime == nil {
		t.Errorf("the newest shows %v", l)
	}
}
