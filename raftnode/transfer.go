package raftnode

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/rollcallhq/rollcall/raftnode/reconciler"
	"github.com/rollcallhq/rollcall/raftnode/serveraddress"
	"github.com/rollcallhq/rollcall/raftnode/workaround"
)

const (
	// transferAnswer is how long a voter may take to answer before leadership is handed to it.
	transferAnswer = time.Second
	// transferSettles is how long replication to a voter goes on after a transfer to it failed before raft has
	// surely forgotten that transfer.
	transferSettles = time.Second
)

// The errors of TransferLeadershipTo, as it wraps them. With each of them nothing has changed.
var (
	ErrUnknownMember = errors.New("is not a member of raft's configuration")
	ErrNotVoter      = errors.New("does not vote, so it cannot lead")
	ErrLeadsAlready  = errors.New("leads already")
	ErrUnreachable   = errors.New("does not answer this leader")
	ErrLags          = errors.New("lacks too much of the log to take over at once")
)

// TransferLeadership hands leadership to another voter: to the one whose log is furthest if all can
// be reached, else to one that can be. It returns nil when this node does not lead any more.
func (n *Node) TransferLeadership(ctx context.Context) error {
	r := n.raft.Load()
	if r == nil {
		return ErrNotFormed
	}
	if r.State() != raft.Leader {
		return ErrNotLeader
	}
	// Each once: a second try at one that hangs can leave raft refusing writes for good (#696).
	targets := n.transferTargets(r)
	if len(targets) == 0 {
		return ErrNoSuccessor
	}
	var last error
	for _, target := range targets {
		if last = n.transfer(ctx, r, target); last == nil || ctx.Err() != nil {
			return last
		}
	}
	return last
}

// TransferLeadershipTo hands leadership to the named voter; "" is any, as TransferLeadership chooses. It returns nil
// when this node does not lead any more. Before it begins it makes sure that the voter answers and has nearly all of
// the log: while raft hands leadership over it takes no writes.
func (n *Node) TransferLeadershipTo(ctx context.Context, name string) error {
	if name == "" {
		return n.TransferLeadership(ctx)
	}
	target, err := n.transferTarget(ctx, name)
	if err != nil {
		return err
	}
	return n.transfer(ctx, n.raft.Load(), target)
}

// transferTarget is the server to which leadership can be handed, by its name.
func (n *Node) transferTarget(ctx context.Context, name string) (*raft.Server, error) {
	r, lead := n.raft.Load(), n.leading.Load()
	if r == nil {
		return nil, ErrNotFormed
	}
	if lead == nil {
		return nil, ErrNotLeader
	}
	refused := func(why error) error { return fmt.Errorf("%s %w", name, why) }
	if name == n.cfg.Node {
		return nil, refused(ErrLeadsAlready)
	}
	var target *raft.Server
	for _, s := range r.GetConfiguration().Configuration().Servers {
		if string(s.ID) == name {
			target = &s
		}
	}
	if target == nil {
		return nil, refused(ErrUnknownMember)
	}
	if target.Suffrage != raft.Voter {
		return nil, refused(ErrNotVoter)
	}
	ctx, cancel := context.WithTimeout(ctx, transferAnswer)
	defer cancel()
	if !n.awaitAnswer(ctx, r, lead, target.Address) {
		if n.leading.Load() != lead {
			return nil, ErrNotLeader
		}
		return nil, refused(ErrUnreachable)
	}
	match, ok := n.trans.Progress().Of(target.Address, lead.term)
	n.mu.Lock()
	failed := n.handedOver[target.Address]
	n.mu.Unlock()
	switch last := r.LastIndex(); {
	// Heartbeats may go on where replication hangs. Raft would wait for replication, and a second transfer for the
	// first one, without an end (#696).
	case !ok || time.Since(match.At) > reconciler.Fresh || !failed.IsZero() && match.At.Sub(failed) < transferSettles:
		return nil, refused(ErrUnreachable)
	case match.Index+reconciler.Near < last:
		return nil, refused(ErrLags)
	}
	return target, nil
}

// awaitAnswer waits until a server has answered a request of this leader that was sent after the call began.
func (n *Node) awaitAnswer(ctx context.Context, r *raft.Raft, lead *leadership, address raft.ServerAddress) bool {
	acks := n.trans.Acks()
	round := acks.NextRound()
	_ = r.VerifyLeader() // has heartbeats sent at once
	for {
		changed := acks.Changed()
		if acks.Since(address, lead.term, round) {
			return true
		}
		select {
		case <-changed:
		case <-lead.ended:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// transfer hands leadership to a server, or to the one that raft chooses: nil. It returns nil when this node does not
// lead any more.
func (n *Node) transfer(ctx context.Context, r *raft.Raft, target *raft.Server) error {
	for r.State() == raft.Leader {
		if err := ctx.Err(); err != nil {
			return err
		}
		var future raft.Future
		if target == nil {
			future = r.LeadershipTransfer()
		} else {
			future = r.LeadershipTransferToServer(target.ID, target.Address)
		}
		workaround.EndWith(future, n.proposer.Abandoned())
		ended := make(chan error, 1)
		go func() { ended <- future.Error() }()
		var err error
		select {
		case err = <-ended:
		case <-ctx.Done():
			if r.State() != raft.Leader {
				return nil
			}
			n.transferFailed(target)
			return ctx.Err()
		}
		switch {
		case err == nil:
			return nil
		case errors.Is(err, raft.ErrEnqueueTimeout), errors.Is(err, raft.ErrLeadershipTransferInProgress):
			sleep(ctx, 50*time.Millisecond, nil) // raft has not begun
		default:
			n.transferFailed(target)
			return fmt.Errorf("transfer leadership: %w", err)
		}
	}
	return nil
}

// transferFailed remembers when a transfer to a server ended without effect.
func (n *Node) transferFailed(target *raft.Server) {
	if target == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.handedOver == nil {
		n.handedOver = map[raft.ServerAddress]time.Time{}
	}
	n.handedOver[target.Address] = time.Now()
}

// transferTargets are the voters to try, in order; nil is raft's own choice. A voter that is to be removed is the last
// resort.
func (n *Node) transferTargets(r *raft.Raft) []*raft.Server {
	away := map[string]bool{}
	for _, p := range n.port.Peers() {
		away[p.Name] = p.Err != ""
	}
	removed := map[string]bool{}
	for _, t := range n.cfg.State.Removed() {
		removed[t.GetName()+"/"+t.GetDirectoryId()] = true
	}
	members := n.cfg.State.Members()
	var reachable, going []*raft.Server
	voters := 0
	for _, s := range r.GetConfiguration().Configuration().Servers {
		name, directory := serveraddress.Split(s.Address)
		switch {
		case s.Suffrage != raft.Voter || name == n.cfg.Node:
			continue
		case away[name]:
		case removed[name+"/"+directory] || directory == "" && members[name].GetJoined():
			going = append(going, &s)
		default:
			reachable = append(reachable, &s)
		}
		voters++
	}
	if len(reachable) == voters && voters > 0 {
		return []*raft.Server{nil}
	}
	return append(reachable, going...)
}
