package raftnode

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/raftnode/peerport"
	"github.com/rollcallhq/rollcall/raftnode/proposer"
	"github.com/rollcallhq/rollcall/raftnode/raftlogger"
	"github.com/rollcallhq/rollcall/raftnode/reconciler"
	"github.com/rollcallhq/rollcall/store"
	"github.com/rollcallhq/rollcall/store/raftlog"
	"github.com/rollcallhq/rollcall/tlsport"
)

// State is what agreement asks of the fold.
type State interface {
	// AppliedIndex is the last log entry that the fold has applied.
	AppliedIndex() uint64
	// WaitIndex waits until AppliedIndex is at least index.
	WaitIndex(ctx context.Context, index uint64) error
	// ClusterID is "" until the first TermStart is applied.
	ClusterID() string
	// LogTime is the newest time that the fold has applied, in nanoseconds since 1970; 0: none.
	LogTime() int64
	// Members are those that have announced themselves, or were added, by name.
	Members() map[string]*logv1.Member
	// Removed are the data directories that were removed from the cluster, by key.
	Removed() map[string]*logv1.RemovedMember
	// MembersRevision is the revision of the newest change of Members or Removed; 0: there was none.
	MembersRevision() int64
	// MembersChanged returns a channel that is closed at the next change of Members or Removed.
	MembersChanged() <-chan struct{}
	// Revision is that of the registry.
	Revision() int64
	// StateHash is of the fold after the last entry it applied: what a proposer tells the others to
	// compare with. It is asked for once an entry; nil: the fold keeps none.
	StateHash() *logv1.StateHash
	// Level is the cluster's feature level, MaxLevel the highest that this binary can fold, and
	// CommandLevel the lowest that holds all of a command.
	Level() uint32
	MaxLevel() uint32
	CommandLevel(*logv1.Command) uint32
}

// Member is a node as the configuration lists it.
type Member = peerport.Member

// Config is what a Node is made of. Start from DefaultConfig.
type Config struct {
	Node    string
	Members []Member // all, this node included; the same on every node
	// Join are addresses, host:port, of members of a cluster that this node waits to be made a member of. It never forms
	// one then, and Members may be empty.
	Join []string
	// PeerAddress is where others find this node; default: as Members lists it. APIAddress is where clients do, and
	// Replica says that it shall never vote: whom it waits for is told both.
	PeerAddress, APIAddress string
	Replica                 bool
	// PeerListen is where the peer port listens; default: this node's PeerAddress.
	PeerListen string
	// ForceBootstrap forms a cluster without waiting for the members that are silent. For one node,
	// and only if the silent ones hold nothing: see package forming.
	ForceBootstrap bool
	Version        string // of the binary, told to peers

	Directory *store.Directory
	Log       *raftlog.Log
	Snapshots raft.SnapshotStore
	FSM       raft.FSM
	State     State
	Network   peerport.Network
	// TLS secures the connections between members; nil: plain text. CertificateNames says why a certificate is not that
	// of the named member; nil: each that verifies is one of any member.
	TLS              *tlsport.Port
	CertificateNames func(certificate *x509.Certificate, member string) error

	// HeartbeatTimeout is raft's heartbeat, election and leader lease timeout in one. It must be well
	// above the slowest fsync, as heartbeats wait for it: see transport.Transport.SetHeartbeatHandler.
	HeartbeatTimeout time.Duration
	CommitTimeout    time.Duration // how late followers learn the commit index when nothing follows
	DialTimeout      time.Duration // to reach a peer, hello included
	RPCTimeout       time.Duration // of one raft RPC; a snapshot has more, by its size
	EnqueueTimeout   time.Duration // until raft takes an entry
	CloseTimeout     time.Duration // until Close gives up

	// FastFailover lets this node stand for election at once when its leader's process has ended, and after a second
	// when its leader is silent, and answer others that would: see package failover. Without it nodes wait for raft's
	// own timeouts.
	FastFailover bool

	// MaxPeerConnections is the most connections between this node and others; members need a few each.
	MaxPeerConnections int

	SnapshotInterval  time.Duration
	SnapshotThreshold uint64 // entries
	TrailingLogs      uint64 // entries kept behind a snapshot for followers that lag
	MaxAppendEntries  int    // entries in one RPC, and in one batch for the fold
	LogCacheEntries   int    // newest entries kept in memory

	MaxEntryCommands   int // commands in one entry
	MaxEntryBytes      int // of commands in one entry; a larger command has an entry of its own
	MaxCommandBytes    int
	MaxEntriesInFlight int
	MaxWaiting         int // commands that wait for an entry
	MaxWaitingBytes    int

	// What a leader writes into the start of its term, for the fold of every node: how many request
	// ids are remembered, a batch of n changes counting n, and for how much log time.
	RequestIDs    int
	RequestWindow time.Duration

	// Now is this node's wall clock. It may step: see package clock.
	Now    func() time.Time
	Logger *slog.Logger
	// Congested is asked before each entry is made of the commands that wait. It returns nil, or what is
	// closed when it should be asked again: the node has enough to store already. nil: never congested.
	Congested func() <-chan struct{}
	// Stuck reports that the disk has not stored an append for so long that this node must not lead; nil:
	// never.
	Stuck func() bool
	// OnEntry is told of each entry of this leader's that was applied: its commands, and the time from
	// proposing it to the fold's answer. It must not block; nil: nobody is.
	OnEntry func(commands int, took time.Duration)
	// OnFailure is told, at most once, on a goroutine of its own, why this node cannot go on: it will
	// never form or join a cluster, or raft is stuck. It may close the node.
	OnFailure func(error)

	// stepped is told before and after each step of the reconciler, by tests; nil: nobody is.
	stepped func(step reconciler.Step, done bool)
}

// DefaultConfig returns a Config in which only what is particular to a node is missing.
func DefaultConfig() Config {
	return Config{
		Network:            peerport.TCP{},
		HeartbeatTimeout:   600 * time.Millisecond,
		CommitTimeout:      10 * time.Millisecond,
		DialTimeout:        2 * time.Second,
		RPCTimeout:         3 * time.Second,
		EnqueueTimeout:     2 * time.Second,
		CloseTimeout:       5 * time.Second,
		FastFailover:       true,
		MaxPeerConnections: 256,
		SnapshotInterval:   30 * time.Second,
		SnapshotThreshold:  8192,
		TrailingLogs:       10240,
		MaxAppendEntries:   64,
		LogCacheEntries:    512,
		MaxEntryCommands:   512,
		MaxEntryBytes:      1 << 20,
		MaxCommandBytes:    8 << 20,
		MaxEntriesInFlight: 3,
		MaxWaiting:         10_000,
		MaxWaitingBytes:    64 << 20,
		RequestIDs:         250_000,
		RequestWindow:      10 * time.Minute,
		Now:                time.Now,
		Logger:             slog.New(slog.DiscardHandler),
		OnFailure:          func(error) {},
	}
}

// Validate says everything that is wrong with c.
func (c Config) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(c.Node != "", "no node name")
	seen := map[string]string{}
	for _, m := range c.Members {
		if !limits.NodeName(m.Name) {
			errs = append(errs, fmt.Errorf("member name %q is not allowed; use %s", m.Name, limits.NodeNameRule))
			continue
		}
		_, twice := seen[m.Name]
		check(!twice, "member %s is listed twice", m.Name)
		_, _, err := net.SplitHostPort(m.PeerAddress)
		check(err == nil && len(m.PeerAddress) <= limits.MaxAddressBytes, "peer address %q of member %s is not host:port", m.PeerAddress, m.Name)
		for other, address := range seen {
			check(address != m.PeerAddress, "members %s and %s have the same peer address %s", other, m.Name, m.PeerAddress)
		}
		seen[m.Name] = m.PeerAddress
	}
	_, listed := seen[c.Node]
	check(listed || len(c.Join) > 0, "node %q is not among the members", c.Node)
	check(listed || c.PeerAddress != "", "no peer address of node %q", c.Node)
	for _, address := range c.Join {
		_, _, err := net.SplitHostPort(address)
		check(err == nil && len(address) <= limits.MaxAddressBytes, "address %q to join is not host:port", address)
	}
	check(len(c.Members) <= peerport.MaxMembers, "%d members; at most %d are allowed", len(c.Members), peerport.MaxMembers)
	check(len(c.Version) <= 128, "the version is longer than 128 bytes")
	check(c.Directory != nil && c.Log != nil && c.Snapshots != nil && c.FSM != nil && c.State != nil && c.Network != nil,
		"Directory, Log, Snapshots, FSM, State and Network are required")
	check(c.Directory == nil || c.Directory.Identity().Node == c.Node, "the data directory is not of node %q", c.Node)
	check(c.Now != nil && c.Logger != nil && c.OnFailure != nil, "Now, Logger and OnFailure are required")
	for name, d := range map[string]time.Duration{
		"DialTimeout": c.DialTimeout, "RPCTimeout": c.RPCTimeout,
		"EnqueueTimeout": c.EnqueueTimeout, "CloseTimeout": c.CloseTimeout,
	} {
		check(d > 0, "%s must be positive", name)
	}
	for name, v := range map[string]int{
		"LogCacheEntries": c.LogCacheEntries, "MaxEntryCommands": c.MaxEntryCommands, "MaxEntryBytes": c.MaxEntryBytes,
		"MaxCommandBytes": c.MaxCommandBytes, "MaxEntriesInFlight": c.MaxEntriesInFlight, "MaxWaiting": c.MaxWaiting,
		"MaxWaitingBytes": c.MaxWaitingBytes, "MaxPeerConnections": c.MaxPeerConnections,
	} {
		check(v > 0, "%s must be positive", name)
	}
	check(c.RequestIDs > 0 && c.RequestIDs <= math.MaxUint32, "RequestIDs is %d; it must be 1 to %d", c.RequestIDs, uint32(math.MaxUint32))
	check(c.RequestWindow > 0, "RequestWindow must be positive")
	if err := raft.ValidateConfig(c.raftConfig(nil, nil)); err != nil && c.Node != "" {
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("raft node configuration: %w", err)
	}
	return nil
}

// withDefaults sorts the members and fills in what follows from the rest.
func (c Config) withDefaults() Config {
	c.Members = slices.SortedFunc(slices.Values(c.Members), func(a, b Member) int { return cmp.Compare(a.Name, b.Name) })
	for _, m := range c.Members {
		if m.Name == c.Node {
			c.PeerAddress = cmp.Or(c.PeerAddress, m.PeerAddress)
		}
	}
	c.PeerListen = cmp.Or(c.PeerListen, c.PeerAddress)
	return c
}

func (c Config) raftConfig(notify chan<- bool, logger *raftlogger.Logger) *raft.Config {
	r := raft.DefaultConfig()
	r.LocalID = raft.ServerID(c.Node)
	r.HeartbeatTimeout = c.HeartbeatTimeout
	r.ElectionTimeout = c.HeartbeatTimeout
	r.LeaderLeaseTimeout = c.HeartbeatTimeout
	r.CommitTimeout = c.CommitTimeout
	r.MaxAppendEntries = c.MaxAppendEntries
	r.SnapshotInterval = c.SnapshotInterval
	r.SnapshotThreshold = c.SnapshotThreshold
	r.TrailingLogs = c.TrailingLogs
	r.NotifyCh = notify
	// The fold has loaded the registry file, which is never older than the newest snapshot.
	r.NoSnapshotRestoreOnStart = true
	r.ShutdownOnRemove = false
	r.BatchApplyCh = false // would let entries in after the enqueue timeout
	r.PreVoteDisabled = false
	r.NoLegacyTelemetry = true
	if logger != nil {
		r.Logger = logger
	}
	return r
}

func (n *Node) proposerConfig() proposer.Config {
	return proposer.Config{
		Apply: func(l raft.Log, timeout time.Duration) raft.ApplyFuture {
			return n.raft.Load().ApplyLog(l, timeout)
		},
		MaxEntryCommands:   n.cfg.MaxEntryCommands,
		MaxEntryBytes:      n.cfg.MaxEntryBytes,
		MaxCommandBytes:    n.cfg.MaxCommandBytes,
		MaxEntriesInFlight: n.cfg.MaxEntriesInFlight,
		MaxWaiting:         n.cfg.MaxWaiting,
		MaxWaitingBytes:    n.cfg.MaxWaitingBytes,
		EnqueueTimeout:     n.cfg.EnqueueTimeout,
		Now:                n.clock.Stamp,
		StateHash:          n.cfg.State.StateHash,
		Level:              n.cfg.State.CommandLevel,
		Congested:          n.cfg.Congested,
		OnEntry:            n.cfg.OnEntry,
	}
}
