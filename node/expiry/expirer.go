package expiry

import (
	"context"
	"errors"
	"log/slog"
	"time"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

const (
	// lookEvery is how often a leader looks for what has run out: an override ends at most so much, and the time
	// of a write, after its time.
	lookEvery = 100 * time.Millisecond
	// maxAtOnce is how many overrides one command ends. The fold needs some 0.2 ms for each if there are very many
	// rules, and lets others' writes in between two commands.
	maxAtOnce = 100
	// warnEvery is how often a failure is logged.
	warnEvery = 10 * time.Second
)

// Config is what an Expirer is made of. All of it is required.
type Config struct {
	Node string
	// Due returns at most limit of the overrides whose time has come at a time, in nanoseconds since 1970.
	Due     func(now int64, limit int) []*logv1.ExpiredOverride
	Clock   func() int64  // the cluster's, in nanoseconds since 1970
	Term    func() uint64 // the newest that this node knows
	Leading func() bool
	Propose func(context.Context, *logv1.Command) (*logv1.Result, error)
	Logger  *slog.Logger
}

// Expirer proposes the end of overrides while its node leads.
type Expirer struct {
	cfg    Config
	warned time.Time // when a failure was logged last
}

// New returns an Expirer. It does nothing until Run.
func New(cfg Config) *Expirer { return &Expirer{cfg: cfg} }

// Run works until ctx ends.
func (e *Expirer) Run(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		for e.cfg.Leading() && e.expire(ctx) && ctx.Err() == nil {
			// More may be due than one command ends.
		}
	}
}

// expire proposes the end of what is due, and says whether there may be more. If it is not known what became of
// the proposal, the next look finds out: what ended is not due any more.
func (e *Expirer) expire(ctx context.Context) (more bool) {
	term := e.cfg.Term() // before looking: what this leadership has not seen it must not end
	due := e.cfg.Due(e.cfg.Clock(), maxAtOnce)
	if len(due) == 0 {
		return false
	}
	attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	result, err := e.cfg.Propose(attempt, &logv1.Command{
		Actor:  &logv1.Actor{Name: "node " + e.cfg.Node, Verified: true},
		Reason: "its time is over",
		Kind:   &logv1.Command_Expire{Expire: &logv1.Expire{Term: term, Overrides: due}},
	})
	switch refusal := result.GetRefusal(); {
	case err != nil:
		if ctx.Err() == nil && e.cfg.Leading() { // else it is the next leader's to do
			e.warn("overrides whose time is over cannot be ended; it is tried again", err)
		}
		return false
	case refusal.GetReason() == logv1.Refusal_REASON_STALE:
		return false // another leader was between
	case refusal != nil:
		e.warn("ending overrides was refused", errors.New(refusal.GetReason().String()))
		return false
	}
	return len(due) == maxAtOnce
}

func (e *Expirer) warn(what string, err error) {
	if now := time.Now(); e.warned.IsZero() || now.Sub(e.warned) >= warnEvery {
		e.warned = now
		e.cfg.Logger.Warn(what, "error", err)
	}
}
