package node

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/fsm"
	"github.com/rollcallhq/rollcall/metrics"
	"github.com/rollcallhq/rollcall/raftnode/peerport"
	"github.com/rollcallhq/rollcall/server"
	"github.com/rollcallhq/rollcall/server/authn"
	"github.com/rollcallhq/rollcall/tlsport"
)

// Member is one voting node of the cluster, as every node's configuration lists it.
type Member struct {
	Name        string // 1 to 63 of a-z, 0-9, "-", "."; unique
	PeerAddress string // host:port other nodes dial
	APIAddress  string // host:port clients dial
}

// Config is everything one node needs to know. The zero value is not usable: begin with
// DefaultConfig.
type Config struct {
	Name    string
	DataDir string
	// LogStore is where raft's log stands, one of LogStores. "": where it does; in a new data directory,
	// DefaultLogStore.
	LogStore string
	// Members is the whole cluster, this node included, identical on every node. Once the cluster has formed they are only
	// where its members are looked for.
	Members []Member
	// Join are peer addresses, host:port, of members of a cluster that this node waits to be made a member of. Members is
	// empty then; AdvertiseAPI and AdvertisePeer are where clients and members find this node, and Replica says that it
	// shall never vote.
	Join                        []string
	AdvertiseAPI, AdvertisePeer string
	Replica                     bool

	// Addresses to listen on, host:port. Empty means this member's own address; for HTTPListen,
	// no HTTP.
	APIListen, PeerListen, HTTPListen string
	// HealthListen is an address for plain probes of this node's own names, also with TLS; "": none.
	HealthListen string

	// TLS secures the API, peer and HTTP ports.
	TLS TLS
	// AdminIdentities are the identities of certificates ("cert:NAME") whose holders may do everything through this
	// node. AdminTokenFile holds the text of a token whose holder may, or the SHA-256 of its secret in hexadecimal; "":
	// there is none.
	AdminIdentities []string
	AdminTokenFile  string
	// Insecure allows plain text beyond loopback.
	Insecure bool
	// ForceBootstrap forms a cluster without hearing from every member.
	ForceBootstrap bool

	// WebWrites lets callers over HTTP who prove no identity change something. HTTPListen must be of this machine alone.
	WebWrites bool
	// HTTPHosts are names by which browsers call this node, besides those of its members, of its certificate, and
	// localhost.
	HTTPHosts []string

	// MetricServices are prefixes of names of services; those that begin with one have a sample each in the
	// metrics, metrics.MaxServiceSeries at most. None: no service has.
	MetricServices []string

	// Pprof serves Go's profiles on the HTTP port. They show what is in memory: names, reasons, actors.
	Pprof bool
	// Web serves the page under /ui/ of the HTTP port. It reads the API there, as whoever opens it.
	Web bool

	// ReadyMaxStaleness is how long ago this node may have been known to be fresh, its leader
	// confirmed by a quorum, while "" is SERVING; 0 does not ask.
	ReadyMaxStaleness time.Duration
	// HealthListLimit is the most services that Health.List answers.
	HealthListLimit int
	// MaxWatches is the most watches open on this node, MaxWatchesPerConnection those of one
	// connection, MaxConnections the most connections of clients.
	MaxWatches, MaxWatchesPerConnection, MaxConnections int
	// MaxHTTPConnections is the most connections to the HTTP port. This and MaxConnections are lowered to
	// what the system's limit on open files leaves.
	MaxHTTPConnections int
	// AuditLog is a file with a line for each change, and for each call that is refused because of who the caller is;
	// "": none. See auditlog.Config.File.
	AuditLog string
	// WritesPerSecond is how many changes each caller may make in a second over this node; 0: no limit.
	WritesPerSecond int
	// ClientMemory is about how many bytes of memory this node holds for its clients at most, besides
	// watches: see server.Config.
	ClientMemory int64
	// DrainDelay is how long a node that is told to stop still answers reads while it says
	// NOT_SERVING, so that balancers leave before it does. At most a minute.
	DrainDelay time.Duration

	// RequestIDs is how many request ids the cluster remembers, for ten minutes at most, while this
	// node leads; a batch of n changes counts n.
	RequestIDs int

	// HistoryEvents is how many events the cluster keeps at least while this node leads, and HistoryAge
	// for how long at most; 0: for ever. Of older ones the newest of each service stays. A limit is
	// exceeded by a tenth, or a hundredth of its time, before that is done.
	HistoryEvents int
	HistoryAge    time.Duration

	// A raft snapshot is taken when SnapshotThreshold entries came since the last one, looked at
	// every SnapshotInterval; TrailingLogs entries stay for followers that are a little behind. 0:
	// raftnode's defaults.
	SnapshotInterval  time.Duration
	SnapshotThreshold uint64
	TrailingLogs      uint64

	// HoldLevel is the feature level that the cluster's is not to rise above while this node is a member;
	// 0: none. A level that is higher already stays.
	HoldLevel uint32

	// FastFailover lets this node stand for election as soon as its leader's process has ended, and after a second
	// when its leader is silent, without waiting for raft's timeout.
	FastFailover bool

	// ScrubInterval is how long after a check of all records, in memory and in the registry file, the next one
	// begins; 0: never.
	ScrubInterval time.Duration

	// When more than LeaseGuardPercent of the leases are late, and there are LeaseGuardMin at least, this node as the
	// leader holds all leases: none expires until few are late, until the guard is released by hand, or for
	// LeaseGuardMax. 100: never.
	LeaseGuardMin, LeaseGuardPercent int
	LeaseGuardMax                    time.Duration

	// RaftMetrics, if not nil, are shown with this node's metrics: what InstallRaft returned. They are of
	// all nodes in the process.
	RaftMetrics *metrics.Raft

	Version string
	Logger  *slog.Logger

	// Now is this node's wall clock. It may step: what the log is stamped with is the cluster's clock.
	Now func() time.Time
	// Network carries peers and clients; TCP unless a test says otherwise.
	Network peerport.Network
	// Kinds are what the registry can hold. Only tests set it; nil: fsm.DefaultKinds.
	Kinds *fsm.Kinds
	// Faults are for tests: nil in production.
	Faults Faults
}

// Faults lets a test stand between a node and its disk, and make a node of another version.
type Faults struct {
	// StoreLogs runs before each append to the Raft log: it may wait, or fail the append.
	StoreLogs func([]*raft.Log) error
	// FlushRegistry runs before each commit of the registry file.
	FlushRegistry func() error
	// CommitTimeout is raftnode.Config.CommitTimeout; 0: its default. An idle leader sends to each follower once or
	// twice in that time, which is most of what an idle cluster does.
	CommitTimeout time.Duration
	// Now is the monotonic clock by which leases live; nil: time.Now. A process that was stopped finds it leapt.
	Now func() time.Time
	// ApplyBatch runs before each batch is folded, on the fold's goroutine.
	ApplyBatch func(*fsm.FSM)
	// MaxLevel is the highest feature level that the node can fold; 0: logv1.Level.
	MaxLevel uint32
	// HashVersion is of the way in which the node computes the state hash; 0: fsm.HashVersion.
	HashVersion uint32
	// CommandLevel can say that a command needs a higher feature level than it does.
	CommandLevel func(*logv1.Command) uint32
}

func (f Faults) now() func() time.Time {
	if f.Now == nil {
		return time.Now
	}
	return f.Now
}

func (c Config) kinds() *fsm.Kinds {
	if c.Kinds == nil {
		return fsm.DefaultKinds()
	}
	return c.Kinds
}

// DefaultConfig returns what a production node runs with, but for its name, data and members.
func DefaultConfig() Config {
	limits := server.DefaultConfig()
	return Config{
		ReadyMaxStaleness:       limits.ReadyMaxStaleness,
		HealthListLimit:         limits.HealthListLimit,
		MaxWatches:              limits.MaxWatches,
		MaxWatchesPerConnection: limits.MaxWatchesPerConnection,
		MaxConnections:          limits.MaxConnections,
		MaxHTTPConnections:      256,
		ClientMemory:            limits.ClientMemory,
		DrainDelay:              500 * time.Millisecond,
		RequestIDs:              250_000,
		FastFailover:            true,
		HistoryEvents:           1_000_000,
		HistoryAge:              30 * 24 * time.Hour,
		ScrubInterval:           10 * time.Minute,
		LeaseGuardMin:           10,
		LeaseGuardPercent:       50,
		LeaseGuardMax:           time.Hour,
		Version:                 "v0.1.0-dev",
		Logger:                  slog.Default(),
		Now:                     time.Now,
		Network:                 peerport.TCP{},
	}
}

// maxMembers is far beyond what a Raft cluster is good for; it catches a list made by mistake.
const maxMembers = 9

const (
	// maxRequestIDs bounds memory: an answer takes up to 2 KiB on every node.
	maxRequestIDs = 10_000_000
	maxDrainDelay = time.Minute
	// minHistoryAge is below any use; it catches a number without its unit.
	minHistoryAge = time.Second
	// minLeaseGuard is below any use; it catches a number without its unit.
	minLeaseGuard = time.Second
	// maxPerConnection is far beyond what one connection can carry.
	maxPerConnection = 10_000_000
)

// Validate says in one line what is wrong; nil if nothing is.
func (c Config) Validate() error {
	if c.DataDir == "" {
		return errors.New("no data directory given")
	}
	if c.LogStore != "" && !slices.Contains(LogStores(), c.LogStore) {
		return fmt.Errorf("log-store is %q; it must be one of %s", c.LogStore, strings.Join(LogStores(), ", "))
	}
	if err := c.validateJoin(); err != nil {
		return err
	}
	if err := c.validateMembers(); err != nil {
		return err
	}
	self, err := c.self()
	if err != nil {
		return err
	}
	if err := c.TLS.validate(c.memberNames()); err != nil {
		return err
	}
	if err := c.validateAdmins(); err != nil {
		return err
	}
	if err := c.validateHTTPHosts(); err != nil {
		return err
	}
	for _, l := range []struct{ what, address string }{
		{"API listen address", or(c.APIListen, self.APIAddress)},
		{"peer listen address", or(c.PeerListen, self.PeerAddress)},
		{"HTTP listen address", c.HTTPListen},
	} {
		if l.address == "" {
			continue
		}
		if err := c.checkAddress(l.what, l.address); err != nil {
			return err
		}
	}
	if c.HealthListen != "" {
		// It tells nothing but whether this node is well, so it may be plain text anywhere.
		plain := c
		plain.Insecure = true
		if err := plain.checkAddress("address of --health-listen", c.HealthListen); err != nil {
			return err
		}
	}
	switch {
	case c.ReadyMaxStaleness != 0 && c.ReadyMaxStaleness < server.MinReadyStaleness:
		return fmt.Errorf("--ready-max-staleness is %s; it must be 0 or at least %s", c.ReadyMaxStaleness, server.MinReadyStaleness)
	case c.ScrubInterval < 0:
		return fmt.Errorf("--scrub-interval is %s; it must not be negative", c.ScrubInterval)
	case c.LeaseGuardMin < 1:
		return fmt.Errorf("--lease-guard-min is %d; it must be at least 1", c.LeaseGuardMin)
	case c.LeaseGuardPercent < 1 || c.LeaseGuardPercent > 100:
		return fmt.Errorf("--lease-guard-percent is %d; it must be 1 to 100, and 100 turns the lease guard off", c.LeaseGuardPercent)
	case c.LeaseGuardMax < minLeaseGuard:
		return fmt.Errorf("--lease-guard-max is %s; it must be at least %s", c.LeaseGuardMax, minLeaseGuard)
	case c.HealthListLimit < 1:
		return fmt.Errorf("--health-list-limit is %d; it must be at least 1", c.HealthListLimit)
	case c.RequestIDs < 1 || c.RequestIDs > maxRequestIDs:
		return fmt.Errorf("--request-ids is %d; it must be 1 to %d", c.RequestIDs, maxRequestIDs)
	case c.HistoryEvents < 1:
		return fmt.Errorf("--history-events is %d; it must be at least 1", c.HistoryEvents)
	case c.HistoryAge != 0 && c.HistoryAge < minHistoryAge:
		return fmt.Errorf("--history-age is %s; it must be 0, for no limit, or at least %s", c.HistoryAge, minHistoryAge)
	case c.WebWrites && !c.loopbackHTTP():
		return errors.New("--web-writes lets everybody who reaches the HTTP port change everything, so it needs an HTTP listen address of this machine alone, as --http 127.0.0.1:7602; callers with a token or a certificate need no --web-writes")
	case len(c.HTTPHosts) > 0 && c.HTTPListen == "":
		return errors.New("--http-host is a name of the HTTP port, and there is none; give an HTTP listen address (--http)")
	case len(c.MetricServices) > 0 && c.HTTPListen == "":
		return errors.New("metrics are served on the HTTP port, and there is none; give an HTTP listen address (--http)")
	case c.Web && c.HTTPListen == "":
		return errors.New("the page needs an HTTP port: give its address with --http")
	case c.Pprof && c.HTTPListen == "":
		return errors.New("pprof is served on the HTTP port, and there is none; give an HTTP listen address (--http)")
	case c.MaxWatches < 1 || c.MaxWatchesPerConnection < 1 || c.MaxConnections < 1 || c.MaxHTTPConnections < 1:
		return errors.New("--max-watches, --max-watches-per-connection, --max-connections and --max-http-connections must be at least 1")
	case c.MaxWatchesPerConnection > maxPerConnection:
		return fmt.Errorf("--max-watches-per-connection is %d; it must be at most %d", c.MaxWatchesPerConnection, maxPerConnection)
	case c.WritesPerSecond < 0:
		return fmt.Errorf("--writes-per-second is %d; it must be at least 0, which is no limit", c.WritesPerSecond)
	case c.ClientMemory < server.MinClientMemory:
		return fmt.Errorf("--client-memory is %d; it must be at least %d", c.ClientMemory, server.MinClientMemory)
	case c.DrainDelay < 0 || c.DrainDelay > maxDrainDelay:
		return fmt.Errorf("--drain-delay is %s; it must be from 0 to %s", c.DrainDelay, maxDrainDelay)
	case c.Logger == nil:
		return errors.New("no logger given")
	case c.Now == nil:
		return errors.New("no clock given")
	case c.Network == nil:
		return errors.New("no network given")
	}
	return nil
}

// loopbackHTTP says that only this machine can reach the HTTP port.
func (c Config) loopbackHTTP() bool {
	host, _, err := net.SplitHostPort(c.HTTPListen)
	return err == nil && loopback(host)
}

// validateHTTPHosts checks that names are names.
func (c Config) validateHTTPHosts() error {
	for _, host := range c.HTTPHosts {
		if host == "" || strings.ContainsAny(host, ":/*@ ") {
			return fmt.Errorf("--http-host is %q; it must be the name of a host, without port and path, as rollcall.example.com", host)
		}
	}
	return nil
}

func (c Config) validateAdmins() error {
	if len(c.AdminIdentities) > 0 && c.TLS.Mode == tlsport.Off {
		return errors.New("--admin-identity names the holder of a certificate, and nobody shows one without --tls")
	}
	if _, err := authn.NewStatic(c.AdminIdentities, ""); err != nil {
		return fmt.Errorf("--admin-identity: %w", err)
	}
	return nil
}

// loopbackOnly says that only this machine can reach the API.
func (c Config) loopbackOnly(self Member) bool {
	host, _, err := net.SplitHostPort(or(c.APIListen, self.APIAddress))
	return err == nil && loopback(host)
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
