package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/rollcallhq/rollcall/api/rollcall/apijson"
	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
	"github.com/rollcallhq/rollcall/cmd/rollcall/loadgen"
)

// Bounds of all loads, so that a mistyped number does not become an attack.
const (
	maxBenchDuration    = 10 * time.Minute
	maxBenchCallers     = 10_000
	maxBenchConnections = 1_000
	maxBenchRate        = 1_000_000
	maxBenchServices    = 100_000
	maxBenchWatches     = 100_000
	maxBenchFlips       = 1_000
)

func newBenchCommand(a *app) *cobra.Command {
	cmd := grouping(&cobra.Command{
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
	}, newBenchCheckCommand(a), newBenchWriteCommand(a), newBenchWatchCommand(a), newBenchCleanCommand(a))
	for _, c := range cmd.Commands() {
		// Hides the global flag, which bounds a whole command.
		cliflag.DurationVar(c.Flags(), &a.timeout, "timeout", a.timeout, "most time that one call may take")
	}
	return cmd
}

// bounded refuses the value of a flag that is out of its bounds.
func bounded(flag string, n, least, most int) error {
	if n < least || n > most {
		return invalid("--%s is %d; it must be from %d to %d", flag, n, least, most)
	}
	return nil
}

// rateFlags are the flags of loads that last for a while.
type rateFlags struct {
	duration time.Duration
	rate     int
}

func (r *rateFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	cliflag.DurationVar(f, &r.duration, "duration", 10*time.Second, "how long; at most 10m")
	f.IntVar(&r.rate, "rate", 0, "calls a second by all together, latency counting from when each was due; 0: each calls when its last is answered")
}

func (r *rateFlags) validate() error {
	if r.duration <= 0 || r.duration > maxBenchDuration {
		return invalid("--duration is %s; it must be more than 0 and at most %s", r.duration, "10m")
	}
	return bounded("rate", r.rate, 0, maxBenchRate)
}

// validTimeout refuses a --timeout of nothing.
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

// note prints on standard error what is neither a result nor an error.
func (a *app) note(text string) {
	if !a.forPrograms() {
		fmt.Fprintf(a.stderr, "bench: %s\n", text)
		return
	}
	if line, err := apijson.Marshal(struct {
		Note string `json:"note"`
	}{text}); err == nil {
		a.stderr.Write(append(line, '\n'))
	}
}

// live shows line once a second, if people read standard error at a terminal.
func (a *app) live(line func(elapsed time.Duration) string) (stop func()) {
	if a.forPrograms() || !a.stderrIsTerminal() {
		return func() {}
	}
	return format.LiveLine(a.stderr, line)
}

// benchConnect opens n connections; 0: one to each endpoint.
func (a *app) benchConnect(ctx context.Context, n int) (*loadgen.Connections, error) {
	endpoints, err := a.endpointList()
	if err != nil {
		return nil, err
	}
	options, err := a.dialOptions()
	if err != nil {
		return nil, err
	}
	dialer := map[string][]grpc.DialOption{} // by endpoint
	for _, e := range endpoints {
		if dialer[e], err = a.withToken(e, options); err != nil {
			return nil, err
		}
	}
	var why strings.Builder
	c, err := loadgen.Connect(ctx, endpoints, n, func(e string) []grpc.DialOption { return dialer[e] }, func(endpoint string, err error) {
		why.WriteString(err.Error())
		a.note(fmt.Sprintf("no load on %s: %s", endpoint, format.OneLine(err.Error())))
	})
	if errors.Is(err, loadgen.ErrNoEndpoint) {
		f := a.noNodeAnswers("")
		f.next = a.connectAdvice(why.String())
		return nil, f
	}
	return c, err
}

// latencyJSON is a snapshot of a histogram for programs, in seconds.
type latencyJSON struct {
	Mean float64 `json:"mean"`
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	Max  float64 `json:"max"`
}

func latencyOf(s *loadgen.Snapshot) latencyJSON {
	return latencyJSON{
		Mean: s.Mean().Seconds(),
		P50:  s.Quantile(0.5).Seconds(),
		P90:  s.Quantile(0.9).Seconds(),
		P99:  s.Quantile(0.99).Seconds(),
		Max:  s.Max.Seconds(),
	}
}

// latencyCells are a snapshot of a histogram for people.
func latencyCells(s *loadgen.Snapshot) []string {
	if s.Count == 0 {
		return []string{"-", "-", "-"}
	}
	return []string{format.ThreeDigits(s.Quantile(0.5)), format.ThreeDigits(s.Quantile(0.99)), format.ThreeDigits(s.Max)}
}

// summaryJSON is the part of a summary for programs that all loads have.
type summaryJSON struct {
	Bench       string               `json:"bench"`
	Endpoints   []string             `json:"endpoints"`
	Connections int                  `json:"connections"`
	Seconds     float64              `json:"seconds"`
	Interrupted bool                 `json:"interrupted"`
	Errors      uint64               `json:"errors"`
	ErrorsBy    []loadgen.ErrorCount `json:"errors_by"`
}

func summaryOf(kind string, c *loadgen.Connections, l *loadgen.Load, interrupted bool) summaryJSON {
	return summaryJSON{
		Bench:       kind,
		Endpoints:   c.Endpoints,
		Connections: c.Len(),
		Seconds:     l.Elapsed.Seconds(),
		Interrupted: interrupted,
		Errors:      l.Errors.Count(),
		ErrorsBy:    l.Errors.List(),
	}
}

// printLoad prints for people how a load went. changeRate is nil if it equals the rate of calls.
func (a *app) printLoad(l *loadgen.Load, s *loadgen.Snapshot, changeRate *uint64) error {
	err := format.Table(a.stdout, func(row func(...string)) {
		head := []string{"CALLS", "CALLS/S"}
		cells := []string{format.Grouped(s.Count), format.Grouped(loadgen.PerSecond(s.Count, l.Elapsed))}
		if changeRate != nil {
			head, cells = append(head, "CHANGES/S"), append(cells, format.Grouped(*changeRate))
		}
		row(append(head, "P50", "P99", "MAX", "ERRORS")...)
		row(append(append(cells, latencyCells(s)...), format.Grouped(l.Errors.Count()))...)
	})
	a.printErrors(&l.Errors)
	return err
}

// printErrors prints for people how calls failed.
func (a *app) printErrors(e *loadgen.Errors) {
	for _, c := range e.List() {
		kind := c.Code
		if c.Reason != "" {
			kind += " " + c.Reason
		}
		fmt.Fprintf(a.stdout, "! %s × %s: %s\n", format.Grouped(c.Count), kind, format.Printable(c.Message))
	}
}

// benchOutcome returns the error of a load that was run and had errors; nil if it had none.
func benchOutcome(e *loadgen.Errors, calls uint64, what string) error {
	n := e.Count()
	if n == 0 {
		return nil
	}
	return notAsAsked(fmt.Errorf("%s of %s %s failed", format.Grouped(n), format.Grouped(calls+n), what))
}
