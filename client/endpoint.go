package client

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
)

const (
	maxReceiveBytes = 32 << 20 // a page of 10,000 records with the longest names and reasons is under 20 MiB
	// A node refuses pings more often than every 5 s; gRPC's own minimum is 10 s.
	keepaliveTime    = 10 * time.Second
	keepaliveTimeout = 5 * time.Second
	connectTimeout   = 5 * time.Second
	// redialWait is how long a call waits for an endpoint that was down when last seen: longer than the
	// longest pause between two dials.
	redialWait = 300 * time.Millisecond
)

func dialOptions(cfg Config) []grpc.DialOption {
	dial := backoff.DefaultConfig
	dial.BaseDelay = 100 * time.Millisecond
	dial.MaxDelay = 200 * time.Millisecond
	own := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithUserAgent("rollcall-client"),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: dial, MinConnectTimeout: connectTimeout}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxReceiveBytes)),
	}
	always := []grpc.DialOption{
		grpc.WithDisableRetry(),
		grpc.WithDisableServiceConfig(),
		grpc.WithStatsHandler(trackSends{}),
	}
	return append(append(own, cfg.DialOptions...), always...)
}

// endpoint is one node's API address and the connection to it.
type endpoint struct {
	index   int
	address string
	options []grpc.DialOption

	mu     sync.Mutex       // guards what follows
	conn   *grpc.ClientConn // nil until first used
	closed bool
}

// connect waits until the connection stands, or has just failed: then the next call on it fails at
// once and says why. Its own errors are those of ctx, a closed client or impossible options.
func (e *endpoint) connect(ctx context.Context) (*grpc.ClientConn, error) {
	conn, err := e.open()
	if err != nil {
		return nil, err
	}
	// Before Connect, after which it may mean a failure of just now.
	if conn.GetState() == connectivity.TransientFailure {
		e.redial(ctx, conn)
	}
	conn.Connect()
	for {
		state := conn.GetState()
		switch state {
		case connectivity.Ready, connectivity.TransientFailure:
			return conn, nil
		case connectivity.Shutdown:
			return nil, ErrClosed
		case connectivity.Idle:
			conn.Connect()
		}
		if !conn.WaitForStateChange(ctx, state) {
			return nil, status.FromContextError(ctx.Err()).Err()
		}
	}
}

func (e *endpoint) open() (*grpc.ClientConn, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, ErrClosed
	}
	if e.conn == nil {
		conn, err := grpc.NewClient(e.address, e.options...)
		if err != nil {
			return nil, status.Error(codes.InvalidArgument, fmt.Sprintf("endpoint %s: %v", e.address, err))
		}
		e.conn = conn
	}
	return e.conn, nil
}

// redial waits a moment for an endpoint that was down when last seen: gRPC dials again by itself, and
// until then answers with the failure of last time. (It could be asked to dial at once, but v1.85.0 goes
// through a map without its lock there, which can end the process.)
func (e *endpoint) redial(ctx context.Context, conn *grpc.ClientConn) {
	ctx, cancel := context.WithTimeout(ctx, redialWait)
	defer cancel()
	conn.WaitForStateChange(ctx, connectivity.TransientFailure)
}

func (e *endpoint) close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	if e.conn == nil {
		return nil
	}
	conn := e.conn
	e.conn = nil
	return conn.Close()
}

// tracker learns whether the request of one call was handed to a connection.
type tracker struct {
	begun atomic.Bool // gRPC saw the call
	sent  atomic.Bool // and handed its request to a connection
}

// unsent is true only if the request surely stayed in this process. It takes both marks: without the
// first, an interceptor may have cut the call off from its tracker.
func (t *tracker) unsent() bool { return t.begun.Load() && !t.sent.Load() }

type trackerKey struct{}

func track(ctx context.Context) (context.Context, *tracker) {
	t := new(tracker)
	return context.WithValue(ctx, trackerKey{}, t), t
}

// trackSends is a stats.Handler that keeps the trackers. gRPC reports OutPayload in the goroutine of the
// call, after each message that it queued for the wire and never for one that it did not.
type trackSends struct{}

func (trackSends) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context {
	if t, ok := ctx.Value(trackerKey{}).(*tracker); ok {
		t.begun.Store(true)
	}
	return ctx
}

func (trackSends) HandleRPC(ctx context.Context, s stats.RPCStats) {
	if _, ok := s.(*stats.OutPayload); !ok {
		return
	}
	if t, ok := ctx.Value(trackerKey{}).(*tracker); ok {
		t.sent.Store(true)
	}
}

func (trackSends) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

func (trackSends) HandleConn(context.Context, stats.ConnStats) {}
