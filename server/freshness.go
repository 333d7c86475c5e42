package server

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc/status"

	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
)

// freshness is how this node knows that what it shows is not old. A round asks the leader, here or one
// hop away, which log index shows every write acknowledged so far, and the leader has itself confirmed
// by a quorum for it. Linearizable reads wait until this node has applied the index; and the node is
// as fresh as the start of its last round whose index it has applied. (That a leader was heard of
// lately would prove nothing about what this node holds.)
type freshness struct {
	node      string
	agreement Agreement
	registry  Registry
	pool      *peerPool
	timeout   time.Duration // of one try

	// rounds are this node's. leading are those that it makes as the leader: for itself, and for
	// other nodes, of which each has one under way.
	rounds, leading *rounds

	mu      sync.Mutex // guards what follows
	freshAt time.Time  // zero: no round yet
	// pending are the newest rounds whose index was not applied when it was last looked, oldest first.
	pending []answered
}

// answered is a round that has its index.
type answered struct {
	begun time.Time
	index uint64
}

// maxPending is far more than a node needs that keeps up. One that does not loses the newest but one.
const maxPending = 32

func newFreshness(node string, deps Deps, pool *peerPool, timeout time.Duration) *freshness {
	f := &freshness{node: node, agreement: deps.Agreement, registry: deps.Registry, pool: pool, timeout: timeout}
	f.rounds = newRounds(timeout, f.ask)
	f.leading = newRounds(timeout, deps.Agreement.ReadIndex)
	return f
}

func (f *freshness) close() {
	f.rounds.close()
	f.leading.close()
}

// at returns how fresh this node is: it shows every write that was acknowledged before then. Zero: it
// does not know.
func (f *freshness) at() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.pending) == 0 {
		return f.freshAt
	}
	applied := f.registry.AppliedIndex()
	done := 0
	for done < len(f.pending) && f.pending[done].index <= applied {
		f.freshAt = f.pending[done].begun
		done++
	}
	f.pending = append(f.pending[:0], f.pending[done:]...)
	return f.freshAt
}

// took takes the end of a round. They end in the order in which they begin.
func (f *freshness) took(a answered) {
	f.at()
	f.mu.Lock()
	defer f.mu.Unlock()
	last := len(f.pending) - 1
	if last >= 0 && (f.pending[last].index >= a.index || len(f.pending) == maxPending) {
		a.index = max(a.index, f.pending[last].index)
		f.pending[last] = a
		return
	}
	f.pending = append(f.pending, a)
}

// confirm returns when this node is as fresh as the call. It tries again until ctx ends; the error is
// then what was in the way.
func (f *freshness) confirm(ctx context.Context) error {
	var last error // that says more than that time ran out
	for {
		changed := f.agreement.Changed() // before asking, so that no change is missed
		index, err := f.rounds.do(ctx)
		if err == nil {
			if err = f.registry.WaitIndex(ctx, index); err == nil {
				return nil
			}
			if ctx.Err() == nil {
				return err // halted
			}
			return fmt.Errorf("this node is behind: it has applied log index %d of %d", f.registry.AppliedIndex(), index)
		}
		if errors.Is(err, errStopping) {
			return err
		}
		leader, _ := f.agreement.Leader()
		switch {
		case leader == "":
			last = errNoLeaderKnown
		case ctx.Err() == nil:
			last = err
		case last == nil:
			last = fmt.Errorf("leader %s has not answered", leader)
		}
		var pause <-chan time.Time
		if leader != "" {
			pause = time.After(retryPause)
		}
		select {
		case <-changed:
		case <-pause:
		case <-ctx.Done():
			return last
		}
	}
}

var errNoLeaderKnown = errors.New("no leader is known")

// ask is one round.
func (f *freshness) ask(ctx context.Context) (uint64, error) {
	begun := time.Now()
	index, err := f.askLeader(ctx)
	if err == nil {
		f.took(answered{begun, index})
	}
	return index, err
}

func (f *freshness) askLeader(ctx context.Context) (uint64, error) {
	changed := f.agreement.Changed() // before Leader, so that no change is missed
	switch leader, leading := f.agreement.Leader(); {
	case leading:
		return f.leading.do(ctx)
	case leader == "":
		return 0, errNoLeaderKnown
	case leader == f.node:
		return 0, fmt.Errorf("leader %s has not begun its term", leader)
	default:
		// Asking is harmless, so it need not be waited for when another may lead.
		ctx, done := endedBy(ctx, changed)
		defer done()
		return f.forward(ctx, leader)
	}
}

func (f *freshness) forward(ctx context.Context, leader string) (uint64, error) {
	conn, err := f.pool.get(leader)
	if err != nil {
		return 0, fmt.Errorf("leader %s cannot be reached: %w", leader, err)
	}
	if err := conn.ready(ctx, true); err != nil {
		return 0, fmt.Errorf("leader %s cannot be reached: %s", leader, inWords(err))
	}
	res, err := peerv1.NewPeerClient(conn).ReadIndex(ctx, &peerv1.ReadIndexRequest{})
	if err != nil {
		return 0, fmt.Errorf("leader %s: %s", leader, status.Convert(err).Message())
	}
	if res.GetIndex() == 0 {
		return 0, fmt.Errorf("leader %s answered without an index", leader)
	}
	return res.GetIndex(), nil
}

// Background rounds are a quarter of the staleness apart that they are to prevent, within these.
const (
	minRoundPeriod = 250 * time.Millisecond
	maxRoundPeriod = 2500 * time.Millisecond
)

// run keeps the node as fresh as maxStaleness, if that can be, until ctx ends. publish is called after
// every round and every failure.
func (f *freshness) run(ctx context.Context, maxStaleness time.Duration, publish func()) {
	period := min(max(maxStaleness/4, minRoundPeriod), maxRoundPeriod)
	for ctx.Err() == nil {
		next := time.NewTimer(period)
		try, cancel := context.WithTimeout(ctx, f.timeout)
		_ = f.confirm(try) // the node's own names say so
		cancel()
		publish()
		select {
		case <-next.C:
		case <-ctx.Done():
		}
		next.Stop()
	}
}
