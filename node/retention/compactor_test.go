package retention

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store"
	"github.com/rollcallhq/rollcall/store/raftlog"
	"github.com/rollcallhq/rollcall/store/registry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// compactorOn is a Compactor over a registry file of atomic writes of the given sizes, one a minute from the
// epoch on, that are durable. It keeps what is proposed, and does it.
func compactorOn(t *testing.T, sizes ...int) (c *Compactor, horizons *[]int64, logged *bytes.Buffer) {
	t.Helper()
	d, err := store.OpenDirectory(t.TempDir(), "n1")
	if err != nil {
		t.Fatal(err)
	}
	raftLog, err := store.OpenLog(d, raftlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	snapshots, err := store.OpenSnapshots(d, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	registryFile, err := store.OpenRegistry(d, raftLog, snapshots, registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(registryFile.Close(), raftLog.Close(), d.Close()); err != nil {
			t.Error(err)
		}
	})
	revision := int64(0)
	for i, size := range sizes {
		delta := &logv1.Delta{Index: uint64(i + 1), Term: 1, Revision: revision + int64(size), LogTime: int64(i) * int64(time.Minute), ClusterID: "3f9a"}
		for range size {
			revision++
			delta.Events = append(delta.Events, &logv1.Event{
				Revision: revision, CommitRevision: delta.Revision, Time: delta.LogTime,
				Kind: logv1.Kind_KIND_SERVICE, Key: "a",
				Type: logv1.EventType_EVENT_TYPE_REPORTED,
			})
		}
		registryFile.Append(delta)
	}
	if err := registryFile.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	horizon, proposed := int64(1), []int64{}
	logged = new(bytes.Buffer)
	return New(Config{
		Logger: slog.New(slog.NewTextHandler(logged, nil)), RegistryFile: registryFile, Node: "n1",
		Horizon: func() int64 { return horizon },
		Leading: func() bool { return true },
		Propose: func(_ context.Context, cmd *logv1.Command) (*logv1.Result, error) {
			h := cmd.GetCompact().GetHorizon()
			proposed = append(proposed, h)
			if h <= horizon || h > revision+1 {
				t.Errorf("proposed %d after %d, at revision %d", h, horizon, revision)
			}
			horizon = h
			return &logv1.Result{Revision: revision}, nil
		},
	}), &proposed, logged
}

func minutes(n float64) time.Time { return time.Unix(0, int64(n*float64(time.Minute))) }

func TestCompactorDecides(t *testing.T) {
	singles := make([]int, 100)
	for i := range singles {
		singles[i] = 1
	}
	never := minutes(0)
	for _, tt := range []struct {
		name   string
		sizes  []int
		events int
		age    time.Duration
		now    time.Time
		want   int64 // 0: none
	}{
		{"not too many", singles, 100, 0, never, 0},
		{"a tenth too many, less one", singles, 92, 0, never, 0},
		{"a tenth too many", singles, 91, 0, never, 10},
		{"more than a tenth", singles, 89, 0, never, 12},
		{"far too many", singles, 10, 0, never, 91},
		{"all but one", singles, 1, 0, never, 100},
		{"a batch at the limit stays whole", []int{5, 5, 5, 5}, 8, 0, never, 11},
		{"the end of a batch at the limit", []int{5, 5, 5, 5}, 5, 0, never, 16},
		{"one batch is more than the limit", []int{1, 50}, 10, 0, never, 2},
		{"nothing but one batch", []int{50}, 10, 0, never, 0},
		{"nothing is old", singles, 1000, 2 * time.Hour, minutes(100), 0},
		{"the oldest is not yet a hundredth too old", singles, 1000, 100 * time.Minute, minutes(100.9), 0},
		{"the oldest is too old", singles, 1000, 100 * time.Minute, minutes(101), 3},
		{"all are too old", singles, 1000, time.Minute, minutes(1000), 101},
		{"old batches", []int{5, 5, 5, 5}, 1000, time.Minute, minutes(2.5), 11},
		{"the stricter of both, by age", singles, 50, 20 * time.Minute, minutes(100), 82},
		{"the stricter of both, by count", singles, 10, 20 * time.Minute, minutes(100), 91},
		{"empty", nil, 10, time.Minute, minutes(1000), 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, proposed, logged := compactorOn(t, tt.sizes...)
			c.cfg.Events, c.cfg.Age = tt.events, tt.age
			for range 2 { // what was done is not done again
				if err := c.compact(context.Background(), tt.now); err != nil {
					t.Fatal(err)
				}
			}
			switch {
			case tt.want == 0 && len(*proposed) > 0:
				t.Errorf("proposed %v", *proposed)
			case tt.want != 0 && (len(*proposed) != 1 || (*proposed)[0] != tt.want):
				t.Errorf("proposed %v, want %d once", *proposed, tt.want)
			}
			if n := strings.Count(logged.String(), "history compacted"); n != len(*proposed) {
				t.Errorf("said %d times: %s", n, logged)
			}
		})
	}
}

func TestCompactorTellsWhyItCannot(t *testing.T) {
	c, _, _ := compactorOn(t, 1, 1, 1)
	c.cfg.Events = 1
	c.cfg.Propose = func(context.Context, *logv1.Command) (*logv1.Result, error) {
		return &logv1.Result{Refusal: &logv1.Refusal{Reason: logv1.Refusal_REASON_INVALID, Field: "horizon", Problem: logv1.Refusal_PROBLEM_TOO_HIGH, Value: 9, Limit: 7}}, nil
	}
	if err := c.compact(context.Background(), minutes(0)); err == nil || err.Error() != "horizon is 9; it can be at most 7" {
		t.Errorf("a refusal: %v", err)
	}
	c.cfg.Propose = func(context.Context, *logv1.Command) (*logv1.Result, error) { return nil, context.DeadlineExceeded }
	if err := c.compact(context.Background(), minutes(0)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("an error: %v", err)
	}
	if err := c.cfg.RegistryFile.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.compact(context.Background(), minutes(0)); !errors.Is(err, store.ErrClosed) {
		t.Errorf("a closed registry file: %v", err)
	}
}
