package node

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/fsm"
	"github.com/rollcallhq/rollcall/node/featurelevel"
	"github.com/rollcallhq/rollcall/raftnode"
	"github.com/rollcallhq/rollcall/server"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

func (n *Node) deps() server.Deps {
	return server.Deps{
		Statuses:  n.fsm,
		Registry:  folded{n.fsm},
		Followers: folded{n.fsm},
		History:   folded{n.fsm},
		Agreement: agreement{n.cfg.Name, n.raft, n.fsm, n.levels},
		Peers:     n.raft,
		Node:      source{n},
		Replica:   n.auditor,
		Exporter:  exporter{n},
	}
}

// exporter makes backups of the registry file.
type exporter struct{ *Node }

func (e exporter) ExportSnapshot(ctx context.Context) (server.Snapshot, error) {
	return e.registryFile.Export(ctx)
}

// agreement is raft as the server proposes to it, with the fold's answers.
type agreement struct {
	self   string
	raft   *raftnode.Node
	fsm    *fsm.FSM
	levels *featurelevel.Monitor
}

func (a agreement) Propose(ctx context.Context, cmd *logv1.Command) (*logv1.Result, error) {
	if refusal := a.fsm.RefuseUnknown(cmd); refusal != nil {
		return &logv1.Result{Refusal: refusal}, nil
	}
	if _, leading := a.raft.Leader(); leading { // else raft says that this node does not lead
		if err := a.levels.Check(a.self, cmd); err != nil {
			return nil, err
		}
	}
	return a.propose(ctx, cmd)
}

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

// source is the node as GetStatus tells of it.
type source struct{ *Node }

func (n source) NodeStatus() server.NodeStatus {
	s := n.raft.Status()
	st := server.NodeStatus{
		ClusterID:    s.ClusterID,
		Formed:       s.Formed,
		Waiting:      s.Waiting,
		Loaded:       true,
		Role:         role(s),
		Term:         s.Term,
		Leader:       s.Leader,
		Leading:      s.Leading,
		AppliedIndex: n.fsm.AppliedIndex(),
		CommitIndex:  s.CommitIndex,
		Members:      n.members(s),
		Level:        n.fsm.Level(),
		MaxLevel:     n.fsm.MaxLevel(),
		HoldLevel:    n.cfg.HoldLevel,
		LevelHeld:    n.levels.Held(),
	}
	for _, o := range s.Clocks {
		st.Clocks = append(st.Clocks, server.ClockOffset{Member: o.Member, Ahead: o.By, Off: o.Off})
	}
	st.Failed, st.Alarm = n.auditor.state()
	if err := n.fsm.Halted(); err != nil {
		st.Failed = err.Error()
	}
	return st
}

func role(s raftnode.Status) rollcallv1.Role {
	switch s.Role {
	case raftnode.RoleLeader:
		return rollcallv1.Role_ROLE_LEADER
	case raftnode.RoleFollower:
		return rollcallv1.Role_ROLE_FOLLOWER
	case raftnode.RoleCandidate:
		return rollcallv1.Role_ROLE_CANDIDATE
	}
	return rollcallv1.Role_ROLE_UNSPECIFIED
}

// members are raft's, or those of the configuration while raft knows none, with the addresses that
// they announced, or are listed with until then.
func (n source) members(s raftnode.Status) []*rollcallv1.Member {
	announced := n.fsm.Members()
	var members []*rollcallv1.Member
	add := func(name string, voter bool) {
		m := &rollcallv1.Member{Name: name, Voter: voter}
		if a, ok := announced[name]; ok {
			m.ApiAddress, m.PeerAddress = a.GetApiAddress(), a.GetPeerAddress()
		} else if l, ok := n.listed(name); ok {
			m.ApiAddress, m.PeerAddress = l.APIAddress, l.PeerAddress
		}
		members = append(members, m)
	}
	for _, name := range s.Voters {
		add(name, true)
	}
	for _, name := range s.NonVoters {
		add(name, false)
	}
	if len(members) == 0 {
		for _, m := range n.cfg.Members {
			add(m.Name, true)
		}
	}
	slices.SortFunc(members, func(a, b *rollcallv1.Member) int {
		return cmp.Compare(a.GetName(), b.GetName())
	})
	return members
}

// newLevelMonitor is called once raft is open.
func (n *Node) newLevelMonitor() *featurelevel.Monitor {
	return featurelevel.New(featurelevel.Config{
		Node: n.cfg.Name,
		Fold: n.fsm,
		Members: func() []string {
			s := n.raft.Status()
			return append(s.Voters, s.NonVoters...)
		},
		PeerLevel:   n.raft.PeerLevel,
		Leading:     n.leading,
		Propose:     agreement{raft: n.raft, fsm: n.fsm}.propose,
		RefusalText: rpcerror.RefusalText,
		Logger:      n.log,
	})
}

// leading says whether this node leads and its registry is the cluster's.
func (n *Node) leading() bool { return n.raft.Status().Leading && n.auditor.diverged.Load() == nil }
