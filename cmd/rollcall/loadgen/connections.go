package loadgen

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/rollcallhq/rollcall/cmd/rollcall/dial"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

const (
	connectTimeout  = 2 * time.Second
	maxReceiveBytes = 4 << 20 // gRPC's default: no node sends more
)

// ErrNoEndpoint means that no endpoint could be connected to.
var ErrNoEndpoint = errors.New("no endpoint answers")

// Connections are plain connections, spread over the endpoints that answered.
type Connections struct {
	conns     []*grpc.ClientConn
	Endpoints []string // that the connections go to, each once
}

// Connect opens n connections to the endpoints in turn; n = 0 means one to each endpoint. It leaves out
// endpoints that do not answer, and tells leftOut of each. If none answers it returns ErrNoEndpoint. dialer gives
// the options of connections to an endpoint.
func Connect(ctx context.Context, endpoints []string, n int, dialer func(endpoint string) []grpc.DialOption, leftOut func(endpoint string, err error)) (*Connections, error) {
	found, errs := connectAll(ctx, endpoints, dialer)
	c := &Connections{}
	for i, conn := range found {
		switch {
		case errs[i] != nil && ctx.Err() == nil:
			leftOut(endpoints[i], errs[i])
		case errs[i] == nil && n > 0 && len(c.conns) == n:
			conn.Close()
		case errs[i] == nil:
			c.conns = append(c.conns, conn)
			c.Endpoints = append(c.Endpoints, endpoints[i])
		}
	}
	switch {
	case ctx.Err() != nil:
		c.Close()
		return nil, ctx.Err()
	case len(c.conns) == 0:
		return nil, ErrNoEndpoint
	}
	var more []string
	for i := len(c.conns); i < n; i++ {
		more = append(more, c.Endpoints[i%len(c.Endpoints)])
	}
	found, errs = connectAll(ctx, more, dialer)
	for _, conn := range found {
		if conn != nil {
			c.conns = append(c.conns, conn)
		}
	}
	if err := errors.Join(errs...); err != nil {
		c.Close()
		return nil, fmt.Errorf("cannot open %d connections: %w", n, err)
	}
	return c, nil
}

// connectAll connects to all endpoints at once. For each it returns a connection or an error.
func connectAll(ctx context.Context, endpoints []string, dialer func(string) []grpc.DialOption) ([]*grpc.ClientConn, []error) {
	conns, errs := make([]*grpc.ClientConn, len(endpoints)), make([]error, len(endpoints))
	quick := backoff.DefaultConfig
	quick.BaseDelay, quick.MaxDelay = 100*time.Millisecond, time.Second
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithUserAgent("rollcall-bench"),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: quick, MinConnectTimeout: connectTimeout}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxReceiveBytes)),
		grpc.WithDisableRetry(),
		grpc.WithDisableServiceConfig(),
	}
	var all sync.WaitGroup
	for i, e := range endpoints {
		all.Go(func() {
			conn, err := grpc.NewClient(e, slices.Concat(options, dialer(e))...)
			if err == nil {
				if err = dial.Wait(ctx, conn, connectTimeout); err != nil {
					conn.Close()
				}
			}
			if err != nil {
				errs[i] = err
				return
			}
			conns[i] = conn
		})
	}
	all.Wait()
	return conns, errs
}

// Len returns how many connections there are.
func (c *Connections) Len() int { return len(c.conns) }

// at returns the connection of a caller.
func (c *Connections) at(caller int) *grpc.ClientConn { return c.conns[caller%len(c.conns)] }

// Close closes all connections.
func (c *Connections) Close() {
	for _, conn := range c.conns {
		conn.Close()
	}
}

// String describes the connections for people.
func (c *Connections) String() string {
	return format.Count(len(c.conns), "connection", "connections") + " to " + strings.Join(c.Endpoints, ", ")
}
