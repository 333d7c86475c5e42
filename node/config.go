package node

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"regexp"
	"strconv"
	"time"

	"github.com/hashicorp/raft"

	"github.com/rollcallhq/rollcall/fsm"
	"github.com/rollcallhq/rollcall/raftnode"
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
	// Members is the whole cluster, this node included, identical on every node.
	Members []Member

	// Addresses to listen on, host:port. Empty means this member's own address; for HTTPListen,
	// no HTTP.
	APIListen, PeerListen, HTTPListen string

	// Insecure allows plain text beyond loopback.
	Insecure bool
	// ForceBootstrap forms a cluster without hearing from every member.
	ForceBootstrap bool

	// ReadyMaxStaleness is how long ago a leader may have been heard of while "" is SERVING; 0 asks
	// for none.
	ReadyMaxStaleness time.Duration
	// HealthListLimit is the most services that Health.List answers.
	HealthListLimit int

	// A raft snapshot is taken when SnapshotThreshold entries came since the last one, looked at
	// every SnapshotInterval; TrailingLogs entries stay for followers that are a little behind. 0:
	// raftnode's defaults.
	SnapshotInterval  time.Duration
	SnapshotThreshold uint64
	TrailingLogs      uint64

	// ScrubInterval is how long after a look at all records, in memory and in the journal, the next one
	// begins; 0: never.
	ScrubInterval time.Duration

	Version string
	Logger  *slog.Logger

	// Network carries peers and clients; TCP unless a test says otherwise.
	Network raftnode.Network
	// Faults are for tests: nil in production.
	Faults Faults
}

// Faults lets a test stand between a node and its disk.
type Faults struct {
	// StoreLogs runs before each append to the Raft log: it may wait, or fail the append.
	StoreLogs func([]*raft.Log) error
	// FlushJournal runs before each commit of the journal.
	FlushJournal func() error
	// ApplyBatch runs before each batch is folded, on the fold's goroutine.
	ApplyBatch func(*fsm.FSM)
}

// DefaultConfig returns what a production node runs with, but for its name, data and members.
func DefaultConfig() Config {
	return Config{
		ReadyMaxStaleness: 10 * time.Second,
		HealthListLimit:   100,
		ScrubInterval:     10 * time.Minute,
		Version:           "v0.1.0-dev",
		Logger:            slog.Default(),
		Network:           raftnode.TCP{},
	}
}

// maxMembers is far beyond what a Raft cluster is good for; it catches a list made by mistake.
const maxMembers = 9

var validNodeName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$`)

// Validate says in one line what is wrong; nil if nothing is.
func (c Config) Validate() error {
	if c.DataDir == "" {
		return errors.New("no data directory given")
	}
	if err := c.validateMembers(); err != nil {
		return err
	}
	self, err := c.self()
	if err != nil {
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
	switch {
	case c.ReadyMaxStaleness < 0:
		return fmt.Errorf("ready-max-staleness is %s; it must not be negative", c.ReadyMaxStaleness)
	case c.ScrubInterval < 0:
		return fmt.Errorf("scrub-interval is %s; it must not be negative", c.ScrubInterval)
	case c.HealthListLimit < 1:
		return fmt.Errorf("health-list-limit is %d; it must be at least 1", c.HealthListLimit)
	case c.Logger == nil:
		return errors.New("no logger given")
	case c.Network == nil:
		return errors.New("no network given")
	}
	return nil
}

func (c Config) validateMembers() error {
	if len(c.Members) == 0 {
		return errors.New("no members given")
	}
	if len(c.Members) > maxMembers {
		return fmt.Errorf("%d members given; at most %d are supported, and 3 or 5 are sensible", len(c.Members), maxMembers)
	}
	names := map[string]bool{}
	addresses := map[string]string{}
	for _, m := range c.Members {
		if !validNodeName.MatchString(m.Name) {
			return fmt.Errorf("member name %q: 1 to 63 of a-z, 0-9, \"-\" and \".\" are allowed, beginning and ending with a letter or digit", m.Name)
		}
		if names[m.Name] {
			return fmt.Errorf("member %s is listed twice", m.Name)
		}
		names[m.Name] = true
		for _, a := range []struct{ what, address string }{
			{"API address", m.APIAddress},
			{"peer address", m.PeerAddress},
		} {
			what := fmt.Sprintf("%s of member %s", a.what, m.Name)
			if err := c.checkAddress(what, a.address); err != nil {
				return err
			}
			if other, ok := addresses[a.address]; ok {
				return fmt.Errorf("%s, %s, is the %s too", what, a.address, other)
			}
			addresses[a.address] = what
		}
	}
	return nil
}

func (c Config) self() (Member, error) {
	for _, m := range c.Members {
		if m.Name == c.Name {
			return m, nil
		}
	}
	return Member{}, fmt.Errorf("node %q is not in the member list", c.Name)
}

func (c Config) checkAddress(what, address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%s %q is not host:port", what, address)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%s %q: port %q is not a number from 0 to 65535", what, address, port)
	}
	if !c.Insecure && !loopback(host) {
		return fmt.Errorf("%s %s is beyond loopback and its traffic would be plain text; --insecure allows it", what, address)
	}
	return nil
}

// loopback reports whether host can only mean this machine. Names other than localhost are not
// resolved: what they mean may change.
func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
