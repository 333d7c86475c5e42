package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// Bounds of all loads: a mistyped number must not become an attack.
const (
	maxBenchDuration    = 10 * time.Minute
	maxBenchCallers     = 10_000
	maxBenchConnections = 1_000
	maxBenchRate        = 1_000_000
	maxBenchServices    = 100_000
	maxBenchBatch       = 10_000 // the API's
	maxBenchWatches     = 100_000
	maxBenchFlips       = 1_000
)

func newBenchCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench check|write|watch|clean",
		Short: "Measure how fast a cluster is, by loading it",
		Long: `Loads a cluster with checks, writes or watches, shows how it goes once a second if standard error is a
terminal, and prints a summary: rate, latencies (p50, p99, max; less than 1 % too much) and errors by
kind. Latencies are of calls that did not fail. Ctrl-C ends a load early, with the summary of what was
done.

The load is real: what else the cluster serves will be slower meanwhile. It comes from this one
process; run it on a machine of its own, and where it uses up its processors, on several.

Writes go only to services below rollcall-bench/ and a name of the run's own, which are deleted at the
end; the history keeps the events.

Exit status: 0 done; 1 not run; 4 run, but some calls failed, or its services could not be deleted.`,
		Example: `  rollcall bench check shop/cart
  rollcall bench write --writers 64 --duration 30s
  rollcall bench watch --watches 10000 --connections 100`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			f := invalid("unknown command %q for %q", args[0], cmd.CommandPath())
			f.next = fmt.Sprintf("see %q", cmd.CommandPath()+" --help")
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				f.next = fmt.Sprintf("did you mean %q? %s", strings.Join(near, `" or "`), f.next)
			}
			return f
		},
		ValidArgsFunction:          cobra.NoFileCompletions,
		SuggestionsMinimumDistance: 2, // cobra's own default, which it sets only for its own search
	}
	cmd.AddCommand(newBenchCheckCommand(a), newBenchWriteCommand(a), newBenchWatchCommand(a), newBenchCleanCommand(a))
	for _, c := range cmd.Commands() {
		// Stands in front of the global flag, which bounds a whole command.
		c.Flags().DurationVar(&a.timeout, "timeout", a.timeout, "most time that one call may take")
	}
	return cmd
}

// bounded says which flag is out of its bounds.
func bounded(flag string, n, least, most int) error {
	if n < least || n > most {
		return invalid("--%s is %d; it must be from %d to %d", flag, n, least, most)
	}
	return nil
}

// paceFlags are those of loads that go on for a while.
type paceFlags struct {
	duration time.Duration
	rate     int
}

func (p *paceFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.DurationVar(&p.duration, "duration", 10*time.Second, "how long; at most 10m")
	f.IntVar(&p.rate, "rate", 0, "calls a second by all together, latency counting from when each was due; 0: each calls when its last is answered")
}

func (p *paceFlags) validate() error {
	if p.duration <= 0 || p.duration > maxBenchDuration {
		return invalid("--duration is %s; it must be more than 0 and at most %s", p.duration, "10m")
	}
	return bounded("rate", p.rate, 0, maxBenchRate)
}

// validTimeout refuses a --timeout in which nothing could be done.
func (a *app) validTimeout() error {
	if a.timeout <= 0 {
		return invalid("--timeout is %s; it must be more than 0", a.timeout)
	}
	return nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// note tells on standard error what is no result and no error.
func (a *app) note(text string) {
	if !a.json() {
		fmt.Fprintf(a.stderr, "bench: %s\n", text)
		return
	}
	if line, err := marshal(struct {
		Note string `json:"note"`
	}{text}); err == nil {
		a.stderr.Write(append(line, '\n'))
	}
}
