package fsm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

func TestHalts(t *testing.T) {
	entry := func(cmds ...*logv1.Command) []byte {
		b, err := logv1.Seal(&logv1.Entry{Time: 99, Commands: cmds})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	damaged := entry(write(change("b", serving)))
	damaged[len(damaged)-1] ^= 1
	newKind := proto.CloneOf(write())
	newKind.Kind = nil
	newKind.ProtoReflect().SetUnknown(protowire.AppendBytes(protowire.AppendTag(nil, 99, protowire.BytesType), []byte("x")))

	for _, tc := range []struct {
		name    string
		log     *raft.Log
		message string
		is      error
	}{
		{"bad checksum", &raft.Log{Data: damaged}, "checksum", logv1.ErrChecksum},
		{"no content", &raft.Log{}, "checksum", logv1.ErrChecksum},
		{"unknown format", &raft.Log{Data: sealRaw(logv1.Format+1, []byte("x"))}, "unknown format", logv1.ErrFormat},
		{"no entry", &raft.Log{Data: sealRaw(logv1.Format, []byte{0xff})}, "open Entry", nil},
		{"unknown kind", &raft.Log{Data: entry(write(change("b", serving)), newKind)}, "Command has an unknown field 99", logv1.ErrUnknown},
		{"empty command", &raft.Log{Data: entry(&logv1.Command{})}, "command 0", nil},
		{"another cluster", &raft.Log{Data: entry(write(change("b", serving)), termStart("c2"))}, "c2", nil},
		{"unknown type", &raft.Log{Type: 77, Data: entry()}, "type", nil},
		{"term goes back", &raft.Log{Term: 1, Data: entry()}, "another history", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := newHarness(t)
			h.ApplyBatch([]*raft.Log{logOf(t, 1, 2, &logv1.Entry{Commands: []*logv1.Command{termStart("c1")}})})
			ctx := context.Background()
			waited := make(chan error, 1)
			go func() { waited <- h.WaitIndex(ctx, 4) }()

			tc.log.Index = 3
			if tc.log.Term == 0 {
				tc.log.Term = 2
			}
			good := logOf(t, 2, 2, &logv1.Entry{Commands: []*logv1.Command{write(change("a", serving))}})
			after := logOf(t, 4, 2, &logv1.Entry{Commands: []*logv1.Command{write(change("c", serving))}})
			answers := h.ApplyBatch([]*raft.Log{good, tc.log, after})

			if r := results(t, answers[0])[0]; r.Revision != 1 {
				t.Errorf("the good entry before gives %v", r)
			}
			for _, a := range answers[1:] {
				err, _ := a.(error)
				if !errors.Is(err, ErrHalted) || !strings.Contains(err.Error(), tc.message) || !strings.Contains(err.Error(), "log entry 3") {
					t.Errorf("answer is %v, want ErrHalted at entry 3 with %q", a, tc.message)
				}
				if tc.is != nil && !errors.Is(err, tc.is) {
					t.Errorf("answer %v does not wrap %v", err, tc.is)
				}
			}
			want := h.dump()
			if !strings.HasPrefix(want, "index 2 revision 1 time 0") || h.ServiceCount() != 1 {
				t.Errorf("state after halting:\n%s", want)
			}
			if d := h.registryFile.deltas[len(h.registryFile.deltas)-1]; d.Index != 2 || len(d.Events) != 1 {
				t.Errorf("last delta is %+v", d)
			}

			// From now on nothing changes, and everybody is told.
			if err, _ := h.Apply(after).(error); !errors.Is(err, ErrHalted) {
				t.Errorf("a later entry is answered with %v", err)
			}
			if got := h.dump(); got != want || len(h.registryFile.deltas) != 2 {
				t.Errorf("a halted FSM changed:\n%s", got)
			}
			if len(h.failures) != 1 || !errors.Is(h.failures[0], ErrHalted) {
				t.Errorf("failures are %v, want one", h.failures)
			}
			if err := <-waited; !errors.Is(err, ErrHalted) {
				t.Errorf("WaitIndex: %v", err)
			}
			if err := h.WaitRevision(ctx, 2); !errors.Is(err, ErrHalted) {
				t.Errorf("WaitRevision: %v", err)
			}
			if err := h.WaitIndex(ctx, 2); err != nil {
				t.Errorf("WaitIndex of what is there: %v", err)
			}
			if _, err := h.Snapshot(); !errors.Is(err, ErrHalted) {
				t.Errorf("Snapshot: %v", err)
			}
			if err := h.Restore(io.NopCloser(strings.NewReader(""))); !errors.Is(err, ErrHalted) {
				t.Errorf("Restore: %v", err)
			}
			if s, ok := h.Status("a"); !ok || s != isServing {
				t.Errorf("Status: %v, %v: reads must go on", s, ok)
			}
		})
	}
}

func TestJournalOfAnotherHistory(t *testing.T) {
	for _, tc := range []struct {
		name        string
		index, term uint64
		halts       bool
	}{
		{"below J, any term", 4, 1, false},
		{"at J, its term", 5, 3, false},
		{"at J, another term", 5, 2, true},
		{"above J, an older term", 6, 2, true},
		{"above J, its term", 6, 3, false},
		{"above J, a newer term", 7, 4, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			j := newMemRegistryFile()
			j.meta = &logv1.RegistryMeta{Index: 5, Term: 3, Revision: 2, LogTime: 9, ClusterId: "c1"}
			h := harnessOn(t, j)
			err, _ := h.Apply(logOf(t, tc.index, tc.term, &logv1.Entry{})).(error)
			if errors.Is(err, ErrHalted) != tc.halts || len(h.failures) > 0 != tc.halts {
				t.Errorf("answer %v, failures %v", err, h.failures)
			}
			if !tc.halts && errors.Is(err, ErrSkipped) != (tc.index <= 5) {
				t.Errorf("answer %v", err)
			}
			if tc.index <= 5 && len(j.deltas) != 0 {
				t.Errorf("skipped entries reached the registryFile: %v", j.deltas)
			}
		})
	}
}

func TestConfigurationAdvancesTheIndexOnly(t *testing.T) {
	h := newHarness(t)
	h.set(t, "a", serving)
	got := h.ApplyBatch([]*raft.Log{{Index: 7, Term: 2, Type: raft.LogConfiguration, Data: []byte("not an envelope")}})
	if got[0] != nil || h.AppliedIndex() != 7 || h.Revision() != 1 {
		t.Errorf("answer %v, index %d, revision %d", got[0], h.AppliedIndex(), h.Revision())
	}
	if d := h.registryFile.deltas[1]; d.Index != 7 || d.Term != 2 || d.Revision != 1 || len(d.Records) != 0 {
		t.Errorf("delta is %+v", d)
	}
}

func TestOneDeltaForABatch(t *testing.T) {
	h := newHarness(t)
	h.set(t, "old", serving)
	e := func(cmds ...*logv1.Command) *logv1.Entry { return &logv1.Entry{Time: 5, Commands: cmds} }
	h.ApplyBatch([]*raft.Log{
		logOf(t, 2, 1, e(write(change("a", serving)), write(change("b", serving)))),
		logOf(t, 3, 1, e(write(change("a", notServing)), announce(&logv1.Member{Name: "n1"}))),
		logOf(t, 4, 1, e(announce(&logv1.Member{Name: "n1", Version: "v2"}), write(change("b", gone)), write(change("old", gone)))),
	})
	if len(h.registryFile.deltas) != 2 {
		t.Fatalf("%d deltas, want 2", len(h.registryFile.deltas))
	}
	d := h.registryFile.deltas[1]
	if d.Index != 4 || d.Term != 1 || d.Revision != 8 || d.LogTime != 5 || len(d.Events) != 7 {
		t.Errorf("delta is %+v", d)
	}
	var said []string
	for _, r := range d.Records {
		switch v := r.Value.(type) {
		case *record:
			said = append(said, fmt.Sprint(r.Key, " ", v.status))
		case *logv1.Member:
			said = append(said, r.Key+" "+v.Version)
		case nil:
			said = append(said, "no "+r.Key)
		}
	}
	if want := "[a NOT_SERVING no b no old n1 v2]"; fmt.Sprint(said) != want {
		t.Errorf("records are %v, want %s", said, want)
	}
}

// TestPublishedBeforeTheJournal: while the registry file blocks, reads and new waits see the batch.
func TestPublishedBeforeTheJournal(t *testing.T) {
	h := newHarness(t)
	appended := 0
	h.registryFile.onAppend = func(*logv1.Delta) {
		appended++
		if s, _ := h.Status("a"); s != isServing {
			t.Errorf("Status is %v when the registry file is called", s)
		}
		if h.Revision() != 1 || h.AppliedIndex() != 1 || h.ShownRevision() != 1 {
			t.Errorf("revision %d, index %d, shown %d", h.Revision(), h.AppliedIndex(), h.ShownRevision())
		}
		if err := h.WaitRevision(t.Context(), 1); err != nil {
			t.Errorf("WaitRevision: %v", err)
		}
		if events, ok := h.RecentEvents(0, 9); !ok || len(events) != 1 {
			t.Errorf("recent events are %v, %v", events, ok)
		}
	}
	h.set(t, "a", serving)
	if appended != 1 {
		t.Errorf("the registry file was called %d times", appended)
	}
}

// TestP4RecordsBeforeTheView: the view, which waits look at, moves only when Check shows the batch,
// and ShownRevision before either. The registry file is asked what is durable in between.
func TestP4RecordsBeforeTheView(t *testing.T) {
	h := newHarness(t)
	asked := 0
	h.registryFile.durable = func() int64 {
		asked++
		s, _ := h.Status("a")
		if s != isServing || h.ShownRevision() != 1 || h.Revision() != 0 || h.AppliedIndex() != 0 {
			t.Errorf("Status %v, shown %d, revision %d, index %d", s, h.ShownRevision(), h.Revision(), h.AppliedIndex())
		}
		return 0
	}
	h.set(t, "a", serving)
	if asked != 1 || h.Revision() != 1 || h.AppliedIndex() != 1 {
		t.Errorf("asked %d times, revision %d, index %d", asked, h.Revision(), h.AppliedIndex())
	}
}

func TestSnapshotOnlyWhenRaftIsWhereTheJournalIs(t *testing.T) {
	j := newMemRegistryFile()
	first := harnessOn(t, j)
	if _, err := first.Snapshot(); err != raft.ErrNothingNewToSnapshot { // raft compares with ==
		t.Errorf("of nothing: %v", err)
	}
	for range 3 {
		first.set(t, "a", serving)
	}
	if _, err := first.Snapshot(); err != nil {
		t.Errorf("running: %v", err)
	}

	again := harnessOn(t, j)
	for index := range uint64(4) {
		_, err := again.Snapshot()
		if want := index < 3; (err == raft.ErrNothingNewToSnapshot) != want {
			t.Errorf("delivered %d of 3: %v", index, err)
		}
		again.Apply(logOf(t, index+1, 1, &logv1.Entry{}))
	}

	past := harnessOn(t, j) // raft's log begins after J
	past.Apply(&raft.Log{Index: 9, Term: 2, Type: raft.LogConfiguration})
	if _, err := past.Snapshot(); err != nil {
		t.Errorf("delivered past J: %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("no registryFile: no error")
	}
	if _, err := New(Config{RegistryFile: newMemRegistryFile(), RingEvents: -1}); err == nil {
		t.Error("negative ring: no error")
	}
	broken := newMemRegistryFile()
	broken.loadErr = errors.New("disk on fire")
	if _, err := New(Config{RegistryFile: broken}); !errors.Is(err, broken.loadErr) {
		t.Errorf("load error: %v", err)
	}
	for name, r := range map[string]*logv1.ServiceRecord{
		"no report":    {Service: "a"},
		"own name":     {Service: "rollcall.live", Report: &logv1.Report{Revision: 1}},
		"bad status":   {Service: "a", Report: &logv1.Report{Revision: 1, Status: gone}},
		"no revision":  {Service: "a", Report: &logv1.Report{}},
		"the future's": {Service: "a", Report: &logv1.Report{Revision: 9}},
	} {
		j := newMemRegistryFile()
		j.meta.Revision = 5
		j.setService(r)
		if _, err := New(Config{RegistryFile: j}); err == nil || !strings.HasPrefix(err.Error(), "load the registry: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	j := newMemRegistryFile()
	j.put(logv1.Kind_KIND_MEMBER, "", nil)
	if _, err := New(Config{RegistryFile: j}); err == nil {
		t.Error("nameless member: no error")
	}
}

func TestLoadSharesOrigins(t *testing.T) {
	j := newMemRegistryFile()
	h := harnessOn(t, j)
	h.do(t, 0, writeFor("batch", change("a", serving), change("b", serving)))
	again := harnessOn(t, j)
	if v := again.view.Load(); v.get("a").origin != v.get("b").origin {
		t.Error("records of one command do not share their origin after a restart")
	}
}

func TestRestore(t *testing.T) {
	source := newHarness(t)
	source.do(t, 5, termStart("c1"), write(change("stays", serving), change("new", serving)))
	source.do(t, 6, write(change("stays", notServing)))
	source.do(t, 6, write(change("x", serving)))

	h := newHarness(t)
	h.do(t, 5, termStart("c1"), write(change("stays", serving), change("vanishes", serving)))
	h.SetOwn("rollcall.live", isServing)

	ctx, cancel := context.WithCancel(t.Context())
	vanishes, stays, live := startWatch(ctx, h.FSM, "vanishes"), startWatch(ctx, h.FSM, "stays"), startWatch(ctx, h.FSM, "rollcall.live")
	vanishes.want(t, isServing)
	stays.want(t, isServing)
	live.want(t, isServing)
	waited := make(chan error, 2)
	go func() { waited <- h.WaitRevision(ctx, 4) }()
	go func() { waited <- h.WaitIndex(ctx, 3) }()

	if err := h.Restore(source.snapshot(t)); err != nil {
		t.Fatalf("Restore: %v", err)
	}
	vanishes.want(t, serviceUnknown)
	stays.want(t, isNotServing)
	for range 2 {
		if err := <-waited; err != nil {
			t.Errorf("wait: %v", err)
		}
	}
	if _, ok := h.Status("vanishes"); ok {
		t.Error("a name that vanished is still there")
	}
	if s, ok := h.Status("rollcall.live"); !ok || s != isServing {
		t.Errorf("own name after a restore: %v, %v", s, ok)
	}
	if got, want := h.dump(), source.dump(); got != want {
		t.Errorf("restored\n%swant\n%s", got, want)
	}
	if _, ok := h.RecentEvents(3, 9); ok {
		t.Error("the ring reaches back before the restore")
	}
	if _, ok := h.RecentEvents(4, 9); !ok {
		t.Error("the ring does not go on from the restore")
	}
	if _, err := h.Snapshot(); err != nil {
		t.Errorf("Snapshot after a restore: %v", err)
	}
	h.index = h.AppliedIndex()
	h.set(t, "stays", serving)
	stays.want(t, isServing)
	cancel()
	for _, w := range []*watcher{vanishes, stays, live} {
		w.end(t)
	}
}

func TestRestoreThatFailsHalts(t *testing.T) {
	older, other := newHarness(t), newHarness(t)
	older.do(t, 0, termStart("c1"))
	other.do(t, 0, termStart("c2"), write(change("a", serving), change("b", serving)))
	boom := errors.New("disk on fire")
	for _, tc := range []struct {
		name    string
		from    *harness
		break_  func(*memRegistryFile)
		message string
	}{
		{"registry file cannot replace", older, func(j *memRegistryFile) { j.replaceErr = boom }, "fire"},
		{"registry file cannot load", other, func(j *memRegistryFile) { j.loadErr = boom }, "fire"},
		{"older than what was shown", older, nil, "revision 0"},
		{"of another cluster", other, nil, "c2"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := newHarness(t)
			h.do(t, 0, termStart("c1"), write(change("a", serving)))
			if tc.break_ != nil {
				tc.break_(h.registryFile)
			}
			want := h.dump()
			err := h.Restore(tc.from.snapshot(t))
			if !errors.Is(err, ErrHalted) || !strings.Contains(err.Error(), tc.message) {
				t.Errorf("Restore: %v", err)
			}
			if len(h.failures) != 1 || h.Halted() == nil {
				t.Errorf("failures are %v", h.failures)
			}
			if got := h.dump(); got != want {
				t.Errorf("the old state is not served any more:\n%s", got)
			}
		})
	}
}

func TestCloseTwice(t *testing.T) {
	h := newHarness(t)
	h.Close()
	h.Close()
	h.set(t, "a", serving)
	if s, _ := h.Status("a"); s != isServing {
		t.Errorf("Status after Close: %v", s)
	}
}
