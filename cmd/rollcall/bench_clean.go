package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
	"github.com/rollcallhq/rollcall/cmd/rollcall/loadgen"
)

const cleanTimeout = 2 * time.Minute

// benchWriteFlags are the flags of loads that write.
type benchWriteFlags struct{ prefix, actor string }

func (w *benchWriteFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&w.prefix, "prefix", loadgen.Prefix, "where its services are; within "+loadgen.Prefix)
	f.StringVar(&w.actor, "actor", defaultActor(), "who makes the changes; it is not verified")
	f.Lookup("actor").DefValue = "you@this-host"
	cliflag.FlagOnly(f, "prefix") // ROLLCALL_PREFIX must not choose what is deleted
	cliflag.NotEmpty(f, "actor", "prefix")
}

// base returns the prefix to work below. It must be within loadgen.Prefix: bench writes and deletes nothing
// else.
func (w *benchWriteFlags) base() (string, error) {
	base := w.prefix
	if !strings.HasSuffix(base, "/") {
		base += "/"
	}
	if !strings.HasPrefix(base, loadgen.Prefix) {
		return "", invalid("--prefix is %q; bench writes and deletes only services within %q", w.prefix, loadgen.Prefix)
	}
	return base, nil
}

// services returns the services of a new run.
func (w *benchWriteFlags) services() (*loadgen.Services, error) {
	base, err := w.base()
	if err != nil {
		return nil, err
	}
	s := loadgen.NewServices(base, w.actor)
	if err := checkName(s.Name(maxBenchServices - 1)); err != nil {
		return nil, withNext(invalid("--prefix: %w", errors.Unwrap(err)), "use a shorter or plainer one")
	}
	return s, nil
}

func newBenchCleanCommand(a *app) *cobra.Command {
	var w benchWriteFlags
	cmd := &cobra.Command{
		Use:   "clean",
		Short: "Delete what benches that were killed have left",
		Long: `Deletes all services below --prefix, which is within rollcall-bench/: those of a bench that was killed
or could not delete them itself. Without --prefix it also takes those of benches that are running.`,
		Example: `  rollcall bench clean
  rollcall bench clean --prefix rollcall-bench/5c1f0e9d7a3b2468/`,
		Args:              noArguments,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			base, err := w.base()
			if err != nil {
				return err
			}
			c, err := a.dial()
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, cancel := context.WithTimeout(cmd.Context(), cleanTimeout)
			defer cancel()
			n, err := (&loadgen.Services{Prefix: base, Actor: w.actor}).Clean(ctx, c, a.timeout)
			if err != nil {
				return doing("delete services below "+base, err)
			}
			a.did = fmt.Sprintf("deleted %s below %s", format.Count(n, "service", "services"), base)
			out := struct {
				Prefix  string `json:"prefix"`
				Deleted int    `json:"deleted"`
			}{base, n}
			return a.printObject(out, func() error {
				_, err := fmt.Fprintln(a.stdout, a.did)
				return err
			})
		},
	}
	w.register(cmd)
	return cmd
}

// benchBegin makes the first write. It goes through package client, with its retries, and so finds out
// whether the cluster takes writes at all.
func (a *app) benchBegin(ctx context.Context, c *client.Client, s *loadgen.Services, status client.Status) error {
	a.note(fmt.Sprintf("this writes services below %s and deletes them at the end; the history keeps their events, and older ones leave it the sooner (serve --history-events)", s.Prefix))
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	_, err := c.Set(ctx, s.Name(0), status, s.Options())
	if err == nil {
		return nil
	}
	f := a.explain(doing("write at all", err))
	if f.written == client.WrittenUnknown {
		// It is one service of bench's own: there is no need to know what became of it, nor to repeat it.
		f.exit = exitNotDone
		f.next = fmt.Sprintf("%s removes what may have been written", cleanCommand(s))
	}
	return f
}

// cleanCommand returns the command that removes what a run wrote.
func cleanCommand(s *loadgen.Services) string {
	return fmt.Sprintf("%q", "rollcall bench clean --prefix "+s.Prefix)
}

// benchEnd deletes what was written, also after Ctrl-C.
func (a *app) benchEnd(ctx context.Context, c *client.Client, s *loadgen.Services) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
	defer cancel()
	n, err := s.Clean(ctx, c, a.timeout)
	if err == nil {
		a.note(fmt.Sprintf("deleted %s below %s", format.Count(n, "service", "services"), s.Prefix))
		return nil
	}
	f := a.explain(doing("delete what it wrote", err))
	f.exit = exitNotAsAsked
	f.next = fmt.Sprintf("%s does", cleanCommand(s))
	return f
}
