package freshness

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc/status"

	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	"github.com/rollcallhq/rollcall/server/peerconn"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// Tracker tells how fresh this node is. In a round it asks the leader, on this node or one hop away, for the
// log index that covers every write acknowledged so far. The leader has a quorum confirm that it still leads
// before it answers. A linearizable read waits until this node has applied that index. The node is as fresh
// as the start of the last round whose index it has applied. (A heartbeat from a leader would prove nothing
// about what this node holds.)
type Tracker struct {
	node      string
	agreement Agreement
	registry  Registry
	pool      *peerconn.Pool
	timeout   time.Duration // of one try

	// rounds are the rounds by which this node learns how fresh it is. leading are the rounds that it makes
	// as the leader, for itself and for the other nodes, each of which has one under way at most.
	rounds, leading *batch

	mu      sync.Mutex // guards what follows
	freshAt time.Time  // zero: no round yet
	// pending are the newest rounds whose index this node had not applied at the last look, oldest first.
	pending []confirmedRound
}

// confirmedRound is a round that got an index from the leader.
type confirmedRound struct {
	begun time.Time
	index uint64
}

// roundPause is the pause before a known leader that did not answer is asked again.
const roundPause = 100 * time.Millisecond

// maxPending is far more than a node needs that keeps up. On a node that falls behind, a new round replaces
// the newest pending one.
const maxPending = 32

// NewTracker returns a Tracker for the node called node. A round takes timeout at most.
func NewTracker(node string, agreement Agreement, registry Registry, pool *peerconn.Pool, timeout time.Duration) *Tracker {
	f := &Tracker{node: node, agreement: agreement, registry: registry, pool: pool, timeout: timeout}
	f.rounds = newBatch(timeout, f.ask)
	f.leading = newBatch(timeout, agreement.ReadIndex)
	return f
}

// Assume makes this node count as fresh as at, whatever its rounds said. It is for tests.
func (f *Tracker) Assume(at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.freshAt, f.pending = at, nil
}

// LeaderIndex makes a round as the leader, for this node or another one. It returns a log index that covers
// every write acknowledged before the call.
func (f *Tracker) LeaderIndex(ctx context.Context) (uint64, error) { return f.leading.do(ctx) }

// Rounds is how many rounds this node has made so far to know how fresh it is.
func (f *Tracker) Rounds() int64 { return f.rounds.begun.Load() }

// Close ends the rounds under way and refuses those to come.
func (f *Tracker) Close() {
	f.rounds.close()
	f.leading.close()
}

// At returns how fresh this node is: it shows every write that was acknowledged before the returned time.
// Zero: the node does not know.
func (f *Tracker) At() time.Time {
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

// took notes a round that has ended. Rounds end in the order in which they begin.
func (f *Tracker) took(a confirmedRound) {
	f.At()
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

// Confirm returns when this node shows every write that was acknowledged before the call. It tries again
// until ctx ends. The error then says what was in the way.
func (f *Tracker) Confirm(ctx context.Context) error {
	index, err := f.confirmIndex(ctx)
	if err != nil {
		return err
	}
	if err = f.registry.WaitIndex(ctx, index); err == nil {
		return nil
	}
	if ctx.Err() == nil {
		return err // the fold has halted
	}
	return fmt.Errorf("this node is behind: it has applied log index %d of %d", f.registry.AppliedIndex(), index)
}

// completeTicks is how often the patience of AwaitComplete is counted down.
const completeTicks = 8

// AwaitComplete waits until this node holds every write that was acknowledged before the call. If no leader
// confirms within patience which writes those are, nobody can know, and it returns an error. Once it is known
// that the node has to catch up, it waits for that until ctx ends.
//
// patience is lived time: while this process is stopped it does not pass. A process that was stopped must not
// take its own absence for the leader's.
func (f *Tracker) AwaitComplete(ctx context.Context, patience time.Duration) error {
	asking, cancel := context.WithCancel(ctx)
	defer cancel()
	counting := make(chan struct{})
	go func() {
		defer close(counting)
		tick := time.NewTicker(max(patience/completeTicks, 1))
		defer tick.Stop()
		for range completeTicks {
			select {
			case <-tick.C:
			case <-asking.Done():
				return
			}
		}
		cancel()
	}()
	index, err := f.confirmIndex(asking)
	cancel()
	<-counting
	if err != nil {
		return err
	}
	return f.registry.WaitIndex(ctx, index)
}

// confirmIndex returns an index of the log that covers every write acknowledged before the call. It tries
// again until ctx ends; the error is then what was in the way.
func (f *Tracker) confirmIndex(ctx context.Context) (uint64, error) {
	var last error // the last error that says more than "time ran out"
	for {
		changed := f.agreement.Changed() // before asking, so that no change is missed
		index, err := f.rounds.do(ctx)
		if err == nil {
			return index, nil
		}
		if errors.Is(err, rpcerror.ErrStopping) {
			return 0, err
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
			pause = time.After(roundPause)
		}
		select {
		case <-changed:
		case <-pause:
		case <-ctx.Done():
			return 0, last
		}
	}
}

var errNoLeaderKnown = errors.New("no leader is known")

// ask makes one round: it asks the leader for an index.
func (f *Tracker) ask(ctx context.Context) (uint64, error) {
	begun := time.Now()
	index, err := f.askLeader(ctx)
	if err == nil {
		f.took(confirmedRound{begun, index})
	}
	return index, err
}

func (f *Tracker) askLeader(ctx context.Context) (uint64, error) {
	changed := f.agreement.Changed() // before Leader, so that no change is missed
	switch leader, leading := f.agreement.Leader(); {
	case leading:
		return f.leading.do(ctx)
	case leader == "":
		return 0, errNoLeaderKnown
	case leader == f.node:
		return 0, fmt.Errorf("leader %s has not begun its term", leader)
	default:
		// Asking changes nothing. So the wait for an answer may be cut short when another node may lead.
		ctx, done := peerconn.EndedBy(ctx, changed)
		defer done()
		return f.forward(ctx, leader)
	}
}

func (f *Tracker) forward(ctx context.Context, leader string) (uint64, error) {
	conn, err := f.pool.Get(leader)
	if err != nil {
		return 0, fmt.Errorf("leader %s cannot be reached: %w", leader, err)
	}
	if err := conn.Ready(ctx, true); err != nil {
		return 0, fmt.Errorf("leader %s cannot be reached: %s", leader, peerconn.Describe(err))
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

// The time between two background rounds is a quarter of maxStaleness, within these bounds.
const (
	minRoundPeriod = 250 * time.Millisecond
	maxRoundPeriod = 2500 * time.Millisecond
)

// Run makes rounds in the background until ctx ends, so that the node is never less fresh than maxStaleness,
// if possible. It calls publish after every round and every failure.
func (f *Tracker) Run(ctx context.Context, maxStaleness time.Duration, publish func()) {
	period := min(max(maxStaleness/4, minRoundPeriod), maxRoundPeriod)
	for ctx.Err() == nil {
		next := time.NewTimer(period)
		try, cancel := context.WithTimeout(ctx, f.timeout)
		_ = f.Confirm(try) // the node's own names say so
		cancel()
		publish()
		select {
		case <-next.C:
		case <-ctx.Done():
		}
		next.Stop()
	}
}
