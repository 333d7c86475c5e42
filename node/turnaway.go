package node

import (
	"context"
	"sync"
	"time"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/fsm"
	"github.com/rollcallhq/rollcall/raftnode"
)

// confirmPatience bounds how long a leader waits for a quorum to confirm that it leads. One that is cut off finds out
// earlier.
const confirmPatience = 5 * time.Second

// confirmations share the rounds in which this node finds out whether it leads. Without them who is turned away could
// make a leader send very many heartbeats.
type confirmations struct {
	mu      sync.Mutex // guards what follows
	next    *confirmation
	running bool
}

// confirmation is a round. What it says holds for all who joined before it began.
type confirmation struct {
	done chan struct{} // closed when err is set
	err  error
}

func (c *confirmations) join(raft *raftnode.Node) *confirmation {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.next == nil {
		c.next = &confirmation{done: make(chan struct{})}
	}
	if !c.running {
		c.running = true
		go c.run(raft)
	}
	return c.next
}

func (c *confirmations) run(raft *raftnode.Node) {
	for {
		c.mu.Lock()
		round := c.next
		c.next, c.running = nil, round != nil
		c.mu.Unlock()
		if round == nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), confirmPatience)
		if _, err := raft.ReadIndex(ctx); err != nil {
			round.err = raftnode.NotWrittenError{Err: err}
		}
		cancel()
		close(round.done)
	}
}

// turnAway returns the refusal of a command whose caller may not do it. It is not proposed. A node that does not know yet
// that another one leads may not know a grant either, so a refusal waits until a quorum confirms this node.
func (a agreement) turnAway(ctx context.Context, cmd *logv1.Command) (*fsm.Result, error) {
	refused := a.fsm.TurnAway(cmd, a.raft)
	if refused == nil {
		return nil, nil
	}
	round := a.confirmations.join(a.raft)
	select {
	case <-round.done:
		return refused, round.err
	case <-ctx.Done():
		return nil, raftnode.NotWrittenError{Err: ctx.Err()}
	}
}

// turnedAway is a proposal and its refusal.
type turnedAway struct {
	proposal *logv1.Proposal
	result   *fsm.Result
}

// answerTurnedAway is turnAway of proposals, which have their refusals.
func (a agreement) answerTurnedAway(all []turnedAway) {
	if len(all) == 0 {
		return
	}
	round := a.confirmations.join(a.raft)
	go func() {
		<-round.done
		proposals := make([]*logv1.Proposal, len(all))
		for i, t := range all {
			proposals[i] = t.proposal
			if round.err != nil {
				t.proposal.Answer(nil, round.err)
			} else {
				t.proposal.Answer(t.result, nil)
			}
		}
		logv1.FlushAll(proposals)
	}()
}
