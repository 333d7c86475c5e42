package fsm

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// model is the registry in the plainest way: it copies everything before each command, and throws
// the copy away if something is wrong with it.
type model struct {
	services map[string]modelService
	members  map[string]string // name → addresses and directory
	revision int64
	time     int64
	horizon  int64
	level    uint32
	allowed  map[string]uint32 // level, by member that announced itself

	ids      int // of requests remembered
	window   int64
	requests []modelRequest // oldest first
}

type modelRequest struct {
	caller, id, content, verdict string
	revision, time               int64
	cost                         int
}

type modelService struct {
	status        logv1.Status
	reason, lease string
	revision      int64
	since, at     int64
}

func newModel() model {
	return model{services: map[string]modelService{}, members: map[string]string{}, horizon: 1, level: 1, allowed: map[string]uint32{}}
}

// apply returns the result as text: refusal, or which changes changed something.
func (m *model) apply(cmd *logv1.Command) string {
	defer m.forget()
	write := cmd.GetWrite() != nil && cmd.RequestId != "" && m.ids > 0
	r := modelRequest{id: cmd.RequestId, content: content(cmd), time: m.time, cost: max(1, len(cmd.GetWrite().GetChanges()))}
	if cmd.GetActor().GetVerified() {
		r.caller = cmd.Actor.Name
	}
	if write {
		for _, first := range m.requests {
			switch {
			case first.caller != r.caller || first.id != r.id:
			case first.content == r.content:
				return fmt.Sprintf("again %s @%d", first.verdict, first.revision)
			default:
				return fmt.Sprintf("REASON_INVALID @%d", m.revision)
			}
		}
	}
	next := *m
	next.services, next.members, next.allowed = maps.Clone(m.services), maps.Clone(m.members), maps.Clone(m.allowed)
	r.verdict = next.run(cmd)
	if !strings.HasPrefix(r.verdict, "REASON") {
		*m = next
	} else {
		r.cost = 1
	}
	if r.revision = m.revision; write && r.verdict != "REASON_INVALID" {
		m.requests = append(m.requests, r)
	}
	return fmt.Sprintf("%s @%d", r.verdict, r.revision)
}

// content is all of cmd that makes it the same request as another.
func content(cmd *logv1.Command) string {
	c := proto.CloneOf(cmd)
	c.RequestId = ""
	if c.Actor == nil {
		c.Actor = &logv1.Actor{}
	}
	c.Actor.Peer = ""
	return string(marshal(c))
}

func (m *model) forget() {
	for len(m.requests) > 0 {
		cost := 0
		for _, r := range m.requests {
			cost += r.cost
		}
		if m.requests[0].time >= m.time-m.window && (cost <= m.ids || len(m.requests) == 1) {
			return
		}
		m.requests = m.requests[1:]
	}
}

func (m *model) run(cmd *logv1.Command) string {
	switch k := cmd.Kind.(type) {
	case *logv1.Command_TermStart:
		if k.TermStart.RequestIds > 0 {
			m.ids, m.window = int(k.TermStart.RequestIds), k.TermStart.RequestWindow
		}
		return "[]"
	case *logv1.Command_Compact:
		if k.Compact.Horizon < 1 || k.Compact.Horizon > m.revision+1 {
			return "REASON_INVALID"
		}
		m.horizon = max(m.horizon, k.Compact.Horizon)
		return "[]"
	case *logv1.Command_AnnounceMember:
		mb := k.AnnounceMember.Member
		now := modelMember(mb)
		was, ok := m.members[mb.Name]
		if ok && !strings.HasSuffix(was, "|"+mb.DirectoryId) {
			return "REASON_INVALID"
		}
		if mb.Level < m.level {
			return "REASON_INVALID"
		}
		if was != now {
			m.members[mb.Name] = now
			m.revision++
		}
		if m.allowed[mb.Name] = mb.Level; mb.HoldLevel != 0 {
			m.allowed[mb.Name] = min(mb.Level, mb.HoldLevel)
		}
		return "[]"
	case *logv1.Command_RaiseLevel:
		for _, name := range k.RaiseLevel.Members {
			if max(m.allowed[name], 1) < k.RaiseLevel.Level && k.RaiseLevel.Level > m.level {
				return "REASON_INVALID"
			}
		}
		m.level = max(m.level, k.RaiseLevel.Level)
		return "[]"
	}
	changes := cmd.GetWrite().GetChanges()
	seen := map[string]bool{}
	for _, c := range changes {
		if strings.ContainsAny(c.Service, " *") || c.Service == "" || strings.HasPrefix(c.Service, "rollcall.") ||
			c.Status > 3 || seen[c.Service] || (c.IfRevision != nil && *c.IfRevision < 0) {
			return "REASON_INVALID"
		}
		seen[c.Service] = true
	}
	if len(changes) == 0 || len(cmd.Reason) > 1024 {
		return "REASON_INVALID"
	}
	changed := []bool{}
	for _, c := range changes {
		was, ok := m.services[c.Service]
		if c.IfRevision != nil && *c.IfRevision != was.revision {
			return "REASON_REVISION_MISMATCH"
		}
		if c.Status == gone {
			if !ok && c.MustExist {
				return "REASON_NOT_FOUND"
			}
			changed = append(changed, ok)
			if ok {
				m.revision++
				delete(m.services, c.Service)
			}
			continue
		}
		now := modelService{c.Status, cmd.Reason, c.LeaseId, was.revision, was.since, was.at}
		if ok && now == was {
			changed = append(changed, false)
			continue
		}
		m.revision++
		now.revision, now.at = m.revision, m.time
		if !ok || now.status != was.status {
			now.since = m.time
		}
		m.services[c.Service] = now
		changed = append(changed, true)
	}
	return fmt.Sprint(changed)
}

func (m *model) dump() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(m.services)) {
		fmt.Fprintf(&b, "%s %v\n", name, m.services[name])
	}
	fmt.Fprintln(&b, m.members, m.revision, m.time, m.horizon, m.ids, m.window)
	for _, r := range m.requests {
		fmt.Fprintf(&b, "%q of %q at %d: %d, costs %d\n", r.id, r.caller, r.time, r.revision, r.cost)
	}
	return b.String()
}

func modelMember(m *logv1.Member) string {
	return fmt.Sprint(m.ApiAddress, "|", m.PeerAddress, "|", m.Version, "|", m.Level, "|", m.HoldLevel, "|", m.DirectoryId)
}

// decoded is the first answer to r.
func decoded(r *request) *logv1.Result {
	p, err := decodeResult(r.decode().GetResult(), r.key().id)
	if err != nil {
		panic(err)
	}
	return p
}

func (h *harness) modelDump() string {
	v := h.view.Load()
	m := newModel()
	v.services.Scan(func(r *record) bool {
		m.services[r.name] = modelService{
			logv1.Status(r.status), r.origin.reason, r.origin.leaseID, r.revision, r.statusTime, r.origin.time,
		}
		return true
	})
	for name, mb := range h.Members() {
		m.members[name] = modelMember(mb)
	}
	m.revision, m.time, m.horizon = v.revision, v.logTime, v.horizon
	m.ids, m.window = h.state.requests.limits.ids, h.state.requests.limits.window
	for _, r := range h.state.requests.order {
		m.requests = append(m.requests, modelRequest{caller: r.key().caller, id: r.key().id, time: r.time, revision: decoded(r).GetRevision(), cost: int(r.cost)})
	}
	return m.dump()
}

var (
	genReason  = rapid.SampledFrom([]string{"", "r1", "r2", strings.Repeat("x", 1025)})
	genName    = rapid.SampledFrom([]string{"a", "b", "c", "d/e", "d/f", "g", "h", "rollcall.live", "", "a b"})
	genOften   = rapid.SampledFrom([]string{"a", "b", "c", "d/e", "d/f", "g", "h"})
	genStatus  = rapid.SampledFrom([]logv1.Status{unknown, serving, serving, notServing, notServing, gone, 4})
	genCompare = rapid.Int64Range(-1, 12)
)

var genChange = rapid.Custom(func(t *rapid.T) *logv1.Change {
	c := &logv1.Change{
		Service:   rapid.OneOf(genOften, genOften, genOften, genName).Draw(t, "service"),
		Status:    genStatus.Draw(t, "status"),
		MustExist: rapid.Bool().Draw(t, "must exist"),
	}
	if rapid.IntRange(0, 3).Draw(t, "compare") == 0 {
		c.IfRevision = proto.Int64(genCompare.Draw(t, "revision"))
	}
	if rapid.IntRange(0, 5).Draw(t, "leased") == 0 {
		c.LeaseId = "l1"
	}
	return c
})

// modelLevel is the highest feature level in the logs that are made.
const modelLevel = 3

var genCommand = rapid.Custom(func(t *rapid.T) *logv1.Command {
	switch rapid.IntRange(0, 11).Draw(t, "kind") {
	case 11:
		c := raiseLevel(rapid.Uint32Range(1, modelLevel).Draw(t, "level"), rapid.SampledFrom([][]string{nil, {"n1"}, {"n1", "n2"}}).Draw(t, "members")...)
		c.Actor = &logv1.Actor{}
		return c
	case 10:
		c := compact(rapid.Int64Range(-1, 12).Draw(t, "horizon"))
		c.Actor = &logv1.Actor{} // as genLog wants of all that come again
		return c
	case 0:
		return announce(&logv1.Member{
			Name:        rapid.SampledFrom([]string{"n1", "n2"}).Draw(t, "member"),
			ApiAddress:  rapid.SampledFrom([]string{"x:1", "y:1"}).Draw(t, "api"),
			DirectoryId: rapid.SampledFrom([]string{"d1", "d1", "d2"}).Draw(t, "directory"),
			Level:       rapid.Uint32Range(1, modelLevel).Draw(t, "level"),
			HoldLevel:   rapid.SampledFrom([]uint32{0, 0, 1, 2}).Draw(t, "hold"),
		})
	case 1:
		c := termStart(rapid.SampledFrom([]string{"", "c1"}).Draw(t, "cluster"))
		if rapid.IntRange(0, 3).Draw(t, "limits") > 0 {
			c.GetTermStart().RequestIds = rapid.SampledFrom([]uint32{1, 3, 8, 100}).Draw(t, "request ids")
			c.GetTermStart().RequestWindow = rapid.SampledFrom([]int64{10, 200, 5000}).Draw(t, "window")
		}
		return c
	}
	c := write(rapid.SliceOfN(genChange, 0, 4).Draw(t, "changes")...)
	c.Reason = genReason.Draw(t, "reason")
	c.Actor = &logv1.Actor{
		Name:     rapid.SampledFrom([]string{"", "ann", "bob"}).Draw(t, "actor"),
		Verified: rapid.IntRange(0, 3).Draw(t, "verified") == 0,
	}
	c.RequestId = rapid.SampledFrom([]string{"", "1", "2", "3", "4", "5"}).Draw(t, "request id")
	return c
})

// genLog makes entries, some of them configurations (nil), with clocks that go back too. Many writes
// come again, from another address.
var genLog = rapid.Custom(func(t *rapid.T) []*logv1.Entry {
	var sent []*logv1.Command
	genSent := rapid.Custom(func(t *rapid.T) *logv1.Command {
		if len(sent) > 0 && rapid.IntRange(0, 2).Draw(t, "again") == 0 {
			c := proto.CloneOf(rapid.SampledFrom(sent).Draw(t, "which"))
			c.Actor.Peer = rapid.SampledFrom([]string{"", "10.0.0.1:1", "10.0.0.2:2"}).Draw(t, "peer")
			return c
		}
		c := genCommand.Draw(t, "command")
		if c.RequestId != "" {
			sent = append(sent, c)
		}
		return c
	})
	log := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) *logv1.Entry {
		if rapid.IntRange(0, 9).Draw(t, "configuration") == 0 {
			return nil
		}
		return &logv1.Entry{
			Time:     rapid.Int64Range(0, 1000).Draw(t, "time"),
			Commands: rapid.SliceOfN(genSent, 0, 4).Draw(t, "commands"),
		}
	}), 1, 12).Draw(t, "log")
	if rapid.IntRange(0, 3).Draw(t, "ids from the start") > 0 {
		log = append([]*logv1.Entry{{Commands: []*logv1.Command{termStartWith(100, 5000)}}}, log...)
	}
	return log
})

// raftLogs gives the entries their places in a log with holes, as raft's own no-ops leave them.
func raftLogs(t testing.TB, rt *rapid.T, entries []*logv1.Entry) []*raft.Log {
	var logs []*raft.Log
	index, term := uint64(0), uint64(1)
	for _, e := range entries {
		index++
		if rapid.IntRange(0, 4).Draw(rt, "new term") == 0 {
			index, term = index+1, term+1
		}
		if e == nil {
			logs = append(logs, &raft.Log{Index: index, Term: term, Type: raft.LogConfiguration, Data: []byte("raft's")})
			continue
		}
		logs = append(logs, logOf(t, index, term, e))
	}
	return logs
}

// feed applies logs in batches cut at random, and returns the answers, by index, to those that were
// not skipped.
func (h *harness) feed(rt *rapid.T, logs []*raft.Log) map[uint64]string {
	said := map[uint64]string{}
	for len(logs) > 0 {
		n := rapid.IntRange(1, len(logs)).Draw(rt, "batch")
		for i, answer := range h.ApplyBatch(logs[:n]) {
			list, _ := answer.([]any)
			for _, r := range list {
				said[logs[i].Index] += fmt.Sprintf("%x\n", marshal(r.(*Result).Proto()))
			}
		}
		logs = logs[n:]
	}
	return said
}

// rapidHarness closes at the end of a run, of which one test has many.
func rapidHarness(t *testing.T, rt *rapid.T, j *memRegistryFile) *harness {
	h := harnessWith(t, Config{RegistryFile: j, MaxLevel: modelLevel})
	rt.Cleanup(func() { h.Close() })
	return h
}

// TestFoldAgreesWithModel: results, refusals, revisions without gaps, all or nothing, and a preview
// that says the same as what then happens.
func TestFoldAgreesWithModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h, m := rapidHarness(t, rt, newMemRegistryFile()), newModel()
		for i, e := range genLog.Draw(rt, "log") {
			if e == nil {
				continue
			}
			var preview *logv1.Result
			if len(e.Commands) > 0 {
				preview = h.Preview(e.Commands[0], e.Time).Proto()
			}
			got := results(t, h.Apply(logOf(t, uint64(i+1), 1, e)))
			m.time = max(m.time, e.Time)
			m.forget()
			for j, r := range got {
				if r.Index != uint64(i+1) {
					rt.Fatalf("the result names entry %d, not %d", r.Index, i+1)
				}
				if j == 0 {
					preview.Index = r.Index // it does not know which entry it would be in
				}
				again := r.Replayed || r.GetRefusal().GetField() == "request_id" // a preview has no id
				if j == 0 && !again && !proto.Equal(r, preview) {
					rt.Fatalf("applied %v, previewed %v", r, preview)
				}
				changed := []bool{}
				for _, s := range r.Services {
					changed = append(changed, s.Changed)
				}
				text := fmt.Sprint(changed)
				if r.Refusal != nil {
					text = r.Refusal.Reason.String()
				}
				text = fmt.Sprintf("%s @%d", text, r.Revision)
				if r.Replayed {
					text = "again " + text
				}
				if want := m.apply(e.Commands[j]); text != want {
					rt.Fatalf("command %v gives %s, the model says %s", e.Commands[j], text, want)
				}
			}
			if got, want := h.modelDump(), m.dump(); got != want {
				rt.Fatalf("state is\n%swant\n%s", got, want)
			}
		}
		checkEvents(rt, h.registryFile.events, m.revision)
	})
}

// checkEvents replays events by themselves: they tell the whole story, without gaps.
func checkEvents(rt *rapid.T, events []*logv1.Event, revision int64) {
	status := map[string]logv1.Status{}
	for i, e := range events {
		if e.Revision != int64(i+1) || e.CommitRevision < e.Revision {
			rt.Fatalf("event %d is %v", i, e)
		}
		if i > 0 && events[i-1].CommitRevision != e.CommitRevision && events[i-1].CommitRevision != events[i-1].Revision {
			rt.Fatalf("a write is split before %v", e)
		}
		if e.Type == logv1.EventType_EVENT_TYPE_MEMBER_CHANGED {
			continue
		}
		was, ok := status[e.Key]
		if !ok {
			was = gone
		}
		if e.PreviousStatus != was {
			rt.Fatalf("event %v: previous status should be %v", e, was)
		}
		if status[e.Key] = e.Status; e.Status == gone {
			delete(status, e.Key)
		}
	}
	if int64(len(events)) != revision {
		rt.Fatalf("%d events, revision %d", len(events), revision)
	}
}

// TestReplayEqualsSnapshotPlusRest: for every k, a node restarted on the registry file of the first k
// entries, and one restored from a snapshot of it, end as the node that saw all. Entries that the
// the registry file held already are delivered again and skipped.
func TestReplayEqualsSnapshotPlusRest(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		logs := raftLogs(t, rt, genLog.Draw(rt, "log"))
		whole := rapidHarness(t, rt, newMemRegistryFile())
		answers := whole.feed(rt, logs)
		// Whoever goes on from k answers what comes after as the one that saw all.
		agree := func(k int, said map[uint64]string) {
			for _, l := range logs[k:] {
				if said[l.Index] != answers[l.Index] {
					rt.Fatalf("gone on from %d, entry %d is answered\n%swant\n%s", k, l.Index, said[l.Index], answers[l.Index])
				}
			}
		}
		want, wantJournal := whole.dump(), whole.registryFile.dump()

		for k := range len(logs) + 1 {
			first := rapidHarness(t, rt, newMemRegistryFile())
			first.feed(rt, logs[:k])

			restarted := rapidHarness(t, rt, first.registryFile)
			if got := restarted.dump(); got != first.dump() {
				rt.Fatalf("restarted after %d of %d:\n%s\nwas\n%s", k, len(logs), got, first.dump())
			}
			var restored *harness
			if k > 0 {
				restored = rapidHarness(t, rt, newMemRegistryFile())
				restored.feed(rt, logs[:rapid.IntRange(0, k).Draw(rt, "known before")])
				if err := restored.Restore(first.snapshot(t)); err != nil {
					rt.Fatalf("restore: %v", err)
				}
				agree(k, restored.feed(rt, logs[k:]))
				if got := restored.dump(); got != want {
					rt.Fatalf("restored at %d of %d:\n%s\nwant\n%s", k, len(logs), got, want)
				}
				if got := restored.registryFile.dump(); got != wantJournal {
					rt.Fatalf("registry file of the restored one at %d:\n%s\nwant\n%s", k, got, wantJournal)
				}
			}
			agree(k, restarted.feed(rt, logs[rapid.IntRange(0, k).Draw(rt, "delivered again from"):]))
			if got := restarted.dump(); got != want {
				rt.Fatalf("restarted at %d of %d:\n%s\nwant\n%s", k, len(logs), got, want)
			}
			if got := restarted.registryFile.dump(); got != wantJournal {
				rt.Fatalf("registry file of the restarted one at %d:\n%s\nwant\n%s", k, got, wantJournal)
			}
		}
	})
}

// TestSameLogSameState: the same entries give the same state, registry file and answers on every run and
// however raft cuts them into batches.
func TestSameLogSameState(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		logs := raftLogs(t, rt, genLog.Draw(rt, "log"))
		a, b := rapidHarness(t, rt, newMemRegistryFile()), rapidHarness(t, rt, newMemRegistryFile())
		answersA := a.ApplyBatch(logs)
		for i, l := range logs {
			ra, rb := answersA[i], b.Apply(l)
			if (ra == nil) != (rb == nil) {
				rt.Fatalf("entry %d: %v and %v", l.Index, ra, rb)
			}
			if ra == nil {
				continue
			}
			pa, pb := results(t, ra), results(t, rb)
			for j := range pa {
				if !proto.Equal(pa[j], pb[j]) {
					rt.Fatalf("entry %d, command %d: %v and %v", l.Index, j, pa[j], pb[j])
				}
			}
		}
		if a.dump() != b.dump() || a.registryFile.dump() != b.registryFile.dump() {
			rt.Fatalf("states differ:\n%s\n%s", a.dump(), b.dump())
		}
	})
}
