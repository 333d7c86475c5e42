package fsm

import (
	"context"
	"fmt"
	"strings"
	"testing"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// kindFlag is a kind of this test: a command "a b -c" puts flags and deletes those with a "-". Each flag's
// record is how many there were when it was put.
const kindFlag logv1.Kind = 99

var flagKind = &Kind{
	Number:  kindFlag,
	Name:    "flag",
	History: true,
	New:     func() Value { return new(logv1.Member) },
	Evaluate: func(tx *Tx, payload []byte) *logv1.Refusal {
		for _, key := range strings.Fields(string(payload)) {
			if name, deletes := strings.CutPrefix(key, "-"); deletes {
				tx.Put(kindFlag, name, nil, 0)
				continue
			}
			before, _ := tx.Get(kindFlag, key).(*logv1.Member)
			tx.Put(kindFlag, key, &logv1.Member{Level: before.GetLevel() + 1}, 0)
		}
		if len(payload) == 0 {
			return invalid("payload", logv1.Refusal_PROBLEM_EMPTY)
		}
		return nil
	},
}

func flags(payload string) *logv1.Command {
	return &logv1.Command{Kind: &logv1.Command_Record{Record: &logv1.RecordCommand{Kind: kindFlag, Payload: []byte(payload)}}}
}

func TestRecordCommand(t *testing.T) {
	h := harnessWith(t, Config{RegistryFile: newMemRegistryFile(), Kinds: DefaultKinds().With(flagKind)})
	for _, s := range []struct {
		payload  string
		revision int64
		holds    string
		refused  string // field
	}{
		{"b a", 2, "a1 b1", ""},
		{"a a", 4, "a3 b1", ""}, // sees what it did itself
		{"-none", 4, "a3 b1", ""},
		{"c -a c", 7, "b1 c2", ""},
		{"d \x00", 7, "b1 c2", "key"}, // all or nothing
		{"", 7, "b1 c2", "payload"},
		{"-b -c", 9, "", ""},
	} {
		preview := h.Preview(flags(s.payload), 0).Proto()
		r := h.do(t, 0, flags(s.payload))[0]
		if r.Revision != s.revision || r.GetRefusal().GetField() != s.refused {
			t.Errorf("%q: %v, want revision %d, refused %q", s.payload, r, s.revision, s.refused)
		}
		if preview.Revision != r.Revision || len(preview.Records) != len(r.Records) || preview.GetRefusal().GetField() != s.refused {
			t.Errorf("%q: previewed %v, applied %v", s.payload, preview, r)
		}
		var holds []string
		h.ListRecords(kindFlag, "", func(key string, v Value) bool {
			holds = append(holds, fmt.Sprint(key, v.(*logv1.Member).Level))
			return true
		})
		if got := strings.Join(holds, " "); got != s.holds {
			t.Errorf("%q: holds %q, want %q", s.payload, got, s.holds)
		}
		if scrub, err := h.ScrubMemory(context.Background(), 1); err != nil || !scrub.Agrees() {
			t.Errorf("%q: a scrub finds %+v, %v", s.payload, scrub, err)
		}
	}
	for revision, want := range map[int64]uint32{0: 0, 1: 0, 2: 1, 4: 3, 6: 0} {
		v, err := h.RecordAt(context.Background(), kindFlag, "a", revision)
		var level uint32
		if v != nil {
			level = v.(*logv1.Member).Level
		}
		if err != nil || level != want {
			t.Errorf("at %d flag a is %d, want %d: %v", revision, level, want, err)
		}
	}
	again := harnessWith(t, Config{RegistryFile: h.registryFile, Kinds: h.cfg.Kinds})
	if again.dump() != h.dump() {
		t.Errorf("restarted\n%swas\n%s", again.dump(), h.dump())
	}
}

// TestUnknownKind: a node that does not know a kind proposes no command of it, halts at one that was
// committed, and does not start on its records.
func TestUnknownKind(t *testing.T) {
	knows := harnessWith(t, Config{RegistryFile: newMemRegistryFile(), Kinds: DefaultKinds().With(flagKind)})
	knows.do(t, 0, flags("a"))
	if knows.RefuseUnknown(flags("a")) != nil {
		t.Error("a command that is known is refused")
	}
	h := newHarness(t)
	if r := h.RefuseUnknown(flags("a")); r.GetProblem() != logv1.Refusal_PROBLEM_UNKNOWN {
		t.Errorf("a command that is not known: %v", r)
	}
	if r := h.Preview(flags("a"), 0).Proto(); r.GetRefusal().GetProblem() != logv1.Refusal_PROBLEM_UNKNOWN {
		t.Errorf("previewed: %v", r)
	}
	h.Apply(logOf(t, 1, 1, &logv1.Entry{Commands: []*logv1.Command{write(change("x", serving)), flags("a")}}))
	if h.Halted() == nil || h.Revision() != 0 {
		t.Errorf("halted %v at revision %d", h.Halted(), h.Revision())
	}
	if _, err := New(Config{RegistryFile: knows.registryFile}); err == nil || !strings.Contains(err.Error(), "kind 99") {
		t.Errorf("started on records of a kind it does not know: %v", err)
	}
}

func TestKindsHaveNumbersOfTheirOwn(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("two kinds have one number")
		}
	}()
	DefaultKinds().With(flagKind, flagKind)
}
