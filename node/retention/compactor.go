package retention

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/server/rpcerror"
	"github.com/rollcallhq/rollcall/store"
	"github.com/rollcallhq/rollcall/store/registry"
)

const (
	// compactEvery is how often a leader checks whether too much history is kept.
	compactEvery = 10 * time.Second
	// A limit is exceeded by a share of it before anything is deleted, so that a busy registry is not
	// compacted all the time: a tenth of HistoryEvents; a hundredth of HistoryAge, an hour at most.
	eventsSlack = 10
	ageSlack    = 100
	maxAgeSlack = time.Hour
)

// Config is what a Compactor is made of. All of it is required.
type Config struct {
	Node   string
	Events int           // how many events are kept at least
	Age    time.Duration // for how long at most; 0: for ever

	RegistryFile *registry.File
	Horizon      func() int64 // the fold's
	Leading      func() bool
	Propose      func(context.Context, *logv1.Command) (*logv1.Result, error)
	// LogClock is the time by which events are old, in nanoseconds since 1970, but for leaps.
	LogClock func() int64
	// Started is when the registry was loaded, and LogTime the log's time of then: the cluster may have been
	// stopped before.
	Started time.Time
	LogTime int64
	Logger  *slog.Logger
}

// Compactor has a leader propose what of the history is no longer kept. The decision is a command in
// the log, so that all nodes keep the same.
type Compactor struct {
	cfg   Config
	clock clock // by which history ages
}

// New returns a Compactor. It does nothing until Run.
func New(cfg Config) *Compactor {
	c := &Compactor{cfg: cfg, clock: clock{window: min(maxWindow, cfg.Age)}}
	c.clock.at(0, cfg.LogTime)
	return c
}

// Run has this node, while it leads, compact the history, until ctx ends.
func (c *Compactor) Run(ctx context.Context) {
	tick := time.NewTicker(compactEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		now := c.clock.at(time.Since(c.cfg.Started), c.cfg.LogClock()) // also while another leads
		if !c.cfg.Leading() {
			continue
		}
		err := c.compact(ctx, now)
		ended := ctx.Err() != nil || errors.Is(err, store.ErrClosed) || errors.Is(err, registry.ErrScanEnded)
		if err != nil && !ended && c.cfg.Leading() { // else it is the next leader's to do
			c.cfg.Logger.Warn("the history cannot be compacted; it is tried again", "error", err)
		}
	}
}

// compact proposes another horizon if one is due.
func (c *Compactor) compact(ctx context.Context, now time.Time) error {
	horizon, limit, err := c.due(ctx, now)
	if err != nil || horizon == 0 {
		return err
	}
	before := c.cfg.Horizon()
	attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	result, err := c.cfg.Propose(attempt, &logv1.Command{
		Actor:  &logv1.Actor{Name: "node " + c.cfg.Node, Verified: true},
		Reason: "retention: " + limit,
		Kind:   &logv1.Command_Compact{Compact: &logv1.Compact{Horizon: horizon}},
	})
	if err != nil {
		return err
	}
	if refusal := result.GetRefusal(); refusal != nil {
		return errors.New(rpcerror.RefusalText(refusal))
	}
	c.cfg.Logger.Info("history compacted", "oldest", horizon, "was", before, "revision", result.GetRevision(), "limit", limit)
	return nil
}

// due returns the horizon to propose and the limit that asks for it; 0: none. It never splits an atomic
// write.
func (c *Compactor) due(ctx context.Context, now time.Time) (horizon int64, limit string, err error) {
	current := c.cfg.Horizon()
	byCount, err := c.dueByCount(ctx, current)
	if err != nil {
		return 0, "", err
	}
	byAge, err := c.dueByAge(ctx, now, current)
	switch {
	case err != nil:
		return 0, "", err
	case max(byCount, byAge) <= current:
		return 0, "", nil
	case byCount >= byAge:
		return byCount, "history-events", nil
	}
	return byAge, "history-age", nil
}

// dueByCount is the horizon from which on at least HistoryEvents are kept; more, if that would split
// an atomic write.
func (c *Compactor) dueByCount(ctx context.Context, current int64) (int64, error) {
	newest := c.cfg.RegistryFile.DurableRevision()
	most := int64(c.cfg.Events)
	if newest-current+1 < most+max(most/eventsSlack, 1) {
		return 0, nil
	}
	horizon := newest - most + 1
	// The write that ends at or after the revision before the horizon must not lie on both sides.
	var commit int64
	_, err := c.cfg.RegistryFile.Events(ctx, logv1.EventQuery{From: current, To: horizon - 1, Descending: true},
		func(e *logv1.Event) (bool, error) {
			if commit == 0 {
				if commit = e.GetCommitRevision(); commit == e.GetRevision() {
					return false, nil
				}
			}
			if e.GetCommitRevision() != commit {
				return false, nil
			}
			horizon = e.GetRevision()
			return true, nil
		})
	if err != nil {
		return 0, fmt.Errorf("find the end of a write: %w", err)
	}
	return horizon, nil
}

// dueByAge is the horizon from which on all events are younger than HistoryAge.
func (c *Compactor) dueByAge(ctx context.Context, now time.Time, current int64) (int64, error) {
	if c.cfg.Age == 0 {
		return 0, nil
	}
	slack := min(c.cfg.Age/ageSlack, maxAgeSlack)
	old, err := c.revisionAt(ctx, now.Add(-c.cfg.Age-slack))
	if err != nil || old < current {
		return 0, err
	}
	old, err = c.revisionAt(ctx, now.Add(-c.cfg.Age))
	return old + 1, err
}

// revisionAt returns 0 for a time before all that is kept.
func (c *Compactor) revisionAt(ctx context.Context, at time.Time) (int64, error) {
	revision, _, err := c.cfg.RegistryFile.RevisionAt(ctx, at.UnixNano())
	if compacted := (*logv1.CompactedError)(nil); errors.As(err, &compacted) {
		return 0, nil
	}
	return revision, err
}
