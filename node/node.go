package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/rollcallhq/rollcall/fsm"
	"github.com/rollcallhq/rollcall/metrics"
	"github.com/rollcallhq/rollcall/node/audit"
	"github.com/rollcallhq/rollcall/node/featurelevel"
	"github.com/rollcallhq/rollcall/node/lessor"
	"github.com/rollcallhq/rollcall/raftnode"
	"github.com/rollcallhq/rollcall/server"
	"github.com/rollcallhq/rollcall/server/auditlog"
	"github.com/rollcallhq/rollcall/server/authn"
	"github.com/rollcallhq/rollcall/server/connlimit"
	"github.com/rollcallhq/rollcall/server/httpserver"
	"github.com/rollcallhq/rollcall/store"
	"github.com/rollcallhq/rollcall/store/raftlog"
	"github.com/rollcallhq/rollcall/store/registry"
	"github.com/rollcallhq/rollcall/store/snapshot"
)

// Node is one running member.
type Node struct {
	cfg  Config
	self Member
	log  *slog.Logger

	directory    *store.Directory
	directoryID  string // of directory
	raftLog      *raftlog.Log
	snapshots    *snapshot.Store
	registryFile *registry.File
	fsm          *fsm.FSM
	// loadedLogTime is the log's time when the registry was loaded.
	loaded        time.Time
	loadedLogTime int64

	raft   *raftnode.Node
	server *server.Server

	auditLog                  *auditlog.Log // nil: none
	metrics                   *metrics.Metrics
	slowAppends, fullBacklogs notice

	tls        securePorts
	admins     *authn.Static
	api, http  net.Listener
	httpServer *httpserver.Server
	probes     net.Listener // for probes in plain text; nil: none
	probePort  *httpserver.Server
	// connections are the most of each port.
	connections connlimit.Connections

	auditor *audit.Auditor
	levels  *featurelevel.Monitor
	lessor  *lessor.Lessor

	confirmations confirmations

	cancel context.CancelFunc // ends what wg waits for
	wg     sync.WaitGroup

	failOnce sync.Once
	failed   chan error // capacity 1: the first reason to stop, kept until somebody asks

	closeOnce sync.Once
	closeErr  error
}

// Failed receives the reason, once, when the node can no longer do its work: Close it and end the
// process.
func (n *Node) Failed() <-chan error { return n.failed }

// fail may be called from anywhere, raft's goroutines included.
func (n *Node) fail(err error) {
	n.failOnce.Do(func() {
		n.log.Error("this node must stop", "error", err)
		n.failed <- err
	})
}

// Close stops the node in the order that clients notice least: admit no changes, say so to
// balancers, hand leadership over, answer reads until DrainDelay is over, end watches, leave raft,
// store what is in memory. ctx bounds it; what did not stop in time is in the error. Later calls
// return the first one's.
func (n *Node) Close(ctx context.Context) error {
	n.closeOnce.Do(func() {
		begun := time.Now()
		delay := time.NewTimer(n.cfg.DrainDelay)
		defer delay.Stop()
		n.server.BeginDrain()
		if s := n.raft.Status(); s.Leading && len(s.Voters) > 1 {
			n.handOver(ctx)
		}
		if n.fsm.Halted() == nil { // else it has no answers that are worth staying for
			select {
			case <-delay.C:
			case <-ctx.Done():
			}
		}
		n.closeErr = n.release(ctx)
		took := time.Since(begun).Round(time.Millisecond).String()
		if n.closeErr != nil {
			n.log.Error("stopped, but not in order", "took", took, "error", n.closeErr)
		} else {
			n.log.Info("stopped in order", "took", took)
		}
	})
	return n.closeErr
}

// handOver makes another member lead, if there is one.
func (n *Node) handOver(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	switch err := n.raft.TransferLeadership(ctx); {
	case errors.Is(err, raftnode.ErrNoSuccessor):
		n.log.Warn("no other member can be reached: without this node changes wait until a majority runs again")
	case err != nil:
		n.log.Warn("leadership was not handed over: changes wait about a second, until the other members have elected", "error", err)
	}
}

// httpGrace is how long answers over HTTP have to leave once all are made.
const httpGrace = time.Second

// release closes whatever is open, in reverse order of opening but for the server, which still
// answers while leadership is handed over.
func (n *Node) release(ctx context.Context) error {
	n.cancel()
	var errs []error
	closing := func(what string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("close %s: %w", what, err))
		}
	}
	if n.httpServer == nil && n.http != nil {
		closing("HTTP", n.http.Close())
	}
	if n.probePort != nil {
		closing("the port for probes", n.probePort.Close())
	} else if n.probes != nil {
		closing("the port for probes", n.probes.Close())
	}
	if n.server != nil {
		closing("the server", n.server.Stop(ctx))
	} else if n.api != nil {
		closing("the API listener", n.api.Close())
	}
	if n.httpServer != nil {
		// After the server, which has ended all requests to the API: their answers leave.
		leaving, cancel := context.WithTimeout(ctx, httpGrace)
		closing("HTTP", n.httpServer.Shutdown(leaving))
		cancel()
	}
	if n.auditLog != nil {
		closing("the audit log", n.auditLog.Close(ctx))
	}
	if n.raft != nil {
		if err := n.raft.Close(); err != nil {
			// Raft may still use what lies below: better left open than pulled away.
			closing("raft", err)
			return errors.Join(errs...)
		}
	}
	n.wg.Wait()
	if n.fsm != nil {
		closing("the registry", n.fsm.Close())
	}
	if n.registryFile != nil {
		closing("the registry file", n.registryFile.Close())
	}
	if n.raftLog != nil {
		closing("the log", n.raftLog.Close())
	}
	if n.directory != nil {
		closing("the data directory", n.directory.Close())
	}
	return errors.Join(errs...)
}

// OpenWatches is how many watches of clients are open now.
func (n *Node) OpenWatches() int { return n.server.OpenWatches() }

// APIAddress is where clients connect.
func (n *Node) APIAddress() string { return n.api.Addr().String() }

// ReadIndexRounds is how many read-index rounds this node has made.
func (n *Node) ReadIndexRounds() int64 { return n.server.ReadIndexRounds() }

// HTTPAddress is where /livez, /readyz and /metrics are; "" without HTTP.
func (n *Node) HTTPAddress() string {
	if n.http == nil {
		return ""
	}
	return n.http.Addr().String()
}

// HealthAddress is where probes in plain text are answered; "" without Config.HealthListen.
func (n *Node) HealthAddress() string {
	if n.probes == nil {
		return ""
	}
	return n.probes.Addr().String()
}

// PeerAddress is where other members connect.
func (n *Node) PeerAddress() string { return or(n.cfg.PeerListen, n.self.PeerAddress) }

// DialPeer connects to what the named member serves to other members, as this one.
func (n *Node) DialPeer(ctx context.Context, name string) (net.Conn, error) {
	return n.raft.DialPeer(ctx, name)
}

// HashStats counts the comparisons of state hashes since the node was opened.
func (n *Node) HashStats() fsm.HashStats { return n.fsm.HashStats() }
