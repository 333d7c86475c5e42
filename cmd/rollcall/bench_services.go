package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcallhq/rollcall/client"
)

const (
	// benchPrefix is that of all services that bench writes: nothing else is touched.
	benchPrefix = "rollcall-bench/"
	benchReason = "rollcall bench"

	cleanBatch    = 1000
	cleanPatience = 2 * time.Minute
)

// benchServices are the services of one run: those below prefix.
type benchServices struct {
	prefix string // ends in "/"
	actor  string
}

// benchWriteFlags are those of loads that write.
type benchWriteFlags struct{ prefix, actor string }

func (w *benchWriteFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&w.prefix, "prefix", benchPrefix, "where its services are; within "+benchPrefix)
	f.StringVar(&w.actor, "actor", defaultActor(), "who changes it; recorded as your word, not verified")
	f.Lookup("actor").DefValue = "you@this-host"
}

// base is the prefix to work under. Only what lies within benchPrefix is bench's to write and delete.
func (w *benchWriteFlags) base() (string, error) {
	base := w.prefix
	if !strings.HasSuffix(base, "/") {
		base += "/"
	}
	if !strings.HasPrefix(base, benchPrefix) {
		return "", invalid("--prefix is %q; bench writes and deletes only services within %q", w.prefix, benchPrefix)
	}
	return base, nil
}

// fresh is the services of a new run, below a name that no other run has.
func (w *benchWriteFlags) fresh() (*benchServices, error) {
	base, err := w.base()
	if err != nil {
		return nil, err
	}
	id := make([]byte, 8)
	rand.Read(id) // never fails
	s := &benchServices{prefix: base + hex.EncodeToString(id) + "/", actor: w.actor}
	if err := writable(s.name(maxBenchServices - 1)); err != nil {
		return nil, withNext(invalid("--prefix: %w", errors.Unwrap(err)), "use a shorter or plainer one")
	}
	return s, nil
}

func (s *benchServices) name(i int) string { return fmt.Sprintf("%s%06d", s.prefix, i) }

func (s *benchServices) options() client.WriteOptions {
	return client.WriteOptions{Reason: benchReason, Actor: s.actor}
}

// begin makes the first write, with all that package client does for it: it tells whether the cluster
// takes writes at all.
func (a *app) benchBegin(ctx context.Context, c *client.Client, s *benchServices, status client.Status) error {
	a.note(fmt.Sprintf("this writes services below %s and deletes them at the end; the history keeps their events, and older ones leave it the sooner (serve --history-events)", s.prefix))
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	_, err := c.Set(ctx, s.name(0), status, s.options())
	if err == nil {
		return nil
	}
	f := a.explain(doing("write at all", err))
	if f.written == client.WrittenUnknown {
		// What became of one service of its own matters to nobody, so there is nothing to repeat.
		f.exit = exitNotDone
		f.next = fmt.Sprintf("%s removes what may have been written", s.cleanCommand())
	}
	return f
}

func (s *benchServices) cleanCommand() string {
	return fmt.Sprintf("%q", "rollcall bench clean --prefix "+s.prefix)
}

// end deletes what was written, also after Ctrl-C.
func (a *app) benchEnd(ctx context.Context, c *client.Client, s *benchServices) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanPatience)
	defer cancel()
	n, err := s.clean(ctx, c, a.timeout)
	if err == nil {
		a.note(fmt.Sprintf("deleted %s below %s", count(n, "service", "services"), s.prefix))
		return nil
	}
	f := a.explain(doing("delete what it wrote", err))
	f.exit = exitNotAsAsked
	f.next = fmt.Sprintf("%s does", s.cleanCommand())
	return f
}

// clean deletes all services below the prefix, in batches, and says how many there were. No call takes
// longer than timeout.
func (s *benchServices) clean(ctx context.Context, c *client.Client, timeout time.Duration) (int, error) {
	for deleted := 0; ; {
		n, err := s.cleanSome(ctx, c, timeout)
		deleted += n
		if err != nil || n == 0 {
			return deleted, err
		}
	}
}

func (s *benchServices) cleanSome(ctx context.Context, c *client.Client, timeout time.Duration) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	// A node that is behind would not list the last that were written.
	fresh := client.WithReadOptions(ctx, client.ReadOptions{Consistency: client.Linearizable})
	var batch []client.Change
	for rec, err := range c.List(fresh, client.ListOptions{Prefix: s.prefix, PageSize: cleanBatch}) {
		if err != nil {
			return 0, err
		}
		batch = append(batch, client.Change{Service: rec.GetService(), Status: healthpb.HealthCheckResponse_SERVICE_UNKNOWN})
		if len(batch) == cleanBatch {
			break
		}
	}
	if len(batch) == 0 {
		return 0, nil
	}
	if _, err := c.SetBatch(ctx, batch, s.options()); err != nil {
		return 0, err
	}
	return len(batch), nil
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
			ctx, cancel := context.WithTimeout(cmd.Context(), cleanPatience)
			defer cancel()
			n, err := (&benchServices{prefix: base, actor: w.actor}).clean(ctx, c, a.timeout)
			if err != nil {
				return doing("delete services below "+base, err)
			}
			if a.json() {
				return a.printObject(struct {
					Prefix  string `json:"prefix"`
					Deleted int    `json:"deleted"`
				}{base, n})
			}
			_, err = fmt.Fprintf(a.stdout, "deleted %s below %s\n", count(n, "service", "services"), base)
			return err
		},
	}
	w.register(cmd)
	return cmd
}
