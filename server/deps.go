package server

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/fsm/access"
	"github.com/rollcallhq/rollcall/server/renewal"
)

// Status is the standard's status.
type Status = healthpb.HealthCheckResponse_ServingStatus

// Statuses holds the statuses that the health service reads, and takes those of the node's own names.
type Statuses interface {
	// Status returns the effective status of a service or of one of the node's own names; false
	// if there is none. It must not block or allocate.
	Status(name string) (Status, bool)
	// WatchStatus calls send with the current status (SERVICE_UNKNOWN if there is none) and then
	// with the newest whenever that differs from the one sent last: once for each call of ready at
	// most, the first one included. ready says that what was sent before has left; it never waits
	// and may be called under any lock. send does not wait either. Once stop has returned, send is
	// not running and is not called any more; stop is called once, not within send. Watches of a name
	// that have the same group (comparable) are sent to one after the other, as far as can be.
	WatchStatus(name string, group any, send func(Status)) (ready, stop func())
	// ListStatuses returns the replicated services whose names are within some spans, as one cut; true if there are
	// more than limit.
	ListStatuses(within pattern.Spans, limit int) (map[string]Status, bool)
	// SetOwn publishes one of the node's own names and wakes its watchers.
	SetOwn(name string, s Status)
}

// Registry reads the replicated registry of this node. What it returns is never modified by either
// side.
type Registry interface {
	// ClusterID is the cluster that the registry and its revisions belong to; "" before the first entry of
	// the cluster's log is applied. Once known it stays the same.
	ClusterID() string
	// GetService returns nil if the service does not exist. The revision is the node's.
	GetService(name string) (rec *rollcallv1.ServiceRecord, revision int64)
	// ListServices returns, of one cut and by name, at most limit services whose names are within some spans,
	// stand after the name after and have one of the statuses (none given: any). next is "" if
	// nothing follows; otherwise it is the after of the next call, even when recs is short or
	// empty because a scan is bounded. statusOnly: the records have only what VIEW_STATUS shows.
	ListServices(within pattern.Spans, after string, limit int, statuses []Status, statusOnly bool) (recs []*rollcallv1.ServiceRecord, next string, revision int64)
	// Revision is that of the newest cut: GetService and ListServices show all up to it.
	Revision() int64
	// ShownRevision is at least the revision of whatever a Check or Watch of this node has shown;
	// Revision may be less, while a batch is being published.
	ShownRevision() int64
	// WaitRevision waits until Revision is at least revision, or returns ctx's error.
	WaitRevision(ctx context.Context, revision int64) error
	// AppliedIndex is the index of the log up to which everything is shown.
	AppliedIndex() uint64
	// WaitIndex waits until AppliedIndex is at least index. Its error is ctx's, or says why that will
	// never be.
	WaitIndex(ctx context.Context, index uint64) error
}

// Layers reads what lies over the reports in this node's registry. What it returns is never modified.
type Layers interface {
	// ListOverrides returns, of one cut and by pattern, at most limit overrides that have not ended, that keep says
	// to keep (nil: all) and that stand after the pattern after; more if others follow.
	ListOverrides(after string, limit int, keep func(pattern string) bool) (list []*rollcallv1.Override, more bool, revision int64)
	// ListRules returns all rules by name, with what they count, of one cut.
	ListRules() (list []*rollcallv1.Rule, revision int64)
}

// Leases reads the leases in this node's registry. What Lease and LeaseGuard return is never modified.
type Leases interface {
	// Lease returns the newest record of a lease; nil if there is none. It is called for each lease that is renewed.
	Lease(id string) *logv1.Lease
	// GetLease returns a lease, one that has ended too, or nil if there is none that the filter shows (nil: all).
	GetLease(id string, filter *logv1.LeaseFilter) (l *rollcallv1.Lease, revision int64)
	// ListLeases returns, of one cut and by id, at most limit leases that the filter shows (nil: all) and that stand
	// after the id after; more if others follow. all: those too whose end is done, and whose reports wait to be
	// forgotten.
	ListLeases(after string, limit int, all bool, filter *logv1.LeaseFilter) (list []*rollcallv1.Lease, more bool, revision int64)
	// LeaseGuard returns the lease guard; nil if it was never engaged.
	LeaseGuard() *logv1.LeaseGuard
}

// Access tells who may do what, as this node's registry has it. What it returns is never modified.
type Access interface {
	// Access is the newest there is, at one moment. It does not allocate.
	Access() AccessView
	// AccessChanged is closed at the next change.
	AccessChanged() <-chan struct{}
	// ReadsOpen says that everybody may read everything. It is one atomic load.
	ReadsOpen() bool
	// ListTokens returns, of one cut and by name, at most limit tokens that stand after the name after, with their
	// grants; more if others follow. They are those that a caller is shown ("": all). filtered: it is not shown all.
	ListTokens(caller, after string, limit int) (list []*rollcallv1.Token, more, filtered bool, revision int64)
	// ListRoles returns all roles of one cut: the built-in ones, then others by name.
	ListRoles() (list []*rollcallv1.AccessRole, revision int64)
	// ListGrants returns, of one cut and by identity, at most limit grants that stand after the identity after; more
	// if others follow. They are those that a caller is shown ("": all). filtered: it is not shown all.
	ListGrants(caller, after string, limit int) (list []*rollcallv1.IdentityGrants, more, filtered bool, revision int64)
	// ShownGrants is GetGrants for a caller ("": it is shown all). filtered: it may not know whether there is any.
	ShownGrants(caller, identity string) (g *rollcallv1.IdentityGrants, filtered bool, revision int64)
	// GetGrants returns what one identity was granted; nil if that is nothing.
	GetGrants(identity string) (g *rollcallv1.IdentityGrants, revision int64)
	// GetAuth returns whether access is enforced; never nil.
	GetAuth() (a *rollcallv1.Auth, revision int64)
}

// AccessView is who may do what, at one moment.
type AccessView interface {
	Enforced() bool
	// Generation is another one after each change.
	Generation() int64
	// Token returns the token of an id, and its name; nil if there is none.
	Token(id string) (name string, t *logv1.Token)
	// Permissions are what an identity may do: what it was granted, and what anonymous callers may do.
	Permissions(identity string) access.Permissions
	// Denied says that an identity may do nothing, whatever it was granted.
	Denied(identity string) bool
}

// Lessor renews leases while this node leads.
type Lessor = renewal.Lessor

// Followers sends what changes in the registry. Each call goes at its own pace: a send that blocks holds up
// nobody else. The errors are ctx's, send's, or wrap a *logv1.CompactedError when what comes next is not kept
// any more.
type Followers interface {
	// FollowEvents calls send with every event from revision from on (0: from now on), in order, each page
	// with the revision up to which all was given. It does so at once, and when how.Quiet has passed without
	// a call, with no events. A page ends with an atomic write, or is a part of one that is larger than a
	// page: then its revision is that of the page before.
	FollowEvents(ctx context.Context, from int64, how logv1.Following, send func(events []*logv1.Event, revision int64) error) error
	// FollowServices calls send with the messages of a WatchServices. When how.Quiet has passed since the last
	// and the revision is another, it does so with nothing else new. complete is closed once the node knows
	// that it holds all there is (nil: it does); no message is synced before.
	FollowServices(ctx context.Context, prefixes []string, how logv1.Following, complete <-chan struct{}, send func(*rollcallv1.WatchServicesResponse) error) error
	// FollowNames is FollowServices of exactly these services. It sends nothing while they do not change.
	FollowNames(ctx context.Context, names []string, how logv1.Following, complete <-chan struct{}, send func(*rollcallv1.WatchServicesResponse) error) error
}

// History reads what is on disk: events and points in time, up to the revision that this node had reached
// when it was called. Errors wrap a *logv1.CompactedError when what is asked for is not kept any more.
type History interface {
	// ReadEvents returns the next events of q that keep wants, at most limit and of at most so many that
	// it looks at; From 0 is the oldest there is.
	ReadEvents(ctx context.Context, q logv1.EventQuery, limit int, keep func(*logv1.Event) bool) (logv1.EventPage, error)
	// RevisionAt returns the revision of the newest event that is not later than time, in Unix
	// nanoseconds; 0 if there is none.
	RevisionAt(ctx context.Context, time int64) (int64, error)
	// VisibleRevision returns the newest revision up to the given one, which this node must have reached,
	// that does not lie within an atomic write.
	VisibleRevision(ctx context.Context, revision int64) (int64, error)
	// GetServiceAt is Registry.GetService as of a visible revision.
	GetServiceAt(ctx context.Context, name string, revision int64) (*rollcallv1.ServiceRecord, error)
	// ListServicesAt is Registry.ListServices as of a visible revision.
	ListServicesAt(ctx context.Context, revision int64, within pattern.Spans, after string, limit int, statuses []Status) (recs []*rollcallv1.ServiceRecord, next string, err error)
}

// Agreement is how a command gets into the log. Its errors say by the methods NotWritten and OutcomeUnknown
// what became of the command (see rpcerror.OfChange). An error without them counts as unknown.
type Agreement interface {
	// Propose returns what the fold made of cmd, refusals included. Only a leader can.
	Propose(ctx context.Context, cmd *logv1.Command) (*logv1.Result, error)
	// Start is Propose of many commands at once: each is answered with what Propose would return. It does not
	// block, and needs no goroutine for each. Who waits gives a proposal up when its time is over.
	Start(proposals []*logv1.Proposal)
	// Preview returns what Propose would at this moment, and changes nothing.
	Preview(cmd *logv1.Command) *logv1.Result
	// CheckLevel says why leader, this node or another, cannot take cmd yet: the cluster's feature level
	// does not hold it. It says so with a method UpgradeIncomplete: see rpcerror.OfChange. nil: it can.
	CheckLevel(leader string, cmd *logv1.Command) error
	// ReadIndex returns an index of the log that covers every write acknowledged before the call. Only
	// a leader can, once a quorum has confirmed it.
	ReadIndex(ctx context.Context) (uint64, error)
	// Leader returns the leader this node knows, "" if none, and whether it is this node and
	// ready to propose.
	Leader() (name string, leading bool)
	// Unreachable returns for how long this node has not been able to connect to a member, and why; 0: it can, or has
	// not tried lately.
	Unreachable(member string) (time.Duration, string)
	// Changed is closed at the next change of anything that Leader or Node.NodeStatus tell, except
	// the passing of time and the advance of indexes.
	Changed() <-chan struct{}
}

// Peers connects to other members for gRPC, behind the Hello.
type Peers interface {
	DialPeer(ctx context.Context, name string) (net.Conn, error)
}

// Members tells who belongs to the cluster, reaches nodes that could, and hands leadership over. What it returns is never
// modified.
type Members interface {
	// MemberRecords returns the members that this node's registry has, by name.
	MemberRecords() map[string]*logv1.Member
	// SilentFounders returns the members, by name, of whom the registry has heard nothing yet: the cluster was founded
	// with them, and they have not announced themselves.
	SilentFounders() map[string]*logv1.Member
	// Removed says that this node's own data directory was removed from the cluster, as far as its registry knows.
	Removed() bool
	// ProbeAddress asks whoever listens at an address, host:port, who it is. With an error it returns what that node
	// said of itself all the same, if it said something; nil: it said nothing. The error is an *ImpostorError if somebody
	// answers whose certificate is not that of the node that it says it is.
	ProbeAddress(ctx context.Context, address string) (*peerv1.Hello, error)
	// TransferLeadershipTo hands leadership to a voter; "": to the one that is furthest. It returns nil when this node
	// does not lead any more, and an error that is ErrNotLeading if it did not when it was asked.
	TransferLeadershipTo(ctx context.Context, name string) error
}

// ErrNotLeading says that a node that is asked for what a leader does is none.
var ErrNotLeading = errors.New("it does not lead")

// ImpostorError says that the certificate of who answers is not that of the node that it says it is.
type ImpostorError struct{ Err error }

func (e *ImpostorError) Error() string { return e.Err.Error() }
func (e *ImpostorError) Unwrap() error { return e.Err }

// Node tells about the node itself.
type Node interface {
	NodeStatus() NodeStatus
}

// Replica tells the state hashes by which members compare their registries.
type Replica interface {
	// HashAt returns the state hash after a log entry, nil if it is not known.
	HashAt(index uint64) *logv1.StateHash
	// Held returns the newest state hash, and the registry's revision at the same moment.
	Held() (hash *logv1.StateHash, revision int64)
	// Suspect is called when a member has another state hash, computed in the same way, for the same log
	// entry. It must not block.
	Suspect(index uint64, member string)
}

// Exporter makes backups of this node's registry and history.
type Exporter interface {
	// ExportSnapshot returns a snapshot of what the registry holds at some moment after the call. It is a
	// copy on disk, so sending it holds up nothing else. It must be closed.
	ExportSnapshot(ctx context.Context) (Snapshot, error)
}

// Snapshot is a backup on this node's disk.
type Snapshot interface {
	Size() int64
	// WriteTo writes all of it. It is called once.
	io.WriterTo
	io.Closer
}

// NodeStatus is what a node knows of itself and its cluster at one moment.
type NodeStatus struct {
	ClusterID string
	Formed    bool   // it belongs to a cluster
	Waiting   string // in words, while it does not: "waiting for n2 to form the cluster"
	Loaded    bool   // the map is in memory, as the disk has it
	Failed    string // why it stopped serving, "" if it did not
	Alarm     string // what somebody must look at although it serves, "" if nothing

	CertificateExpires time.Time // of the node's certificate and those above it the first end; zero: it has none

	Role    rollcallv1.Role
	Term    uint64
	Leader  string // "" if none is known
	Leading bool   // this node leads and has applied its term's start

	AppliedIndex, CommitIndex uint64

	Level     uint32 // the cluster's feature level
	MaxLevel  uint32 // the highest that this binary can fold
	HoldLevel uint32 // see Config.HoldLevel of the node; 0: none
	LevelHeld string // why Level is below what a member can fold, in words; "": it is not
	// Members are all of the cluster, this node included, by name: also those that are still being removed.
	Members []*rollcallv1.Member
	// GoneVoters are members whose data directories were replaced, and that are still voters of raft's configuration:
	// they count for a quorum, and never answer.
	GoneVoters []string
	// Clocks are how far the members' clocks are from the cluster's, of those that were measured lately.
	Clocks []ClockOffset

	// CannotReach are the members to which this node has not been able to connect lately, by name.
	CannotReach []Unreached
	// Unsucceeded: a majority of the voters cannot connect to this node, which leads, and no voter is known that could
	// lead better.
	Unsucceeded bool
}

// Deps is what a Server works on. All but Replica, Exporter and Storage are required.
type Deps struct {
	Statuses  Statuses
	Registry  Registry
	Layers    Layers
	Leases    Leases
	Access    Access
	Lessor    Lessor
	Followers Followers
	History   History
	Agreement Agreement
	Peers     Peers
	Members   Members
	Node      Node
	// LogClock is the cluster's clock: the time that an entry of the log would be stamped with now, in Unix
	// nanoseconds.
	LogClock func() int64
	Replica  Replica  // nil: this node knows no state hashes
	Exporter Exporter // nil: it exports no snapshots
	// Storage looks how much disk the node's data takes; nil: that is not told.
	Storage func() (*rollcallv1.Storage, error)
}

// ClockOffset is how far a member's clock is from the cluster's clock.
type ClockOffset struct {
	Member string
	Ahead  time.Duration // negative: behind
	Off    bool          // by so much that somebody should look
}
