package loadgen

import (
	"context"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcallhq/rollcall/client"
)

// CheckLoad asks for the status of one service by grpc.health.v1 Check.
type CheckLoad struct {
	Load
	Service      string
	Linearizable bool
	Conns        *Connections
}

// Try makes one call.
func (c *CheckLoad) Try(ctx context.Context) error { return c.once(ctx, 0, c.call) }

// Run makes the load until its duration is over or ctx ends.
func (c *CheckLoad) Run(ctx context.Context) { c.run(ctx, c.call) }

func (c *CheckLoad) call(ctx context.Context, caller int) error {
	if c.Linearizable {
		ctx = client.ReadOptions{Consistency: client.Linearizable}.Outgoing(ctx)
	}
	_, err := healthpb.NewHealthClient(c.Conns.at(caller)).Check(ctx, &healthpb.HealthCheckRequest{Service: c.Service})
	return err
}
