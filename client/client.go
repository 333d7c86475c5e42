package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcallhq/rollcall/client/internal/credential"
	"github.com/rollcallhq/rollcall/client/internal/renewal"
)

// Status is the status of a service, as grpc.health.v1 defines it.
type Status = healthpb.HealthCheckResponse_ServingStatus

// ErrClosed is wrapped by the errors of calls on a closed client, and of calls that Close ended.
var ErrClosed = errors.New("the client is closed")

// Client talks to one cluster. It is safe for use by many goroutines.
type Client struct {
	cfg       Config
	endpoints []*endpoint  // in the order in which they are tried
	ring      []*endpoint  // endpoints twice, so that an order that starts at any of them is a part of it
	preferred atomic.Int32 // index of the endpoint to start from
	hedges    hedgeTokens
	token     *credential.Source     // nil: calls carry none
	cluster   atomic.Pointer[string] // see Cluster; nil: not known yet
	renewer   *renewal.Renewer       // of all leases that this client keeps
	// leaseCalls has a place for each call that Leases may make at once.
	leaseCalls chan struct{}

	life context.Context // ends with Close
	end  context.CancelFunc
}

// New makes a client. It connects to nothing yet. Its errors are those of [Config.Validate] and [Config.CheckToken].
func New(cfg Config) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.AttemptTimeout == 0 {
		cfg.AttemptTimeout = defaultAttemptTimeout
	}
	if cfg.Hedge == 0 {
		cfg.Hedge = defaultHedge
	}
	cfg.Logger = cfg.logger()
	token, err := cfg.newToken()
	if err != nil {
		return nil, err
	}
	c := &Client{cfg: cfg, token: token, leaseCalls: make(chan struct{}, maxLeaseCalls)}
	c.life, c.end = context.WithCancel(context.Background())
	options := dialOptions(cfg)
	addresses := slices.Clone(cfg.Endpoints)
	if !cfg.KeepOrder {
		rand.Shuffle(len(addresses), func(i, j int) { addresses[i], addresses[j] = addresses[j], addresses[i] })
	}
	for i, address := range addresses {
		e := &endpoint{index: i, address: address, options: options, token: token}
		if token != nil {
			credentials := tokenCredentials{source: token, address: address, loopback: isLoopback(address)}
			e.options = append(slices.Clone(options), grpc.WithPerRPCCredentials(credentials))
		}
		e.writes = e.newWriter(cfg, c.credential)
		c.endpoints = append(c.endpoints, e)
	}
	c.ring = append(slices.Clone(c.endpoints), c.endpoints...)
	c.renewer = c.newRenewer()
	return c, nil
}

// Close ends every call and watch of this client, and its connections. A write that it interrupts has
// an unknown outcome. A Lease that was not closed before is left to expire. Further calls of Close do nothing.
func (c *Client) Close() error {
	c.end()
	c.renewer.Close()
	var errs []error
	for _, e := range c.endpoints {
		errs = append(errs, e.close())
	}
	return errors.Join(errs...)
}

// begin makes the context of a call, which ends with the caller's and with the client.
func (c *Client) begin(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	if c.life.Err() != nil {
		cancel(ErrClosed)
	}
	stop := context.AfterFunc(c.life, func() { cancel(ErrClosed) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

// over returns why nothing more is to be tried; nil while there is time.
func (c *Client) over(ctx context.Context) error {
	// First, because Close ends the connections, perhaps before ctx ends.
	if c.life.Err() != nil {
		return ErrClosed
	}
	err := ctx.Err()
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); !errors.Is(cause, err) {
		return fmt.Errorf("%w: %w", err, cause)
	}
	return err
}
