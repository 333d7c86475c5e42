package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"

	"github.com/rollcallhq/rollcall/cmd/rollcall/ballast"
	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
	"github.com/rollcallhq/rollcall/cmd/rollcall/devcluster"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
	"github.com/rollcallhq/rollcall/cmd/rollcall/servicemanager"
	"github.com/rollcallhq/rollcall/metrics"
	"github.com/rollcallhq/rollcall/node"
)

// shutdownTimeout bounds the orderly end of a node, after --drain-delay. It is well below the 30 s
// after which Kubernetes kills.
const shutdownTimeout = 10 * time.Second

// installRaftMetrics is called once in a process: raft reports its metrics to one place.
var installRaftMetrics = sync.OnceValues(metrics.InstallRaft)

type serveFlags struct {
	node           node.Config
	members        cliflag.Members
	tls            nodeTLS
	log            logFlags
	exitWithParent bool
}

func newServeCommand(a *app) *cobra.Command {
	s := serveFlags{node: node.DefaultConfig()}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run one node of a cluster",
		Long: `Runs one node of a cluster until SIGTERM or SIGINT. The first signal ends it in order, a second one at
once. Its log goes to standard error.

Give --member once for each node of the cluster, this one too, and the same list to every node.
host=HOST means the ports 7600 (API) and 7601 (peers). A new cluster forms when every member has
answered. In ROLLCALL_MEMBER, separate members by spaces.

A node that is added to a cluster that runs, or that replaces a member, has an empty data directory, and
--join with the peer addresses of one or more members instead of --member. It waits, and its log says which
command makes it a member. What it knows of the members from then on stands in its data directory: --join,
like --member, is only where it looks for them first.

With --tls, members and clients talk over TLS 1.3: see docs/security.md. Without, traffic is plain text, and
addresses beyond loopback need --insecure.`,
		Example: `  rollcall serve --node n1 --data /var/lib/rollcall --insecure \
    --member n1,host=10.0.0.1 --member n2,host=10.0.0.2 --member n3,host=10.0.0.3
  rollcall serve --node n4 --data /var/lib/rollcall --insecure --join 10.0.0.1:7601,10.0.0.2:7601 \
    --advertise-api 10.0.0.4:7600 --advertise-peer 10.0.0.4:7601`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := s.config(a.stderr)
			if err != nil {
				return err
			}
			hangups := handleHangups(cfg.Logger.With("node", cfg.Name))
			defer hangups.stop()
			if cfg.RaftMetrics, err = installRaftMetrics(); err != nil {
				return stopped(cfg.Name, err)
			}
			ctx, cancel := context.WithCancel(cmd.Context())
			defer cancel()
			if s.exitWithParent {
				devcluster.EndWithParent(a.stdin, cancel)
			}
			return a.serve(ctx, cfg, hangups)
		},
	}
	f := cmd.Flags()
	f.StringVar(&s.node.Name, "node", "", "name of this node; one of the members, or with --join its own")
	f.StringVar(&s.node.DataDir, "data", "", "`directory` of this node's data; made if missing")
	f.StringVar(&s.node.LogStore, "log-store", "", logStoreUsage)
	f.Var(&s.members, "member", "a `member`: NAME,host=HOST or NAME,api=HOST:PORT,peer=HOST:PORT; once for each")
	cliflag.ListVarP(f, &s.node.Join, "join", "", nil, "wait to be made a member of the cluster that has a member at this peer `address`; comma separated or repeated: at any of them; instead of --member")
	f.StringVar(&s.node.AdvertiseAPI, "advertise-api", "", "with --join: `address` at which clients find this node")
	f.StringVar(&s.node.AdvertisePeer, "advertise-peer", "", "with --join: `address` at which other nodes find this node")
	f.BoolVar(&s.node.Replica, "replica", false, "with --join: this node shall never vote; it answers reads, and forwards changes")
	f.StringVar(&s.node.APIListen, "api-listen", "", "`address` to serve clients on (default: this member's API address)")
	f.StringVar(&s.node.PeerListen, "peer-listen", "", "`address` to serve other nodes on (default: this member's peer address)")
	f.StringVar(&s.node.HTTPListen, "http", "", "`address` to serve HTTP on (default: none)")
	f.StringVar(&s.node.HealthListen, "health-listen", "", "`address` to serve gRPC probes of this node on, in plain text also with --tls: Check of \"\" and of the names that begin with rollcall., nothing else (default: none)")
	f.BoolVar(&s.node.WebWrites, "web-writes", false, "let callers over HTTP without a token or a certificate change something; only with --http on this machine alone, whose programs and users may then")
	cliflag.ListVarP(f, &s.node.HTTPHosts, "http-host", "", nil, "a `name` by which browsers call this node, besides those of the members and of its certificate; comma separated or repeated")
	cliflag.PrefixesVar(f, &s.node.MetricServices, "metric-services", "a sample in /metrics for each service whose name begins with this `prefix`, 1000 services at most; comma separated or repeated: with any of them")
	f.BoolVar(&s.node.Web, "web", false, "serve the page under /ui/ of --http, where a browser shows the services, events and nodes")
	f.BoolVar(&s.node.Pprof, "pprof", false, "serve Go's profiles under /debug/pprof/ of --http; they show what is in memory")
	s.tls.register(a, cmd)
	cliflag.ListVarP(f, &s.node.AdminIdentities, "admin-identity", "", nil, "with --tls: who shows a certificate with this `identity`, cert:NAME, may do everything through this node, whatever the cluster has stored; comma separated or repeated")
	f.StringVar(&s.node.AdminTokenFile, "admin-token-file", "", "`file` with a token, or the SHA-256 of its secret in hexadecimal: who shows that token may do everything through this node, whatever the cluster has stored; read again at SIGHUP")
	f.BoolVar(&s.node.Insecure, "insecure", false, "allow plain text beyond loopback")
	f.BoolVar(&s.node.ForceBootstrap, "force-bootstrap", false, "form a new cluster although some members do not answer; acknowledged writes are lost if one of them had data")
	cliflag.DurationVar(f, &s.node.ReadyMaxStaleness, "ready-max-staleness", s.node.ReadyMaxStaleness, `how long ago a leader may have been confirmed by a quorum while "" is SERVING; 0: not asked`)
	f.IntVar(&s.node.HealthListLimit, "health-list-limit", s.node.HealthListLimit, "most services that List of grpc.health.v1 answers")
	f.IntVar(&s.node.RequestIDs, "request-ids", s.node.RequestIDs, "how many request ids are remembered while this node leads, for ten minutes at most; a batch of n changes counts n")
	f.IntVar(&s.node.HistoryEvents, "history-events", s.node.HistoryEvents, "how many events are kept while this node leads; the newest event of each service is always kept")
	f.Uint32Var(&s.node.HoldLevel, "hold-level", s.node.HoldLevel, "do not let the cluster's feature level rise above this one, so that a downgrade stays possible; 0: it rises by itself")
	cliflag.DurationVar(f, &s.node.HistoryAge, "history-age", s.node.HistoryAge, "how long events are kept while this node leads, as 30d; 0: no limit")
	f.IntVar(&s.node.MaxWatches, "max-watches", s.node.MaxWatches, "most watches open on this node")
	f.IntVar(&s.node.MaxWatchesPerConnection, "max-watches-per-connection", s.node.MaxWatchesPerConnection, "most watches open on one connection")
	f.IntVar(&s.node.MaxConnections, "max-connections", s.node.MaxConnections, "most connections of clients")
	f.IntVar(&s.node.MaxHTTPConnections, "max-http-connections", s.node.MaxHTTPConnections, "most connections to the HTTP port")
	f.Var(cliflag.Bytes(&s.node.ClientMemory), "client-memory", "most `memory` held for clients besides watches: a quarter each for unfinished requests, streams, answers and changes, of which one connection has a quarter")
	f.StringVar(&s.node.AuditLog, "audit-log", "", "`file` that gets a line of JSON for each change, and for each call that is refused because of who the caller is; made if missing (default: none)")
	f.IntVar(&s.node.WritesPerSecond, "writes-per-second", s.node.WritesPerSecond, "most changes that one identity, or one address without an identity, makes in a second over this node; a batch of n changes counts n; 0: no limit")
	cliflag.DurationVar(f, &s.node.DrainDelay, "drain-delay", s.node.DrainDelay, "when told to stop, say NOT_SERVING and answer reads for this long, so that balancers leave first")
	cliflag.DurationVar(f, &s.node.ScrubInterval, "scrub-interval", s.node.ScrubInterval, "pause between two checks of all records, in memory and on disk; 0: no checks")
	f.IntVar(&s.node.LeaseGuardMin, "lease-guard-min", s.node.LeaseGuardMin, "fewest leases for which the lease guard engages while this node leads")
	f.IntVar(&s.node.LeaseGuardPercent, "lease-guard-percent", s.node.LeaseGuardPercent, "when more than so many percent of the leases are late, none expires; 100: the lease guard never engages")
	cliflag.DurationVar(f, &s.node.LeaseGuardMax, "lease-guard-max", s.node.LeaseGuardMax, "how long the lease guard holds leases at most")
	f.BoolVar(&s.node.FastFailover, "fast-failover", s.node.FastFailover, "stand for election as soon as the leader's process has ended; off: wait for raft's timeout")
	f.Lookup("fast-failover").Hidden = true // to compare the two
	a.complete(cmd, "log-store", node.LogStores()...)
	s.log.register(a, cmd, "info")
	f.BoolVar(&s.exitWithParent, "exit-with-parent", false, "end when standard input does")
	f.Lookup("exit-with-parent").Hidden = true
	cliflag.NotEmpty(f, "admin-identity", "admin-token-file")
	f.SetAnnotation("data", cobra.BashCompSubdirsInDir, nil)
	return cmd
}

func (s *serveFlags) config(stderr io.Writer) (node.Config, error) {
	cfg := s.node
	var missing []string
	for _, required := range []struct {
		flag  string
		given bool
	}{
		{"--node", cfg.Name != ""},
		{"--data", cfg.DataDir != ""},
		{"--member or --join", len(s.members) > 0 || len(cfg.Join) > 0},
	} {
		if !required.given {
			missing = append(missing, required.flag)
		}
	}
	if len(missing) > 0 {
		return cfg, withNext(invalid("serve needs %s", strings.Join(missing, ", ")), `see "rollcall serve --help"; a cluster to try things on: "rollcall dev"`)
	}
	logger, err := s.log.logger(stderr)
	if err != nil {
		return cfg, err
	}
	cfg.Members = s.members
	if cfg.TLS, err = s.tls.read(); err != nil {
		return cfg, err
	}
	cfg.Version = buildVersion()
	cfg.Logger = logger
	if err := cfg.Validate(); err != nil {
		return cfg, invalid("%w", err)
	}
	if advice := evenAdvice(len(cfg.Members)); len(cfg.Members) > 0 && advice != "" {
		logger.Warn(advice, "node", cfg.Name)
	}
	return cfg, nil
}

// serve runs a node until ctx ends or it fails.
func (a *app) serve(ctx context.Context, cfg node.Config, hangups *hangups) error {
	defer runtime.KeepAlive(ballast.New())
	n, err := node.Open(ctx, cfg)
	if err != nil {
		if ctx.Err() != nil {
			return nil // asked to end before it had begun
		}
		return stopped(cfg.Name, err)
	}
	hangups.node.Store(n)
	fmt.Fprintln(a.stdout, servingLine(cfg, n.APIAddress(), n.PeerAddress(), n.HTTPAddress(), n.HealthAddress()))
	notifier := servicemanager.Start(n, cfg.Logger.With("node", cfg.Name))
	var failed error
	select {
	case <-ctx.Done():
	case failed = <-n.Failed():
		if failed == nil {
			failed = errors.New("it ended without a reason")
		}
	}
	notifier.Stop()
	err = closeNode(n, cfg.DrainDelay)
	switch {
	case failed != nil:
		return stopped(cfg.Name, failed)
	case err != nil:
		return stopped(cfg.Name, fmt.Errorf("not in order: %w", err))
	}
	return nil
}

// closeNode ends n in order, or gives up: a process that does not end keeps its ports and its data from the
// next one.
func closeNode(n *node.Node, drainDelay time.Duration) error {
	const grace = 2 * time.Second // for Close to notice that its time is over
	timeout := shutdownTimeout + drainDelay
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	closed := make(chan error, 1) // room for one: nobody may be left to receive it
	go func() { closed <- n.Close(ctx) }()
	late := time.NewTimer(timeout + grace)
	defer late.Stop()
	select {
	case err := <-closed:
		return err
	case <-late.C:
		return fmt.Errorf("it did not end within %s", timeout+grace)
	}
}

func servingLine(cfg node.Config, api, peer, http, health string) string {
	line := fmt.Sprintf("%s serving: api %s peer %s", cfg.Name, api, peer)
	if cfg.HTTPListen != "" {
		line += " http " + http
	}
	if cfg.HealthListen != "" {
		line += " health " + health
	}
	return line
}

func stopped(name string, err error) *failure {
	exit := exitNotDone
	if node.Removed(err) {
		exit = exitRemoved // no start changes that
	}
	return &failure{
		exit:   exit,
		code:   codes.Aborted,
		reason: reasonNodeStopped,
		err:    fmt.Errorf("node %s stopped: %w", name, err),
	}
}

// logFlags choose what is logged and how.
type logFlags struct {
	level  string
	format string
}

var (
	logLevels  = []string{"debug", "info", "warn", "error"}
	logFormats = []string{"text", "json"}
)

func (l *logFlags) register(a *app, cmd *cobra.Command, level string) {
	cmd.Flags().StringVar(&l.level, "log-level", level, "least level to log: debug, info, warn or error")
	cmd.Flags().StringVar(&l.format, "log-format", "text", "format of the log: text or json")
	a.complete(cmd, "log-level", logLevels...)
	a.complete(cmd, "log-format", logFormats...)
}

func (l *logFlags) logger(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(l.level)); err != nil {
		return nil, invalid("--log-level is %q; use %s", l.level, format.Alternatives(logLevels))
	}
	o := &slog.HandlerOptions{Level: level}
	switch l.format {
	case "text":
		return slog.New(slog.NewTextHandler(w, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, o)), nil
	}
	return nil, invalid("--log-format is %q; use %s", l.format, format.Alternatives(logFormats))
}

// evenAdvice returns a warning if the number of members is even: the last one tolerates no more failures.
func evenAdvice(n int) string {
	if n%2 == 1 {
		return ""
	}
	return fmt.Sprintf("%d members survive as few failures as %d: %d; use an odd number", n, n-1, (n-1)/2)
}

var logStoreUsage = fmt.Sprintf("where a new data directory keeps the raft log: %s (default: %s); an existing one keeps it where it does",
	strings.Join(node.LogStores(), " or "), node.DefaultLogStore)
