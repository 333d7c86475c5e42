package fsm

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/fsm/access"
)

func raiseLevel(level uint32, members ...string) *logv1.Command {
	return &logv1.Command{Kind: &logv1.Command_RaiseLevel{RaiseLevel: &logv1.RaiseLevel{Level: level, Members: members}}}
}

// newHarnessAt is a binary that can fold up to a level.
func newHarnessAt(t *testing.T, j *memRegistryFile, maxLevel uint32) (*harness, error) {
	t.Helper()
	h := &harness{registryFile: j}
	f, err := New(Config{RegistryFile: j, MaxLevel: maxLevel, OnFailure: func(err error) { h.failures = append(h.failures, err) }})
	if err != nil {
		return nil, err
	}
	h.FSM, h.index = f, f.AppliedIndex()
	t.Cleanup(func() { f.Close() })
	return h, nil
}

func member(name string, level, hold uint32) *logv1.Command {
	return announce(&logv1.Member{Name: name, DirectoryId: "d-" + name, Level: level, HoldLevel: hold})
}

func TestRaiseLevel(t *testing.T) {
	j := newMemRegistryFile()
	h, err := newHarnessAt(t, j, 3)
	if err != nil {
		t.Fatal(err)
	}
	if h.Level() != logv1.BaseLevel {
		t.Fatalf("a new registry has level %d", h.Level())
	}
	before := h.StateHash()
	for _, s := range []struct {
		name    string
		cmd     *logv1.Command
		refused string // field
		level   uint32
	}{
		{"a member that never announced itself", raiseLevel(2, "n1"), "level", 1},
		{"n1 announces 3", member("n1", 3, 0), "", 1},
		{"n2 announces nothing", member("n2", 0, 0), "", 1},
		{"a member of the base level", raiseLevel(2, "n1", "n2"), "level", 1},
		{"n2 announces 3 but holds 2", member("n2", 3, 2), "", 1},
		{"above the hold", raiseLevel(3, "n1", "n2"), "level", 1},
		{"up to the hold", raiseLevel(2, "n1", "n2"), "", 2},
		{"a lower one changes nothing", raiseLevel(1, "n1", "n2"), "", 2},
		{"the same changes nothing", raiseLevel(2, "n1", "n2"), "", 2},
		{"an older binary cannot announce itself any more", member("n2", 1, 0), "member.level", 2},
		{"a hold that comes too late is taken", member("n2", 3, 1), "", 2},
		{"and holds the next level", raiseLevel(3, "n1", "n2"), "level", 2},
		{"who is no member is not asked", raiseLevel(3, "n1"), "", 3},
	} {
		got := h.do(t, 1, s.cmd)[0]
		if got.GetRefusal().GetField() != s.refused || (got.GetRefusal() != nil) != (s.refused != "") {
			t.Errorf("%s: refusal is %v, want one of field %q", s.name, got.GetRefusal(), s.refused)
		}
		if h.Level() != s.level || logv1.LevelOf(j.meta.GetLevel()) != s.level {
			t.Errorf("%s: level is %d, in the registry file %d; want %d", s.name, h.Level(), j.meta.GetLevel(), s.level)
		}
	}
	for _, e := range j.events {
		if e.GetType() != logv1.EventType_EVENT_TYPE_MEMBER_CHANGED {
			t.Errorf("event %v", e)
		}
	}
	if string(before.GetHash()) == string(h.StateHash().GetHash()) {
		t.Error("the state hash did not change")
	}
	found, err := h.ScrubMemory(t.Context(), 1)
	if err != nil || !found.Agrees() {
		t.Errorf("scrubbed memory: %v, %v", found, err)
	}
	scrubbed, compared, err := h.ScrubRegistryFile(t.Context(), 1)
	if err != nil || !compared || !scrubbed.Agrees() {
		t.Errorf("scrubbed registryFile: %v, %v, %v", scrubbed, compared, err)
	}

	again, err := newHarnessAt(t, j, 3)
	if err != nil {
		t.Fatal(err)
	}
	if again.Level() != 3 || string(again.StateHash().GetHash()) != string(h.StateHash().GetHash()) {
		t.Errorf("after a restart: level %d", again.Level())
	}
	_, err = newHarnessAt(t, j, 2)
	var level *LevelError
	if !errors.As(err, &level) || level.Needs != 3 || level.Max != 2 || !strings.Contains(err.Error(), "newer version") {
		t.Errorf("a binary of level 2 started on data of level 3: %v", err)
	}
}

// TestLevelHalts: an entry that needs more than the binary can fold is applied neither whole nor in part.
func TestLevelHalts(t *testing.T) {
	for name, e := range map[string]*logv1.Entry{
		"by its own word":  {Level: 2, Commands: []*logv1.Command{write(change("a", serving))}},
		"raises the level": {Commands: []*logv1.Command{write(change("a", serving)), raiseLevel(2)}},
	} {
		t.Run(name, func(t *testing.T) {
			h, err := newHarnessAt(t, newMemRegistryFile(), 1)
			if err != nil {
				t.Fatal(err)
			}
			answer := h.Apply(logOf(t, 1, 1, e))
			err, _ = answer.(error)
			var level *LevelError
			if !errors.Is(err, ErrHalted) || !errors.As(err, &level) || level.Needs != 2 || level.Max != 1 {
				t.Errorf("answer is %v", answer)
			}
			if h.Revision() != 0 || len(h.failures) != 1 {
				t.Errorf("revision %d, failures %v", h.Revision(), h.failures)
			}
		})
	}
}

// TestCommandLevels: the table names every kind of command, so that a new one cannot be forgotten.
func TestCommandLevels(t *testing.T) {
	h := newHarness(t)
	fields := (&logv1.Command{}).ProtoReflect().Descriptor().Oneofs().ByName("kind").Fields()
	for i := range fields.Len() {
		cmd := &logv1.Command{}
		m := cmd.ProtoReflect()
		m.Set(fields.Get(i), m.NewField(fields.Get(i)))
		if level, ok := commandLevel(h.cfg.Kinds, cmd); !ok || level < logv1.BaseLevel || level > logv1.Level {
			t.Errorf("%s: level %d, in the table: %v", fields.Get(i).Name(), level, ok)
		}
		if got := h.CommandLevel(cmd); got > logv1.Level {
			t.Errorf("%s needs level %d, this binary folds %d", fields.Get(i).Name(), got, logv1.Level)
		}
	}
	if got := h.CommandLevel(raiseLevel(7)); got != 7 {
		t.Errorf("raising to 7 needs level %d", got)
	}
}

// TestNewerRecordsAreRefused: a record that holds something unknown, or is of an unknown kind, is neither
// skipped nor taken for damaged: the node does not start.
func TestNewerRecordsAreRefused(t *testing.T) {
	file := newMemRegistryFile()
	h := harnessOn(t, file)
	h.do(t, 1, termStartWith(10, 1000), member("n1", 1, 0), withID("x", change("a", serving)), over("b", serving), atLeast("r", "a", 1),
		grantOf(leaseA), hold(&logv1.HoldLeases{Term: 1, Engaged: true}),
		tokenWith("ci", grantOver("reporter", "*")), putRole("mine", access.Read), setAuth(false, ""),
		addMember(joiner("n2", "d2")), removeMember("n2"))
	unknown := protowire.AppendVarint(protowire.AppendTag(nil, 500, protowire.VarintType), 1)
	if len(file.records) != len(DefaultKinds().all) {
		t.Fatalf("records of %d kinds, there are %d", len(file.records), len(DefaultKinds().all))
	}
	refused := func(t *testing.T, want string) {
		t.Helper()
		_, err := New(Config{RegistryFile: file})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "damaged") {
			t.Errorf("%v, want %q", err, want)
		}
	}
	for kind, records := range file.records {
		t.Run(DefaultKinds().Name(kind), func(t *testing.T) {
			for key, value := range records {
				file.put(kind, key, append(bytes.Clone(value), unknown...))
				refused(t, "unknown field 500: a newer version of rollcall made it")
				file.put(kind, key, value)
			}
		})
	}
	t.Run("nested", func(t *testing.T) {
		value := file.records[logv1.Kind_KIND_SERVICE]["a"]
		r := file.service("a")
		r.GetReport().GetActor().ProtoReflect().SetUnknown(unknown)
		file.setService(r)
		refused(t, "Actor has an unknown field 500: a newer version of rollcall made it")
		file.put(logv1.Kind_KIND_SERVICE, "a", value)
	})
	t.Run("an unknown kind", func(t *testing.T) {
		file.put(99, "a", nil)
		refused(t, "records of kind 99, which this binary does not know; a newer one wrote them")
		delete(file.records, 99)
	})
	f, err := New(Config{RegistryFile: file})
	if err != nil {
		t.Fatalf("as it was: %v", err)
	}
	f.Close()
}
