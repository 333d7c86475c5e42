package raftnode

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
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
			if n.lead(ctx, term) {
				n.reconcile(ctx, term)
			}
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
func (n *Node) lead(ctx context.Context, term uint64) bool {
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
	return leads
}

func (n *Node) stopLeading() {
	n.mu.Lock()
	n.leading.Store(nil)
	n.mu.Unlock()
	n.refresh()
}
