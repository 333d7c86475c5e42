package node

import (
	"context"
	"fmt"
	"strings"
	"time"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/fsm"
	"github.com/rollcallhq/rollcall/node/featurelevel"
	"github.com/rollcallhq/rollcall/node/lessor"
	"github.com/rollcallhq/rollcall/raftnode"
)

// agreement is raft as the server proposes to it, with the fold's answers.
type agreement struct {
	self   string
	raft   *raftnode.Node
	fsm    *fsm.FSM
	levels *featurelevel.Monitor
	lessor *lessor.Lessor

	confirmations *confirmations
}

func (a agreement) Propose(ctx context.Context, cmd *logv1.Command) (*logv1.Result, error) {
	if refusal := a.fsm.RefuseUnknown(cmd); refusal != nil {
		return &logv1.Result{Refusal: refusal}, nil
	}
	if err := a.levels.Check(a.self, cmd); err != nil {
		if _, leading := a.raft.Leader(); leading { // else raft says that this node does not lead
			return nil, err
		}
	}
	if refused, err := a.turnAway(ctx, cmd); err != nil {
		return nil, err
	} else if refused != nil {
		return refused.Proto(), nil
	}
	if ids := a.heldBy(cmd); ids != nil {
		done := a.lessor.Hold(ctx, ids)
		result, err := a.propose(ctx, cmd)
		done(lessor.Written(result, err))
		return result, err
	}
	return a.propose(ctx, cmd)
}

// heldBy are the leases that must not end while a write is under way; nil: none. One whose caller may not write it holds
// none: it would keep leases of others alive although it is refused. If its caller may by now, the fold takes it all the
// same.
func (a agreement) heldBy(cmd *logv1.Command) (ids []string) {
	if ids = leasesOf(cmd); ids != nil && !a.fsm.Authorized(cmd) {
		return nil
	}
	return ids
}

// leasesOf are the leases that a write names, some perhaps more than once; nil: none.
func leasesOf(cmd *logv1.Command) (ids []string) {
	for _, change := range cmd.GetWrite().GetChanges() {
		if id := change.GetLeaseId(); id != "" && (len(ids) == 0 || ids[len(ids)-1] != id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// Start is Propose of many commands at once.
func (a agreement) Start(proposals []*logv1.Proposal) {
	pass := make([]*logv1.Proposal, 0, len(proposals))
	var refused []*logv1.Proposal
	var away []turnedAway
	for _, p := range proposals {
		if refusal := a.fsm.RefuseUnknown(p.Command); refusal != nil {
			p.Answer(&logv1.Result{Refusal: refusal}, nil)
			refused = append(refused, p)
			continue
		}
		if err := a.levels.Check(a.self, p.Command); err != nil {
			if _, leading := a.raft.Leader(); leading { // else raft says that this node does not lead
				p.Answer(nil, err)
				refused = append(refused, p)
				continue
			}
		}
		if result := a.fsm.TurnAway(p.Command, a.raft); result != nil {
			away = append(away, turnedAway{p, result})
			continue
		}
		if ids := a.heldBy(p.Command); ids != nil && !a.lessor.HoldStarted(p, ids, a.startOne) {
			continue
		}
		pass = append(pass, p)
	}
	logv1.FlushAll(refused)
	a.answerTurnedAway(away)
	a.raft.Start(pass)
}

func (a agreement) startOne(p *logv1.Proposal) { a.raft.Start([]*logv1.Proposal{p}) }

// propose takes commands of any feature level.
func (a agreement) propose(ctx context.Context, cmd *logv1.Command) (*logv1.Result, error) {
	answer, err := a.raft.Propose(ctx, cmd)
	if err != nil {
		return nil, err
	}
	result, ok := answer.(*fsm.Result)
	if !ok {
		return nil, fmt.Errorf("the registry answered %v", answer)
	}
	return result.Proto(), nil
}

func (a agreement) Preview(cmd *logv1.Command) *logv1.Result {
	return a.fsm.Preview(cmd, a.raft.LogClock()).Proto()
}

func (a agreement) CheckLevel(leader string, cmd *logv1.Command) error {
	return a.levels.Check(leader, cmd)
}

func (a agreement) ReadIndex(ctx context.Context) (uint64, error) { return a.raft.ReadIndex(ctx) }

func (a agreement) Leader() (name string, leading bool) {
	return a.raft.Leader()
}

func (a agreement) Changed() <-chan struct{} { return a.raft.Changed() }

func (a agreement) Unreachable(member string) (time.Duration, string) {
	return unreached(a.raft, a.fsm, member)
}

// unreached says for how long this node has not been able to connect to a member, and why, with the address.
func unreached(r *raftnode.Node, f *fsm.FSM, member string) (time.Duration, string) {
	d, why := r.Unreachable(member)
	if address := f.Members()[member].GetPeerAddress(); d > 0 && !strings.Contains(why, address) {
		why = address + ": " + why
	}
	return d, why
}
