package raftnode

import (
	"context"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	"github.com/rollcallhq/rollcall/raftnode/reach"
)

const (
	// handOverEvery is the least time between two handovers by this node because the others cannot connect to it.
	handOverEvery = time.Minute
	// handOverWithin bounds one handover.
	handOverWithin = 3 * time.Second
)

// tellReach adds to a reading of this node's clock, for the member that asks, who can connect to whom. A member of an
// older version would not know what that is.
func (n *Node) tellReach(member string, answer *peerv1.ClockReading) {
	n.reach.Asked(member)
	if min(n.cfg.State.MaxLevel(), n.port.PeerLevel(member)) < logv1.LevelReach {
		return
	}
	failing, _ := n.port.Unreachable(member)
	answer.Unreachable = int64(failing)
	reaches, reachedBy := n.reach.Count(n.otherVoters())
	answer.Reaches, answer.ReachedBy = uint32(reaches), uint32(reachedBy)
}

// answeredReach takes what a member added to its reading.
func (n *Node) answeredReach(member string, answer *peerv1.ClockReading) {
	n.reach.Answered(member, reach.Report{
		Unreachable: time.Duration(answer.GetUnreachable()), Leads: answer.GetLeads(),
		Reaches: int(answer.GetReaches()), ReachedBy: int(answer.GetReachedBy()),
	})
}

// otherVoters are the names of raft's voters, this node not among them.
func (n *Node) otherVoters() (names []string) {
	r := n.raft.Load()
	if r == nil {
		return nil
	}
	for _, s := range r.GetConfiguration().Configuration().Servers {
		if s.Suffrage == raft.Voter && string(s.ID) != n.cfg.Node {
			names = append(names, string(s.ID))
		}
	}
	return names
}

// handOverIfCutOff hands leadership over if a majority of the voters has not been able to connect to this node for a
// while: changes through them fail. Only a voter takes over that reaches the others and is reached by them.
func (n *Node) handOverIfCutOff(ctx context.Context) {
	// What was found before this node led may have been found while it started.
	lead := n.leading.Load()
	if lead == nil || time.Since(lead.since) < reach.After {
		return
	}
	v := n.reach.Judge(n.otherVoters())
	by := strings.Join(v.By, ", ")
	if was := n.unsucceeded.Swap(v.By != nil && v.To == ""); v.To == "" {
		if v.By != nil && !was {
			n.logger.Warn("a majority of the voters cannot connect to this leader, and none is known that could lead better", "voters", by)
		}
		return
	}
	if time.Since(n.cutOff) < handOverEvery {
		return
	}
	n.cutOff = time.Now()
	ctx, cancel := context.WithTimeout(ctx, handOverWithin)
	defer cancel()
	n.logger.Warn("this leader hands over: a majority of the voters cannot connect to it", "voters", by, "to", v.To)
	if err := n.TransferLeadershipTo(ctx, v.To); err != nil {
		n.logger.Warn("this leader could not hand over", "to", v.To, "error", err)
	}
}
