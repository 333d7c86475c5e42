package proposer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/goleak"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func command(id string) *logv1.Command {
	return &logv1.Command{RequestId: id, Kind: &logv1.Command_Write{Write: &logv1.Write{
		Changes: []*logv1.Change{{Service: "team/" + id, Status: logv1.Status_STATUS_SERVING}},
	}}}
}

// testFuture is an apply future that a test answers.
type testFuture struct {
	ended    chan struct{}
	err      error
	response any
	// ShutdownCh stands for the field of raft's futures.
	ShutdownCh chan struct{}
}

func (f *testFuture) Error() error {
	select {
	case <-f.ended:
		return f.err
	case <-f.ShutdownCh:
		return raft.ErrRaftShutdown
	}
}
func (f *testFuture) Index() uint64 { return 1 }
func (f *testFuture) Response() any { return f.response }

// testRaft takes entries and leaves them to the test.
type testRaft struct {
	mu      sync.Mutex
	entries []*logv1.Entry
	futures []*testFuture
	took    chan struct{}
}

func newTestProposer(change func(*Config)) (*Proposer, *testRaft) {
	r := &testRaft{took: make(chan struct{}, 1000)}
	cfg := Config{
		Apply:              r.apply,
		MaxEntryCommands:   512,
		MaxEntryBytes:      1 << 20,
		MaxCommandBytes:    8 << 20,
		MaxEntriesInFlight: 3,
		MaxWaiting:         10_000,
		MaxWaitingBytes:    64 << 20,
		EnqueueTimeout:     2 * time.Second,
		Now:                func() int64 { return time.Now().UnixNano() },
		StateHash:          func() *logv1.StateHash { return nil },
		Level:              func(*logv1.Command) uint32 { return logv1.BaseLevel },
	}
	if change != nil {
		change(&cfg)
	}
	return New(cfg), r
}

func (r *testRaft) apply(l raft.Log, _ time.Duration) raft.ApplyFuture {
	var e logv1.Entry
	if err := logv1.Open(l.Data, &e); err != nil {
		panic(err)
	}
	f := &testFuture{ended: make(chan struct{})}
	r.mu.Lock()
	r.entries, r.futures = append(r.entries, &e), append(r.futures, f)
	r.mu.Unlock()
	r.took <- struct{}{}
	return f
}

// finish answers the entry with the request ids of its commands, or with err.
func (r *testRaft) finish(i int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.futures[i]
	if f.err = err; err == nil {
		answers := []any{}
		for _, cmd := range r.entries[i].GetCommands() {
			answers = append(answers, cmd.GetRequestId())
		}
		f.response = answers
	}
	close(f.ended)
}

func (r *testRaft) sizes() []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	var sizes []int
	for _, e := range r.entries {
		sizes = append(sizes, len(e.GetCommands()))
	}
	return sizes
}

func endProposer(p *Proposer) {
	p.Close()
	p.Abandon()
	<-p.Drained()
}

// propose starts a proposal and returns where its end will be.
func propose(ctx context.Context, p *Proposer, id string) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		result, err := p.Propose(ctx, command(id))
		done <- outcome{result, err}
	}()
	return done
}

func TestWaitingCommandsShareAnEntry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, r := newTestProposer(nil)
		defer endProposer(p)
		var ends []<-chan outcome
		for i := range 3 { // one alone goes at once, up to three entries
			ends = append(ends, propose(t.Context(), p, fmt.Sprint(i)))
			synctest.Wait()
		}
		for i := range 100 {
			ends = append(ends, propose(t.Context(), p, fmt.Sprint(3+i)))
		}
		synctest.Wait()
		if got := fmt.Sprint(r.sizes()); got != "[1 1 1]" {
			t.Fatalf("entries of %s commands, want three of one", got)
		}
		r.finish(1, nil)
		synctest.Wait()
		if got := fmt.Sprint(r.sizes()); got != "[1 1 1 100]" {
			t.Fatalf("entries of %s commands, want one of all that waited", got)
		}
		r.finish(0, nil)
		r.finish(2, nil)
		r.finish(3, nil)
		for i, end := range ends {
			if out := <-end; out.err != nil || out.result != fmt.Sprint(i) {
				t.Errorf("%d was answered with %v, %v", i, out.result, out.err)
			}
		}
	})
}

func TestEntriesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, r := newTestProposer(func(c *Config) {
			c.MaxEntriesInFlight, c.MaxEntryCommands, c.MaxEntryBytes, c.MaxCommandBytes = 1, 10, 2000, 5000
		})
		defer endProposer(p)
		propose(t.Context(), p, "first")
		synctest.Wait()
		for i := range 25 {
			propose(t.Context(), p, fmt.Sprint(i))
		}
		synctest.Wait()
		for range 2 { // two of these fill an entry
			propose(t.Context(), p, strings.Repeat("x", 450))
			synctest.Wait()
		}
		propose(t.Context(), p, strings.Repeat("x", 2000)) // larger than an entry
		synctest.Wait()
		propose(t.Context(), p, "last")
		synctest.Wait()
		for i := range 6 {
			r.finish(i, nil)
			synctest.Wait()
		}
		if got := fmt.Sprint(r.sizes()); got != "[1 10 10 7 1 1]" {
			t.Errorf("entries of %s commands", got)
		}
		_, err := p.Propose(t.Context(), command(strings.Repeat("x", 3000)))
		if !errors.Is(err, ErrTooLarge) || !errors.As(err, new(NotWrittenError)) || !errors.As(err, new(QuotaError)) {
			t.Errorf("too large: %v", err)
		}
	})
}

func TestOverload(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"count": func(c *Config) { c.MaxEntriesInFlight, c.MaxWaiting = 1, 5 },
		"bytes": func(c *Config) { c.MaxEntriesInFlight, c.MaxWaitingBytes = 1, 100 },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, r := newTestProposer(change)
				defer endProposer(p)
				propose(t.Context(), p, "first")
				synctest.Wait()
				var ends []<-chan outcome
				for i := range 20 {
					ends = append(ends, propose(t.Context(), p, fmt.Sprint(i)))
					synctest.Wait()
				}
				r.finish(0, nil)
				synctest.Wait()
				r.finish(1, nil)
				refused := 0
				for _, end := range ends {
					if out := <-end; out.err != nil {
						refused++
						if !errors.Is(out.err, ErrOverloaded) || !errors.As(out.err, new(NotWrittenError)) || !errors.As(out.err, new(QuotaError)) {
							t.Error(out.err)
						}
					}
				}
				if refused != 15 {
					t.Errorf("%d of 20 were refused, want 15", refused)
				}
				end := propose(t.Context(), p, "later")
				synctest.Wait()
				r.finish(2, nil)
				if out := <-end; out.err != nil {
					t.Errorf("afterwards: %v", out.err)
				}
			})
		})
	}
}

func TestProposeEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, r := newTestProposer(func(c *Config) { c.MaxEntriesInFlight = 1 })
		defer endProposer(p)
		before, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := p.Propose(before, command("never")); !errors.Is(err, context.Canceled) || !errors.As(err, new(NotWrittenError)) {
			t.Errorf("ended before: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		underWay := propose(ctx, p, "under way")
		synctest.Wait()
		waiting := propose(ctx, p, "waiting")
		patient := propose(t.Context(), p, "patient")
		if out := <-underWay; !errors.Is(out.err, context.DeadlineExceeded) || !errors.As(out.err, new(UnknownOutcomeError)) {
			t.Errorf("under way: %v", out.err)
		}
		if out := <-waiting; !errors.Is(out.err, context.DeadlineExceeded) || !errors.As(out.err, new(NotWrittenError)) {
			t.Errorf("waiting: %v", out.err)
		}
		r.finish(0, nil)
		synctest.Wait()
		r.finish(1, nil)
		if out := <-patient; out.err != nil || out.result != "patient" {
			t.Errorf("patient: %v, %v", out.result, out.err)
		}
		synctest.Wait()
		for _, e := range r.entries {
			for _, cmd := range e.GetCommands() {
				if cmd.GetRequestId() == "waiting" {
					t.Error("what is surely not written was proposed")
				}
			}
		}
		if p.waitingBytes != 0 || len(p.queue) != 0 {
			t.Errorf("%d bytes and %d commands wait", p.waitingBytes, len(p.queue))
		}
	})
}

func TestErrorsOfRaft(t *testing.T) {
	disk := errors.New("disk")
	for _, test := range []struct {
		err     error
		written string
		is      error
	}{
		{raft.ErrNotLeader, "no", ErrNotLeader},
		{raft.ErrEnqueueTimeout, "no", raft.ErrEnqueueTimeout},
		{raft.ErrLeadershipTransferInProgress, "no", raft.ErrLeadershipTransferInProgress},
		{raft.ErrLeadershipLost, "unknown", raft.ErrLeadershipLost},
		{raft.ErrRaftShutdown, "unknown", raft.ErrRaftShutdown},
		{raft.ErrAbortedByRestore, "unknown", raft.ErrAbortedByRestore},
		{disk, "unknown", disk},
	} {
		synctest.Test(t, func(t *testing.T) {
			p, r := newTestProposer(nil)
			defer endProposer(p)
			end := propose(t.Context(), p, "a")
			synctest.Wait()
			r.finish(0, test.err)
			err := (<-end).err
			written := "?"
			if e, ok := err.(interface{ NotWritten() bool }); ok && e.NotWritten() {
				written = "no"
			}
			if e, ok := err.(interface{ OutcomeUnknown() bool }); ok && e.OutcomeUnknown() {
				written = "unknown"
			}
			if written != test.written || !errors.Is(err, test.is) {
				t.Errorf("%v became %v: written %s, want %s", test.err, err, written, test.written)
			}
			// People read it.
			if test.is != disk && test.is != ErrNotLeader && strings.Contains(err.Error(), test.err.Error()) {
				t.Errorf("%v is told in raft's words: %v", test.err, err)
			}
		})
	}
}

func TestAnswersOfTheFold(t *testing.T) {
	halted := errors.New("halted")
	for name, response := range map[string]any{"error": halted, "too few": []any{}, "too many": []any{1, 2}, "nothing": nil} {
		synctest.Test(t, func(t *testing.T) {
			p, r := newTestProposer(nil)
			defer endProposer(p)
			end := propose(t.Context(), p, "a")
			synctest.Wait()
			r.futures[0].response = response
			close(r.futures[0].ended)
			out := <-end
			if !errors.As(out.err, new(UnknownOutcomeError)) || name == "error" && !errors.Is(out.err, halted) {
				t.Errorf("%s: %v, %v", name, out.result, out.err)
			}
		})
	}
}

func TestLosingLeadershipRefusesWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, r := newTestProposer(func(c *Config) { c.MaxEntriesInFlight = 1 })
		defer endProposer(p)
		underWay := propose(t.Context(), p, "under way")
		synctest.Wait()
		waiting := propose(t.Context(), p, "waiting")
		synctest.Wait()
		p.Refuse(ErrNotLeader)
		if out := <-waiting; !errors.Is(out.err, ErrNotLeader) || !errors.As(out.err, new(NotWrittenError)) {
			t.Errorf("waiting: %v", out.err)
		}
		r.finish(0, raft.ErrLeadershipLost)
		if out := <-underWay; !errors.As(out.err, new(UnknownOutcomeError)) {
			t.Errorf("under way: %v", out.err)
		}
	})
}

func TestClosingTheProposer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, r := newTestProposer(func(c *Config) { c.MaxEntriesInFlight = 1 })
		finishes := propose(t.Context(), p, "finishes")
		synctest.Wait()
		waits := propose(t.Context(), p, "waits")
		synctest.Wait()
		p.Close()
		p.Close()
		if out := <-waits; !errors.Is(out.err, ErrClosed) || !errors.As(out.err, new(NotWrittenError)) {
			t.Errorf("waiting: %v", out.err)
		}
		if _, err := p.Propose(t.Context(), command("late")); !errors.Is(err, ErrClosed) || !errors.As(err, new(NotWrittenError)) {
			t.Errorf("after close: %v", err)
		}
		r.finish(0, nil)
		if out := <-finishes; out.err != nil {
			t.Errorf("under way: %v", out.err)
		}
		<-p.Drained()
	})
}

// A future that raft forgets must not hold anybody or anything.
func TestFutureThatNeverEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := newTestProposer(nil)
		end := propose(t.Context(), p, "a")
		synctest.Wait()
		p.Close()
		time.Sleep(time.Minute)
		p.Abandon()
		if out := <-end; !errors.As(out.err, new(UnknownOutcomeError)) {
			t.Errorf("%v", out.err)
		}
		<-p.Drained()
	})
}

// told is a logv1.Waiter that keeps what it was told.
type told struct {
	answers []outcome
	flushed int
}

func (w *told) Answer(result any, err error) { w.answers = append(w.answers, outcome{result, err}) }
func (w *told) Flush()                       { w.flushed++ }

func started(n int) (waiters []*told, proposals []*logv1.Proposal) {
	for i := range n {
		w := &told{}
		waiters = append(waiters, w)
		proposals = append(proposals, &logv1.Proposal{Command: command(fmt.Sprint(i)), Waiter: w})
	}
	return waiters, proposals
}

// Commands that are started together share an entry; each is answered once, and those that were given up are not
// told, nor proposed if they had not been sent.
func TestStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, r := newTestProposer(func(c *Config) { c.MaxEntriesInFlight = 1 })
		defer endProposer(p)
		waiters, proposals := started(10)
		p.Start(proposals[:4])
		synctest.Wait()
		p.Start(proposals[4:])
		synctest.Wait()
		if sent, ok := proposals[3].GiveUp(); !sent || !ok {
			t.Errorf("one in an entry was given up: sent %t, %t", sent, ok)
		}
		if proposals[2].GiveUpUnsent() {
			t.Error("one in an entry counts as unsent")
		}
		if sent, ok := proposals[7].GiveUp(); sent || !ok {
			t.Errorf("one that waits was given up: sent %t, %t", sent, ok)
		}
		if !proposals[8].GiveUpUnsent() {
			t.Error("one that waits counts as sent")
		}
		r.finish(0, nil)
		synctest.Wait()
		r.finish(1, nil)
		synctest.Wait()
		if got := fmt.Sprint(r.sizes()); got != "[4 4]" {
			t.Errorf("entries of %s commands", got)
		}
		for i, w := range waiters {
			gone := i == 3 || i == 7 || i == 8
			switch {
			case gone != (len(w.answers) == 0):
				t.Errorf("%d has %d answers", i, len(w.answers))
			case !gone && (w.answers[0].err != nil || w.answers[0].result != fmt.Sprint(i) || w.flushed == 0):
				t.Errorf("%d: %v, flushed %d times", i, w.answers, w.flushed)
			}
		}
	})
}

// What was given up makes room for what comes, also while nothing can be proposed.
func TestGivenUpMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, r := newTestProposer(func(c *Config) { c.MaxEntriesInFlight, c.MaxWaiting = 1, 5 })
		defer endProposer(p)
		_, first := started(1)
		p.Start(first)
		synctest.Wait()
		waiters, proposals := started(12)
		p.Start(proposals[:6])
		for _, pr := range proposals[:5] {
			pr.GiveUp()
		}
		p.Start(proposals[6:])
		r.finish(0, nil)
		synctest.Wait()
		r.finish(1, nil)
		synctest.Wait()
		for i, w := range waiters[5:] {
			i += 5
			if len(w.answers) != 1 || w.flushed == 0 {
				t.Fatalf("%d has %d answers, flushed %d times", i, len(w.answers), w.flushed)
			}
			if err := w.answers[0].err; (err != nil) != (i == 5 || i == 11) || err != nil && !errors.Is(err, ErrOverloaded) {
				t.Errorf("%d: %v", i, err)
			}
		}
		if p.waitingBytes != 0 || len(p.queue) != 0 {
			t.Errorf("%d bytes and %d commands wait", p.waitingBytes, len(p.queue))
		}
	})
}

// A future that raft forgets does not hold those who wait, either.
func TestStartAndAbandon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := newTestProposer(func(c *Config) { c.MaxEntriesInFlight = 1 })
		waiters, proposals := started(2)
		p.Start(proposals[:1])
		synctest.Wait()
		p.Start(proposals[1:])
		p.Close()
		synctest.Wait()
		if a := waiters[1].answers; len(a) != 1 || !errors.As(a[0].err, new(NotWrittenError)) {
			t.Errorf("one that waits: %v", a)
		}
		p.Abandon()
		<-p.Drained()
		if a := waiters[0].answers; len(a) != 1 || !errors.As(a[0].err, new(UnknownOutcomeError)) {
			t.Errorf("one in an entry: %v", a)
		}
	})
}
