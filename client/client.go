package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcallhq/rollcall/client/internal/renewal"
)

// Status is the status of a service, as grpc.health.v1 defines it.
type Status = healthpb.HealthCheckResponse_ServingStatus

// ErrClosed is wrapped by the errors of calls on a closed client, and of calls that Close ended.
var ErrClosed = errors.New("the client is closed")

// Client talks to one cluster. It is safe for use by many goroutines.
type Client struct {
	cfg       Config
	endpoints []*endpoint
	preferred atomic.Int32           // index of the endpoint to start from
	cluster   atomic.Pointer[string] // see Cluster; nil: not known yet
	renewer   *renewal.Renewer       // of all leases that this client keeps
	// leaseCalls has a place for each call that Leases may make at once.
	leaseCalls chan struct{}

	life context.Context // ends with Close
	end  context.CancelFunc
}

// New makes a client. It connects to nothing yet.
func New(cfg Config) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.AttemptTimeout == 0 {
		cfg.AttemptTimeout = defaultAttemptTimeout
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Client{cfg: cfg, leaseCalls: make(chan struct{}, maxLeaseCalls)}
	c.life, c.end = context.WithCancel(context.Background())
	options := dialOptions(cfg)
	for i, address := range cfg.Endpoints {
		e := &endpoint{index: i, address: address, options: options}
		e.writes = e.newWriter(cfg)
		c.endpoints = append(c.endpoints, e)
	}
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

// order returns the endpoints in the order in which to try them.
func (c *Client) order() []*endpoint {
	first := int(c.preferred.Load())
	return append(append([]*endpoint(nil), c.endpoints[first:]...), c.endpoints[:first]...)
}

func (c *Client) prefer(e *endpoint) {
	c.preferred.Store(int32(e.index))
}

// avoid makes calls start after e, if they would start with it.
func (c *Client) avoid(e *endpoint) {
	c.preferred.CompareAndSwap(int32(e.index), int32((e.index+1)%len(c.endpoints)))
}
