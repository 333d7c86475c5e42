package fsm

import (
	"errors"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/fsm/access"
)

func seedCommands() []*logv1.Command {
	return []*logv1.Command{
		{},
		termStart("c1"),
		termStartWith(2, 5),
		withID("x", change("a", notServing)),
		withID("y", change("a", gone), changeIf("b", serving, 9)),
		write(),
		write(change("a", serving)),
		writeFor("why", change("a", notServing), changeIf("b", gone, 0), change("c", 9)),
		write(changeIf("a", serving, 1), &logv1.Change{Service: "b", Status: gone, MustExist: true, LeaseId: "l"}),
		write(change("rollcall.live", serving), change("", serving), change("a b", serving)),
		announce(nil),
		compact(2), compact(99), compact(-1), compact(1),
		announce(&logv1.Member{Name: "n1", ApiAddress: "x:1", DirectoryId: "d1", Level: 1}),
		over("a", serving), overFor("*", notServing, 1), overFor("a/*", notServing, 2e9), over("a*", serving), over("**", 9), clearOver("a"),
		clearing(&logv1.ClearOverride{Pattern: "a", AllowMissing: true, IfRevision: proto.Int64(-1)}),
		atLeast("r", "*", 1), percent("r", "a", 101), percent("s", "a/*", 50), removeRule("r"), atLeast("a,b", "**", 0),
		because(write(change("a", notServing)), "why", "*", "r"), because(over("**", notServing), "", "*"),
		expire(1, &logv1.ExpiredOverride{Pattern: "a/*", Revision: 1}), expire(2),
		recordCommand(logv1.Kind_KIND_OVERRIDE, &logv1.OverrideCommand{}), recordCommand(logv1.Kind_KIND_RULE, compact(1)),
		tokenWith("t", grantOver("reporter", "a/*")), revokeToken("t"), revokeID("0123456789abcdef", ""), putRole("mine", access.Read), deleteRole("mine"),
		putGrants("cert:a", grantOver("admin", "*")), deny("token:t"), by("cert:a", setAuth(true, "viewer")), by("static", setAuth(true, "")),
		addMember(joiner("n2", "d2")), removeMember("n2"), logv1.RemoveMemberCommand("n3", "?n3", true), replaceMember(joiner("n2", "d3")),
		logv1.PromoteMemberCommand("n2"), recordCommand(logv1.Kind_KIND_MEMBER, compact(1)),
		recordCommand(logv1.Kind_KIND_TOKEN, &logv1.TokenCommand{}), recordCommand(logv1.Kind_KIND_AUTH, compact(1)),
	}
}

// FuzzApply: whatever is in a committed entry, the FSM answers it and goes on, or halts having
// changed nothing. The fake registry file panics on a delta that makes no sense.
func FuzzApply(f *testing.F) {
	for _, cmd := range seedCommands() {
		entry := &logv1.Entry{Time: 7, Commands: []*logv1.Command{cmd, cmd}}
		sealed, err := logv1.Seal(entry)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(sealed, true)
		f.Add(marshal(entry), false)
	}
	f.Fuzz(func(t *testing.T, data []byte, sealed bool) {
		if !sealed {
			data = sealRaw(logv1.Format, data)
		}
		h := newHarness(t)
		h.do(t, 1, termStartWith(3, 100), withID("x", change("a", serving), change("b", notServing)), overFor("b", serving, 1e9), atLeast("r", "a", 1))
		before, deltas := h.dump(), len(h.registryFile.deltas)
		answer := h.Apply(&raft.Log{Index: 2, Term: 1, Type: raft.LogCommand, Data: data})
		switch answer := answer.(type) {
		case []any:
			for _, r := range answer {
				if _, err := proto.Marshal(r.(*Result).Proto()); err != nil {
					t.Errorf("result cannot be sent: %v", err)
				}
			}
			if h.AppliedIndex() != 2 || h.Halted() != nil {
				t.Errorf("answered at index %d, halted: %v", h.AppliedIndex(), h.Halted())
			}
			again := harnessOn(t, h.registryFile)
			if got, want := again.dump(), h.dump(); got != want {
				t.Errorf("the registry file holds\n%s\nmemory\n%s", got, want)
			}
		case error:
			if !errors.Is(answer, ErrHalted) || h.Halted() == nil {
				t.Errorf("answer is %v, halted: %v", answer, h.Halted())
			}
			if h.dump() != before || len(h.registryFile.deltas) != deltas {
				t.Errorf("halted, but changed to\n%s", h.dump())
			}
		default:
			t.Errorf("answer is %T", answer)
		}
	})
}

// FuzzFold: an arbitrary command, also one that protobuf would not let through, is previewed and
// then done, with the same result and all or nothing.
func FuzzFold(f *testing.F) {
	for _, cmd := range seedCommands() {
		f.Add(marshal(cmd), "why", "x", int64(0), int64(5))
	}
	f.Add(marshal(write(change("a", serving))), strings.Repeat("r", 1025), "a", int64(-1), int64(-9))
	f.Add(marshal(write(change("a", serving))), "\xff", "\xff", int64(1), int64(1)<<62)
	f.Fuzz(func(t *testing.T, data []byte, reason, name string, compare, now int64) {
		cmd := &logv1.Command{}
		if proto.Unmarshal(data, cmd) != nil {
			t.Skip()
		}
		cmd.Reason = reason
		if w := cmd.GetWrite(); w != nil {
			w.Changes = append(w.Changes, changeIf(name, serving, compare))
		}
		s := newState(DefaultKinds())
		base := write(change("a", serving), change("b", notServing))
		p := s.evaluate(base, 3)
		s.commit(&p, base, nil)
		if s.admit(&logv1.Entry{Commands: []*logv1.Command{cmd}}, logv1.Level) != nil {
			if p := s.evaluate(cmd, 3); p.refusal == nil {
				t.Fatal("a preview of what would halt is not refused")
			}
			return
		}
		now = max(now, s.logTime)
		revision, count := s.revision, s.services.Len()
		preview := s.evaluate(cmd, now)
		p = s.evaluate(cmd, now)
		a, b := preview.result(s.layers).Proto(), p.result(s.layers).Proto()
		if !proto.Equal(a, b) {
			t.Fatalf("evaluated twice: %v and %v", a, b)
		}
		if _, err := proto.Marshal(b); err != nil {
			t.Fatalf("result cannot be sent: %v", err)
		}
		if s.revision != revision || s.services.Len() != count {
			t.Fatal("evaluate changed the state")
		}
		if p.refusal != nil {
			if p.refusal.Reason == 0 || len(p.outcomes) != 0 || p.revision != revision || len(p.changes) != 0 {
				t.Fatalf("a refusal with effects: %+v", p)
			}
			return
		}
		events := s.commit(&p, cmd, nil)
		if s.revision != revision+int64(len(events)) || s.revision != p.revision {
			t.Fatalf("revision went from %d to %d with %d events", revision, s.revision, len(events))
		}
		for i, e := range events {
			if e.Revision != revision+int64(i)+1 || e.CommitRevision != s.revision || e.Time != now {
				t.Fatalf("event %d is %v", i, e)
			}
			if _, err := proto.Marshal(e); err != nil {
				t.Fatalf("event cannot be stored: %v", err)
			}
		}
		// Once more: what holds already changes nothing, unless it compares.
		again := s.evaluate(cmd, now)
		for i := range again.outcomes {
			if again.outcomes[i].changed() {
				t.Fatalf("%v changes something a second time", cmd)
			}
		}
	})
}
