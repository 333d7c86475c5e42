package proposer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/raftnode/workaround"
)

// Config is what a Proposer is made of. Congested and OnEntry may be nil.
type Config struct {
	// Apply hands an entry to raft.
	Apply func(raft.Log, time.Duration) raft.ApplyFuture

	MaxEntryCommands   int // commands in one entry
	MaxEntryBytes      int // of commands in one entry; a larger command has an entry of its own
	MaxCommandBytes    int
	MaxEntriesInFlight int
	MaxWaiting         int // commands that wait for an entry
	MaxWaitingBytes    int
	EnqueueTimeout     time.Duration // until raft takes an entry

	Now       func() int64 // the time of the next entry, in nanoseconds since 1970
	StateHash func() *logv1.StateHash
	// Level is the lowest feature level that holds all of a command.
	Level func(*logv1.Command) uint32
	// Congested is asked before each entry is made of the commands that wait. It returns nil, or what is
	// closed when it should be asked again: the node has enough to store already.
	Congested func() <-chan struct{}
	// OnEntry is told of each entry that was applied: its commands, and the time from proposing it to the
	// fold's answer. It must not block.
	OnEntry func(commands int, took time.Duration)
}

// Proposer turns waiting commands into log entries. It puts all that wait into one entry as soon as fewer
// than MaxEntriesInFlight entries are under way. So a single command does not wait at all, and under load
// the commands that came during one fsync share the next one.
type Proposer struct {
	cfg Config

	wake      chan struct{} // capacity 1: somebody waits, or closing
	slots     chan struct{} // one for each entry in flight
	closing   chan struct{}
	abandoned chan struct{} // futures still open are given up
	wg        sync.WaitGroup

	mu           sync.Mutex // guards all below
	queue        []waiting  // some may have been given up
	waitingBytes int        // of queue
	closed       bool
}

// waiting is a proposal that waits for an entry.
type waiting struct {
	*logv1.Proposal
	size int
}

type outcome struct {
	result any
	err    error
}

// caller is the logv1.Waiter of one call of Propose.
type caller struct {
	done chan outcome // capacity 1, sent to once
}

func (c caller) Answer(result any, err error) { c.done <- outcome{result, err} }
func (caller) Flush()                         {}

// New returns a Proposer that takes commands until Close.
func New(cfg Config) *Proposer {
	p := &Proposer{
		cfg:       cfg,
		wake:      make(chan struct{}, 1),
		slots:     make(chan struct{}, cfg.MaxEntriesInFlight),
		closing:   make(chan struct{}),
		abandoned: make(chan struct{}),
	}
	p.wg.Go(p.run)
	return p
}

// Propose returns the fold's answer to cmd, which the caller must not change any more.
func (p *Proposer) Propose(ctx context.Context, cmd *logv1.Command) (any, error) {
	if err := ctx.Err(); err != nil {
		return nil, NotWrittenError{err}
	}
	done := make(chan outcome, 1)
	pr := &logv1.Proposal{Command: cmd, Waiter: caller{done}}
	p.Start([]*logv1.Proposal{pr})
	var gaveUp error
	select {
	case out := <-done:
		return out.result, out.err
	case <-ctx.Done():
		gaveUp = ctx.Err()
	case <-p.abandoned:
		gaveUp = ErrClosed
	}
	switch sent, ok := pr.GiveUp(); {
	case !ok: // it was answered at the same moment
		out := <-done
		return out.result, out.err
	case sent:
		return nil, UnknownOutcomeError{gaveUp}
	}
	return nil, NotWrittenError{gaveUp}
}

// Start has each of proposals answered with what Propose would return. They wait until they are answered or
// given up. Those in an entry that raft never ends are answered after Abandon.
func (p *Proposer) Start(proposals []*logv1.Proposal) {
	errs := p.enqueue(proposals)
	if errs == nil {
		return
	}
	for i, err := range errs {
		if err != nil {
			proposals[i].Answer(nil, NotWrittenError{err})
		}
	}
	for i, err := range errs {
		if err != nil {
			proposals[i].Waiter.Flush()
		}
	}
}

// ProposeNow has cmd in an entry of its own, past the queue, and returns its index when the fold has
// answered.
func (p *Proposer) ProposeNow(cmd *logv1.Command) (uint64, error) {
	future, err := p.start([]*logv1.Command{cmd})
	if err != nil {
		return 0, NotWrittenError{err}
	}
	if _, err := p.finish(future, 1); err != nil {
		return 0, err
	}
	return future.Index(), nil
}

// enqueue returns an error for each of proposals that cannot wait; nil if all can.
func (p *Proposer) enqueue(proposals []*logv1.Proposal) (errs []error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, pr := range proposals {
		if err := p.enqueueOne(waiting{pr, pr.Command.SizeVT()}); err != nil {
			if errs == nil {
				errs = make([]error, len(proposals))
			}
			errs[i] = err
		}
	}
	select {
	case p.wake <- struct{}{}:
	default:
	}
	return errs
}

// enqueueOne is enqueue of one proposal. mu is held.
func (p *Proposer) enqueueOne(w waiting) error {
	if w.size > p.cfg.MaxCommandBytes {
		return QuotaError{fmt.Errorf("%w: %d bytes; at most %d are allowed", ErrTooLarge, w.size, p.cfg.MaxCommandBytes), "change-bytes"}
	}
	if p.closed {
		return ErrClosed
	}
	if p.full(w.size) {
		p.forgetGivenUp()
	}
	switch {
	case len(p.queue) >= p.cfg.MaxWaiting:
		return QuotaError{fmt.Errorf("%w: %d", ErrOverloaded, len(p.queue)), "pending-changes"}
	case p.full(w.size):
		return QuotaError{fmt.Errorf("%w: %d bytes", ErrOverloaded, p.waitingBytes), "pending-change-bytes"}
	}
	p.queue = append(p.queue, w)
	p.waitingBytes += w.size
	return nil
}

// full reports that a command of so many bytes cannot wait. mu is held.
func (p *Proposer) full(size int) bool {
	return len(p.queue) >= p.cfg.MaxWaiting || len(p.queue) > 0 && p.waitingBytes+size > p.cfg.MaxWaitingBytes
}

// forgetGivenUp takes the proposals out of the queue that were given up. mu is held.
func (p *Proposer) forgetGivenUp() {
	p.queue = slices.DeleteFunc(p.queue, func(w waiting) bool {
		if !w.GivenUp() {
			return false
		}
		p.waitingBytes -= w.size
		return true
	})
}

// Refuse answers all that wait: they are surely not written.
func (p *Proposer) Refuse(err error) {
	p.mu.Lock()
	refused := p.queue
	p.queue, p.waitingBytes = nil, 0
	p.mu.Unlock()
	batch := make([]*logv1.Proposal, len(refused))
	for i, w := range refused {
		batch[i] = w.Proposal
	}
	refuseAll(batch, NotWrittenError{err})
}

// take moves what fits into one entry out of the queue.
func (p *Proposer) take() (batch []*logv1.Proposal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, bytes := 0, 0
	for ; n < len(p.queue) && len(batch) < p.cfg.MaxEntryCommands; n++ {
		w := p.queue[n]
		if len(batch) > 0 && bytes+w.size > p.cfg.MaxEntryBytes {
			break
		}
		p.waitingBytes -= w.size
		if w.Send() {
			batch = append(batch, w.Proposal)
			bytes += w.size
		}
	}
	rest := copy(p.queue, p.queue[n:])
	clear(p.queue[rest:])
	p.queue = p.queue[:rest]
	return batch
}

func (p *Proposer) run() {
	for {
		select {
		case <-p.wake:
		case <-p.closing:
			return
		}
		for {
			select {
			case p.slots <- struct{}{}:
			case <-p.closing:
				return
			}
			if !p.awaitRoom() {
				return
			}
			// Only now: what came while no slot was free shares this entry.
			batch := p.take()
			if len(batch) == 0 {
				<-p.slots
				break
			}
			p.dispatch(batch)
		}
	}
}

// awaitRoom waits while the node is congested. It returns false when the proposer is closing. Commands stay in
// the queue meanwhile, which is bounded, and can still be withdrawn.
func (p *Proposer) awaitRoom() bool {
	if p.cfg.Congested == nil {
		return true
	}
	for {
		relieved := p.cfg.Congested()
		if relieved == nil {
			return true
		}
		select {
		case <-relieved:
		case <-p.closing:
			return false
		}
	}
}

// dispatch proposes a batch as one entry and leaves a goroutine to wait for its end.
func (p *Proposer) dispatch(batch []*logv1.Proposal) {
	commands := make([]*logv1.Command, len(batch))
	for i, pr := range batch {
		commands[i] = pr.Command
	}
	start := time.Now()
	future, err := p.start(commands)
	if err != nil {
		<-p.slots
		refuseAll(batch, NotWrittenError{err})
		return
	}
	p.wg.Go(func() {
		results, err := p.finish(future, len(batch))
		<-p.slots
		if err != nil {
			refuseAll(batch, err)
			return
		}
		if p.cfg.OnEntry != nil {
			p.cfg.OnEntry(len(batch), time.Since(start))
		}
		for i, pr := range batch {
			pr.Answer(results[i], nil)
		}
		logv1.FlushAll(batch)
	})
}

// start seals commands into an entry and proposes it. An error means that nothing was proposed.
func (p *Proposer) start(commands []*logv1.Command) (raft.ApplyFuture, error) {
	level := logv1.BaseLevel
	for _, cmd := range commands {
		level = max(level, p.cfg.Level(cmd))
	}
	data, err := logv1.Seal(&logv1.Entry{
		Level:     logv1.LevelNumber(level),
		Time:      p.cfg.Now(),
		StateHash: p.cfg.StateHash(),
		Commands:  commands,
	})
	if err != nil {
		return nil, err
	}
	future := p.cfg.Apply(raft.Log{Data: data}, p.cfg.EnqueueTimeout)
	workaround.EndWith(future, p.abandoned)
	return future, nil
}

// finish waits for an entry's end and returns the fold's answers to its n commands.
func (p *Proposer) finish(future raft.ApplyFuture, n int) ([]any, error) {
	if err := future.Error(); err != nil {
		return nil, classify(err)
	}
	switch response := future.Response().(type) {
	case []any:
		if len(response) != n {
			return nil, UnknownOutcomeError{fmt.Errorf("the fold gave %d answers to %d commands", len(response), n)}
		}
		return response, nil
	case error:
		return nil, UnknownOutcomeError{response}
	default:
		return nil, UnknownOutcomeError{fmt.Errorf("the fold answered with a %T", response)}
	}
}

// classify says what an error of an apply future proves. These three raft gives only before it
// appends (v1.7.3: ApplyLog, the loops of follower, candidate and leader). Whatever else comes may
// come after: ErrLeadershipLost from what was in flight, ErrRaftShutdown from what was committed, a
// store's error although another node may have got the entry.
func classify(err error) error {
	switch {
	case errors.Is(err, raft.ErrNotLeader):
		return NotWrittenError{ErrNotLeader}
	case errors.Is(err, raft.ErrEnqueueTimeout), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return NotWrittenError{inWords(err)}
	}
	return UnknownOutcomeError{inWords(err)}
}

func refuseAll(batch []*logv1.Proposal, err error) {
	for _, pr := range batch {
		pr.Answer(nil, err)
	}
	logv1.FlushAll(batch)
}

// Close refuses what waits and what comes. Entries in flight go on.
func (p *Proposer) Close() {
	p.mu.Lock()
	already := p.closed
	p.closed = true
	p.mu.Unlock()
	if already {
		return
	}
	close(p.closing)
	p.Refuse(ErrClosed)
}

// Drained is closed when nothing is in flight any more. Call it after Close.
func (p *Proposer) Drained() <-chan struct{} {
	done := make(chan struct{})
	go func() {
		p.wg.Wait()
		close(done)
	}()
	return done
}

// Abandon gives up what is in flight. Raft must have ended, or be past waiting for.
func (p *Proposer) Abandon() { close(p.abandoned) }

// Abandoned is closed by Abandon.
func (p *Proposer) Abandoned() chan struct{} { return p.abandoned }
