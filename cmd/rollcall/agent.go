package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"

	"github.com/rollcallhq/rollcall/agent"
	"github.com/rollcallhq/rollcall/agent/config"
	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
	"github.com/rollcallhq/rollcall/cmd/rollcall/servicemanager"
)

type agentFlags struct {
	file     string
	check    bool
	insecure bool
	instance string
	log      logFlags
}

func newAgentCommand(a *app) *cobra.Command {
	var f agentFlags
	cmd := &cobra.Command{
		Use:   "agent --config FILE",
		Short: "Check the services of this machine and report them",
		Long: `Checks the services of this machine as the YAML file --config says, and reports each as SERVICE/INSTANCE
under a lease, until SIGTERM or SIGINT. The first signal ends it in order, a second one at once. Its log
goes to standard error.

It serves grpc.health.v1 for these services, by their names, at listen.grpc, and answers probes, takes
pushed statuses and shows metrics at listen.http. While the registry cannot be reached, it goes on.

SIGHUP reads the file again. Services that did not change keep their state. A file with a fault changes
nothing. --check-config reads the file, says what is wrong with it, and runs nothing.

Its own ports are plain text: addresses beyond loopback need --insecure.`,
		Example: `  rollcall agent --config /etc/rollcall/agent.yaml --check-config
  rollcall agent --config /etc/rollcall/agent.yaml`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			// Who gives these believes that the agent goes by them.
			for _, name := range append([]string{"endpoints"}, tlsFlagNames...) {
				if cmd.Flags().Changed(name) {
					return withNext(invalid("--%s is not for the agent", name), "its file says how it reaches the registry: cluster.endpoints, ca, cert and key")
				}
			}
			if f.file == "" {
				return withNext(invalid("agent needs --config"), `name its YAML file, see "rollcall agent --help"`)
			}
			logger, err := f.log.logger(a.stderr)
			if err != nil {
				return err
			}
			cfg, err := f.load()
			if err != nil {
				return err
			}
			if f.check {
				if err := agent.CheckFiles(cfg); err != nil {
					return fileFailure(&config.Error{File: f.file, Text: err.Error()})
				}
				fmt.Fprintln(a.stdout, checkedLine(f.file, cfg))
				return nil
			}
			return a.agent(cmd.Context(), f, cfg, logger)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.file, "config", "", "the YAML `file` that says what is checked")
	flags.BoolVar(&f.check, "check-config", false, "read the file, say what is wrong with it, and run nothing")
	flags.BoolVar(&f.insecure, "insecure", false, "allow plain text beyond loopback")
	flags.StringVar(&f.instance, "instance", "", "`host:port` at which others reach the services of this machine, in place of the file's own")
	f.log.register(a, cmd, "info")
	cliflag.FlagOnly(flags, "check-config")
	cliflag.NotEmpty(flags, "config", "instance")
	flags.SetAnnotation("config", cobra.BashCompFilenameExt, []string{"yaml", "yml"})
	return cmd
}

func (f agentFlags) load() (*config.Config, error) {
	cfg, err := config.Load(f.file, config.Options{Insecure: f.insecure, Instance: f.instance})
	if err != nil {
		return nil, fileFailure(err)
	}
	return cfg, nil
}

// fileFailure is the failure of a file. It has a line for each fault, and shows where in the file the fault is.
func fileFailure(err error) *failure {
	f := &failure{exit: exitNotDone, code: codes.InvalidArgument, reason: reasonAgentFile, err: err}
	faults := config.Errors{}
	if all, ok := errors.AsType[config.Errors](err); ok {
		faults = all
	} else if one, ok := errors.AsType[*config.Error](err); ok {
		faults = config.Errors{one}
	}
	for _, fault := range faults {
		f.lines = append(f.lines, "rollcall: "+format.Printable(fault.Error()))
		if fault.Source != "" {
			f.lines = append(f.lines, strings.Split(fault.Source, "\n")...)
		}
	}
	return f
}

func checkedLine(file string, cfg *config.Config) string {
	checks := 0
	for i := range cfg.Services {
		checks += len(cfg.Services[i].Checks)
	}
	return fmt.Sprintf("%s: no fault: %s, %s", format.Printable(file), format.Count(len(cfg.Services), "service", "services"), format.Count(checks, "check", "checks"))
}

// agent runs an agent until ctx ends or it fails.
func (a *app) agent(ctx context.Context, f agentFlags, cfg *config.Config, logger *slog.Logger) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &reloader{flags: f, logger: logger, hangups: make(chan os.Signal, 1)} // several at once are one reload
	signal.Notify(r.hangups, syscall.SIGHUP)
	defer signal.Stop(r.hangups)
	one, err := agent.New(cfg, agent.Options{Logger: logger})
	if err != nil {
		return agentStopped(err)
	}
	fmt.Fprintln(a.stdout, agentLine(one, cfg))
	r.agent = one
	r.notifier = servicemanager.Start(r, logger)
	ended := make(chan error, 1) // room for one: nobody may be left to receive it
	go func() { ended <- one.Run(ctx) }()
	reloads := make(chan struct{})
	go func() {
		defer close(reloads)
		r.run(ctx)
	}()
	select {
	case err = <-ended:
		ended <- err
	case <-ctx.Done():
	}
	cancel()
	r.notifier.Stop()
	return agentStopped(waitForAgent(ended, reloads))
}

// waitForAgent waits for the orderly end of an agent that was told to stop, or gives up: a process that does not end
// keeps its ports from the next one.
func waitForAgent(ended <-chan error, reloads <-chan struct{}) error {
	const grace = 2 * time.Second // for Run to notice that its time is over
	late := time.NewTimer(agent.StopTimeout + grace)
	defer late.Stop()
	var err error
	for ended != nil || reloads != nil {
		select {
		case err = <-ended:
			ended = nil
		case <-reloads:
			reloads = nil
		case <-late.C:
			return fmt.Errorf("not in order: it did not end within %s", agent.StopTimeout+grace)
		}
	}
	return err
}

func agentLine(one *agent.Agent, cfg *config.Config) string {
	line := "agent serving:"
	grpc, http := one.Addresses()
	if grpc != "" {
		line += " grpc " + grpc
	}
	if http != "" {
		line += " http " + http
	}
	return fmt.Sprintf("%s; %s", line, format.Count(len(cfg.Services), "service", "services"))
}

func agentStopped(err error) error {
	if err == nil {
		return nil
	}
	return &failure{exit: exitNotDone, code: codes.Aborted, reason: reasonAgentStopped, err: fmt.Errorf("the agent stopped: %w", err)}
}

// reloader reads the file of a running agent again, and tells the service manager. It is a servicemanager.Process.
type reloader struct {
	flags    agentFlags
	logger   *slog.Logger
	hangups  chan os.Signal
	agent    *agent.Agent
	notifier *servicemanager.Notifier

	mu      sync.Mutex // guards refused
	refused bool       // the newest file was not taken
}

// Alive implements servicemanager.Process.
func (r *reloader) Alive(ctx context.Context) error { return r.agent.Alive(ctx) }

// Role implements servicemanager.Process.
func (r *reloader) Role() string {
	role := r.agent.Role()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refused {
		role += "; the configuration file was refused, the one before it holds"
	}
	return role
}

// run reloads at each SIGHUP until ctx ends.
func (r *reloader) run(ctx context.Context) {
	for {
		select {
		case <-r.hangups:
			r.reload()
		case <-ctx.Done():
			return
		}
	}
}

// reload goes over to what the file says now. If that cannot be, nothing changes.
func (r *reloader) reload() {
	r.notifier.Reloading()
	defer r.notifier.Reloaded()
	cfg, err := r.flags.load()
	if err != nil {
		r.agent.ReloadRefused()
	} else {
		err = r.agent.Reload(cfg)
	}
	r.mu.Lock()
	r.refused = err != nil
	r.mu.Unlock()
	if err != nil {
		r.logger.Error("the configuration file is not taken, and nothing has changed", "file", r.flags.file, "error", strings.ReplaceAll(err.Error(), "\n", "; "))
		return
	}
	r.logger.Info("the configuration file was read again", "file", r.flags.file, "services", len(cfg.Services))
}
