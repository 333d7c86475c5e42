package main

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/rollcallhq/rollcall/client/connfailure"
	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
	"github.com/rollcallhq/rollcall/cmd/rollcall/dial"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

// Exit statuses of probe: those of github.com/grpc-ecosystem/grpc-health-probe.
const (
	probeConnection = 2
	probeRPC        = 3
	probeNotServing = 4
)

func newProbeCommand(a *app) *cobra.Command {
	var connectTimeout, rpcTimeout time.Duration
	var flags *readFlags
	cmd := &cobra.Command{
		Use:   "probe [SERVICE]",
		Short: "Ask one node by plain grpc.health.v1, for probes of containers",
		Long: `Asks one node, the first of the --endpoints, for the status of SERVICE by grpc.health.v1. Without
SERVICE it asks for "", the node itself. It works with every server that speaks grpc.health.v1; only
Rollcall understands --linearizable, --min-revision and --max-staleness.

Exit status, as of grpc_health_probe: 0 serving; 1 wrong command line; 2 no connection; 3 the call
failed, or there is no such service; 4 not serving.

For the liveness probe of a node ask rollcall.live, for its readiness rollcall.reads.`,
		Example:           `  rollcall probe rollcall.live -e 127.0.0.1:7600`,
		Args:              between(0, "SERVICE"),
		ValidArgsFunction: a.completeServices(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			service := ""
			if len(args) == 1 {
				service = args[0]
			}
			endpoints, err := a.endpointList()
			if err != nil {
				return err
			}
			for flag, d := range map[string]time.Duration{"connect-timeout": connectTimeout, "rpc-timeout": rpcTimeout} {
				if d <= 0 {
					return invalid("--%s is %s; it must be more than 0", flag, d)
				}
			}
			options, err := flags.options()
			if err != nil {
				return err
			}
			ctx, cancel, err := a.withTimeout(cmd.Context())
			if err != nil {
				return err
			}
			defer cancel()
			if options != nil {
				ctx = options.Outgoing(ctx)
			}
			return a.probe(ctx, endpoints[0], service, connectTimeout, rpcTimeout)
		},
	}
	cliflag.DurationVar(cmd.Flags(), &connectTimeout, "connect-timeout", time.Second, "how long to wait for a connection")
	cliflag.DurationVar(cmd.Flags(), &rpcTimeout, "rpc-timeout", time.Second, "how long to wait for the answer")
	flags = addReadFlags(cmd)
	return named(cmd)
}

func (a *app) probe(ctx context.Context, endpoint, service string, connectTimeout, rpcTimeout time.Duration) error {
	conn, err := grpc.NewClient(endpoint, append([]grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}, a.dialer...)...)
	if err != nil {
		return invalid("%s: %w", cmp.Or(a.endpointsName, "--endpoints"), err)
	}
	defer conn.Close()
	if err := dial.Wait(ctx, conn, connectTimeout); err != nil {
		return &failure{
			exit:   probeConnection,
			code:   codes.Unavailable,
			reason: reasonNotReachable,
			err:    fmt.Errorf("cannot connect to %s: %w", endpoint, err),
		}
	}
	rpcCtx, cancel := context.WithTimeout(ctx, rpcTimeout)
	defer cancel()
	resp, err := healthpb.NewHealthClient(conn).Check(rpcCtx, &healthpb.HealthCheckRequest{Service: service})
	if err != nil {
		s := status.Convert(err)
		return &failure{
			exit: probeRPC,
			code: s.Code(),
			err:  fmt.Errorf("check of %s at %s failed: %s: %s", format.Service(service), endpoint, format.Code(s.Code()), probeMessage(s)),
		}
	}
	if resp.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		return &failure{
			exit:   probeNotServing,
			code:   codes.FailedPrecondition,
			reason: reasonNotAsAsked,
			err:    fmt.Errorf("%s is %s at %s", format.Service(service), resp.GetStatus(), endpoint),
		}
	}
	out := struct {
		Service  string `json:"service"`
		Status   string `json:"status"`
		Endpoint string `json:"endpoint"`
	}{service, resp.GetStatus().String(), endpoint}
	return a.print(out, []string{service}, func() error {
		_, err := fmt.Fprintf(a.stdout, "%s %s\n", format.Service(service), resp.GetStatus())
		return err
	})
}

// probeMessage returns what a server said, or why it said nothing.
func probeMessage(s *status.Status) string {
	switch s.Code() {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Unknown, codes.Internal, codes.Unimplemented:
		return connfailure.Text(s.Message())
	}
	return s.Message()
}
