package fsm

// This file holds overrides and rules against a model that computes everything anew for each service.

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/rollcallhq/rollcall/api/rollcall/convert"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// layeredModel is the registry in the plainest way.
type layeredModel struct {
	services  map[string]reported
	overrides map[string]layered
	rules     map[string]modelRule
	leases    map[string]modelLease
	guard     modelGuard
	expired   uint64
	revoked   uint64
	revision  int64
	time      int64
	horizon   int64
}

type modelRule struct {
	*logv1.SetRule
	reason string
}

type reported struct {
	status        logv1.Status
	since         int64
	reason, lease string
	revision      int64
}

type layered struct {
	status          logv1.Status
	since, expires  int64
	revision        int64
	reason          string
	ended, endedRev int64
}

func newLayeredModel() layeredModel {
	return layeredModel{services: map[string]reported{}, overrides: map[string]layered{}, rules: map[string]modelRule{}, leases: map[string]modelLease{}, horizon: 1, time: 1} // at time 0 nothing could end: 0 is "not yet"
}

func (m layeredModel) clone() layeredModel {
	m.services, m.overrides, m.rules = maps.Clone(m.services), maps.Clone(m.overrides), maps.Clone(m.rules)
	m.leases = maps.Clone(m.leases)
	return m
}

// rank says how specific a pattern that covers a name is: the greatest decides. -1: it does not cover it.
func rank(pattern, name string) int {
	switch {
	case pattern == "**":
		return 1000
	case pattern == name:
		return 999
	case pattern == "*":
		return 0
	case strings.HasSuffix(pattern, "/*"), strings.HasSuffix(pattern, ".*"):
		if prefix := strings.TrimSuffix(pattern, "*"); strings.HasPrefix(name, prefix) {
			return len(prefix)
		}
	}
	return -1
}

// shown is the effective status of a service that exists, and since when.
func (m layeredModel) shown(name string) (logv1.Status, int64) {
	r := m.services[name]
	status, since, best := r.status, r.since, -1
	for p, o := range m.overrides {
		if n := rank(p, name); n > best && o.endedRev == 0 {
			status, since, best = o.status, o.since, n
		}
	}
	for p, o := range m.overrides {
		if n := rank(p, name); n > best && o.endedRev != 0 && o.endedRev >= m.horizon {
			since = max(since, o.ended)
		}
	}
	return status, since
}

func (m layeredModel) count(pattern string) (serving, total int64) {
	for name := range m.services {
		if rank(pattern, name) < 0 {
			continue
		}
		total++
		if status, _ := m.shown(name); status == logv1.Status_STATUS_SERVING {
			serving++
		}
	}
	return serving, total
}

func needs(r modelRule, total int64) int64 {
	n := r.MinServing
	for n*100 < int64(r.MinPercent)*total {
		n++
	}
	return n
}

// broken are the rules that a change from m to after breaks.
func (m layeredModel) broken(after layeredModel) (all []*logv1.BrokenRule) {
	for _, name := range slices.Sorted(maps.Keys(m.rules)) {
		r := m.rules[name]
		before, _ := m.count(r.Pattern)
		serving, total := after.count(r.Pattern)
		if n := needs(r, total); serving < before && serving < n {
			all = append(all, &logv1.BrokenRule{Rule: name, Pattern: r.Pattern, Needed: n, Serving: serving, Total: total})
		}
	}
	return all
}

func (m *layeredModel) end(pattern string) {
	m.revision++
	o := m.overrides[pattern]
	o.ended, o.endedRev = m.time, m.revision
	m.overrides[pattern] = o
}

// apply returns the reason of a refusal, and the rules that cmd breaks.
func (m *layeredModel) apply(cmd *logv1.Command) (refused string, broken []*logv1.BrokenRule) {
	if len(cmd.BreakGlass) > 0 && cmd.GetCompact() == nil && cmd.GetExpire() == nil && cmd.GetHoldLeases() == nil {
		if cmd.Reason == "" {
			return "INVALID", nil
		}
		for _, name := range cmd.BreakGlass {
			if m.rules[name].SetRule == nil && name != "*" {
				return "NOT_FOUND", nil
			}
		}
	}
	next := m.clone()
	if refused := next.run(cmd); refused != "" {
		return refused, nil
	}
	if cmd.GetRecord().GetKind() != logv1.Kind_KIND_RULE {
		broken = m.broken(next)
	}
	var bound []*logv1.BrokenRule
	facts := cmd.GetWrite() != nil && !slices.ContainsFunc(cmd.GetWrite().Changes, func(c *logv1.Change) bool { return c.LeaseId == "" })
	for _, b := range broken {
		if cmd.GetRecord().GetKind() == logv1.Kind_KIND_LEASE || facts && !m.rules[b.Rule].EnforceReports {
			continue // nothing can refuse what is so
		}
		if !slices.Contains(cmd.BreakGlass, b.Rule) && !slices.Contains(cmd.BreakGlass, "*") && cmd.GetExpire() == nil {
			bound = append(bound, b)
		}
	}
	if len(bound) > 0 {
		return "RULE_BROKEN", bound
	}
	*m = next
	return "", broken
}

func (m *layeredModel) run(cmd *logv1.Command) (refused string) {
	var o logv1.OverrideCommand
	var r logv1.RuleCommand
	switch cmd.GetRecord().GetKind() {
	case logv1.Kind_KIND_OVERRIDE:
		unmarshal(cmd.GetRecord().Payload, &o)
	case logv1.Kind_KIND_RULE:
		unmarshal(cmd.GetRecord().Payload, &r)
	}
	switch {
	case cmd.GetCompact() != nil:
		if h := cmd.GetCompact().Horizon; h < 1 || h > m.revision+1 {
			return "INVALID"
		} else if h > m.horizon {
			m.horizon = h
		}
	case cmd.GetExpire() != nil:
		if cmd.GetExpire().Term != 1 {
			return "STALE"
		}
		m.expireLeases(cmd)
		for _, x := range cmd.GetExpire().Overrides {
			if o := m.overrides[x.Pattern]; o.revision == x.Revision && o.endedRev == 0 && o.expires != 0 && m.time >= o.expires {
				m.end(x.Pattern)
			}
		}
	case cmd.GetHoldLeases() != nil, cmd.GetRecord().GetKind() == logv1.Kind_KIND_LEASE, cmd.GetRecord().GetKind() == logv1.Kind_KIND_LEASE_GUARD:
		return m.runLease(cmd)
	case o.GetSet() != nil:
		set := o.GetSet()
		before, ok := m.overrides[set.Pattern]
		live := ok && before.endedRev == 0
		if set.IfRevision != nil && (live && before.revision != *set.IfRevision || !live && *set.IfRevision != 0) {
			return "REVISION_MISMATCH"
		}
		now := layered{status: set.Status, since: m.time, revision: m.revision + 1, reason: cmd.Reason}
		if set.Ttl > 0 {
			now.expires = m.time + set.Ttl
		}
		if live && before.status == now.status {
			now.since = before.since
			if before.reason == now.reason && before.expires == 0 && now.expires == 0 {
				return ""
			}
		}
		m.revision++
		m.overrides[set.Pattern] = now
	case o.GetClear() != nil:
		if before, ok := m.overrides[o.GetClear().Pattern]; !ok || before.endedRev != 0 {
			if o.GetClear().AllowMissing {
				return ""
			}
			return "NOT_FOUND"
		}
		m.end(o.GetClear().Pattern)
	case r.GetSet() != nil:
		if before := m.rules[r.GetSet().Name]; before.SetRule == nil || !proto.Equal(before.SetRule, r.GetSet()) || before.reason != cmd.Reason {
			m.revision++
		}
		m.rules[r.GetSet().Name] = modelRule{r.GetSet(), cmd.Reason}
	case r.GetRemove() != nil:
		if m.rules[r.GetRemove().Name].SetRule == nil {
			return "NOT_FOUND"
		}
		m.revision++
		delete(m.rules, r.GetRemove().Name)
	default:
		for _, c := range cmd.GetWrite().Changes {
			if refused := m.refusesWrite(c); refused != "" {
				return refused
			}
			was, ok := m.services[c.Service]
			switch {
			case c.Status == gone:
				if ok {
					m.revision++
				}
				delete(m.services, c.Service)
			case !ok || was.status != c.Status || was.reason != cmd.Reason || was.lease != c.LeaseId:
				m.revision++
				since := was.since
				if !ok || was.status != c.Status {
					since = m.time
				}
				m.services[c.Service] = reported{c.Status, since, cmd.Reason, c.LeaseId, m.revision}
			}
		}
	}
	return ""
}

var (
	layeredNames    = []string{"a", "a/b", "a/c", "a/b/c", "a/b/d", "a.b", "a.b/c", "d", "a/", "e/f"}
	layeredPatterns = append([]string{"a/*", "a.*", "a/b/*", "a.b/*", "*", "**", "d/*", "e/*"}, layeredNames[:7]...)
	ruleNames       = []string{"r1", "r2", "r3", "r4"}
	genPattern      = rapid.SampledFrom(layeredPatterns)
	genShown        = rapid.SampledFrom([]logv1.Status{serving, serving, notServing, notServing, unknown})
)

var genLayered = rapid.Custom(func(t *rapid.T) *logv1.Command {
	cmd := genUnglassed.Draw(t, "command")
	if cmd.GetWrite() == nil && cmd.GetRecord() == nil || rapid.IntRange(0, 2).Draw(t, "glass") > 0 {
		return cmd
	}
	cmd.BreakGlass = rapid.SliceOfN(rapid.SampledFrom(append([]string{"*"}, ruleNames...)), 0, 3).Draw(t, "names")
	if cmd.GetRecord() != nil {
		cmd.Reason = rapid.SampledFrom([]string{"", "r1", "r1"}).Draw(t, "reason")
	} else if len(cmd.BreakGlass) > 0 {
		cmd.Reason = "r"
	}
	return cmd
})

var genUnglassed = rapid.Custom(func(t *rapid.T) *logv1.Command {
	switch rapid.IntRange(0, 17).Draw(t, "kind") {
	case 15, 16, 17:
		return genLeased.Draw(t, "leased")
	case 0, 1, 2, 3:
		set := &logv1.SetOverride{Pattern: genPattern.Draw(t, "pattern"), Status: genShown.Draw(t, "status"),
			Ttl: rapid.SampledFrom([]int64{0, 0, 1e9, 3e9}).Draw(t, "ttl")}
		if rapid.IntRange(0, 5).Draw(t, "compare") == 0 {
			set.IfRevision = proto.Int64(rapid.Int64Range(0, 5).Draw(t, "revision"))
		}
		return override(set)
	case 4, 5:
		return clearing(&logv1.ClearOverride{Pattern: genPattern.Draw(t, "pattern"), AllowMissing: rapid.Bool().Draw(t, "allow missing")})
	case 6, 7:
		pattern := rapid.SampledFrom(slices.DeleteFunc(slices.Clone(layeredPatterns), func(p string) bool { return p == "**" })).Draw(t, "pattern")
		r := &logv1.SetRule{Name: rapid.SampledFrom(ruleNames).Draw(t, "name"), Pattern: pattern, EnforceReports: rapid.Bool().Draw(t, "enforce reports")}
		if rapid.Bool().Draw(t, "percent") {
			r.MinPercent = rapid.SampledFrom([]uint32{1, 34, 50, 100}).Draw(t, "min percent")
		} else {
			r.MinServing = rapid.Int64Range(1, 3).Draw(t, "min serving")
		}
		return rule(r)
	case 8:
		return removeRule(rapid.SampledFrom(ruleNames).Draw(t, "name"))
	case 9, 10:
		return compact(rapid.Int64Range(0, 20).Draw(t, "horizon"))
	case 11:
		var overrides []*logv1.ExpiredOverride
		for _, p := range layeredPatterns {
			// Which revision is right is not known here: several are tried.
			for r := rapid.Int64Range(1, 4).Draw(t, "from"); r < 20; r += 2 {
				overrides = append(overrides, &logv1.ExpiredOverride{Pattern: p, Revision: r})
			}
		}
		return expire(rapid.SampledFrom([]uint64{1, 1, 1, 2}).Draw(t, "term"), overrides...)
	}
	names := rapid.SliceOfNDistinct(rapid.SampledFrom(layeredNames), 1, 4, rapid.ID[string]).Draw(t, "services")
	var changes []*logv1.Change
	for _, name := range names {
		changes = append(changes, change(name, rapid.SampledFrom([]logv1.Status{serving, serving, notServing, unknown, gone}).Draw(t, "status")))
	}
	return write(changes...)
})

// TestLayersAgreeWithModel: after each command the layers are what a search over all overrides finds, the counts
// of the rules what a recount finds, a refusal names all rules, and the registry as of every retained revision
// is what it was then.
func TestLayersAgreeWithModel(t *testing.T) { agreeWithModel(t, genLayered, 40) }

func agreeWithModel(t *testing.T, genCommand *rapid.Generator[*logv1.Command], most int) {
	rapid.Check(t, func(rt *rapid.T) {
		told := map[string]*logv1.Lease{}
		h, m := rapidHarnessWith(t, rt, Config{RegistryFile: newMemRegistryFile(), OnLease: func(id string, l *logv1.Lease) { told[id] = l }}), newLayeredModel()
		h.state.mostRevoked, h.state.mostExpired = modelBudget, modelBudget
		past := map[int64]layeredModel{0: m.clone()}
		commands := rapid.IntRange(1, most).Draw(rt, "commands")
		for i := range commands {
			cmd := genCommand.Draw(rt, "command")
			if cmd.GetWrite() != nil {
				cmd.Reason = "r"
			}
			m.time += rapid.SampledFrom([]int64{0, 1, 5e8, 2e9}).Draw(rt, "passes")
			preview := h.Preview(cmd, m.time).Proto()
			before := m.clone()
			r := h.do(t, m.time, cmd)[0]
			refused, broken := m.apply(cmd)
			if got := strings.TrimPrefix(r.GetRefusal().GetReason().String(), "REASON_"); r.Refusal != nil && got != refused || r.Refusal == nil && refused != "" {
				rt.Fatalf("command %d, %v, gives %v, the model says %q, %v", i, cmd, r, refused, broken)
			}
			said := r.GetRefusal().GetBroken()
			if refused == "" && cmd.GetRecord().GetKind() != logv1.Kind_KIND_RULE {
				said = r.GetBrokenRules()
			}
			if cmd.GetRecord().GetKind() != logv1.Kind_KIND_RULE && !slices.EqualFunc(said, broken, func(a, b *logv1.BrokenRule) bool { return proto.Equal(a, b) }) {
				rt.Fatalf("command %d, %v, breaks %v, the model says %v", i, cmd, said, broken)
			}
			if cmd.GetExpire() == nil && cmd.GetHoldLeases() == nil { // a preview knows no term
				checkPreview(rt, preview, r, before, m)
			}
			if r.Revision != m.revision {
				rt.Fatalf("command %d, %v: revision %d, want %d", i, cmd, r.Revision, m.revision)
			}
			h.checkLayers(rt, m)
			h.checkLeases(rt, m, told)
			past[m.revision] = m.clone()
			checkPast := func(revision int64) {
				if then, whole := past[revision]; whole {
					then.horizon = m.horizon
					h.checkPast(rt, revision, then)
				}
			}
			checkPast(rapid.Int64Range(m.horizon-1, m.revision).Draw(rt, "past"))
			if i == commands-1 {
				for revision := m.horizon - 1; revision <= m.revision; revision++ {
					checkPast(revision)
				}
			}
		}
	})
}

func checkPreview(rt *rapid.T, preview, did *logv1.Result, before, after layeredModel) {
	affected, total := preview.Affected, int64(0)
	for _, name := range slices.Sorted(maps.Keys(after.services)) {
		a, _ := before.shown(name)
		b, _ := after.shown(name)
		if a != b && len(did.GetRecords()) > 0 && did.Records[0].Kind == logv1.Kind_KIND_OVERRIDE {
			if total++; int(total) > len(affected) || !proto.Equal(affected[total-1], &logv1.AffectedService{Service: name, Before: a, After: b}) {
				rt.Fatalf("the preview affects %v, not %s, which was %v and is %v", affected, name, a, b)
			}
		}
	}
	if total != preview.AffectedTotal || int(total) != len(affected) {
		rt.Fatalf("the preview affects %d, %v; it should be %d", preview.AffectedTotal, affected, total)
	}
	preview.Affected, preview.AffectedTotal, preview.Index = nil, 0, did.Index
	if !proto.Equal(preview, did) {
		rt.Fatalf("the preview says %v, then it was %v", preview, did)
	}
}

// checkLayers compares what the node shows with the model.
func (h *harness) checkLayers(rt *rapid.T, m layeredModel) {
	v := h.view.Load()
	for _, name := range layeredNames {
		status, ok := h.Status(name)
		record, _ := h.GetService(name)
		if _, exists := m.services[name]; ok != exists || (record != nil) != exists {
			rt.Fatalf("%s exists: %v, %v, want %v", name, ok, record, exists)
		} else if !exists {
			continue
		}
		m.check(rt, name, record)
		if status != record.GetStatus() {
			rt.Fatalf("Check of %s says %v, the record %v", name, status, record)
		}
	}
	live := 0
	for p, o := range m.overrides {
		if o.endedRev == 0 {
			live++
		} else if o.endedRev >= m.horizon != (v.record(overrideKind, p) != nil) {
			rt.Fatalf("%s, ended at revision %d, is kept or is not; the horizon is %d", p, o.endedRev, m.horizon)
		}
	}
	if list, _, _ := h.ListOverrides("", 1000, nil); len(list) != live || v.layers.Live() != live {
		rt.Fatalf("overrides %v, want %d", list, live)
	}
	overridden := map[servingStatus]int64{0: 0, 1: 0, 2: 0}
	for name := range m.services {
		if slices.ContainsFunc(slices.Collect(maps.Keys(m.overrides)), func(p string) bool { return m.overrides[p].endedRev == 0 && rank(p, name) >= 0 }) {
			status, _ := m.shown(name)
			overridden[servingStatus(status)]++
		}
	}
	if s := h.LayerStats(); s.Overrides != live || !maps.Equal(s.Overridden, overridden) {
		rt.Fatalf("%+v, want %d overrides, overridden %v", s, live, overridden)
	}
	list, _ := h.ListRules()
	if len(list) != len(m.rules) {
		rt.Fatalf("rules %v, want %v", list, m.rules)
	}
	for _, r := range list {
		serving, total := m.count(r.Pattern)
		if want := needs(m.rules[r.Name], total); r.Serving != serving || r.Total != total || r.Needed != want {
			rt.Fatalf("rule %v; %d are serving of %d, %d needed", r, serving, total, want)
		}
	}
	if s, err := h.ScrubMemory(context.Background(), 1); err != nil || !s.Agrees() {
		rt.Fatalf("scrub %+v, %v", s, err)
	}
	for _, e := range h.registryFile.events {
		if e.Kind == logv1.Kind_KIND_SERVICE && e.Revision == m.revision && !e.Deletes {
			if want, _ := m.shown(e.Key); e.EffectiveStatus != want {
				rt.Fatalf("event %v; %v is effective", e, want)
			}
		}
	}
}

// check compares a record with the model.
func (m layeredModel) check(rt *rapid.T, name string, r *rollcallv1.ServiceRecord) {
	status, since := m.shown(name)
	if logv1.Status(r.GetStatus()) != status || !proto.Equal(r.GetStatusTime(), convert.Timestamp(since)) ||
		logv1.Status(r.GetReport().GetStatus()) != m.services[name].status {
		rt.Fatalf("%s is %v; want %v since %d, reported %v", name, r, status, since, m.services[name])
	}
	var covering []string
	for _, p := range layeredPatterns {
		if o, ok := m.overrides[p]; ok && o.endedRev == 0 && rank(p, name) >= 0 {
			covering = append(covering, p)
		}
	}
	slices.SortFunc(covering, func(a, b string) int { return rank(b, name) - rank(a, name) })
	var got []string
	if r.GetOverride() != nil {
		got = append(got, r.GetOverride().GetPattern())
	}
	for _, o := range r.GetShadowed() {
		got = append(got, o.GetPattern())
	}
	if !slices.Equal(got, covering) {
		rt.Fatalf("%s is covered by %v, want %v", name, got, covering)
	}
}

func (h *harness) checkPast(rt *rapid.T, revision int64, then layeredModel) {
	ctx := context.Background()
	h.history.NoteChange(time.Unix(0, 0)) // readings are not throttled
	list, _, err := h.ListServicesAt(ctx, revision, pattern.Everything, "", 1000, nil)
	if err != nil || len(list) != len(then.services) {
		rt.Fatalf("at %d: %v, %v; want %v", revision, list, err, then.services)
	}
	for _, r := range list {
		then.check(rt, r.GetService(), r)
		then.checkReport(rt, r, then.services[r.GetService()])
	}
	name := rapid.SampledFrom(layeredNames).Draw(rt, "past of")
	r, err := h.GetServiceAt(ctx, name, revision)
	if _, exists := then.services[name]; err != nil || exists != (r != nil) {
		rt.Fatalf("%s at %d: %v, %v", name, revision, r, err)
	}
	if r != nil {
		then.check(rt, name, r)
		then.checkReport(rt, r, then.services[name])
	}
}
