package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

func notWritten(err error) bool { return rpcerror.OfChange(err).Reason == rpcerror.ReasonNotWritten }
func outcomeUnknown(err error) bool {
	return rpcerror.OfChange(err).Reason == rpcerror.ReasonOutcomeUnknown
}

// TestForwardedOnce: a command goes one hop, and its answer comes back; a preview is none of the log's.
func TestForwardedOnce(t *testing.T) {
	withPair(t, func(t *testing.T, p *pair) {
		for i := range int64(3) {
			if res, err := p.propose(t.Context(), 10); err != nil || res.GetRevision() != i+1 {
				t.Errorf("%v, %v", res, err)
			}
		}
		res, err := p.router.Propose(t.Context(), &logv1.Command{}, true)
		if err != nil || res.GetRevision() != -1 || p.leader.count() != 3 {
			t.Errorf("a preview: %v, %v; %d were proposed", res, err, p.leader.count())
		}
		p.follower.elect("n1", true)
		if _, err := p.propose(t.Context(), 10); err != nil || p.leader.count() != 3 || p.follower.count() != 1 {
			t.Errorf("a node that leads: %v, proposed %d there and %d here", err, p.leader.count(), p.follower.count())
		}
	})
}

// TestTheLeaderNeverForwards: a node that does not lead says so, and the follower asks again.
func TestTheLeaderNeverForwards(t *testing.T) {
	withPair(t, func(t *testing.T, p *pair) {
		p.leader.elect("n3", false)
		done := make(chan error, 1)
		go func() {
			_, err := p.propose(t.Context(), 10)
			done <- err
		}()
		time.Sleep(time.Second)
		synctest.Wait()
		if p.leader.count() != 0 || len(done) != 0 {
			t.Error("a node that does not lead proposes, or the follower gives up")
		}
		p.leader.elect("n2", true)
		if err := <-done; err != nil || p.leader.count() != 1 {
			t.Errorf("%v; %d were proposed", err, p.leader.count())
		}
	})
}

// TestWhoWasRemovedForwardsNothing, and says so at once: another node can take the change. While it still leads it takes
// changes.
func TestWhoWasRemovedForwardsNothing(t *testing.T) {
	withPair(t, func(t *testing.T, p *pair) {
		if _, err := p.propose(t.Context(), 10); err != nil { // the stream to the leader is open
			t.Fatal(err)
		}
		p.router.Removed = func() bool { return true }
		begun := time.Now()
		alone, streamed := p.forwardBoth(t)
		for how, err := range map[string]error{"alone": alone, "streamed": streamed} {
			if !notWritten(err) || !strings.Contains(fmt.Sprint(err), "was removed from the cluster") {
				t.Errorf("%s: %v", how, err)
			}
		}
		if p.leader.count() != 1 || time.Since(begun) > 0 {
			t.Errorf("%d were proposed; it took %s", p.leader.count(), time.Since(begun))
		}
		p.follower.elect("n1", true)
		if _, err := p.propose(t.Context(), 10); err != nil {
			t.Errorf("while it leads: %v", err)
		}
	})
}

// TestOnlyWhatWasNotWrittenIsTriedAgain.
func TestOnlyWhatWasNotWrittenIsTriedAgain(t *testing.T) {
	withPair(t, func(t *testing.T, p *pair) {
		answers := []error{rpcerror.NotWritten("one"), rpcerror.NotWritten("two"), rpcerror.OutcomeUnknown("three")}
		p.leader.propose = func(context.Context, *logv1.Command) (*logv1.Result, error) {
			return nil, answers[p.leader.count()-1]
		}
		if _, err := p.propose(t.Context(), 10); !outcomeUnknown(err) || p.leader.count() != 3 {
			t.Errorf("%v after %d tries", err, p.leader.count())
		}
	})
}

// TestTheLeadersLimitIsNotTriedAgain: it would only make the leader slower.
func TestTheLeadersLimitIsNotTriedAgain(t *testing.T) {
	withPair(t, func(t *testing.T, p *pair) {
		_, err := p.propose(t.Context(), pending)
		f := rpcerror.OfChange(err)
		if f.Reason != rpcerror.ReasonLimitReached || f.Meta[rpcerror.MetaWritten] != rpcerror.WrittenNo || f.Code != codes.ResourceExhausted || p.leader.count() != 0 {
			t.Errorf("%+v; %d were proposed", f, p.leader.count())
		}
		if _, err := p.propose(t.Context(), 10); err != nil {
			t.Errorf("a small one after it: %v", err)
		}
		if used, _, refused := p.receiver.Pending.Use(); used != 0 || refused != 1 {
			t.Errorf("%d bytes are used, %d were refused", used, refused)
		}
	})
}

// TestAFullStreamRefusesAtOnce, and takes more when an answer has come.
func TestAFullStreamRefusesAtOnce(t *testing.T) {
	withPair(t, func(t *testing.T, p *pair) {
		release := make(chan struct{})
		p.leader.propose = func(context.Context, *logv1.Command) (*logv1.Result, error) {
			<-release
			return &logv1.Result{}, nil
		}
		done := make(chan error, 10)
		for range 10 { // the limit of withPair
			go func() {
				_, err := p.propose(t.Context(), 10)
				done <- err
			}()
		}
		synctest.Wait()
		began := time.Now()
		_, err := p.propose(t.Context(), 10)
		if f := rpcerror.OfChange(err); f.Reason != rpcerror.ReasonLimitReached || time.Since(began) > 0 {
			t.Errorf("one too many: %v after %v", err, time.Since(began))
		}
		close(release)
		for range 10 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if _, err := p.propose(t.Context(), 10); err != nil {
			t.Errorf("after the answers: %v", err)
		}
	})
}

// TestTimeRunsOut: what never left is not written; of what was sent the outcome is unknown, unless the leader
// answers, which ends a little sooner.
func TestTimeRunsOut(t *testing.T) {
	withPair(t, func(t *testing.T, p *pair) {
		p.unreachable.Store(true)
		began := time.Now()
		if _, err := p.propose(within(t, 2*time.Second), 10); !notWritten(err) || time.Since(began) != 1900*time.Millisecond {
			t.Errorf("nobody is reached: %v after %v", err, time.Since(began))
		}
		p.unreachable.Store(false)
		var left time.Duration
		p.leader.propose = func(ctx context.Context, _ *logv1.Command) (*logv1.Result, error) {
			if at, _ := ctx.Deadline(); left == 0 { // the first try
				left = time.Until(at)
			}
			<-ctx.Done()
			return nil, rpcerror.NotWritten("nobody took it in time")
		}
		began = time.Now()
		if _, err := p.propose(within(t, 2*time.Second), 10); !notWritten(err) || time.Since(began) >= 2*time.Second {
			t.Errorf("the leader says in time that it is not written: %v after %v", err, time.Since(began))
		}
		if left > 1805*time.Millisecond || left < 1500*time.Millisecond { // of 2 s and the time to connect: 5 % for the caller, 5 % of the rest for the follower
			t.Errorf("the leader has %v", left)
		}
		p.silent.Store(true)
		for _, d := range []time.Duration{2 * time.Second, time.Minute} { // the second is longer than a forwarded call may take
			began = time.Now()
			_, err := p.propose(within(t, d), 10)
			if took := time.Since(began); !outcomeUnknown(err) || !errors.Is(err, context.DeadlineExceeded) || took != min(d*19/20, 5*time.Second) {
				t.Errorf("of %v: %v after %v", d, err, took)
			}
		}
		began = time.Now()
		if _, err := p.propose(t.Context(), 10); !outcomeUnknown(err) || time.Since(began) != 5*time.Second {
			t.Errorf("without a deadline: %v after %v", err, time.Since(began))
		}
	})
}

// TestLargeCommandsHaveLonger, and so have small ones behind them, until they are answered.
func TestLargeCommandsHaveLonger(t *testing.T) {
	withPair(t, func(t *testing.T, p *pair) {
		const large = 256 << 10 // 8 s more
		if _, err := p.propose(t.Context(), large); err != nil {
			t.Error(err)
		}
		p.silent.Store(true)
		var all sync.WaitGroup
		took := func(bytes int) (d time.Duration) {
			began := time.Now()
			if _, err := p.propose(within(t, time.Minute), bytes); !outcomeUnknown(err) {
				t.Error(err)
			}
			return time.Since(began).Round(100 * time.Millisecond)
		}
		all.Go(func() {
			if got := took(large); got != 13*time.Second {
				t.Errorf("a large one has %v", got)
			}
		})
		time.Sleep(time.Second)
		if got := took(10); got != 13*time.Second {
			t.Errorf("a small one behind it has %v", got)
		}
		all.Wait()
		if got := took(10); got != 5*time.Second {
			t.Errorf("a small one alone has %v", got)
		}
		began := time.Now()
		if _, err := p.propose(within(t, 2*time.Second), large); !outcomeUnknown(err) || time.Since(began) != 1900*time.Millisecond {
			t.Errorf("the caller's own deadline: %v after %v", err, time.Since(began))
		}
	})
}

// TestAcceptedNowhere: each reason not to admit a change says that it is not written.
func TestAcceptedNowhere(t *testing.T) {
	for name, tt := range map[string]func(p *pair){
		"the follower drains":       func(p *pair) { close(p.draining) },
		"the follower differs":      func(p *pair) { p.router.Fence.Raise(&rpcerror.Failure{Reason: rpcerror.ReasonDiverged}) },
		"this one leads and drains": func(p *pair) { p.follower.elect("n1", true); close(p.draining) },
		"this one leads and differs": func(p *pair) {
			p.follower.elect("n1", true)
			p.router.Fence.Raise(&rpcerror.Failure{Reason: rpcerror.ReasonDiverged})
		},
		"the leader drains":      func(p *pair) { close(p.leaderDraining) },
		"the leader differs":     func(p *pair) { p.receiver.Router.Fence.Raise(&rpcerror.Failure{Reason: rpcerror.ReasonDiverged}) },
		"the leader lost it":     func(p *pair) { p.leader.elect("", false) },
		"its term has not begun": func(p *pair) { p.leader.elect("n2", false) },
		"no leader is known":     func(p *pair) { p.follower.elect("", false) },
		"this one's term":        func(p *pair) { p.follower.elect("n1", false) },
		"the leader is behind":   func(p *pair) { p.follower.level = rpcerror.NotWritten("n2 cannot read it") },
	} {
		t.Run(name, func(t *testing.T) {
			withPair(t, func(t *testing.T, p *pair) {
				tt(p)
				_, err := p.propose(within(t, 3*time.Second), 10)
				if f := rpcerror.OfChange(err); f.AsNotWritten() == nil || outcomeUnknown(err) || p.leader.count()+p.follower.count() != 0 {
					t.Errorf("%v; proposed %d there and %d here", err, p.leader.count(), p.follower.count())
				}
			})
		})
	}
}

// TestABrokenStream: commands on their way are lost with an unknown outcome; later ones go over a new stream.
func TestABrokenStream(t *testing.T) {
	withPair(t, func(t *testing.T, p *pair) {
		var last net.Conn
		p.wrap = func(c net.Conn) net.Conn { last = c; return c }
		hang := make(chan struct{})
		p.leader.propose = func(ctx context.Context, _ *logv1.Command) (*logv1.Result, error) {
			select {
			case <-hang:
			case <-ctx.Done():
			}
			return &logv1.Result{}, nil
		}
		done := make(chan error, 3)
		for range 3 {
			go func() {
				_, err := p.propose(t.Context(), 10)
				done <- err
			}()
		}
		synctest.Wait()
		last.Close()
		for range 3 {
			if err := <-done; !outcomeUnknown(err) {
				t.Error(err)
			}
		}
		close(hang)
		if _, err := p.propose(t.Context(), 10); err != nil {
			t.Errorf("over a new stream: %v", err)
		}
		synctest.Wait()
		if used, _, _ := p.receiver.Pending.Use(); used != 0 {
			t.Errorf("the leader still holds %d bytes", used)
		}
	})
}

// TestALeaderThatStops answers what it was sent, and takes no more.
func TestALeaderThatStops(t *testing.T) {
	withPair(t, func(t *testing.T, p *pair) {
		release := make(chan struct{})
		p.leader.propose = func(context.Context, *logv1.Command) (*logv1.Result, error) {
			<-release
			return &logv1.Result{Revision: 9}, nil
		}
		first := make(chan error, 1)
		go func() {
			res, err := p.propose(t.Context(), 10)
			if res.GetRevision() != 9 && err == nil {
				err = errors.New("another answer")
			}
			first <- err
		}()
		synctest.Wait()
		close(p.leaderDraining)
		p.stop()
		synctest.Wait()
		if _, err := p.propose(within(t, 200*time.Millisecond), 10); !notWritten(err) {
			t.Errorf("a leader that stops took a command: %v", err)
		}
		close(release)
		if err := <-first; err != nil {
			t.Errorf("what was sent before: %v", err)
		}
	})
}

// TestAnswersThatNobodyReads: the leader works on so many commands of a follower that takes no answers, and
// holds so many bytes, and no more; other followers are served.
func TestAnswersThatNobodyReads(t *testing.T) {
	withPair(t, func(t *testing.T, p *pair) {
		p.leader.propose = func(context.Context, *logv1.Command) (*logv1.Result, error) {
			return &logv1.Result{}, nil
		}
		out := &deafStream{ctx: t.Context(), left: 20_000, closed: make(chan struct{})}
		ended := make(chan error, 1)
		go func() { ended <- p.receiver.Serve(out) }()
		synctest.Wait()
		used, limit, _ := p.receiver.Pending.Use()
		received := 20_000 - out.left
		if used > limit || used == 0 {
			t.Errorf("it holds %d bytes of %d", used, limit)
		}
		if received > 10_001 {
			t.Errorf("%d commands were received from one that reads no answers", received)
		}
		if int64(p.leader.count())*4_000 > limit {
			t.Errorf("%d commands were proposed", p.leader.count())
		}
		p.receiver.Pending.Give(nil, used/2) // another one's turn
		if _, err := p.propose(t.Context(), 10); err != nil {
			t.Errorf("another follower: %v", err)
		}
		close(out.closed)
		if err := <-ended; err == nil {
			t.Error("a stream that broke ended well")
		}
		p.receiver.Pending.TryTake(nil, used/2)
		synctest.Wait()
		if used, _, _ := p.receiver.Pending.Use(); used != 0 {
			t.Errorf("%d bytes are held when it has gone", used)
		}
	})
}

// deafStream is the leader's end of the stream of a follower that sends commands and takes no answer.
type deafStream struct {
	grpc.ServerStream
	ctx    context.Context
	left   int
	closed chan struct{}
}

func (s *deafStream) Context() context.Context { return s.ctx }

func (s *deafStream) Recv() (*peerv1.ForwardRequest, error) {
	if s.left == 0 {
		<-s.closed
		return nil, io.ErrUnexpectedEOF
	}
	select {
	case <-s.closed:
		return nil, io.ErrUnexpectedEOF
	default:
	}
	s.left--
	return &peerv1.ForwardRequest{Commands: []*peerv1.ForwardedCommand{{Id: uint64(s.left), Timeout: int64(time.Minute), Command: &logv1.Command{}}}}, nil
}

func (s *deafStream) Send(*peerv1.ForwardResponse) error {
	<-s.closed
	return io.ErrClosedPipe
}
