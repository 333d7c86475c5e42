package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/rollcallhq/rollcall/fsm"
	"github.com/rollcallhq/rollcall/metrics"
	"github.com/rollcallhq/rollcall/node/audit"
	"github.com/rollcallhq/rollcall/raftnode"
	"github.com/rollcallhq/rollcall/server"
	"github.com/rollcallhq/rollcall/server/connlimit"
	"github.com/rollcallhq/rollcall/server/httpserver"
	"github.com/rollcallhq/rollcall/store"
	"github.com/rollcallhq/rollcall/store/raftlog"
	"github.com/rollcallhq/rollcall/store/registry"
	"github.com/rollcallhq/rollcall/tlsport"
)

// Open starts a node. It answers reads from its own disk when Open returns, whether or not there is
// a quorum; forming a new cluster goes on in the background. When it fails it has undone what it
// did. ctx bounds opening alone.
func Open(ctx context.Context, cfg Config) (_ *Node, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	self, err := cfg.self()
	if err != nil {
		return nil, err
	}
	running, cancel := context.WithCancel(context.Background())
	n := &Node{cfg: cfg, self: self, log: cfg.Logger.With("node", cfg.Name), cancel: cancel, failed: make(chan error, 1)}
	n.metrics = metrics.New(cfg.Version)
	if cfg.RaftMetrics != nil {
		n.metrics.CollectRaft(cfg.RaftMetrics)
	}
	defer func() {
		if err != nil {
			undo, done := context.WithTimeout(context.Background(), 10*time.Second)
			defer done()
			err = errors.Join(err, n.release(undo))
		}
	}()

	n.planConnections()
	if err = n.openTLS(); err != nil {
		return nil, err
	}
	if err = n.openAdmins(); err != nil {
		return nil, err
	}
	// The ports first: a port in use must be said before anything is created.
	if n.api, err = cfg.Network.Listen(or(cfg.APIListen, self.APIAddress)); err != nil {
		return nil, fmt.Errorf("listen for the API: %w", err)
	}
	if cfg.HTTPListen != "" {
		if n.http, err = cfg.Network.Listen(cfg.HTTPListen); err != nil {
			return nil, fmt.Errorf("listen for HTTP: %w", err)
		}
	}
	if cfg.HealthListen != "" {
		if n.probes, err = cfg.Network.Listen(cfg.HealthListen); err != nil {
			return nil, fmt.Errorf("listen for probes (--health-listen): %w", err)
		}
	}
	if err = n.openAuditLog(); err != nil {
		return nil, err
	}
	if err = n.openStore(); err != nil {
		return nil, err
	}
	n.auditor = audit.New(audit.Config{Node: cfg.Name, ScrubInterval: cfg.ScrubInterval, Logger: n.log})
	n.lessor = n.newLessor()
	if err = n.openRegistry(); err != nil {
		return nil, err
	}
	n.loaded, n.loadedLogTime = time.Now(), n.fsm.LogTime()
	if n.raft, err = raftnode.Open(ctx, n.raftConfig()); err != nil {
		return nil, err
	}
	n.levels = n.newLevelMonitor()
	if n.server, err = server.New(n.serverConfig(), n.deps()); err != nil {
		return nil, err
	}
	n.metrics.Collect(n.reading)
	n.serve(running)
	return n, nil
}

func (n *Node) openStore() (err error) {
	if n.directory, err = store.OpenDirectory(n.cfg.DataDir, n.cfg.Name); err != nil {
		return err
	}
	n.directoryID = n.directory.Identity().DirectoryID
	n.raftLog, err = store.OpenLog(n.directory, raftlog.Options{Kind: raftlog.Kind(n.cfg.LogStore), OnFailure: n.fail, OnStored: n.stored, Intercept: n.cfg.Faults.StoreLogs})
	if err != nil {
		return err
	}
	if n.snapshots, err = store.OpenSnapshots(n.directory, n.log); err != nil {
		return err
	}
	return n.openRegistryFile()
}

func (n *Node) openRegistryFile() (err error) {
	n.registryFile, err = store.OpenRegistry(n.directory, n.raftLog, n.snapshots, registry.Options{
		Logger:    n.log,
		OnFailure: n.fail,
		OnFlushed: n.flushed,
		Intercept: n.cfg.Faults.FlushRegistry,
	})
	return err
}

// openRegistry loads the registry. A registry file whose records are each intact, but are not what the fold
// wrote, is rebuilt from the newest snapshot and the log. If that is not what the cluster agreed on either,
// nothing on this disk is, and the node does not start.
func (n *Node) openRegistry() (err error) {
	cfg := fsm.Config{
		RegistryFile: n.registryFile,
		Logger:       n.log,
		OnFailure:    n.fail,
		OnApplied:    n.metrics.Applied,
		OnMismatch:   n.auditor.Mismatch,
		OnLease:      n.lessor.OnLease,

		OnLeasesReplaced: n.lessor.OnLeasesReplaced,
		Intercept:        n.cfg.Faults.ApplyBatch,
		Kinds:            n.cfg.kinds(),

		MaxLevel:     n.cfg.Faults.MaxLevel,
		HashVersion:  n.cfg.Faults.HashVersion,
		CommandLevel: n.cfg.Faults.CommandLevel,
	}
	if n.fsm, err = fsm.New(cfg); errors.Is(err, fsm.ErrStateHash) {
		n.log.Error("the registry file is not what this node wrote: it is rebuilt from the newest snapshot and the log",
			"error", err)
		if err := n.directory.QuarantineRegistry(err.Error()); err != nil {
			return err
		}
		if err := n.registryFile.Close(); err != nil {
			return err
		}
		n.registryFile = nil
		if err := n.openRegistryFile(); err != nil {
			return err
		}
		cfg.RegistryFile = n.registryFile
		if n.fsm, err = fsm.New(cfg); errors.Is(err, fsm.ErrStateHash) {
			return fmt.Errorf("the newest snapshot in %s is not what the cluster agreed on: %w; "+
				"this node's data cannot be used, see docs/guarantees.md", n.cfg.DataDir, err)
		}
	}
	if err != nil {
		return fmt.Errorf("load the registry from %s: %w", n.cfg.DataDir, err)
	}
	return nil
}

// planConnections divides the files that the system lets this process have open.
func (n *Node) planConnections() {
	want := connlimit.Connections{API: n.cfg.MaxConnections, Peer: raftnode.DefaultConfig().MaxPeerConnections, HTTP: n.cfg.MaxHTTPConnections}
	if n.cfg.TLS.Mode != tlsport.Off {
		want.Handshakes = tlsport.MaxHandshakes * 11 / 8 // three of them have been answered
	}
	files := connlimit.MaxFiles()
	n.connections = connlimit.Plan(files, want)
	if n.connections != want {
		n.log.Warn("the system's limit on open files leaves fewer connections than are allowed; raise it (ulimit -n)", "open_files", files,
			"max_connections", want.API, "connections", n.connections.API,
			"max_http_connections", want.HTTP, "http_connections", n.connections.HTTP, "peer_connections", n.connections.Peer)
	}
}

func (n *Node) raftConfig() raftnode.Config {
	cfg := raftnode.DefaultConfig()
	cfg.Node = n.cfg.Name
	for _, m := range n.cfg.Members {
		cfg.Members = append(cfg.Members, raftnode.Member(m))
	}
	cfg.Join, cfg.Replica = n.cfg.Join, n.cfg.Replica
	cfg.PeerAddress, cfg.APIAddress = n.self.PeerAddress, n.self.APIAddress
	cfg.PeerListen = n.cfg.PeerListen
	cfg.ForceBootstrap = n.cfg.ForceBootstrap
	cfg.Version = n.cfg.Version
	cfg.Directory = n.directory
	cfg.Log = n.raftLog
	cfg.Snapshots = n.snapshots
	cfg.FSM = n.fsm
	cfg.State = n.fsm
	cfg.Network = n.cfg.Network
	cfg.TLS, cfg.CertificateNames = n.tls.peer, n.cfg.TLS.names()
	cfg.SnapshotInterval = cmp.Or(n.cfg.SnapshotInterval, cfg.SnapshotInterval)
	cfg.SnapshotThreshold = cmp.Or(n.cfg.SnapshotThreshold, cfg.SnapshotThreshold)
	cfg.TrailingLogs = cmp.Or(n.cfg.TrailingLogs, cfg.TrailingLogs)
	cfg.RequestIDs = n.cfg.RequestIDs
	cfg.MaxPeerConnections = n.connections.Peer
	cfg.FastFailover = n.cfg.FastFailover
	cfg.CommitTimeout = cmp.Or(n.cfg.Faults.CommitTimeout, cfg.CommitTimeout)
	cfg.Now = n.cfg.Now
	cfg.Logger = n.cfg.Logger
	cfg.OnEntry = n.metrics.Committed
	cfg.Congested = n.registryFile.Congested
	cfg.Stuck = func() bool { return n.raftLog.WritingFor() > stuckDisk }
	cfg.OnFailure = n.fail
	return cfg
}

func (n *Node) serverConfig() server.Config {
	cfg := server.DefaultConfig()
	cfg.Node = n.cfg.Name
	cfg.Version = n.cfg.Version
	cfg.StartTime = time.Now()
	cfg.HealthListLimit = n.cfg.HealthListLimit
	cfg.MaxWatches = n.cfg.MaxWatches
	cfg.MaxWatchesPerConnection = n.cfg.MaxWatchesPerConnection
	cfg.MaxConnections = n.connections.API
	cfg.ClientMemory = n.cfg.ClientMemory
	cfg.ReadyMaxStaleness = n.cfg.ReadyMaxStaleness
	cfg.OnWrite = n.metrics.Wrote
	cfg.OnLinearizableRead = n.metrics.ReadLinearizable
	cfg.Logger = n.cfg.Logger
	cfg.TLS = n.tls.api
	cfg.LoopbackOnly = n.cfg.loopbackOnly(n.self)
	cfg.StaticAdmins = n.admins
	cfg.MaxHTTPCalls = max(1, n.connections.HTTP*3/4) // the others are for probes
	cfg.MaxHTTPStreams = max(1, n.connections.HTTP/2)
	cfg.WebWrites, cfg.KnownHost = n.cfg.WebWrites, n.knownHost
	cfg.Audit, cfg.WritesPerSecond = n.auditLog, n.cfg.WritesPerSecond
	return cfg
}

// maxProbeConnections is plenty for probes; at the limit a new connection takes the place of the oldest.
const maxProbeConnections = 64

// serve starts what answers others, and what this member does by itself.
func (n *Node) serve(ctx context.Context) {
	n.wg.Go(func() {
		if err := n.server.Serve(n.api, n.raft.PeerListener()); err != nil {
			n.fail(err)
		}
	})
	if n.http != nil {
		n.httpServer = httpserver.New(n.httpHandler(), n.connections.HTTP, n.log.With("port", "http"))
		n.wg.Go(func() {
			if err := n.httpServer.Serve(n.secured(n.http)); !errors.Is(err, http.ErrServerClosed) {
				n.fail(err)
			}
		})
	}
	if n.probes != nil {
		n.probePort = httpserver.NewHTTP2(n.server.ProbeHandler(), maxProbeConnections, n.log.With("port", "health"))
		n.wg.Go(func() {
			if err := n.probePort.Serve(n.probes); !errors.Is(err, http.ErrServerClosed) {
				n.fail(err)
			}
		})
	}
	n.runTLS(ctx)
	n.wg.Go(func() { n.announce(ctx) })
	leaders := &leaderLog{log: n.log, raft: n.raft}
	n.wg.Go(func() { leaders.run(ctx) })
	n.wg.Go(func() { n.auditor.Run(ctx, n.auditParts()) })
	n.wg.Go(func() { n.newCompactor().Run(ctx) })
	n.wg.Go(func() { n.levels.Run(ctx) })
	n.wg.Go(func() { n.newExpirer().Run(ctx) })
	n.wg.Go(func() { n.lessor.Run(ctx) })
}
