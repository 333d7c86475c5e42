package server

import (
	"context"
	"errors"
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

// peerPool keeps one gRPC connection per member. Members are few and keep their names, so
// connections stay until the pool closes: closing one when its member stops leading would break
// the calls still on it.
type peerPool struct {
	peers Peers

	mu     sync.Mutex // guards conns and closed
	conns  map[string]*peerConn
	closed bool
}

// peerConn is the connection to one member.
type peerConn struct {
	*grpc.ClientConn
	line *line

	mu      sync.Mutex    // guards the rest
	dialErr error         // of the last dial; nil after one that succeeded
	dials   int           // that have ended
	next    chan struct{} // closed and replaced when a dial ends
}

func newPeerPool(peers Peers) *peerPool {
	return &peerPool{peers: peers, conns: make(map[string]*peerConn)}
}

var errPoolClosed = errors.New("this node is stopping")

// get returns the connection to a member; it does no I/O.
func (p *peerPool) get(name string) (*peerConn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errPoolClosed
	}
	if c := p.conns[name]; c != nil {
		return c, nil
	}
	c := &peerConn{next: make(chan struct{})}
	dial := func(ctx context.Context, _ string) (net.Conn, error) {
		conn, err := p.peers.DialPeer(ctx, name)
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
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(newPeerCodec()), grpc.MaxCallRecvMsgSize(maxPeerBytes), grpc.MaxCallSendMsgSize(maxPeerBytes)),
	)
	if err != nil {
		return nil, err
	}
	c.line = &line{conn: c}
	p.conns[name] = c
	return c, nil
}

// close ends all connections, and with them the calls on them. It is idempotent.
func (p *peerPool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, c := range p.conns {
		c.Close()
		c.line.close()
	}
	clear(p.conns)
}

// lastDial returns how many dials have ended, how the last one did, and what is closed when the next
// one does.
func (c *peerConn) lastDial() (dials int, next <-chan struct{}, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dials, c.next, c.dialErr
}

func (c *peerConn) dialEnded(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dialErr = err
	c.dials++
	close(c.next)
	c.next = make(chan struct{})
}

// ready waits until the connection is. Nothing has been sent when it returns an error. With failFast
// one failed dial is enough; without, it goes on until ctx ends.
func (c *peerConn) ready(ctx context.Context, failFast bool) error {
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
			return errPoolClosed
		case failFast && dials > before && err != nil:
			return err
		}
		// gRPC stays in TRANSIENT_FAILURE from one failed dial to the next: only the dials tell.
		wait, done := endedBy(ctx, next)
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

// endedBy returns ctx, ended also when c is closed. done must be called.
func endedBy(ctx context.Context, c <-chan struct{}) (_ context.Context, done func()) {
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

// inWords is a connection's error as an operator would say it.
func inWords(err error) string {
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
	return err.Error()
}
