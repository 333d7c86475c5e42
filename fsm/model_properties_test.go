package fsm

// This file draws random commands and holds the fold against the model.

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

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
var genLog = logsOf(genCommand)

// genAnyLog also has overrides, rules, who may do what, and members, which model does not know.
var genAnyLog = logsOf(rapid.OneOf(genCommand, genAccess, genMember, rapid.Custom(func(t *rapid.T) *logv1.Command {
	c := genLayered.Draw(t, "layered")
	c.Actor = &logv1.Actor{Name: "ann"}
	c.RequestId = rapid.SampledFrom([]string{"", "1", "2", "3", "4", "5"}).Draw(t, "request id")
	return c
})))

func logsOf(commands *rapid.Generator[*logv1.Command]) *rapid.Generator[[]*logv1.Entry] {
	return rapid.Custom(func(t *rapid.T) []*logv1.Entry { return drawLog(t, commands) })
}

func drawLog(t *rapid.T, commands *rapid.Generator[*logv1.Command]) []*logv1.Entry {
	var sent []*logv1.Command
	genSent := rapid.Custom(func(t *rapid.T) *logv1.Command {
		if len(sent) > 0 && rapid.IntRange(0, 2).Draw(t, "again") == 0 {
			c := proto.CloneOf(rapid.SampledFrom(sent).Draw(t, "which"))
			c.Actor.Peer = rapid.SampledFrom([]string{"", "10.0.0.1:1", "10.0.0.2:2"}).Draw(t, "peer")
			return c
		}
		c := commands.Draw(t, "command")
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
}

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
	return rapidHarnessWith(t, rt, Config{RegistryFile: j, MaxLevel: modelLevel})
}

func rapidHarnessWith(t *testing.T, rt *rapid.T, cfg Config) *harness {
	h := harnessWith(t, cfg)
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
		logs := raftLogs(t, rt, genAnyLog.Draw(rt, "log"))
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
		logs := raftLogs(t, rt, genAnyLog.Draw(rt, "log"))
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
