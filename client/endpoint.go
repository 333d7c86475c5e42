package client

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/rollcallhq/rollcall/client/internal/credential"
	"github.com/rollcallhq/rollcall/client/internal/writestream"
)

const (
	maxReceiveBytes = 4 << 20 // gRPC's default: no node sends more
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
		grpc.WithChainUnaryInterceptor(beginUnary), // behind those of cfg.DialOptions
		grpc.WithChainStreamInterceptor(beginStream),
	}
	return append(append(own, cfg.DialOptions...), always...)
}

// endpoint is one node's API address and the connection to it.
type endpoint struct {
	index   int
	address string
	options []grpc.DialOption
	token   *credential.Source // nil: calls carry none
	writes  *writestream.Writer
	heard   atomic.Uint64 // answers of its node so far
	silent  atomic.Bool   // another endpoint outran it, and nothing was heard of its node since

	mu     sync.Mutex       // guards what follows
	conn   *grpc.ClientConn // nil until first used
	closed bool
}

// connect waits until the connection is ready, or has just failed: then the next call on it fails at once and
// says why. Its own errors are those of ctx, of a closed client, or of impossible options.
func (e *endpoint) connect(ctx context.Context) (*grpc.ClientConn, error) {
	conn, err := e.open()
	if err != nil {
		return nil, err
	}
	// Asked before Connect: after it, the state may be that of a new attempt.
	if conn.GetState() == connectivity.TransientFailure {
		e.redial(ctx, conn)
	}
	conn.Connect()
	for {
		if ctx.Err() != nil { // waiting took all the time
			return nil, status.Error(status.FromContextError(ctx.Err()).Code(), "no connection yet")
		}
		state := conn.GetState()
		switch state {
		case connectivity.Ready, connectivity.TransientFailure:
			return conn, nil
		case connectivity.Shutdown:
			return nil, ErrClosed
		case connectivity.Idle:
			conn.Connect()
		}
		conn.WaitForStateChange(ctx, state)
	}
}

// target is what gRPC dials. A name of a host is resolved at each dial: gRPC's own resolver asks the name service
// once in 30 s at most, so that nodes which moved to other addresses would be found half a minute later.
func target(address string) string {
	if strings.Contains(address, "://") || strings.HasPrefix(address, "unix:") || strings.HasPrefix(address, "unix-abstract:") {
		return address // a target of gRPC, see Config.Endpoints
	}
	passthrough := url.URL{Scheme: "passthrough", Path: "/" + address}
	return passthrough.String()
}

func (e *endpoint) open() (*grpc.ClientConn, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, ErrClosed
	}
	if e.conn == nil {
		conn, err := grpc.NewClient(target(e.address), e.options...)
		if err != nil {
			return nil, status.Error(codes.InvalidArgument, fmt.Sprintf("endpoint %s: %v", e.address, err))
		}
		e.conn = conn
	}
	return e.conn, nil
}

// noteHeard is called when its node has answered a call.
func (e *endpoint) noteHeard() {
	e.heard.Add(1)
	if e.silent.Load() {
		e.silent.Store(false)
	}
}

// redial waits a moment for an endpoint that was down when last seen. gRPC dials again by itself, and until
// then answers with the last failure. (ResetConnectBackoff would make it dial at once, but v1.85.0 walks a map
// there without its lock, which can end the process.)
func (e *endpoint) redial(ctx context.Context, conn *grpc.ClientConn) {
	ctx, cancel := context.WithTimeout(ctx, redialWait)
	defer cancel()
	conn.WaitForStateChange(ctx, connectivity.TransientFailure)
}

func (e *endpoint) close() error {
	defer e.writes.Close() // after the connection, which ends what waits
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
