package raftnode

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/raftnode/workaround"
)

// followLeadership receives every change of leadership at once, as raft's main loop waits for it.
// What leading begins with happens beside it.
func (n *Node) followLeadership(r *raft.Raft, notify <-chan bool, stopped <-chan struct{}) {
	end := func() {}
	defer func() {
		end()
		n.stopLeading()
	}()
	for {
		select {
		case leads := <-notify:
			end()
			n.stopLeading()
			if !leads {
				n.proposer.Refuse(ErrNotLeader)
			} else {
				ctx, cancel := context.WithCancel(n.ctx)
				end = cancel
				// Raft is at this very point of its main loop, so the term is that of the election.
				term := r.CurrentTerm()
				n.wg.Go(func() { n.startTerm(ctx, term) })
			}
		case <-stopped:
			return
		}
	}
}

// startTerm proposes the first command of a leader's term and lets the node lead once its own fold
// has applied it: by then the fold knows all that earlier leaders committed. Raft's Barrier would
// not do, with a batching fold it never gets there.
func (n *Node) startTerm(ctx context.Context, term uint64) {
	cmd := &logv1.Command{
		Actor: &logv1.Actor{Name: n.cfg.Node},
		Kind: &logv1.Command_TermStart{TermStart: &logv1.TermStart{
			Term:      term,
			Leader:    n.cfg.Node,
			ClusterId: n.founding.Load().ClusterID,

			RequestIds:    uint32(n.cfg.RequestIDs),
			RequestWindow: int64(n.cfg.RequestWindow),
		}},
	}
	n.awaitClocks(ctx)
	begin := time.Now()
	for {
		index, err := n.proposer.ProposeNow(cmd)
		if err == nil {
			err = n.cfg.State.WaitIndex(ctx, index)
		}
		if err == nil {
			n.lead(ctx, term)
			return
		}
		if ctx.Err() != nil {
			return
		}
		n.logger.Warn("this node was elected, but cannot write the first log entry of its term", "term", term, "error", err)
		if errors.Is(err, raft.ErrLeadershipTransferInProgress) && time.Since(begin) > 2*n.cfg.RPCTimeout {
			n.fail(fmt.Errorf("raft takes no writes: a leadership transfer of an earlier term never ended (hashicorp/raft #696)"))
			return
		}
		var notWritten NotWrittenError
		if !errors.As(err, &notWritten) || errors.Is(err, ErrNotLeader) || !sleep(ctx, 50*time.Millisecond, nil) {
			return
		}
	}
}

// lead makes the node leading, unless ctx, its leadership, has ended.
func (n *Node) lead(ctx context.Context, term uint64) {
	n.mu.Lock()
	leads := ctx.Err() == nil
	if leads {
		n.leading.Store(&leadership{term: term, since: time.Now(), ended: ctx.Done()})
	}
	n.mu.Unlock()
	if leads {
		n.clock.Advance()
		n.logger.Info("this node leads and takes changes", "term", term)
		n.refresh()
	}
}

func (n *Node) stopLeading() {
	n.mu.Lock()
	n.leading.Store(nil)
	n.mu.Unlock()
	n.refresh()
}

// TransferLeadership hands leadership to another voter: to the one whose log is furthest if all can
// be reached, else to one that can be. It returns nil when this node does not lead any more.
func (n *Node) TransferLeadership(ctx context.Context) error { return n.TransferLeadershipTo(ctx, "") }

// TransferLeadershipTo hands leadership to the named voter, and to whom TransferLeadership would if the name is "". It
// returns nil when this node does not lead any more. ErrNotVoter: no other voter has that name.
func (n *Node) TransferLeadershipTo(ctx context.Context, name string) error {
	r := n.raft.Load()
	if r == nil {
		return ErrNotFormed
	}
	if r.State() != raft.Leader {
		return ErrNotLeader
	}
	// Each once: a second try at one that hangs can leave raft refusing writes for good (#696).
	targets, none := n.transferTargets(r), ErrNoSuccessor
	if name != "" {
		none = ErrNotVoter
		targets = slices.DeleteFunc(n.otherVoters(r), func(s raft.Server) bool { return string(s.ID) != name })
	}
	if len(targets) == 0 {
		return none
	}
	var last error
	for i := 0; r.State() == raft.Leader; {
		if err := ctx.Err(); err != nil {
			return errors.Join(err, last)
		}
		if i == len(targets) {
			return last
		}
		var future raft.Future
		if target := targets[i]; target.ID == "" {
			future = r.LeadershipTransfer()
		} else {
			future = r.LeadershipTransferToServer(target.ID, target.Address)
		}
		workaround.EndWith(future, n.proposer.Abandoned())
		ended := make(chan error, 1)
		go func() { ended <- future.Error() }()
		select {
		case last = <-ended:
		case <-ctx.Done():
			return ctx.Err()
		}
		switch {
		case last == nil:
			return nil
		case errors.Is(last, raft.ErrEnqueueTimeout), errors.Is(last, raft.ErrLeadershipTransferInProgress):
			sleep(ctx, 50*time.Millisecond, nil)
		default:
			i++
		}
	}
	return nil
}

// transferTargets are the voters to try, in order; one without an id is raft's own choice.
func (n *Node) transferTargets(r *raft.Raft) []raft.Server {
	away := map[string]bool{}
	for _, p := range n.port.Peers() {
		away[p.Name] = p.Err != ""
	}
	voters := n.otherVoters(r)
	reachable := slices.DeleteFunc(slices.Clone(voters), func(s raft.Server) bool { return away[string(s.ID)] })
	if len(reachable) == len(voters) && len(voters) > 0 {
		return []raft.Server{{}}
	}
	return reachable
}

// otherVoters are the voters of raft's configuration, this node not among them.
func (n *Node) otherVoters(r *raft.Raft) []raft.Server {
	return slices.DeleteFunc(slices.Clone(r.GetConfiguration().Configuration().Servers), func(s raft.Server) bool {
		return s.Suffrage != raft.Voter || string(s.ID) == n.cfg.Node
	})
}
