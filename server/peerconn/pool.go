package peerconn

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

// MaxMessageBytes is the most that members send each other in one message. It leaves room for what a
// command has more than the request that it was made of.
const MaxMessageBytes = 16 << 20

// Dialer connects to another member for gRPC, after the Hello.
type Dialer interface {
	DialPeer(ctx context.Context, name string) (net.Conn, error)
}

// Pool keeps one gRPC connection per member. Connections stay until the pool closes, or until their member is none any
// more (Keep): closing one when its member stops leading would break the calls still on it.
type Pool struct {
	dialer Dialer

	mu     sync.Mutex // guards the rest
	conns  map[string]*Conn
	kept   map[string]string // of the last Keep
	closed bool
}

// Conn is the connection to one member.
type Conn struct {
	*grpc.ClientConn

	mu      sync.Mutex    // guards the rest
	left    bool          // its member is none any more
	dialErr error         // of the last dial; nil after one that succeeded
	dials   int           // that have ended
	next    chan struct{} // closed and replaced when a dial ends
}

// NewPool returns a pool without connections.
func NewPool(dialer Dialer) *Pool {
	return &Pool{dialer: dialer, conns: make(map[string]*Conn)}
}

// ErrClosed is the error of a pool that is closed, and ErrLeft that of a connection whose member is none any more.
var (
	ErrClosed = errors.New("this node is stopping")
	ErrLeft   = errors.New("it is no member any more")
)

// Get returns the connection to a member; it does no I/O.
func (p *Pool) Get(name string) (*Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, ErrClosed
	}
	if c := p.conns[name]; c != nil {
		return c, nil
	}
	c := &Conn{next: make(chan struct{})}
	dial := func(ctx context.Context, _ string) (net.Conn, error) {
		conn, err := p.dialer.DialPeer(ctx, name)
		c.dialEnded(err)
		return conn, err
	}
	var err error
	// The target is a placeholder: DialPeer resolves the name, at every dial.
	c.ClientConn, err = grpc.NewClient("passthrough:///rollcall-peer",
		grpc.WithContextDialer(dial),
		// The Hello of DialPeer has made sure of who is there.
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		// Nothing is tried again behind the router's back. What is left is gRPC's transparent
		// retry, which is safe: grpc-go does it only if the stream never left this process, or
		// the server sent REFUSED_STREAM or a GOAWAY below it (transport: Stream.Unprocessed);
		// and grpc-go's server sends REFUSED_STREAM only for a stream above its limit and
		// draws the GOAWAY's line under the lock that admits streams, both before a handler
		// runs. It goes to the same member.
		grpc.WithDisableRetry(),
		grpc.WithDisableServiceConfig(),
		// Who waits for a member that is back waits no longer than this: ClientConn.ResetConnectBackoff
		// must not be called beside gRPC's own work (v1.85.0 goes through a map there without its lock,
		// which can end the process).
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 150 * time.Millisecond},
			MinConnectTimeout: time.Second,
		}),
		// A member whose machine vanished must not swallow calls until TCP notices.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: 10 * time.Second, Timeout: 3 * time.Second, PermitWithoutStream: true,
		}),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(NewCodec()), grpc.MaxCallRecvMsgSize(MaxMessageBytes), grpc.MaxCallSendMsgSize(MaxMessageBytes)),
	)
	if err != nil {
		return nil, err
	}
	p.conns[name] = c
	return c, nil
}

// Keep ends the connections to all but these members, by name, each with its data directory: also to a member that has
// another directory now than before. "": as before.
func (p *Pool) Keep(members map[string]string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, c := range p.conns {
		directory, member := members[name]
		if before := p.kept[name]; member && (directory == "" || before == "" || directory == before) {
			continue
		}
		delete(p.conns, name)
		c.leave()
	}
	kept := maps.Clone(members)
	for name, directory := range kept {
		kept[name] = cmp.Or(directory, p.kept[name])
	}
	p.kept = kept
}

// leave ends a connection whose member is none any more.
func (c *Conn) leave() {
	c.mu.Lock()
	c.left = true
	c.mu.Unlock()
	c.Close()
}

// Close ends all connections, and with them the calls on them. It is idempotent.
func (p *Pool) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, c := range p.conns {
		c.Close()
	}
	clear(p.conns)
}

// lastDial returns how many dials have ended, how the last one did, and what is closed when the next
// one does.
func (c *Conn) lastDial() (dials int, next <-chan struct{}, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dials, c.next, c.dialErr
}

func (c *Conn) dialEnded(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dialErr = err
	c.dials++
	close(c.next)
	c.next = make(chan struct{})
}

// Ready waits until the connection is. Nothing has been sent when it returns an error. With failFast
// one failed dial is enough; without, it goes on until ctx ends.
func (c *Conn) Ready(ctx context.Context, failFast bool) error {
	before, _, _ := c.lastDial()
	for {
		state := c.GetState()
		dials, next, err := c.lastDial()
		switch {
		case state == connectivity.Ready:
			return nil
		case state == connectivity.Idle:
			c.Connect()
		case state == connectivity.Shutdown:
			return c.ended()
		case failFast && dials > before && err != nil:
			return err
		}
		// gRPC stays in TRANSIENT_FAILURE from one failed dial to the next: only the dials tell.
		wait, done := EndedBy(ctx, next)
		c.WaitForStateChange(wait, state)
		done()
		if ctx.Err() != nil {
			if _, _, err := c.lastDial(); err != nil && !errors.Is(err, context.Canceled) {
				return err // says more than that time ran out
			}
			return ctx.Err()
		}
	}
}

// ended is why a connection is closed.
func (c *Conn) ended() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left {
		return ErrLeft
	}
	return ErrClosed
}

// EndedBy returns ctx, ended also when c is closed. done must be called.
func EndedBy(ctx context.Context, c <-chan struct{}) (_ context.Context, done func()) {
	ctx, cancel := context.WithCancel(ctx)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		select {
		case <-c:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		cancel()
		<-gone
	}
}

// Describe is a connection's error as an operator would say it.
func Describe(err error) string {
	if text := describeSilence(err); text != "" {
		return text
	}
	return err.Error()
}

// NobodyAnswers reports whether a connection's error means that nothing was heard from the other side.
func NobodyAnswers(err error) bool { return describeSilence(err) != "" }

// describeSilence says how nobody answered; "": somebody did, or err is of another kind.
func describeSilence(err error) string {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "no route to host"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "no answer"
	}
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return "unknown host " + dns.Name
	}
	return ""
}
