package fsm

import (
	"context"
	"fmt"
	"maps"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/rollcallhq/rollcall/api/rollcall/convert"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/fsm/access"
	"github.com/rollcallhq/rollcall/fsm/history"
)

// held is what a client of a watch of services holds.
type held struct {
	records  map[string]*rollcallv1.ServiceRecord
	revision int64
	synced   bool
}

func (c *held) copy() held {
	return held{records: maps.Clone(c.records), revision: c.revision, synced: c.synced}
}

// take returns what is wrong with a message; "" if nothing is.
func (c *held) take(m *rollcallv1.WatchServicesResponse) string {
	if m.GetRevision() < c.revision {
		return fmt.Sprintf("revision %d comes after %d", m.GetRevision(), c.revision)
	}
	c.revision, c.synced = m.GetRevision(), m.GetSynced()
	for _, r := range m.GetServices() {
		c.records[r.GetService()] = r
	}
	for _, name := range m.GetDeleted() {
		delete(c.records, name)
	}
	return ""
}

// differs returns how it differs from the registry; "" if it does not.
func (c *held) differs(f *FSM, statusOnly bool) string {
	v := f.view.Load()
	want := map[string]*rollcallv1.ServiceRecord{}
	v.services.Scan(func(r *record) bool {
		want[r.name] = v.public(r)
		if statusOnly {
			p := v.public(r)
			want[r.name] = &rollcallv1.ServiceRecord{Service: p.GetService(), Status: p.GetStatus(), StatusTime: p.GetStatusTime()}
		}
		return true
	})
	if c.revision != v.revision || len(c.records) != len(want) {
		return fmt.Sprintf("at %d it has %d services; at %d the registry has %d", c.revision, len(c.records), v.revision, len(want))
	}
	for name, r := range want {
		have := c.records[name]
		if v.horizon > firstHorizon && have.GetStatusTime().AsTime().After(r.GetStatusTime().AsTime()) {
			// An override that ended is kept no more, and with it since when the status was shown again.
			have = proto.CloneOf(have)
			have.StatusTime = r.GetStatusTime()
		}
		if !proto.Equal(have, r) {
			return fmt.Sprintf("at %d %s is\n%v; the registry has\n%v", c.revision, name, c.records[name], r)
		}
	}
	return ""
}

// anything returns a command that can change what followers of services see, or who sees what.
func anything(rt *rapid.T, h *harness, now *int64) *logv1.Command {
	*now += int64(time.Second)
	pick := func(label string, of ...string) string { return rapid.SampledFrom(of).Draw(rt, label) }
	pattern := func() string { return pick("pattern", "a", "b/1", "a*", "b/*", "**") }
	lease := func() string { return pick("lease", leaseA, leaseB) }
	status := func() logv1.Status {
		return rapid.SampledFrom([]logv1.Status{serving, notServing}).Draw(rt, "status")
	}
	switch pick("what", "write", "write", "write", "leased", "leased", "override", "override ends", "clear", "rule", "grant", "revoke", "expire", "forget", "access", "compact", "compact") {
	case "override":
		return because(overFor(pattern(), status(), rapid.Int64Range(0, 3).Draw(rt, "ttl")*int64(time.Second)), fmt.Sprint(*now))
	case "override ends":
		list, _, _ := h.ListOverrides("", 100, nil)
		var ended []*logv1.ExpiredOverride
		for _, o := range list {
			ended = append(ended, &logv1.ExpiredOverride{Pattern: o.GetPattern(), Revision: o.GetRevision()})
		}
		return expire(1, ended...)
	case "clear":
		return clearing(&logv1.ClearOverride{Pattern: pattern(), AllowMissing: true})
	case "rule":
		return because(atLeast("r", pattern(), rapid.Int64Range(0, 1).Draw(rt, "n")), fmt.Sprint(*now), "*")
	case "grant":
		if rapid.Bool().Draw(rt, "forgets") {
			return grantForgetting(lease(), int64(time.Second))
		}
		return granting(&logv1.GrantLease{LeaseId: lease(), Ttl: int64(10 * time.Second), OnExpiry: rapid.SampledFrom([]logv1.Status{serving, notServing, gone}).Draw(rt, "expiry")})
	case "revoke":
		return revoke(lease())
	case "expire":
		return expireLeases(h.Revision(), lease())
	case "forget":
		return forgetLeases(leaseA, leaseB)
	case "access":
		switch pick("who", "auth", "grants", "role") {
		case "auth":
			return setAuth(rapid.Bool().Draw(rt, "enforced"), "viewer")
		case "grants":
			return putGrants("cert:a", grantOver("viewer", pick("of", "a", "b/*")))
		}
		return putRole("mine", rapid.SampledFrom([]access.Verbs{access.Read, access.Report}).Draw(rt, "verbs"))
	case "compact":
		return compact(rapid.Int64Range(0, h.Revision()+1).Draw(rt, "horizon"))
	}
	leases := rapid.Bool().Draw(rt, "leases")
	var cs []*logv1.Change
	for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "a1", "a2", "b", "b/1", "b/2", "c"}), 1, 5, rapid.ID).Draw(rt, "names") {
		c := change(name, rapid.SampledFrom([]logv1.Status{serving, notServing, gone}).Draw(rt, "report"))
		if leases {
			c.LeaseId = lease()
		}
		cs = append(cs, c)
	}
	return because(writeFor(fmt.Sprint(*now), cs...), fmt.Sprint(*now), "*")
}

// TestAStateGoesOn: whatever happened before and after, and at whatever revision a client went away: what it held then,
// with what it is sent when it comes back, is what the registry holds. It is sent everything anew only if the node
// cannot know what it missed.
func TestAStateGoesOn(t *testing.T) {
	var went, anew int
	rapid.Check(t, func(rt *rapid.T) {
		limits := history.DefaultLimits()
		limits.Page = history.PageLimits{Count: rapid.IntRange(1, 8).Draw(rt, "page"), Bytes: 1 << 20}
		h := rapidHarnessWith(t, rt, Config{RegistryFile: newMemRegistryFile(), limits: limits, RingEvents: rapid.IntRange(1, 50).Draw(rt, "ring")})
		statusOnly := rapid.Bool().Draw(rt, "status only")
		var now, rights, auth int64 // when who may do what was changed last, and whether that is enforced
		something := func() {
			generation, enforced := h.Access().Generation(), h.Access().Enforced()
			cmd := anything(rt, h, &now)
			if cmd.GetExpire() == nil {
				cmd = by("static", cmd) // may do everything, also while access is enforced
			}
			h.do(t, now, cmd)
			if h.Access().Generation() != generation {
				rights = h.Revision()
			}
			if h.Access().Enforced() != enforced {
				auth = h.Revision()
			}
		}
		// read steps a follower until it has told everything, while more happens.
		read := func(s interface {
			Next(context.Context) (*rollcallv1.WatchServicesResponse, error)
		}, c *held, meanwhile int, first func(*rollcallv1.WatchServicesResponse)) bool {
			for c.synced = false; !c.synced; meanwhile-- {
				m, err := s.Next(context.Background())
				if err != nil {
					return false // it fell behind
				}
				if first != nil {
					first(m)
					first = nil
				} else if m.GetResumed() {
					rt.Fatal("resumed, and it is not the first message")
				}
				if bad := c.take(m); bad != "" {
					rt.Fatal(bad)
				}
				if c.synced {
					if bad := c.differs(h.FSM, statusOnly); bad != "" {
						rt.Fatal(bad)
					}
				}
				if meanwhile > 0 {
					something()
				}
			}
			return true
		}
		for range rapid.IntRange(0, 15).Draw(rt, "before") {
			something()
		}
		c := &held{records: map[string]*rollcallv1.ServiceRecord{}}
		if !read(h.followers.Scan(nil, logv1.Following{StatusOnly: statusOnly}), c, 0, nil) {
			rt.Fatal("the first state did not come")
		}
		for range rapid.IntRange(1, 3).Draw(rt, "times") {
			for range rapid.IntRange(0, 8).Draw(rt, "missed") {
				something()
			}
			from := c.revision
			certain := from > 0 && from >= auth && (from == h.Revision() || from+1 >= h.Horizon())
			if h.Access().Enforced() {
				certain = certain && from >= rights
			}
			next := c.copy()
			ok := read(h.followers.Scan(nil, logv1.Following{StatusOnly: statusOnly, Resume: from}), &next, rapid.IntRange(0, 4).Draw(rt, "meanwhile"), func(m *rollcallv1.WatchServicesResponse) {
				// A setting of access that changes nothing counts as one that does.
				if m.GetResumed() && !certain || !m.GetResumed() && certain && from >= rights {
					rt.Fatalf("from %d, of %d: resumed %v; rights are of %d and %d, events are kept from %d", from, h.Revision(), m.GetResumed(), rights, auth, h.Horizon())
				}
				if m.GetResumed() {
					went++
					return
				}
				anew++
				next.records = map[string]*rollcallv1.ServiceRecord{}
			})
			if ok {
				c = &next
			}
		}
	})
	t.Logf("went on %d times, began anew %d times", went, anew)
	if went < 20 || anew < 20 {
		t.Errorf("it tested too little: went on %d times, began anew %d times", went, anew)
	}
}

// TestWhenAStateDoesNotGoOn: each reason to begin anew.
func TestWhenAStateDoesNotGoOn(t *testing.T) {
	h := newHarness(t)
	now := int64(0)
	do := func(cmd *logv1.Command) int64 {
		t.Helper()
		now++
		if r := h.do(t, now, cmd)[0]; r.GetRefusal() != nil {
			t.Fatal(r)
		}
		return h.Revision()
	}
	resumes := func(what string, from int64, want bool) {
		t.Helper()
		m, err := h.followers.Scan([]string{"a"}, logv1.Following{Resume: from}).Next(t.Context())
		if err != nil || m.GetResumed() != want || m.GetRevision() != h.Revision() {
			t.Errorf("%s: %v, %v", what, m, err)
		}
	}
	first := do(write(change("a", serving), change("b", serving)))
	second := do(write(change("b", notServing)))
	resumes("no revision", 0, false)
	resumes("a revision", first, true)
	resumes("within an atomic write", first-1, true)
	resumes("the newest revision", second, true)
	resumes("a revision that the node has not reached", second+1, false)

	prepared := do(by("static", putGrants("cert:a", grantOver("viewer", "*"))))
	resumes("grants that are not in force", first, true)
	enforced := do(by("static", setAuth(true, "viewer")))
	resumes("before access was enforced", prepared, false)
	resumes("since access is enforced", enforced, true)
	granted := do(by("static", putGrants("cert:a", grantOver("viewer", "b"))))
	resumes("before a grant", enforced, false)
	open := do(by("static", setAuth(false, "")))
	resumes("before access was opened", granted, false)
	do(by("static", putGrants("cert:a")))
	resumes("since access is open", open, true)

	do(compact(open + 1))
	resumes("the oldest that is kept", open, true)
	last := do(compact(open + 2))
	resumes("what is kept no more", open, false)
	resumes("the newest, though nothing is kept", last, true)

	for i := range worthResumingEvents {
		do(write(change("a", []logv1.Status{serving, notServing}[i%2])))
	}
	resumes("as many events as are always read", last, true)
	do(write(change("a", serving), change("c", serving)))
	resumes("more events than that, and few services", last, false)
	for i := range worthResumingEvents {
		h.do(t, now, write(change(fmt.Sprint("d", i), serving)))
	}
	resumes("more events than that, and more services", last+worthResumingEvents, true)
}

// worthResumingEvents is follow's constant.
const worthResumingEvents = 1000

// Rights of a node that has just started count as changed now, if access is enforced: it does not know.
func TestAStateGoesOnAfterAStart(t *testing.T) {
	h := newHarness(t)
	h.do(t, 1, write(change("a", serving)))
	resumed := func(of *harness, from int64) bool {
		t.Helper()
		m, err := of.followers.Scan(nil, logv1.Following{Resume: from}).Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return m.GetResumed()
	}
	restart := func(of *harness) *harness {
		t.Helper()
		if err := of.registryFile.AwaitDurable(t.Context(), of.Revision()); err != nil {
			t.Fatal(err)
		}
		return harnessOn(t, of.registryFile)
	}
	from := h.Revision()
	h.do(t, 2, write(change("b", serving)))
	if again := restart(h); !resumed(again, from) {
		t.Error("open access: began anew")
	}
	h.do(t, 3, by("static", setAuth(true, "viewer")))
	from = h.Revision()
	h.do(t, 4, by("static", write(change("b", notServing))))
	if !resumed(h, from) {
		t.Error("enforced: began anew")
	}
	again := restart(h)
	if resumed(again, from) || !resumed(again, h.Revision()) {
		t.Error("enforced, after a start: a state from before, or not one from after")
	}
}

// What VIEW_STATUS shows takes one piece of memory.
func TestStatusOnlyIsCheap(t *testing.T) {
	at := convert.Timestamp(123_456_789_012)
	r := convert.StatusOnly("a", isServing, 123_456_789_012)
	if !proto.Equal(r, &rollcallv1.ServiceRecord{Service: "a", Status: isServing, StatusTime: at}) {
		t.Errorf("%v", r)
	}
	if n := testing.AllocsPerRun(100, func() { convert.StatusOnly("a", isServing, 1) }); n > 1 {
		t.Errorf("%v pieces of memory", n)
	}
	if r := convert.StatusOnly("a", isServing, 0); r.GetStatusTime() != nil {
		t.Errorf("%v", r)
	}
}
