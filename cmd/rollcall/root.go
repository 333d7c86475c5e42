package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/rollcallhq/rollcall/certs"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

// app is what the commands share: the streams, the clock and the global flags.
type app struct {
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer // safe for use by several goroutines
	now    func() time.Time
	dialer []grpc.DialOption // of every connection to a node; nil: as gRPC does by itself
	tls    certs.Files       // of --ca, --cert and --key; none: plain text

	tokenFile string       // of --token-file; "": none
	filtered  filteredNote // said once

	endpoints     []string
	endpointsName string // of the variable that they come from; "": of the flag
	output        outputFormat
	color         colorMode
	noHeaders     bool
	timeout       time.Duration

	completing bool // a shell asks what it can offer

	// cluster is what --cluster of the command asks for; "": nothing.
	cluster string

	// started is set when arguments and variables are understood. An error before that is one of usage.
	started bool

	// did is what was changed, as a message says it; "": nothing, or it is not known.
	did string
}

const (
	groupRun      = "run"
	groupServices = "services"
	groupLayers   = "layers"
	groupAccess   = "access"
	groupCluster  = "cluster"
)

func newRootCommand(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "rollcall",
		Short: "A replicated health registry that speaks grpc.health.v1",
		Long: `Rollcall keeps the health of services on several nodes, which all have the same content. Every node
answers grpc.health.v1.

A flag can be given as an environment variable too: --if-revision is ROLLCALL_IF_REVISION. The flag
wins. An empty variable does not count. Flags that choose what a command does have no variable:
--at, --follow and --wait, for example.

Durations have a unit: 500ms, 10s, 5m, 2h, 30d.

Exit status: 0 done; 1 not done, and nothing was changed; 4 answered, but not as asked ("wait", "verify",
"status --wait", "bench" with errors); 5 nobody knows whether it was done: repeat the same command with
the --request-id that is printed; 6 done, but the output could not be written. "probe" has its own.`,
		Example: `  rollcall dev                                  a cluster of three nodes on this machine
  rollcall set shop/cart serving --reason "deployed 1.4.2"
  rollcall watch shop/cart
  rollcall history shop/cart
  rollcall status`,
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkFlags(cmd); err != nil {
				return err
			}
			if err := cliflag.BindEnvironment(cmd.Flags()); err != nil {
				return invalid("%w", err)
			}
			a.started = true
			if f := cmd.Flags().Lookup("endpoints"); f != nil && f.Changed && !cliflag.Given(cmd.Flags(), "endpoints") {
				a.endpointsName = "environment variable " + cliflag.EnvironmentName("endpoints") + ", which stands for --endpoints"
			}
			if f := cmd.Flags().Lookup("cluster"); f != nil {
				a.cluster = f.Value.String()
			}
			return a.checkOutput(cmd)
		},
		Version: buildVersion(),
	}
	root.SetVersionTemplate("rollcall {{.Version}}\n")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return err })

	flags := root.PersistentFlags()
	cliflag.ListVarP(flags, &a.endpoints, "endpoints", "e", client.DefaultConfig().Endpoints, "API addresses of the nodes to ask, in this order, host:port; comma separated or repeated")
	flags.VarP(&a.output, "output", "o", "output `format`: "+format.Alternatives(outputFormats)+"; wide is a table with more columns")
	flags.Var(&a.color, "color", "`when` to use colours: "+format.Alternatives(colorModes)+"; auto: on a terminal, unless NO_COLOR is set")
	flags.BoolVar(&a.noHeaders, "no-headers", false, "tables without the line of headers")
	cliflag.DurationVar(flags, &a.timeout, "timeout", 5*time.Second, "most time the whole command may take")
	a.addTLSFlags(flags)
	a.addTokenFlag(flags)
	a.complete(root, "output", outputFormats...)
	a.complete(root, "color", colorModes...)

	root.AddGroup(
		&cobra.Group{ID: groupRun, Title: "Run nodes and agents:"},
		&cobra.Group{ID: groupServices, Title: "Services:"},
		&cobra.Group{ID: groupLayers, Title: "Overrides and rules:"},
		&cobra.Group{ID: groupAccess, Title: "Access: who may do what:"},
		&cobra.Group{ID: groupCluster, Title: "Cluster:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add(groupRun, newDevCommand(a), newServeCommand(a), newAgentCommand(a), newCompactCommand(a))
	add(groupServices, newSetCommand(a), newGetCommand(a), newListCommand(a), newWatchCommand(a),
		newEventsCommand(a), newHistoryCommand(a), newDeleteCommand(a), newWaitCommand(a), newProbeCommand(a), newLeaseCommand(a))
	add(groupLayers, newOverrideCommand(a), newShutdownCommand(a), newResumeCommand(a), newRuleCommand(a), newWhyCommand(a))
	add(groupAccess, newWhoAmICommand(a), newAuthCommand(a), newTokenCommand(a), newRoleCommand(a), newGrantCommand(a))
	takeFlagsOnce(root, groupAccess)
	add(groupCluster, newStatusCommand(a), newTopCommand(a), newMemberCommand(a), newTransferLeaderCommand(a), newVerifyCommand(a), newSnapshotCommand(a), newRecoverCommand(a), newCertCommand(a), newBenchCommand(a))
	version, help := newVersionCommand(a), newHelpCommand()
	completion := newCompletionCommand(root)
	root.AddCommand(version, completion)
	root.SetHelpCommand(help)
	root.InitDefaultHelpCmd()
	root.CompletionOptions.DisableDefaultCmd = true
	hideGlobals(root)
	// cobra adds these later. Until it has them it takes what follows --help for its value: "--help -o json" would
	// be a command "json".
	root.InitDefaultVersionFlag()
	root.InitDefaultHelpFlag()
	for _, c := range root.Commands() {
		c.InitDefaultHelpFlag()
	}
	return root
}

// takeFlagsOnce has the commands of a group refuse a flag of their own that is given twice and takes one value: who may
// do what is not to be guessed.
func takeFlagsOnce(root *cobra.Command, group string) {
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		cliflag.Once(cmd.Flags())
		for _, c := range cmd.Commands() {
			walk(c)
		}
	}
	for _, c := range root.Commands() {
		if c.GroupID == group {
			walk(c)
		}
	}
}

// hideGlobals takes out of commands the global flags that do nothing there.
func hideGlobals(root *cobra.Command) {
	hideTableFlags(root)
	for _, path := range []string{"dev", "serve", "agent", "help", "completion", "completion bash", "completion zsh", "completion fish", "completion powershell"} {
		cmd := find(root, path)
		hideGlobal(cmd, root, "endpoints", "output", "timeout", tokenFlagName)
		if path != "serve" { // which has flags of these names of its own
			hideGlobal(cmd, root, tlsFlagNames...)
		}
	}
	for _, path := range []string{"compact", "version", "snapshot", "snapshot inspect", "snapshot restore", "recover", "bench", "override", "rule", "lease", "auth", "token", "token generate", "role", "grant", "member", "cert", "cert ca", "cert node", "cert client"} {
		cmd := find(root, path)
		hideGlobal(cmd, root, "endpoints", "timeout", tokenFlagName)
		hideGlobal(cmd, root, tlsFlagNames...)
	}
}

// hideTableFlags takes the flags of tables out of the help of commands that print none. They are not refused
// there: a shell's alias may give them to every command.
func hideTableFlags(root *cobra.Command) {
	tables := []string{"get", "list", "watch", "events", "history", "wait", "status", "verify", "snapshot inspect", "recover", "override list", "rule list", "rule check", "lease list", "token list", "role list", "grant list", "member list"}
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		for _, c := range cmd.Commands() {
			walk(c)
			if slices.Contains(tables, strings.TrimPrefix(c.CommandPath(), root.Name()+" ")) {
				continue
			}
			for _, name := range []string{"color", "no-headers"} {
				if name == "color" && c.Name() == "top" {
					continue // which has colours, and no table
				}
				hidden := *root.PersistentFlags().Lookup(name)
				hidden.Hidden = true
				c.Flags().AddFlag(&hidden)
			}
		}
	}
	walk(root)
}

// find returns the command of a path that exists.
func find(root *cobra.Command, path string) *cobra.Command {
	cmd, rest, err := root.Find(strings.Fields(path))
	if err != nil || len(rest) > 0 {
		panic(fmt.Sprintf("no command %q", path))
	}
	return cmd
}

// dial returns a client of the --endpoints, which asks them in this order: who sets and then gets sees what was set. It
// does no I/O yet.
func (a *app) dial() (*client.Client, error) {
	endpoints, err := a.endpointList()
	if err != nil {
		return nil, err
	}
	return a.dialTo(endpoints)
}

// dialTo is dial to other endpoints.
func (a *app) dialTo(endpoints []string) (*client.Client, error) {
	cfg := client.DefaultConfig()
	cfg.Endpoints, cfg.KeepOrder = endpoints, true
	cfg.Logger = slog.New(slog.DiscardHandler)
	cfg.TokenFile = a.tokenFile
	options, err := a.dialOptions()
	if err != nil {
		return nil, err
	}
	cfg.DialOptions = append(options, a.filtered.dialOptions()...)
	c, err := client.New(cfg)
	return c, a.tokenFailure(err)
}

func (a *app) endpointList() ([]string, error) {
	var endpoints []string
	for _, e := range a.endpoints {
		if e = strings.TrimSpace(e); e != "" {
			endpoints = append(endpoints, e)
		}
	}
	if len(endpoints) == 0 {
		return nil, invalid("%s is empty: name at least one node, host:port", cmp.Or(a.endpointsName, "--endpoints"))
	}
	if err := (client.Config{Endpoints: endpoints}).Validate(); err != nil {
		return nil, invalid("%s: %s", cmp.Or(a.endpointsName, "--endpoints"), strings.TrimPrefix(err.Error(), "client: "))
	}
	return endpoints, nil
}

// withTimeout bounds a whole command by --timeout.
func (a *app) withTimeout(ctx context.Context) (context.Context, context.CancelFunc, error) {
	if a.timeout <= 0 {
		return nil, nil, invalid("--timeout is %s; it must be more than 0", a.timeout)
	}
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	return ctx, cancel, nil
}

// call runs f with a client, within --timeout.
func (a *app) call(cmd *cobra.Command, f func(context.Context, *client.Client) error) error {
	ctx, cancel, err := a.withTimeout(cmd.Context())
	if err != nil {
		return err
	}
	defer cancel()
	c, err := a.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	return f(ctx, c)
}

// pointInTime and time return flag values. They read the clock when the flag is set.
func (a *app) pointInTime() cliflag.PointInTime { return cliflag.PointInTime{Now: a.clock} }
func (a *app) time() cliflag.Time               { return cliflag.Time{Now: a.clock} }

func (a *app) clock() time.Time { return a.now() }

// lockedWriter makes one Write at a time, so that a line stays whole.
type lockedWriter struct {
	mu sync.Mutex // guards w
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// stderrIsTerminal reports whether people see standard error on a terminal.
func (a *app) stderrIsTerminal() bool { return format.IsTerminal(terminalOf(a.stderr)) }
