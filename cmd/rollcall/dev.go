package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"

	"github.com/rollcallhq/rollcall/client"
)

// devConfig is everything a dev cluster needs to know.
type devConfig struct {
	nodes       int
	nodesChosen bool // false: what is there may have another number
	data        string
	basePort    int
	fresh       bool
	logLevel    string

	restart  time.Duration // pause before a node that died is started again; 0: it is not
	ready    time.Duration // how long the cluster may take before we say so and go on
	patience time.Duration // how long a node may take to end
	command  func(args []string) *exec.Cmd
}

func newDevCommand(a *app) *cobra.Command {
	cfg := devConfig{
		restart:  5 * time.Second,
		ready:    30 * time.Second,
		patience: shutdownPatience + 4*time.Second,
	}
	var noRestart bool
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a whole cluster on this machine, to try things",
		Long: `Runs a real cluster on loopback, each node a process of its own, until Ctrl-C. Node i serves its API
on base-port + 10 (i - 1), its peers on the next port, and HTTP on the one after that; without
--endpoints, the other commands ask the first three. Kill a process to see the others go on: it is
started again after 5 s. All of them end with this one, whatever ends it.

The data stay in --data and are taken up again; --fresh begins with none.`,
		Example: `  rollcall dev
  rollcall dev --nodes 5 --fresh`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			self, err := os.Executable()
			if err != nil {
				return devFailure(fmt.Errorf("find this program: %w", err))
			}
			cfg.command = func(args []string) *exec.Cmd { return exec.Command(self, args...) }
			cfg.nodesChosen = cmd.Flags().Lookup("nodes").Changed
			if noRestart {
				cfg.restart = 0
			}
			return a.dev(cmd.Context(), cfg)
		},
	}
	f := cmd.Flags()
	f.IntVar(&cfg.nodes, "nodes", 3, "how many nodes, 1 to 9")
	f.StringVar(&cfg.data, "data", "./rollcall-dev", "`directory` of the data; made if missing")
	f.IntVar(&cfg.basePort, "base-port", 7600, "API `port` of the first node")
	f.BoolVar(&cfg.fresh, "fresh", false, "remove the data of an earlier run first")
	f.BoolVar(&noRestart, "no-restart", false, "leave a node that died dead")
	f.StringVar(&cfg.logLevel, "log-level", "warn", "least level of the nodes' logs to show: debug, info, warn or error")
	complete(cmd, "log-level", logLevels...)
	f.SetAnnotation("data", cobra.BashCompSubdirsInDir, nil)
	return cmd
}

// devFailure is for what keeps a dev cluster from starting.
func devFailure(err error) *failure {
	return &failure{exit: exitNotDone, code: codes.FailedPrecondition, reason: reasonDev, err: err}
}

func (a *app) dev(ctx context.Context, cfg devConfig) error {
	if _, err := (&logFlags{level: cfg.logLevel, format: "text"}).logger(a.stderr); err != nil {
		return err
	}
	if cfg.nodes < 1 || cfg.nodes > devMostNodes {
		return invalid("--nodes is %d; use 1 to %d, 3 or 5 for choice", cfg.nodes, devMostNodes)
	}
	dir, err := openDevDirectory(cfg.data)
	if err != nil {
		return devFailure(err)
	}
	defer dir.close()
	if there := dir.marker.Nodes; there != 0 && there != cfg.nodes && !cfg.fresh {
		if cfg.nodesChosen {
			return devFailure(fmt.Errorf("%s holds a cluster of %d nodes; use --nodes %d, or --fresh to begin anew", cfg.data, there, there))
		}
		cfg.nodes = there
	}
	if last := cfg.basePort + 10*(cfg.nodes-1) + 2; cfg.basePort < 1 || last > 65535 {
		return invalid("--base-port is %d; with %d nodes, use 1 to %d", cfg.basePort, cfg.nodes, 65535-(last-cfg.basePort))
	}
	nodes := devNodes(cfg.nodes, cfg.basePort)
	if err := portsFree(nodes); err != nil {
		return devFailure(err)
	}
	if err := dir.begin(cfg.nodes, cfg.basePort, cfg.fresh); err != nil {
		return devFailure(err)
	}
	return a.runDev(ctx, cfg, nodes)
}

func devNodes(n, basePort int) []devNode {
	nodes := make([]devNode, n)
	for i := range nodes {
		at := func(offset int) string { return fmt.Sprintf("127.0.0.1:%d", basePort+10*i+offset) }
		nodes[i] = devNode{Name: nodeName(i + 1), APIAddress: at(0), PeerAddress: at(1), HTTPAddress: at(2)}
	}
	return nodes
}

// portsFree finds out before anything is started: a half started cluster explains itself badly.
func portsFree(nodes []devNode) error {
	var (
		first error
		more  int
	)
	for _, n := range nodes {
		for _, address := range []string{n.APIAddress, n.PeerAddress, n.HTTPAddress} {
			l, err := net.Listen("tcp", address)
			switch {
			case err == nil:
				l.Close()
			case first == nil:
				first = err
			default:
				more++
			}
		}
	}
	if first == nil {
		return nil
	}
	others := ""
	if more > 0 {
		others = fmt.Sprintf(" (and %d more)", more)
	}
	return fmt.Errorf(`cannot %w%s; if another "rollcall dev" runs, stop it, or choose other ports with --base-port`, first, others)
}

// serveArguments is the command line of a node. What dev decides is said even where it is the
// default: the children see our environment.
func serveArguments(cfg devConfig, self devNode, nodes []devNode) ([]string, error) {
	data, err := filepath.Abs(filepath.Join(cfg.data, self.Name))
	if err != nil {
		return nil, err
	}
	args := []string{
		"serve", "--exit-with-parent", "--node", self.Name, "--data", data,
		"--api-listen", self.APIAddress, "--peer-listen", self.PeerAddress, "--http", self.HTTPAddress,
		"--force-bootstrap=false", "--log-level", cfg.logLevel,
	}
	for _, n := range nodes {
		args = append(args, "--member", fmt.Sprintf("%s,api=%s,peer=%s", n.Name, n.APIAddress, n.PeerAddress))
	}
	return args, nil
}

func (a *app) runDev(parent context.Context, cfg devConfig, nodes []devNode) error {
	ctx, cancel := context.WithCancel(parent)
	defer cancel()
	var (
		out     = &devOutput{app: a, restart: cfg.restart}
		logs    = &gate{w: a.stderr, opened: make(chan struct{})} // the table of nodes comes first
		tried   sync.WaitGroup                                    // the first start of each; it writes no log before
		running sync.WaitGroup
	)
	children, first := make([]*devChild, len(nodes)), make([]func(), len(nodes))
	for i, n := range nodes {
		args, err := serveArguments(cfg, n, nodes)
		if err != nil {
			return devFailure(err)
		}
		tried.Add(1)
		first[i] = sync.OnceFunc(tried.Done)
		children[i] = &devChild{
			devNode:  n,
			command:  func() *exec.Cmd { return cfg.command(args) },
			logs:     logs,
			restart:  cfg.restart,
			patience: cfg.patience,
			notify: func(e devEvent) {
				out.event(e)
				first[i]()
			},
		}
	}
	begin := a.now()
	for i, c := range children {
		running.Go(func() {
			defer first[i]() // if it was never tried
			c.supervise(ctx)
		})
	}
	tried.Wait()
	out.nodes(describe(children))
	close(logs.opened)
	allEnded := make(chan struct{})
	go func() {
		running.Wait()
		close(allEnded)
	}()

	err := awaitDev(ctx, cfg, nodes)
	if parent.Err() == nil {
		out.ready(describe(children), cfg.data, a.now().Sub(begin), err)
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

func describe(children []*devChild) []devNode {
	nodes := make([]devNode, len(children))
	for i, c := range children {
		nodes[i] = c.describe()
	}
	return nodes
}

// awaitDev waits until the cluster is ready as a whole.
func awaitDev(ctx context.Context, cfg devConfig, nodes []devNode) error {
	c, err := devClient(nodes)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = awaitCluster(ctx, c, cfg.ready)
	return err
}

func devClient(nodes []devNode) (*client.Client, error) {
	a := app{endpoints: devEndpoints(nodes)}
	return a.dial()
}

func devEndpoints(nodes []devNode) []string {
	endpoints := make([]string, len(nodes))
	for i, n := range nodes {
		endpoints[i] = n.APIAddress
	}
	return endpoints
}
