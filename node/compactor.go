package node

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
	// compactEvery is how often a leader looks whether too much history is kept.
	compactEvery = 10 * time.Second
	// A limit is exceeded by a share of it before anything is deleted, so that a busy registry is not
	// compacted all the time: a tenth of HistoryEvents; a hundredth of HistoryAge, an hour at most.
	eventsSlack = 10
	ageSlack    = 100
	maxAgeSlack = time.Hour
)

// compactor has a leader propose what of the history is no longer kept. The decision is a command in
// the log, so that all nodes keep the same.
type compactor struct {
	log          *slog.Logger
	events       int           // HistoryEvents
	age          time.Duration // HistoryAge
	registryFile *registry.File
	horizon      func() int64 // the fold's
	leading      func() bool
	propose      func(context.Context, *logv1.Command) (*logv1.Result, error)
	self         string

	// logClock is the time by which events are old, but for leaps. retention tells by which time history ages.
	logClock  func() int64
	retention retentionClock
	started   time.Time
}

func newCompactor(n *Node) *compactor {
	c := &compactor{
		log:          n.log,
		events:       n.cfg.HistoryEvents,
		age:          n.cfg.HistoryAge,
		registryFile: n.registryFile,
		horizon:      n.fsm.Horizon,
		leading:      n.leading,
		propose:      agreement{n.cfg.Name, n.raft, n.fsm, n.levels}.Propose,
		self:         n.cfg.Name,
		logClock:     n.raft.RetentionClock,
		retention:    retentionClock{window: min(maxRetentionWindow, n.cfg.HistoryAge)},
		started:      n.loaded,
	}
	// The cluster may have been stopped before: this is the log's time of then.
	c.retention.at(0, n.loadedLogTime)
	return c
}

// run ends with ctx.
func (c *compactor) run(ctx context.Context) {
	look := time.NewTicker(compactEvery)
	defer look.Stop()
	for {
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
		now := c.retention.at(time.Since(c.started), c.logClock()) // also while another leads
		if !c.leading() {
			continue
		}
		err := c.compact(ctx, now)
		ended := ctx.Err() != nil || errors.Is(err, store.ErrClosed) || errors.Is(err, registry.ErrScanEnded)
		if err != nil && !ended && c.leading() { // else it is the next leader's to do
			c.log.Warn("the history cannot be compacted; it is tried again", "error", err)
		}
	}
}

// compact proposes another horizon if one is due.
func (c *compactor) compact(ctx context.Context, now time.Time) error {
	horizon, limit, err := c.due(ctx, now)
	if err != nil || horizon == 0 {
		return err
	}
	before := c.horizon()
	attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	result, err := c.propose(attempt, &logv1.Command{
		Actor:  &logv1.Actor{Name: "node " + c.self, Verified: true},
		Reason: "retention: " + limit,
		Kind:   &logv1.Command_Compact{Compact: &logv1.Compact{Horizon: horizon}},
	})
	if err != nil {
		return err
	}
	if refusal := result.GetRefusal(); refusal != nil {
		return errors.New(rpcerror.RefusalText(refusal))
	}
	c.log.Info("history compacted", "oldest", horizon, "was", before, "revision", result.GetRevision(), "limit", limit)
	return nil
}

// due returns the horizon to propose and the limit that asks for it; 0: none. It never splits an atomic
// write.
func (c *compactor) due(ctx context.Context, now time.Time) (horizon int64, limit string, err error) {
	current := c.horizon()
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
func (c *compactor) dueByCount(ctx context.Context, current int64) (int64, error) {
	newest := c.registryFile.DurableRevision()
	most := int64(c.events)
	if newest-current+1 < most+max(most/eventsSlack, 1) {
		return 0, nil
	}
	horizon := newest - most + 1
	// The write that ends at or after the revision before the horizon must not lie on both sides.
	var commit int64
	_, err := c.registryFile.Events(ctx, logv1.EventQuery{From: current, To: horizon - 1, Descending: true},
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
func (c *compactor) dueByAge(ctx context.Context, now time.Time, current int64) (int64, error) {
	if c.age == 0 {
		return 0, nil
	}
	slack := min(c.age/ageSlack, maxAgeSlack)
	old, err := c.revisionAt(ctx, now.Add(-c.age-slack))
	if err != nil || old < current {
		return 0, err
	}
	old, err = c.revisionAt(ctx, now.Add(-c.age))
	return old + 1, err
}

// revisionAt returns 0 for a time before all that is kept.
func (c *compactor) revisionAt(ctx context.Context, at time.Time) (int64, error) {
	revision, _, err := c.registryFile.RevisionAt(ctx, at.UnixNano())
	if compacted := (*logv1.CompactedError)(nil); errors.As(err, &compacted) {
		return 0, nil
	}
	return revision, err
}
