package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
)

const (
	benchConnectPatience = 2 * time.Second
	benchReceiveBytes    = 32 << 20 // the answer to a batch
)

// benchConnections are spread over the endpoints that answered. Calls are made on them and not through
// package client, which tries again and elsewhere: what a load is to find would be hidden.
type benchConnections struct {
	conns     []*grpc.ClientConn
	endpoints []string // that they are to, each once
}

// at is the connection of one of many callers.
func (b *benchConnections) at(caller int) *grpc.ClientConn { return b.conns[caller%len(b.conns)] }

func (b *benchConnections) close() {
	for _, c := range b.conns {
		c.Close()
	}
}

// benchConnect opens n connections; 0: one to each endpoint. Endpoints that do not answer are left out.
func (a *app) benchConnect(ctx context.Context, n int) (*benchConnections, error) {
	endpoints, err := a.endpointList()
	if err != nil {
		return nil, err
	}
	found, errs := a.openConnections(ctx, endpoints)
	b := &benchConnections{}
	for i, conn := range found {
		switch {
		case errs[i] != nil && ctx.Err() == nil:
			a.note(fmt.Sprintf("no load on %s: %s", endpoints[i], oneLine(errs[i].Error())))
		case errs[i] == nil && n > 0 && len(b.conns) == n:
			conn.Close()
		case errs[i] == nil:
			b.conns = append(b.conns, conn)
			b.endpoints = append(b.endpoints, endpoints[i])
		}
	}
	switch {
	case ctx.Err() != nil:
		b.close()
		return nil, ctx.Err()
	case len(b.conns) == 0:
		return nil, a.noNodeAnswers("")
	}
	var more []string
	for i := len(b.conns); i < n; i++ {
		more = append(more, b.endpoints[i%len(b.endpoints)])
	}
	found, errs = a.openConnections(ctx, more)
	for _, conn := range found {
		if conn != nil {
			b.conns = append(b.conns, conn)
		}
	}
	if err := errors.Join(errs...); err != nil {
		b.close()
		return nil, fmt.Errorf("cannot open %d connections: %w", n, err)
	}
	return b, nil
}

// openConnections connects to all at once. Where it fails, there is an error and no connection.
func (a *app) openConnections(ctx context.Context, endpoints []string) ([]*grpc.ClientConn, []error) {
	conns, errs := make([]*grpc.ClientConn, len(endpoints)), make([]error, len(endpoints))
	quick := backoff.DefaultConfig
	quick.BaseDelay, quick.MaxDelay = 100*time.Millisecond, time.Second
	options := append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithUserAgent("rollcall-bench"),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: quick, MinConnectTimeout: benchConnectPatience}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(benchReceiveBytes)),
		grpc.WithDisableRetry(),
		grpc.WithDisableServiceConfig(),
	}, a.dialer...)
	var all sync.WaitGroup
	for i, e := range endpoints {
		all.Go(func() {
			conn, err := grpc.NewClient(e, options...)
			if err == nil {
				if err = connect(ctx, conn, benchConnectPatience); err != nil {
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

// String is the connections for people.
func (b *benchConnections) String() string {
	return count(len(b.conns), "connection", "connections") + " to " + strings.Join(b.endpoints, ", ")
}
