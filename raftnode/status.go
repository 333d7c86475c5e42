package raftnode

import (
	"maps"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/rollcallhq/rollcall/raftnode/clock"
	"github.com/rollcallhq/rollcall/raftnode/peerport"
	"github.com/rollcallhq/rollcall/raftnode/reach"
	"github.com/rollcallhq/rollcall/raftnode/reconciler"
)

// public is what Changed tells of.
type public struct {
	formed, leading bool
	role, leader    string
}

// Roles of a node.
const (
	RoleForming   = "forming" // belongs to no cluster yet
	RoleFollower  = "follower"
	RoleCandidate = "candidate"
	RoleLeader    = "leader"
	RoleStopped   = "stopped"
)

// Status is what a node knows of agreement at one moment.
type Status struct {
	Formed    bool   // belongs to a cluster and raft runs
	Waiting   string // while not Formed: for what, in words
	ClusterID string
	Role      string
	Term      uint64
	Leader    string // "": none known
	// LeaderChanges counts how often a leader became known to this node that was not before.
	LeaderChanges uint64
	// FastFailovers counts how often this node stood for election because its leader's process had ended, or was silent.
	FastFailovers uint64
	// LeaderContact is when a follower last heard from the leader: now for the leader, zero if never.
	LeaderContact time.Time
	Leading       bool // leads, and its fold has applied the start of its term
	LastIndex     uint64
	CommitIndex   uint64
	Voters        []string // by name
	NonVoters     []string
	// Servers are all of raft's configuration, by name: of the newest one that this node knows to be committed.
	Servers []Server
	// Steps says, on a leader, why members that are not in raft's configuration as they should be wait, by name.
	Steps  map[string]string
	Peers  []peerport.PeerStatus // those that were dialed, by name
	Clocks []clock.Offset        // of the members that answered lately, this node included, by name

	CannotReach []Unreached // members to which this node could not connect lately, by name
	Cuts        []reach.Cut // members that said lately that they cannot connect to this node, by name
	// Unsucceeded: a majority of the voters cannot connect to this node, which leads, and no voter is known that could
	// lead better.
	Unsucceeded bool
}

// Unreached is a member to which this node has not been able to connect.
type Unreached struct {
	peerport.PeerStatus
	Calls bool // it has connected to this node since
}

// Server is one of raft's configuration. Its Directory is "" for a founder.
type Server = reconciler.Server

// Status never blocks.
func (n *Node) Status() Status {
	p := n.current()
	s := Status{Formed: p.formed, Role: p.role, Leader: p.leader, Leading: p.leading, Peers: n.peers(), Clocks: n.clock.Offsets()}
	if f := n.founding.Load(); f != nil {
		s.ClusterID = f.ClusterID
	}
	n.mu.Lock()
	s.LeaderChanges = n.elected
	waiting := n.waiting
	s.Steps = maps.Clone(n.steps)
	n.mu.Unlock()
	if fast := n.failover.Load(); fast != nil {
		s.FastFailovers = fast.Count()
	}
	r := n.raft.Load()
	if r == nil {
		s.Waiting = waiting
		return s
	}
	for _, p := range n.port.CannotReach() {
		s.CannotReach = append(s.CannotReach, Unreached{p, n.reach.Heard(p.Name).After(p.Since)})
	}
	s.Cuts = n.reach.Cuts()
	s.Unsucceeded = p.leading && n.unsucceeded.Load()
	s.Term = r.CurrentTerm()
	s.LastIndex = r.LastIndex()
	// Raft learns after a restart only from the leader how much is committed; what is applied was.
	s.CommitIndex = max(r.CommitIndex(), n.cfg.State.AppliedIndex())
	s.LeaderContact = r.LastContact()
	if p.role == RoleLeader {
		s.LeaderContact = time.Now()
	}
	for _, server := range r.GetConfiguration().Configuration().Servers {
		if server.Suffrage == raft.Voter {
			s.Voters = append(s.Voters, string(server.ID))
		} else {
			s.NonVoters = append(s.NonVoters, string(server.ID))
		}
	}
	slices.Sort(s.Voters)
	slices.Sort(s.NonVoters)
	s.Servers = n.committedServers(r)
	return s
}

// Leader returns the leader this node knows, "" if none, and whether it is this node and leading. It
// is cheap: every write asks.
func (n *Node) Leader() (name string, leading bool) {
	p := n.current()
	return p.leader, p.leading
}

// current asks raft for what Changed tells of.
func (n *Node) current() public {
	r := n.raft.Load()
	if r == nil {
		return public{role: RoleForming}
	}
	p := public{formed: true}
	switch r.State() {
	case raft.Follower:
		p.role = RoleFollower
	case raft.Candidate:
		p.role = RoleCandidate
	case raft.Leader:
		p.role = RoleLeader
		p.leading = n.leading.Load() != nil
	default:
		p.role = RoleStopped
	}
	if _, id := r.LeaderWithID(); p.role == RoleLeader || string(id) != n.cfg.Node {
		p.leader = string(id)
	}
	if p.role == RoleStopped {
		p.leader = ""
	} else if p.leader == "" && p.role != RoleLeader {
		p.leader = n.reach.Leader() // it cannot be heard, but it can be asked
	}
	return p
}

// refresh wakes those who wait on Changed, as something may have changed. It does so even where nothing
// seems to have: what went there and back, a leader lost and found again, is no difference here, but one
// to somebody who looked in between and waits for the other half.
func (n *Node) refresh() {
	n.mu.Lock()
	defer n.mu.Unlock()
	leader := n.current().leader
	if leader != "" && leader != n.seen {
		n.elected++
	}
	n.seen = leader
	close(n.changed)
	n.changed = make(chan struct{})
}

// Changed returns a channel that is closed when Formed, Role, Leader or Leading changes, and now and
// then when none did. Take it before Status, then no change is missed.
func (n *Node) Changed() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.changed
}
