package fsm

// This file adds leases to the model of layers_model_test.go.

import (
	"cmp"
	"maps"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/rollcallhq/rollcall/api/rollcall/convert"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

type modelLease struct {
	onExpiry    logv1.Status
	forgetAfter int64
	revision    int64
	end         *modelEnd // never modified
}

type modelEnd struct {
	status         logv1.Status
	keeps, revoked bool
	time, revision int64
	reason         string
	forget         int64 // 0: never
	done           bool
}

// modelBudget is how many services the ends of leases change in one command.
const modelBudget = 3

func (m layeredModel) lives(id string) bool {
	l, ok := m.leases[id]
	return ok && l.end == nil
}

// attached are the services whose reports are attached to a lease, the oldest report first.
func (m layeredModel) attached(id string) []string {
	names := slices.Collect(maps.Keys(m.services))
	names = slices.DeleteFunc(names, func(name string) bool { return m.services[name].lease != id })
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(m.services[a].revision, m.services[b].revision) })
	return names
}

// write says why a change is refused because of leases.
func (m layeredModel) refusesWrite(c *logv1.Change) string {
	switch held := m.services[c.Service].lease; {
	case c.LeaseId != "" && !m.lives(c.LeaseId):
		return "NOT_FOUND"
	case c.LeaseId == "" && m.lives(held):
		return "LEASE_HELD"
	}
	return ""
}

// modelPart is what one lease changes in a command.
type modelPart struct {
	names  []string
	status logv1.Status
	keeps  bool
	lease  string // of the reports, afterwards
	reason string
}

// modelEnding is what leases change in a command.
type modelEnding struct {
	*layeredModel
	left  int
	parts []modelPart
	done  map[string]bool // leases whose records have changed
}

func (m *layeredModel) ending() *modelEnding {
	return &modelEnding{m, modelBudget, nil, map[string]bool{}}
}

// fits returns what the command may change of names. ok is false if a later command has to.
func (e *modelEnding) fits(names []string) (part []string, all, ok bool) {
	switch {
	case len(names) <= e.left:
		part, all = names, true
	case e.left < modelBudget:
		return nil, false, false
	default:
		part = names[:modelBudget]
	}
	e.left -= len(part)
	return part, all, true
}

// end goes on with the end of a lease.
func (e *modelEnding) end(id string, begins *modelEnd) {
	l, names := e.leases[id], e.attached(id)
	how := begins
	if begins == nil {
		how = l.end
		names = slices.DeleteFunc(names, func(name string) bool { return e.services[name].revision >= how.revision })
	}
	part, all, ok := e.fits(names)
	if !ok {
		return
	}
	if begins != nil {
		how.time, how.revision = e.time, e.revision+1
		if l.forgetAfter > 0 && !how.keeps && how.status != gone && len(names) > 0 {
			how.forget = e.time + l.forgetAfter
		}
		if how.revoked {
			e.revoked++
		} else {
			e.expired++
		}
	}
	p := modelPart{part, how.status, how.keeps, "", how.reason}
	if how.forget != 0 {
		p.lease = id
	}
	e.parts = append(e.parts, p)
	if !all && begins == nil {
		return
	}
	after := *how
	after.done = all
	l.end = &after
	e.leases[id], e.done[id] = l, true
	e.revision++
	if all && (how.forget == 0 || len(e.attached(id)) == 0) {
		delete(e.leases, id)
	}
}

// finish changes the services.
func (e *modelEnding) finish() {
	for _, p := range e.parts {
		for _, name := range p.names {
			e.revision++
			now := e.services[name]
			if !p.keeps {
				if now.status != p.status {
					now.since = e.time
				}
				now.status = p.status
			}
			if now.status == gone {
				delete(e.services, name)
				continue
			}
			now.lease, now.reason, now.revision = p.lease, p.reason, e.revision
			e.services[name] = now
		}
	}
}

func (m *layeredModel) expireLeases(cmd *logv1.Command) {
	x, e := cmd.GetExpire(), m.ending()
	for _, one := range x.Leases {
		id := one.LeaseId
		l, ok := m.leases[id]
		newest := l.revision
		for _, name := range m.attached(id) {
			newest = max(newest, m.services[name].revision)
		}
		switch {
		case !ok || e.done[id]:
		case l.end == nil && newest <= one.SeenRevision:
			e.end(id, &modelEnd{status: l.onExpiry, reason: cmd.Reason})
		case l.end != nil && !l.end.done:
			e.end(id, nil)
		}
	}
	for _, id := range x.ForgottenLeases {
		l, ok := m.leases[id]
		if !ok || e.done[id] || l.end == nil || !l.end.done || m.time < l.end.forget {
			continue
		}
		part, all, ok := e.fits(m.attached(id))
		if !ok {
			continue
		}
		e.parts = append(e.parts, modelPart{names: part, status: gone, reason: cmd.Reason})
		if all {
			e.done[id] = true
			delete(m.leases, id)
			m.revision++
		}
	}
	e.finish()
}

// runLease runs a command of leases or of their guard.
func (m *layeredModel) runLease(cmd *logv1.Command) (refused string) {
	if h := cmd.GetHoldLeases(); h != nil {
		if h.Term != 1 {
			return "STALE"
		}
		if m.guard.Engaged == h.Engaged {
			return ""
		}
		m.revision++
		m.guard = modelGuard{h.Engaged, m.time, h.Late, h.Live, 0}
		return ""
	}
	if cmd.GetRecord().Kind == logv1.Kind_KIND_LEASE_GUARD {
		if m.guard.Engaged {
			m.revision++
			m.guard = modelGuard{false, m.time, m.guard.Late, m.guard.Live, m.time}
		}
		return ""
	}
	var c logv1.LeaseCommand
	unmarshal(cmd.GetRecord().Payload, &c)
	if g := c.GetGrant(); g != nil {
		if _, there := m.leases[g.LeaseId]; there {
			return "INVALID"
		}
		m.revision++
		m.leases[g.LeaseId] = modelLease{onExpiry: g.OnExpiry, forgetAfter: g.ForgetAfter, revision: m.revision}
		return ""
	}
	r := c.GetRevoke()
	if !m.lives(r.LeaseId) {
		return "NOT_FOUND"
	}
	how := &modelEnd{status: m.leases[r.LeaseId].onExpiry, keeps: r.KeepReports, revoked: true, reason: cmd.Reason}
	if r.Status != nil {
		how.status = *r.Status
	}
	e := m.ending()
	e.end(r.LeaseId, how)
	e.finish()
	return ""
}

type modelGuard struct {
	Engaged                bool
	time, Late, Live, free int64
}

var (
	leaseIDs  = []string{leaseA, leaseB, leaseC}
	genLease  = rapid.SampledFrom(leaseIDs)
	genOfTerm = rapid.SampledFrom([]uint64{1, 1, 1, 1, 2})
)

// genLeased are commands that are about leases.
var genLeased = rapid.Custom(func(t *rapid.T) *logv1.Command {
	switch rapid.IntRange(0, 14).Draw(t, "kind") {
	case 0, 1, 2:
		return granting(&logv1.GrantLease{
			LeaseId: genLease.Draw(t, "lease"), Ttl: 10 * second,
			OnExpiry:    rapid.SampledFrom([]logv1.Status{notServing, notServing, unknown, serving, gone}).Draw(t, "on expiry"),
			ForgetAfter: rapid.SampledFrom([]int64{0, second, second, 2 * second}).Draw(t, "forget after"),
		})
	case 3:
		r := &logv1.RevokeLease{LeaseId: genLease.Draw(t, "lease")}
		switch rapid.IntRange(0, 4).Draw(t, "how") {
		case 0:
			r.KeepReports = true
		case 1:
			r.Status = rapid.SampledFrom([]logv1.Status{unknown, serving, gone}).Draw(t, "status").Enum()
		}
		return because(revoking(r), rapid.SampledFrom([]string{"", "stopped"}).Draw(t, "reason"))
	case 4, 5, 6:
		seen := rapid.OneOf(rapid.Just(int64(1000)), rapid.Just(int64(1000)), rapid.Int64Range(0, 40)).Draw(t, "seen")
		x := expireLeases(seen, rapid.SliceOfN(genLease, 1, 4).Draw(t, "leases")...)
		if x.GetExpire().Term = genOfTerm.Draw(t, "term"); rapid.IntRange(0, 4).Draw(t, "forget too") == 0 {
			x.GetExpire().ForgottenLeases = rapid.SliceOfN(genLease, 0, 3).Draw(t, "forgotten")
		}
		return x
	case 7, 8:
		return forgetLeases(rapid.SliceOfN(genLease, 1, 4).Draw(t, "leases")...)
	case 9:
		if rapid.Bool().Draw(t, "release") {
			return because(releaseGuard(), "ours")
		}
		return hold(&logv1.HoldLeases{Term: genOfTerm.Draw(t, "term"), Engaged: rapid.Bool().Draw(t, "engaged"),
			Late: rapid.Int64Range(0, 2).Draw(t, "late"), Live: rapid.Int64Range(0, 2).Draw(t, "live")})
	}
	// More services than a command may change, in a lease or two.
	id, among := genLease.Draw(t, "lease"), genLease.Draw(t, "another")
	names := rapid.SliceOfNDistinct(rapid.SampledFrom(layeredNames), 1, len(layeredNames), rapid.ID[string]).Draw(t, "services")
	var changes []*logv1.Change
	for _, name := range names {
		c := leased(name, rapid.SampledFrom([]logv1.Status{serving, serving, notServing, unknown, gone}).Draw(t, "status"), id)
		switch rapid.IntRange(0, 9).Draw(t, "other") {
		case 0:
			c.LeaseId = among
		case 1:
			c.LeaseId = ""
		}
		changes = append(changes, c)
	}
	return because(write(changes...), "r")
})

// TestLeasesAgreeWithModel: after each command what is attached to a lease, and all that is shown of leases, is what a
// search over all services finds; so it is as of every retained revision.
func TestLeasesAgreeWithModel(t *testing.T) {
	agreeWithModel(t, rapid.Custom(func(t *rapid.T) *logv1.Command {
		if rapid.IntRange(0, 7).Draw(t, "layered") == 0 {
			return genLayered.Draw(t, "command")
		}
		return genLeased.Draw(t, "command")
	}), 60)
}

// public is a lease as the API shows it, without what the model does not hold.
func (l modelLease) public(id string) *rollcallv1.Lease {
	p := &rollcallv1.Lease{LeaseId: id, Revision: l.revision}
	if l.end != nil {
		p.EndTime, p.Revoked, p.ForgetTime = convert.Timestamp(l.end.time), l.end.revoked, convert.Timestamp(l.end.forget)
	}
	return p
}

// sameLease compares what the API shows of a lease with the model.
func (m layeredModel) sameLease(p *rollcallv1.Lease, id string) bool {
	l, ok := m.leases[id]
	if !ok || p == nil {
		return !ok && p == nil
	}
	return proto.Equal(&rollcallv1.Lease{LeaseId: p.LeaseId, Revision: p.Revision, EndTime: p.EndTime, Revoked: p.Revoked, ForgetTime: p.ForgetTime}, l.public(id))
}

// checkLeases compares what the node holds of leases with the model.
func (h *harness) checkLeases(rt *rapid.T, m layeredModel, told map[string]*logv1.Lease) {
	ended, ending := 0, 0
	for _, id := range leaseIDs {
		if have, want := h.attachedTo(id), m.attached(id); !slices.Equal(have, want) {
			rt.Fatalf("to %s are attached %v, want %v", id, have, want)
		}
		if have, want := h.state.attached.Count(id), len(m.attached(id)); have != want {
			rt.Fatalf("%s: %d, want %d", id, have, want)
		}
		l, have := m.leases[id], h.Lease(id)
		if !proto.Equal(told[id], have) {
			rt.Fatalf("the last that was told of %s is %v, it is %v", id, told[id], have)
		}
		public, _ := h.GetLease(id, nil)
		if !m.sameLease(public, id) || int(public.GetServiceCount()) != len(m.attached(id)) && public != nil {
			rt.Fatalf("%s is %v, want %+v with %v", id, public, l, m.attached(id))
		}
		seen, mine := 0, have != nil && have.GetEnd() == nil
		filter := &logv1.LeaseFilter{
			Service: func(name string) bool { return name >= "b" },
			Lease:   func(r *logv1.Lease) bool { return mine && r.GetEnd() == nil },
		}
		for _, name := range m.attached(id) {
			if name >= "b" {
				seen++
			}
		}
		if part, _ := h.GetLease(id, filter); (part != nil) != (seen > 0 || mine) || int(part.GetServiceCount()) != seen {
			rt.Fatalf("in part %s is %v, want %d of %v", id, part, seen, m.attached(id))
		}
		if end := l.end; end != nil && end.done {
			ended++
		} else if end != nil {
			ending++
		}
		if have.GetEnd().GetDone() != (l.end != nil && l.end.done) {
			rt.Fatalf("%s is %v, want %+v", id, have, l)
		}
	}
	for _, all := range []bool{false, true} {
		want := len(m.leases)
		if !all {
			want -= ended
		}
		none := &logv1.LeaseFilter{Service: func(string) bool { return false }, Lease: func(*logv1.Lease) bool { return false }}
		if list, more, _ := h.ListLeases("", 1, all, none); len(list) != 0 || more {
			rt.Fatalf("listed in part (all: %v) are %v", all, list)
		}
		if list, more, _ := h.ListLeases("", 100, all, nil); len(list) != want || more {
			rt.Fatalf("listed (all: %v) are %v, want %d", all, list, want)
		}
	}
	if s := h.LayerStats(); s.Leases != len(m.leases)-ended || s.LeasesEnded != ended || s.LeasesExpired != m.expired || s.LeasesRevoked != m.revoked || s.LeaseGuard != m.guard.Engaged {
		rt.Fatalf("%+v, want %+v", s, m)
	}
	if g := h.LeaseGuard(); g != nil && (modelGuard{g.Engaged, g.Time, g.Late, g.Live, g.ReleaseTime}) != m.guard || g == nil && m.guard != (modelGuard{}) {
		rt.Fatalf("the guard is %v, want %v", g, m.guard)
	}
	for name, want := range m.services {
		r, _ := h.GetService(name)
		m.checkReport(rt, r, want)
	}
}

// checkReport compares what is shown of a report and its lease with the model.
func (m layeredModel) checkReport(rt *rapid.T, r *rollcallv1.ServiceRecord, want reported) {
	p := r.GetReport()
	if p.GetLeaseId() != want.lease || p.GetReason() != want.reason || p.GetRevision() != want.revision ||
		(r.Lease != nil) != (want.lease != "") || want.lease != "" && !m.sameLease(r.Lease, want.lease) {
		rt.Fatalf("%v, want %+v", r, want)
	}
}
