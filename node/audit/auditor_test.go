package audit

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"

	"go.uber.org/goleak"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/fsm"
	"github.com/rollcallhq/rollcall/raftnode"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestP9Majority: more than half of all voters, not of those that answered.
func TestP9Majority(t *testing.T) {
	for _, tt := range []struct {
		name     string
		voters   int
		held     map[string]string
		majority string
		others   []string
	}{
		{"all", 3, map[string]string{"n1": "a", "n2": "a", "n3": "a"}, "a", nil},
		{"two of three", 3, map[string]string{"n1": "a", "n2": "b", "n3": "a"}, "a", []string{"n2"}},
		{"two of three, one silent", 3, map[string]string{"n1": "a", "n3": "a"}, "a", nil},
		{"one of three answers", 3, map[string]string{"n1": "a"}, "", nil},
		{"two that differ", 3, map[string]string{"n1": "a", "n2": "b"}, "", nil},
		{"three that differ", 3, map[string]string{"n1": "a", "n2": "b", "n3": "c"}, "", nil},
		{"half is not enough", 4, map[string]string{"n1": "a", "n2": "a", "n3": "b", "n4": "b"}, "", nil},
		{"three of five", 5, map[string]string{"n1": "a", "n2": "b", "n3": "a", "n4": "c", "n5": "a"}, "a", []string{"n2", "n4"}},
		{"alone, its word void", 1, map[string]string{}, "", nil},
	} {
		f := finding{voters: tt.voters, held: tt.held}
		f.decide()
		if f.majority != tt.majority {
			t.Errorf("%s: majority %q, want %q", tt.name, f.majority, tt.majority)
		}
		if f.majority != "" && !slices.Equal(f.others(), tt.others) {
			t.Errorf("%s: others %v, want %v", tt.name, f.others(), tt.others)
		}
	}
}

// TestP9Verdict: a node that does not know what it held is neither acquitted nor outvoted.
func TestP9Verdict(t *testing.T) {
	for _, tt := range []struct {
		name             string
		own, majority    string
		contradicts      bool
		outvoted, agrees bool
	}{
		{"the same", "a", "a", false, false, true},
		{"another", "b", "a", false, true, false},
		{"no majority", "b", "", false, false, false},
		{"it does not know", "", "a", false, false, false},
		{"nobody knows", "", "", false, false, false},
		{"contradicts itself", "a", "a", true, true, true},
		{"contradicts itself, no majority", "a", "", true, false, false},
	} {
		f := finding{own: tt.own, majority: tt.majority}
		if got := f.outvoted(tt.contradicts); got != tt.outvoted {
			t.Errorf("%s: outvoted %v", tt.name, got)
		}
		if got := f.agrees(); got != tt.agrees {
			t.Errorf("%s: agrees %v", tt.name, got)
		}
	}
}

// TestP9SuspicionsNeverBlock: raft's goroutine brings them.
func TestP9SuspicionsNeverBlock(t *testing.T) {
	a := &Auditor{noticed: make(chan suspicion, 1)}
	a.Mismatch(7)
	a.Mismatch(8)
	a.Suspect(9, "n2")
	if s := <-a.noticed; s.index != 7 {
		t.Errorf("the oldest is of entry %d, want 7", s.index)
	}
	a.diverged.Store(&divergence{index: 7, text: "why"})
	a.Mismatch(10)
	select {
	case s := <-a.noticed:
		t.Errorf("a node that has stopped looks into %+v", s)
	default:
	}
	if failed, alarm := a.State(); failed != "why" || alarm != "" {
		t.Errorf("it tells %q, %q", failed, alarm)
	}
}

// outvoted is the rest of a node whose registry is not the majority's.
type outvoted struct{ did []string }

func (o *outvoted) Status() raftnode.Status                  { return raftnode.Status{} }
func (o *outvoted) Changed() <-chan struct{}                 { return nil }
func (o *outvoted) TransferLeadership(context.Context) error { return nil }
func (o *outvoted) Snapshot(context.Context) error           { return nil }
func (o *outvoted) Refresh()                                 {}
func (o *outvoted) Diverged(index uint64)                    { o.did = append(o.did, fmt.Sprint("diverged at ", index)) }
func (o *outvoted) AskHash(context.Context, string, uint64, *logv1.StateHash) (*logv1.StateHash, error) {
	return nil, nil
}

// TestP9AnOutvotedNodeIsQuarantined: it takes no snapshot any more, which would push out the log entries that
// its registry could be made anew from, and the next start does not believe the registry file.
func TestP9AnOutvotedNodeIsQuarantined(t *testing.T) {
	node, fold := &outvoted{}, &fsm.FSM{}
	a := &Auditor{log: slog.New(slog.DiscardHandler), parts: Parts{
		Fold: fold, Raft: node, Server: node,
		Quarantine: func(string) error {
			node.did = append(node.did, "quarantined the file")
			return nil
		},
	}}
	a.stop(t.Context(), suspicion{index: 7, first: 7}, finding{})
	if !fold.Quarantined() {
		t.Error("the fold still takes snapshots")
	}
	if want := []string{"quarantined the file", "diverged at 7"}; !slices.Equal(node.did, want) || !a.Diverged() {
		t.Errorf("it did %q, want %q; diverged: %v", node.did, want, a.Diverged())
	}
}
