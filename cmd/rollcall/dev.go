package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
	"github.com/rollcallhq/rollcall/cmd/rollcall/devcluster"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
	"github.com/rollcallhq/rollcall/web"
)

// devConfig is the configuration of a dev cluster.
type devConfig struct {
	nodes       int
	nodesChosen bool // false: data that are there decide the number
	data        string
	basePort    int
	fresh       bool
	tls         bool
	auth        bool // with tls
	logLevel    string

	restart      time.Duration // pause before a node that died is started again; 0: it is not
	readyTimeout time.Duration // how long the cluster may take to be ready before we say so and go on
	stopTimeout  time.Duration // how long a node may take to end
	command      func(args []string) *exec.Cmd
}

func newDevCommand(a *app) *cobra.Command {
	cfg := devConfig{
		restart:      5 * time.Second,
		readyTimeout: 30 * time.Second,
		stopTimeout:  shutdownTimeout + 4*time.Second,
	}
	var noRestart bool
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a whole cluster on this machine, to try things",
		Long: `Runs a cluster on this machine until Ctrl-C, each node in a process of its own. Node i serves its API on
port base-port + 10 (i - 1), other nodes on the next port, HTTP on the one after. The other commands ask
the first three nodes if you give no --endpoints.

Kill a node to see that the others go on. It is started again after 5 s. All nodes end when this command
ends. The data stay in --data and are used again; --fresh removes them first.

With --tls every port speaks TLS, with certificates that are made in tls/ of the data. With --auth access
is enforced, too: admin.token in the data is the token of an administrator, and everybody else may only
read. What you need to call the nodes is printed.`,
		Example: `  rollcall dev
  rollcall dev --auth
  rollcall dev --nodes 5 --fresh`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			self, err := os.Executable()
			if err != nil {
				return devFailure(fmt.Errorf("find this program: %w", err))
			}
			cfg.command = func(args []string) *exec.Cmd { return exec.Command(self, args...) }
			cfg.tls = cfg.tls || cfg.auth
			cfg.nodesChosen = cmd.Flags().Lookup("nodes").Changed
			if noRestart {
				cfg.restart = 0
			}
			ctx, stop := endAtHangup(cmd.Context())
			defer stop()
			return a.dev(ctx, cfg)
		},
	}
	f := cmd.Flags()
	f.IntVar(&cfg.nodes, "nodes", 3, "how many nodes, 1 to 9")
	f.StringVar(&cfg.data, "data", "./rollcall-dev", "`directory` of the data; made if missing")
	f.IntVar(&cfg.basePort, "base-port", 7600, "API `port` of the first node")
	f.BoolVar(&cfg.fresh, "fresh", false, "remove the data of an earlier run first")
	f.BoolVar(&cfg.tls, "tls", false, "TLS on all ports of the nodes")
	f.BoolVar(&cfg.auth, "auth", false, "enforce access, with a token of an administrator in the data; implies --tls")
	f.BoolVar(&noRestart, "no-restart", false, "leave a node that died dead")
	f.StringVar(&cfg.logLevel, "log-level", "warn", "least level of the nodes' logs to show: debug, info, warn or error")
	a.complete(cmd, "log-level", logLevels...)
	cliflag.FlagOnly(f, "data", "fresh", "tls", "auth") // ROLLCALL_DATA and ROLLCALL_TLS are of one node
	cliflag.NotEmpty(f, "data")
	f.SetAnnotation("data", cobra.BashCompSubdirsInDir, nil)
	return cmd
}

// devFailure is the failure of a dev cluster that cannot start.
func devFailure(err error) *failure {
	return &failure{exit: exitNotDone, code: codes.FailedPrecondition, reason: reasonDev, err: err}
}

func (a *app) dev(ctx context.Context, cfg devConfig) error {
	if _, err := (&logFlags{level: cfg.logLevel, format: "text"}).logger(a.stderr); err != nil {
		return err
	}
	if cfg.nodes < 1 || cfg.nodes > devcluster.MaxNodes {
		return invalid("--nodes is %d; use 1 to %d, 3 or 5 for choice", cfg.nodes, devcluster.MaxNodes)
	}
	dir, err := devcluster.OpenDirectory(cfg.data)
	if err != nil {
		return devFailure(err)
	}
	defer dir.Close()
	if there := dir.Nodes(); there != 0 && there != cfg.nodes && !cfg.fresh {
		if cfg.nodesChosen {
			return devFailure(fmt.Errorf("%s holds a cluster of %d nodes; use --nodes %d, or --fresh to begin anew", cfg.data, there, there))
		}
		cfg.nodes = there
	}
	if last := devcluster.LastPort(cfg.nodes, cfg.basePort); cfg.basePort < 1 || last > 65535 {
		return invalid("--base-port is %d; with %d nodes, use 1 to %d", cfg.basePort, cfg.nodes, 65535-(last-cfg.basePort))
	}
	nodes := devcluster.Nodes(cfg.nodes, cfg.basePort)
	if err := devcluster.CheckPorts(nodes); err != nil {
		return devFailure(err)
	}
	if err := dir.Begin(cfg.nodes, cfg.basePort, cfg.fresh); err != nil {
		return devFailure(err)
	}
	if err := beginDevAuth(cfg); err != nil {
		return devFailure(err)
	}
	if cfg.tls {
		if err := makeDevTLS(cfg, nodes, a.now()); err != nil {
			return devFailure(err)
		}
	}
	return a.runDev(ctx, cfg, nodes)
}

// serveArguments returns the command line of a node. It gives every flag that dev decides, also those that
// have their default: the children see our environment variables.
func serveArguments(cfg devConfig, self devcluster.Node, nodes []devcluster.Node) ([]string, error) {
	data, err := filepath.Abs(filepath.Join(cfg.data, self.Name))
	if err != nil {
		return nil, err
	}
	args := []string{
		"serve", "--exit-with-parent", "--node", self.Name, "--data", data,
		"--api-listen", self.APIAddress, "--peer-listen", self.PeerAddress, "--http", self.HTTPAddress, "--web", "--web-writes",
		"--force-bootstrap=false", "--log-level", cfg.logLevel,
	}
	secure, err := devTLSArguments(cfg, self.Name)
	if err != nil {
		return nil, err
	}
	args = append(args, secure...)
	for _, n := range nodes {
		args = append(args, "--member", fmt.Sprintf("%s,api=%s,peer=%s", n.Name, n.APIAddress, n.PeerAddress))
	}
	return args, nil
}

func (a *app) runDev(parent context.Context, cfg devConfig, nodes []devcluster.Node) error {
	ctx, cancel := context.WithCancel(parent)
	defer cancel()
	var (
		out     = &devOutput{app: a, restart: cfg.restart}
		logs    = devcluster.NewBlockedWriter(a.stderr) // until the table of nodes is printed
		tried   sync.WaitGroup                          // the first start of each
		running sync.WaitGroup
	)
	if cfg.tls {
		files, err := cfg.devFiles("")
		if err != nil {
			return devFailure(err)
		}
		out.ca = files.CA[0]
	}
	token, err := cfg.devToken()
	if err != nil {
		return devFailure(err)
	}
	out.token = token
	processes, first := make([]*devcluster.Process, len(nodes)), make([]func(), len(nodes))
	for i, n := range nodes {
		args, err := serveArguments(cfg, n, nodes)
		if err != nil {
			return devFailure(err)
		}
		tried.Add(1)
		first[i] = sync.OnceFunc(tried.Done)
		processes[i] = &devcluster.Process{
			Node:        n,
			Command:     func() *exec.Cmd { return cfg.command(args) },
			Logs:        logs,
			PIDFile:     filepath.Join(cfg.data, n.Name+".pid"),
			Restart:     cfg.restart,
			StopTimeout: cfg.stopTimeout,
			Notify: func(e devcluster.Event) {
				out.event(e)
				first[i]()
			},
		}
	}
	begin := a.now()
	for i, p := range processes {
		running.Go(func() {
			defer first[i]() // in case it was never tried
			p.Supervise(ctx)
		})
	}
	tried.Wait()
	out.nodes(describe(processes))
	logs.Release()
	allEnded := make(chan struct{})
	go func() {
		running.Wait()
		close(allEnded)
	}()

	err = awaitDev(ctx, cfg, nodes)
	if parent.Err() == nil {
		out.ready(describe(processes), cfg.data, a.now().Sub(begin), err)
	}
	select {
	case <-parent.Done():
	case <-allEnded:
	}
	if parent.Err() == nil {
		return devFailure(errors.New("all nodes have ended; what they said is above"))
	}
	out.stopping()
	<-allEnded
	out.stopped(cfg.data)
	return nil
}

func describe(processes []*devcluster.Process) []devcluster.Node {
	nodes := make([]devcluster.Node, len(processes))
	for i, p := range processes {
		nodes[i] = p.Describe()
	}
	return nodes
}

// devClient calls the nodes with the token of a file; "": without one.
func devClient(cfg devConfig, nodes []devcluster.Node, token string) (*client.Client, error) {
	a := app{endpoints: devEndpoints(nodes), tokenFile: token}
	if cfg.tls {
		files, err := cfg.devFiles("")
		if err != nil {
			return nil, err
		}
		a.tls = files
	}
	return a.dial()
}

func devEndpoints(nodes []devcluster.Node) []string {
	endpoints := make([]string, len(nodes))
	for i, n := range nodes {
		endpoints[i] = n.APIAddress
	}
	return endpoints
}

// devOutput prints what happens to a dev cluster: lines for people, or a JSON object a line.
type devOutput struct {
	app     *app
	restart time.Duration // pause before a node that ended is started again; 0: it is not
	ca      string        // file of the CA, with TLS
	token   string        // file of the administrator's token, if it is there

	mu     sync.Mutex     // guards what follows and the app's standard output
	starts map[string]int // by node
}

func (o *devOutput) event(e devcluster.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.app.forPrograms() {
		o.app.printJSONLine(e)
		return
	}
	switch e.Event {
	case "started":
		if o.starts == nil {
			o.starts = map[string]int{}
		}
		o.starts[e.Node]++
		if o.starts[e.Node] > 1 { // the table shows the first
			fmt.Fprintf(o.app.stdout, "%s is back: pid %d\n", e.Node, e.PID)
		}
	case "ended":
		line := e.Node
		if e.PID != 0 {
			line += fmt.Sprintf(" (pid %d)", e.PID)
		}
		line += " ended: " + e.Reason
		if o.restart > 0 {
			line += fmt.Sprintf("; it is started again in %s", o.restart)
		}
		fmt.Fprintln(o.app.stdout, line)
	}
}

// nodes prints what was started. Programs have read it in the events.
func (o *devOutput) nodes(nodes []devcluster.Node) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.app.forPrograms() {
		return
	}
	format.Table(o.app.stdout, func(row func(...string)) {
		row("NODE", "PID", "API", "PEER", "HTTP")
		for _, n := range nodes {
			pid := "-"
			if n.PID != 0 {
				pid = fmt.Sprint(n.PID)
			}
			row(n.Name, pid, n.APIAddress, n.PeerAddress, n.HTTPAddress)
		}
	})
}

// ready prints that the cluster is ready, or with err why it is not.
func (o *devOutput) ready(nodes []devcluster.Node, data string, took time.Duration, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	a := o.app
	problem := ""
	if err != nil {
		problem = a.explain(err).Error()
	}
	if a.forPrograms() {
		token := o.token
		if !fileExists(token) {
			token = ""
		}
		a.printJSONLine(struct {
			Event   string            `json:"event"`
			Ready   bool              `json:"ready"`
			Problem string            `json:"problem,omitempty"`
			Data    string            `json:"data"`
			CA      string            `json:"ca,omitempty"`
			Token   string            `json:"token_file,omitempty"`
			Page    string            `json:"page"`
			Nodes   []devcluster.Node `json:"nodes"`
		}{"nodes", err == nil, problem, data, o.ca, token, o.page(nodes), nodes})
		return
	}
	if problem != "" {
		fmt.Fprintf(a.stdout, "! %s\n", format.Printable(problem))
	} else {
		fmt.Fprintf(a.stdout, "ready after %s, data in %s\n", took.Round(100*time.Millisecond), data)
	}
	fmt.Fprint(a.stdout, hints(nodes, o.devTLSHint()+o.devTokenHint(), o.page(nodes)))
}

// page is the address of the page on the first node.
func (o *devOutput) page(nodes []devcluster.Node) string {
	scheme := "http"
	if o.ca != "" {
		scheme = "https"
	}
	return scheme + "://" + nodes[0].HTTPAddress + web.Root
}

// hints returns commands to try. It names the endpoints if they are not the default ones; secure are the lines for TLS and access,
// page is the page's address.
func hints(nodes []devcluster.Node, secure, page string) string {
	endpoints := devEndpoints(nodes)
	var b strings.Builder
	b.WriteString("\ntry, in another terminal:\n")
	if !slices.Equal(endpoints, client.DefaultConfig().Endpoints) {
		fmt.Fprintf(&b, "  export ROLLCALL_ENDPOINTS=%s\n", strings.Join(endpoints, ","))
	}
	b.WriteString(secure)
	b.WriteString("  rollcall watch shop/cart\n")
	b.WriteString("  rollcall set shop/cart serving --reason \"hello\"\n")
	b.WriteString("  rollcall status\n")
	fmt.Fprintf(&b, "in a browser: %s\n", page)
	if n := nodes[0]; len(nodes) > 2 && n.PID != 0 {
		fmt.Fprintf(&b, "or \"kill -9 %d\" and see the others go on; Ctrl-C stops them all\n\n", n.PID)
	} else {
		b.WriteString("Ctrl-C stops it\n\n")
	}
	return b.String()
}

func (o *devOutput) stopping() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.app.forPrograms() {
		fmt.Fprintln(o.app.stdout, "stopping ...")
	}
}

func (o *devOutput) stopped(data string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.app.forPrograms() {
		return
	}
	fmt.Fprintf(o.app.stdout, "stopped; the data stay in %s, and \"rollcall dev\" goes on with them (--fresh begins anew)\n", data)
}
