package server

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/rollcallhq/rollcall/server/auditlog"
	"github.com/rollcallhq/rollcall/server/authn"
	"github.com/rollcallhq/rollcall/tlsport"
)

// Config is what a server needs to know. Begin with DefaultConfig.
type Config struct {
	Node      string // this node's name
	Version   string // of the binary, as GetStatus tells it
	StartTime time.Time

	// HealthListLimit is the most names that Health.List answers, "" included.
	HealthListLimit int
	// MaxWatches is the most watches that are open on this node; MaxWatchesPerConnection those of
	// one connection.
	MaxWatches, MaxWatchesPerConnection int
	// MaxConnections is the most connections that clients have open to this node: each is a file, and the
	// node needs files of its own (connlimit.Plan).
	MaxConnections int
	// ClientMemory is about how many bytes of memory this node holds for its clients at most: a quarter each
	// for requests that are not complete, for what streams send, for the answers to reads, and for changes
	// that wait for theirs. One connection may have a quarter of each quarter. Watches are bounded by their
	// number. At least MinClientMemory.
	ClientMemory int64
	// ReadyMaxStaleness is how long ago this node may have been known to be fresh, its leader
	// confirmed by a quorum, while "" is SERVING; 0 does not ask. At least MinReadyStaleness.
	ReadyMaxStaleness time.Duration
	// WriteTimeout is how long a change waits for a leader, and the whole time of one whose caller
	// has no deadline. A large one has longer: deadline.Transfer.
	WriteTimeout time.Duration
	// ForwardTimeout is the most that a change forwarded to the leader may take, unless it is large.
	ForwardTimeout time.Duration
	// MaxForwarded is the most changes that are on their way to one other member.
	MaxForwarded int
	// RevisionTimeout is how long a read waits for what it asks by metadata (rollcall-min-revision,
	// for one) if its caller has no deadline.
	RevisionTimeout time.Duration
	// LeaderGrace is how long a watch with rollcall-require-leader goes on without a leader: longer
	// than an election takes.
	LeaderGrace time.Duration
	// StatusTimeout is how long GetStatus waits for each other member, all at once.
	StatusTimeout time.Duration

	// OnWrite is told how long each change took, from the moment its request was complete and valid, also if it
	// was refused or failed. OnLinearizableRead is told how long a read that asks to be linearizable waited until
	// it was; the read itself takes microseconds.
	// Both must not block; nil: nobody is told.
	OnWrite, OnLinearizableRead func(took time.Duration)

	// Audit is told of each change, and of each call that ends because of who its caller is; nil: nobody is told.
	Audit *auditlog.Log
	// WritesPerSecond is how many changes each caller may make in a second, over this node; 0: as many as there is
	// room for. Callers without an identity are told apart by their addresses.
	WritesPerSecond int

	// TLS secures the API port; nil: plain text.
	TLS *tlsport.Port
	// LoopbackOnly says that nobody beyond this machine can reach the API port: access can be enforced without TLS.
	LoopbackOnly bool
	// StaticAdmins are the administrators of this node's configuration; nil: none.
	StaticAdmins *authn.Static

	// MaxHTTPCalls is how many requests to the API over HTTP are answered at a time.
	MaxHTTPCalls int
	// MaxHTTPStreams is how many of them may be streams of events.
	MaxHTTPStreams int
	// WebWrites lets callers over HTTP who prove no identity change something. Only for a port that nobody beyond this
	// machine reaches: any program, and any user, of the machine may then.
	WebWrites bool
	// KnownHost says whether clients call this node over HTTP by a name, which is in lower case and has no port. It is not
	// asked for addresses and localhost. nil: by no name.
	KnownHost func(name string) bool

	Logger *slog.Logger
}

// MinClientMemory leaves room on one connection for the largest change and its answer.
const MinClientMemory = 192 << 20

// MinReadyStaleness leaves time for two rounds in a row to fail before a node that is fresh says that
// it is not.
const MinReadyStaleness = time.Second

// DefaultConfig returns the configuration of a production node, without its name, version and start time.
func DefaultConfig() Config {
	return Config{
		HealthListLimit:         100,
		MaxWatches:              200_000,
		MaxWatchesPerConnection: 10_000,
		MaxConnections:          10_000,
		ClientMemory:            768 << 20,
		ReadyMaxStaleness:       10 * time.Second,
		WriteTimeout:            5 * time.Second,
		ForwardTimeout:          5 * time.Second,
		MaxForwarded:            10_000,
		RevisionTimeout:         5 * time.Second,
		LeaderGrace:             3 * time.Second,
		StatusTimeout:           time.Second,
		MaxHTTPCalls:            192,
		MaxHTTPStreams:          128,
		Logger:                  slog.Default(),
	}
}

// Validate says in one line what is wrong; nil if nothing is.
func (c Config) Validate() error {
	switch {
	case c.Node == "":
		return errors.New("server: Node is required")
	case c.HealthListLimit < 1:
		return fmt.Errorf("server: HealthListLimit is %d; it must be at least 1", c.HealthListLimit)
	case c.ReadyMaxStaleness != 0 && c.ReadyMaxStaleness < MinReadyStaleness:
		return fmt.Errorf("server: ReadyMaxStaleness is %v; it must be 0 or at least %v", c.ReadyMaxStaleness, MinReadyStaleness)
	case c.WriteTimeout <= 0, c.ForwardTimeout <= 0, c.RevisionTimeout <= 0, c.StatusTimeout <= 0, c.LeaderGrace <= 0:
		return errors.New("server: WriteTimeout, ForwardTimeout, RevisionTimeout, StatusTimeout and LeaderGrace must be more than 0")
	case c.MaxWatches < 1, c.MaxWatchesPerConnection < 1, c.MaxConnections < 1, c.MaxForwarded < 1, c.MaxHTTPCalls < 1, c.MaxHTTPStreams < 1:
		return errors.New("server: MaxWatches, MaxWatchesPerConnection, MaxConnections, MaxForwarded, MaxHTTPCalls and MaxHTTPStreams must be at least 1")
	case c.MaxWatchesPerConnection > math.MaxInt32-spareStreams:
		return fmt.Errorf("server: MaxWatchesPerConnection is %d; it must be at most %d", c.MaxWatchesPerConnection, math.MaxInt32-spareStreams)
	case c.WritesPerSecond < 0:
		return fmt.Errorf("server: WritesPerSecond is %d; it must be at least 0", c.WritesPerSecond)
	case c.ClientMemory < MinClientMemory:
		return fmt.Errorf("server: ClientMemory is %d; it must be at least %d", c.ClientMemory, MinClientMemory)
	case c.Logger == nil:
		return errors.New("server: Logger is required")
	}
	return nil
}
