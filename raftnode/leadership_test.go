package raftnode

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/raftnode/memnet"
	"github.com/rollcallhq/rollcall/raftnode/proposer"
	"github.com/rollcallhq/rollcall/store"
)

// A leader that steps down tells what waits that it is not written, though its fold hangs with what
// is in flight.
func TestSteppingDownRefusesWhatWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, leader := openThree(t, nil)
		defer c.closeAll()
		hang := make(chan struct{})
		leader.fold.intercept = func(*logv1.Command) { <-hang }
		for i := range leader.cfg.MaxEntriesInFlight {
			propose(t.Context(), leader.proposer, fmt.Sprint(i))
			synctest.Wait()
			time.Sleep(time.Second)
		}
		waits := propose(t.Context(), leader.proposer, "waits")
		begin := time.Now()
		c.network.Isolate(memnet.Reset, leader.cfg.Node)
		out := <-waits
		if !errors.Is(out.err, ErrNotLeader) || !errors.As(out.err, new(NotWrittenError)) || time.Since(begin) > 2*leader.cfg.HeartbeatTimeout {
			t.Errorf("%v after %s", out.err, time.Since(begin))
		}
		close(hang)
	})
}

func TestChangedTellsOfLeadership(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, "n1")
		defer c.closeAll()
		n := c.open("n1")
		var seen []string
		for {
			changed := n.Changed()
			s := n.Status()
			if line := fmt.Sprint(s.Role, " ", s.Leader, " ", s.Leading); len(seen) == 0 || seen[len(seen)-1] != line {
				seen = append(seen, line)
			}
			if s.Leading {
				break
			}
			<-changed
		}
		if seen[len(seen)-1] != "leader n1 true" || !slices.Contains(seen, "follower  false") {
			t.Errorf("%q", seen)
		}
		s := n.Status()
		if s.Term != 2 || s.LeaderContact.IsZero() || s.CommitIndex == 0 || s.CommitIndex > s.LastIndex {
			t.Errorf("%+v", s)
		}
		if got := n.fold.terms; !slices.Equal(got, []uint64{2}) {
			t.Errorf("terms %v were started", got)
		}
		if err := n.TransferLeadership(t.Context()); err == nil || errors.Is(err, ErrNotLeader) {
			t.Errorf("transfer with nobody there: %v", err)
		}
	})
}

type outcome struct {
	result any
	err    error
}

func propose(ctx context.Context, p *proposer.Proposer, id string) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		result, err := p.Propose(ctx, command(id))
		done <- outcome{result, err}
	}()
	return done
}

// refusedFuture is of an entry that raft does not take because leadership is being handed over.
type refusedFuture struct{}

func (refusedFuture) Error() error  { return raft.ErrLeadershipTransferInProgress }
func (refusedFuture) Index() uint64 { return 0 }
func (refusedFuture) Response() any { return nil }

func TestTransferThatNeverEndedIsReported(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cfg := DefaultConfig()
		cfg.Node = "n1"
		failed := make(chan error, 1)
		cfg.OnFailure = func(err error) { failed <- err }
		cfg.State = &testFold{}
		n := &Node{cfg: cfg, logger: cfg.Logger, changed: make(chan struct{})}
		n.founding.Store(&store.Founding{})
		n.clock = n.newClock()
		pc := n.proposerConfig()
		pc.Apply = func(raft.Log, time.Duration) raft.ApplyFuture { return refusedFuture{} }
		n.proposer = proposer.New(pc)
		defer func() {
			n.proposer.Close()
			n.proposer.Abandon()
			<-n.proposer.Drained()
		}()
		begin := time.Now()
		n.startTerm(t.Context(), 3)
		if err := <-failed; !strings.Contains(err.Error(), "#696") || time.Since(begin) < cfg.RPCTimeout {
			t.Errorf("%v after %s", err, time.Since(begin))
		}
		if n.leading.Load() != nil {
			t.Error("it leads")
		}
	})
}

func TestLeadsOnlyAfterTheStartOfItsTerm(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, "n1")
		defer c.closeAll()
		hang := make(chan struct{})
		n := c.open("n1", testOptions{config: func(cfg *Config) {
			cfg.FSM.(*testFold).intercept = func(*logv1.Command) { <-hang }
		}})
		n.await(t, "raft leads", func(s Status) bool { return s.Role == RoleLeader })
		time.Sleep(10 * time.Second)
		if s := n.Status(); s.Leading {
			t.Errorf("%+v", s)
		}
		if _, err := n.Propose(t.Context(), command("early")); !errors.Is(err, ErrNotLeader) || !errors.As(err, new(NotWrittenError)) {
			t.Errorf("propose: %v", err)
		}
		close(hang)
		n.await(t, "it leads", func(s Status) bool { return s.Leading })
		n.write(t, "a")
	})
}

func TestStoreErrorIsAnUnknownOutcome(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		disk := errors.New("disk is full")
		c := newTestCluster(t, "n1")
		var fail bool
		n := c.open("n1", testOptions{intercept: func(logs []*raft.Log) error {
			if fail && logs[0].Type == raft.LogCommand {
				return disk
			}
			return nil
		}})
		defer c.closeAll()
		n.await(t, "it leads", func(s Status) bool { return s.Leading })
		n.write(t, "a")
		fail = true
		_, err := n.Propose(t.Context(), command("b"))
		if !errors.As(err, new(UnknownOutcomeError)) || !strings.Contains(err.Error(), disk.Error()) {
			t.Errorf("%v", err)
		}
		n.await(t, "it does not lead", func(s Status) bool { return !s.Leading })
	})
}

func TestChangedTellsOfWhatWentThereAndBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, leader := openThree(t, nil)
		defer c.closeAll()
		synctest.Wait()
		changed := leader.Changed()
		leader.refresh()
		select {
		case <-changed:
		default:
			t.Error("who waits for a change is left waiting")
		}
	})
}

func TestWritersDoNotGetEachOthersAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, leader := openThree(t, nil)
		defer c.closeAll()
		const writers, writes = 64, 10
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for i := range writes {
					id := fmt.Sprintf("%d.%d", w, i)
					got, err := leader.Propose(t.Context(), command(id))
					if err != nil || got.(testResult).ID != id {
						t.Errorf("%s: %v, %v", id, got, err)
					}
				}
			})
		}
		wg.Wait()
		if len(leader.fold.requestIDs()) != writers*writes {
			t.Errorf("%d commands were applied", len(leader.fold.requestIDs()))
		}
		if leader.fold.entries > writers*writes/4 {
			t.Errorf("%d commands took %d entries", writers*writes, leader.fold.entries)
		}
		t.Logf("%d commands in %d entries", writers*writes, leader.fold.entries)
	})
}
