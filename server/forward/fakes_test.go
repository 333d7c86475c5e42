package forward

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	"github.com/rollcallhq/rollcall/server/budget"
	"github.com/rollcallhq/rollcall/server/fence"
	"github.com/rollcallhq/rollcall/server/peerconn"
)

// fakeAgreement is Agreement: who leads is told, and what is proposed is answered with its index.
type fakeAgreement struct {
	mu       sync.Mutex
	leader   string
	leading  bool
	changed  chan struct{}
	proposed []*logv1.Command
	propose  func(ctx context.Context, cmd *logv1.Command) (*logv1.Result, error) // nil: it is done at once
	level    error

	unreachable atomic.Int64 // for so many nanoseconds
}

func newFakeAgreement() *fakeAgreement { return &fakeAgreement{changed: make(chan struct{})} }

func (f *fakeAgreement) elect(leader string, leading bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.leader, f.leading = leader, leading
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fakeAgreement) Propose(ctx context.Context, cmd *logv1.Command) (*logv1.Result, error) {
	f.mu.Lock()
	f.proposed = append(f.proposed, cmd)
	revision, propose := int64(len(f.proposed)), f.propose
	f.mu.Unlock()
	if propose != nil {
		return propose(ctx, cmd)
	}
	return &logv1.Result{Revision: revision}, nil
}

// Start gives each command to Propose, until a little before it would be given up.
func (f *fakeAgreement) Start(proposals []*logv1.Proposal) {
	for _, p := range proposals {
		if !p.Send() {
			continue
		}
		c := p.Waiter.(*Call)
		ctx, cancel := context.WithDeadline(c.calls.ctx, answerBy(time.Now(), c.Deadline))
		go func() {
			defer cancel()
			p.Answer(f.Propose(ctx, p.Command))
			p.Waiter.Flush()
		}()
	}
}

func (f *fakeAgreement) Preview(*logv1.Command) *logv1.Result { return &logv1.Result{Revision: -1} }

func (f *fakeAgreement) CheckLevel(string, *logv1.Command) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.level
}

func (f *fakeAgreement) Leader() (string, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.leader, f.leading
}

func (f *fakeAgreement) Changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

func (f *fakeAgreement) Unreachable(string) (time.Duration, string) {
	return time.Duration(f.unreachable.Load()), "10.0.0.2:7601: connection refused"
}

func (f *fakeAgreement) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.proposed)
}

// pair is a follower n1 and a leader n2, whose end of the forward streams is real.
type pair struct {
	follower, leader *fakeAgreement
	router           *Router // of the follower
	receiver         *Receiver
	draining         chan struct{} // of the follower
	leaderDraining   chan struct{}
	stop             context.CancelFunc
	lis              *bufconn.Listener
	wrap             func(net.Conn) net.Conn // nil: the follower's connection as it is
	unreachable      atomic.Bool
	silent           atomic.Bool // the leader sends no answers any more
}

func (p *pair) DialPeer(ctx context.Context, _ string) (net.Conn, error) {
	if p.unreachable.Load() {
		return nil, errors.New("nobody is there")
	}
	conn, err := p.lis.DialContext(ctx)
	if err == nil && p.wrap != nil {
		conn = p.wrap(conn)
	}
	return conn, err
}

type peerService struct {
	peerv1.UnimplementedPeerServer
	*Receiver
	silent *atomic.Bool
}

func (s *peerService) Forward(stream grpc.BidiStreamingServer[peerv1.ForwardRequest, peerv1.ForwardResponse]) error {
	return s.Serve(&silentStream{stream, s.silent})
}

// silentStream loses the answers that are sent while silent is set.
type silentStream struct {
	grpc.BidiStreamingServer[peerv1.ForwardRequest, peerv1.ForwardResponse]
	silent *atomic.Bool
}

func (s *silentStream) Send(res *peerv1.ForwardResponse) error {
	if s.silent.Load() {
		return nil
	}
	return s.BidiStreamingServer.Send(res)
}

const pending = 8 << 20 // bytes of changes that the leader holds

// withPair runs test in virtual time.
func withPair(t *testing.T, test func(t *testing.T, p *pair)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := &pair{follower: newFakeAgreement(), leader: newFakeAgreement(), draining: make(chan struct{}), leaderDraining: make(chan struct{}), lis: bufconn.Listen(1 << 16)}
		p.follower.elect("n2", false)
		p.leader.elect("n2", true)
		pool := peerconn.NewPool(p)
		p.router = &Router{
			Node: "n1", Agreement: p.follower, Forwarder: NewForwarder(pool, p.follower, 5*time.Second, 10),
			Timeout: 5 * time.Second, Draining: p.draining, Fence: fence.New(),
		}
		var ending context.Context
		ending, p.stop = context.WithCancel(context.Background())
		p.receiver = &Receiver{
			Router:   &Router{Node: "n2", Agreement: p.leader, Timeout: 5 * time.Second, Draining: p.leaderDraining, Fence: fence.New()},
			Validate: func(*logv1.Command) error { return nil },
			Pending:  budget.New("change-bytes", pending, pending, nil),
			Ending:   ending, Log: slog.New(slog.DiscardHandler),
		}
		s := grpc.NewServer(grpc.ForceServerCodecV2(peerconn.NewCodec()), grpc.MaxRecvMsgSize(peerconn.MaxMessageBytes), grpc.WaitForHandlers(true))
		peerv1.RegisterPeerServer(s, &peerService{Receiver: p.receiver, silent: &p.silent})
		served := make(chan error, 1)
		go func() { served <- s.Serve(p.lis) }()
		synctest.Wait()
		test(t, p)
		p.stop()
		pool.Close()
		p.router.Forwarder.Close()
		s.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

func (p *pair) propose(ctx context.Context, bytes int) (*logv1.Result, error) {
	return p.router.Propose(ctx, &logv1.Command{Reason: strings.Repeat("r", bytes)}, false)
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
