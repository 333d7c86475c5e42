package node

import (
	"cmp"
	"slices"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/raftnode"
	"github.com/rollcallhq/rollcall/server"
)

// source is the node as GetStatus shows it.
type source struct{ *Node }

func (n source) NodeStatus() server.NodeStatus {
	s := n.raft.Status()
	st := server.NodeStatus{
		ClusterID:    s.ClusterID,
		Formed:       s.Formed,
		Waiting:      s.Waiting,
		Loaded:       true,
		Role:         role(s, n.cfg.Name),
		Term:         s.Term,
		Leader:       s.Leader,
		Leading:      s.Leading,
		AppliedIndex: n.fsm.AppliedIndex(),
		CommitIndex:  s.CommitIndex,
		Level:        n.fsm.Level(),
		MaxLevel:     n.fsm.MaxLevel(),
		HoldLevel:    n.cfg.HoldLevel,
		LevelHeld:    n.levels.Held(),
	}
	st.Members, st.GoneVoters = n.Node.members(s)
	for _, o := range s.Clocks {
		st.Clocks = append(st.Clocks, server.ClockOffset{Member: o.Member, Ahead: o.By, Off: o.Off})
	}
	for _, u := range s.CannotReach {
		d, why := unreached(n.raft, n.fsm, u.Name)
		st.CannotReach = append(st.CannotReach, server.Unreached{Member: u.Name, For: d, Why: why, Calls: u.Calls})
	}
	st.Unsucceeded = s.Unsucceeded
	st.Failed, st.Alarm = n.auditor.State()
	st.Alarm = cmp.Or(st.Alarm, n.certificateAlarm(n.cfg.Now()))
	st.CertificateExpires = n.certificateExpires()
	if err := n.fsm.Halted(); err != nil {
		st.Failed = err.Error()
	}
	return st
}

// storage is how much disk the data directory takes.
func (n *Node) storage() (*rollcallv1.Storage, error) {
	u, err := n.directory.Usage()
	if err != nil {
		return nil, err
	}
	s := &rollcallv1.Storage{RegistryBytes: u.Registry, LogBytes: u.Log, SnapshotBytes: u.Snapshots}
	if u.Free >= 0 {
		s.FreeBytes = &u.Free
	}
	return s, nil
}

func role(s raftnode.Status, node string) rollcallv1.Role {
	switch s.Role {
	case raftnode.RoleLeader:
		return rollcallv1.Role_ROLE_LEADER
	case raftnode.RoleFollower:
		if slices.ContainsFunc(s.Servers, func(o raftnode.Server) bool { return o.Name == node && !o.Voter }) {
			return rollcallv1.Role_ROLE_NON_VOTER
		}
		return rollcallv1.Role_ROLE_FOLLOWER
	case raftnode.RoleCandidate:
		return rollcallv1.Role_ROLE_CANDIDATE
	}
	return rollcallv1.Role_ROLE_UNSPECIFIED
}

// listed is a member as the configuration lists it.
func (n *Node) listed(name string) (Member, bool) {
	i := slices.IndexFunc(n.cfg.Members, func(m Member) bool { return m.Name == name })
	if i < 0 {
		return Member{}, false
	}
	return n.cfg.Members[i], true
}
