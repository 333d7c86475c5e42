package freshness

import (
	"context"
	"sync"
	"time"

	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// LeaderWatch ends the watches that require a leader when this node has known none for longer than an
// election takes.
type LeaderWatch struct {
	agreement Agreement
	grace     time.Duration

	mu   sync.Mutex // guards what follows
	held context.Context
	lose context.CancelCauseFunc
}

// ErrNoLeader ends a watch that requires a leader when there is none.
var ErrNoLeader = &rpcerror.Failure{
	Reason:  rpcerror.ReasonNoLeader,
	Message: "this node knows no leader, and " + MetadataRequireLeader + " is asked; ask another node, or try again",
}

// NewLeaderWatch returns a LeaderWatch; Run makes it work. A watch goes on for grace without a leader.
func NewLeaderWatch(agreement Agreement, grace time.Duration) *LeaderWatch {
	w := &LeaderWatch{agreement: agreement, grace: grace}
	w.held, w.lose = context.WithCancelCause(context.Background())
	return w
}

func (w *LeaderWatch) known() bool {
	leader, _ := w.agreement.Leader()
	return leader != ""
}

// require returns a context that ends, with cause ErrNoLeader, when there has been no leader for too long. It
// fails with ErrNoLeader if there is none now.
func (w *LeaderWatch) require() (context.Context, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.known() {
		return nil, ErrNoLeader
	}
	if w.held.Err() != nil {
		w.held, w.lose = context.WithCancelCause(context.Background())
	}
	return w.held, nil
}

// end ends the watches that require a leader, unless a leader is known by now.
func (w *LeaderWatch) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.known() {
		w.lose(ErrNoLeader)
	}
}

// Run watches until ctx ends.
func (w *LeaderWatch) Run(ctx context.Context) {
	var lost *time.Timer // nil: there is a leader
	for {
		changed := w.agreement.Changed() // before asking, so that no change is missed
		switch known := w.known(); {
		case known && lost != nil:
			lost.Stop()
			lost = nil
		case !known && lost == nil:
			lost = time.NewTimer(w.grace)
		}
		var due <-chan time.Time
		if lost != nil {
			due = lost.C
		}
		select {
		case <-changed:
		case <-due:
			w.end()
			// Start again while there is no leader: a leader may have been seen for a moment only.
			lost = nil
		case <-ctx.Done():
			if lost != nil {
				lost.Stop()
			}
			return
		}
	}
}
