package main

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding/gzip"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/rollcallhq/rollcall/cmd/rollcall/dial"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
	"github.com/rollcallhq/rollcall/internal/connfailure"
)

// Exit statuses of probe: those of github.com/grpc-ecosystem/grpc-health-probe.
const (
	probeConnection = 2
	probeRPC        = 3
	probeNotServing = 4
)

// probe is one question to one server.
type probe struct {
	address        string
	service        string
	connectTimeout time.Duration
	rpcTimeout     time.Duration
	userAgent      string // "" is gRPC's own
	gzip           bool
	verbose        bool
	headers        metadata.MD
	credentials    credentials.TransportCredentials
	token          bool // --token-file is for this server
}

func newProbeCommand(a *app) *cobra.Command {
	var p probe
	var flags probeFlags
	var reading *readFlags
	cmd := &cobra.Command{
		Use:   "probe [SERVICE]",
		Short: "Ask one node by plain grpc.health.v1, for probes of containers",
		Long: `Asks one server for the status of SERVICE by grpc.health.v1: the one at --addr, or else the first of the
--endpoints. Without SERVICE it asks for "", the node itself. It works with every server that speaks
grpc.health.v1; only Rollcall understands --linearizable, --min-revision and --max-staleness.

It takes the place of grpc_health_probe: it has the same flags, also with one dash, and the same exit
status. A link to this program that is called grpc_health_probe is this command.

Exit status: 0 serving; 1 wrong command line; 2 no connection; 3 the call failed, or there is no such
service; 4 not serving.

A server that --addr names is sent a token only if --token-file is on the command line: it may be none of
Rollcall's.

For the liveness probe of a node ask rollcall.live, for its readiness rollcall.reads.`,
		Example: `  rollcall probe rollcall.live -e 127.0.0.1:7600
  rollcall probe -addr=:8080 -service=checkout -connect-timeout=250ms`,
		Args:              between(0, "SERVICE"),
		ValidArgsFunction: a.completeServices(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := flags.read(a, args, &p); err != nil {
				return err
			}
			options, err := reading.options()
			if err != nil {
				return err
			}
			ctx, cancel, err := a.withTimeout(cmd.Context())
			if err != nil {
				return err
			}
			defer cancel()
			if len(p.headers) > 0 {
				ctx = metadata.NewOutgoingContext(ctx, p.headers)
			}
			if options != nil {
				ctx = options.Outgoing(ctx)
			}
			return a.probe(ctx, p)
		},
	}
	flags.add(cmd, &p)
	reading = addReadFlags(cmd)
	return named(cmd)
}

func (a *app) probe(ctx context.Context, p probe) error {
	options := []grpc.DialOption{grpc.WithTransportCredentials(p.credentials)}
	if p.userAgent != "" {
		options = append(options, grpc.WithUserAgent(p.userAgent))
	}
	options = append(options, a.dialer...)
	if p.token {
		var err error
		if options, err = a.withToken(p.address, options); err != nil {
			return err
		}
	}
	conn, err := grpc.NewClient(p.address, options...)
	if err != nil {
		return invalid("%s: %w", cmp.Or(a.endpointsName, "--endpoints"), err)
	}
	defer conn.Close()
	begun := time.Now()
	if err := dial.Wait(ctx, conn, p.connectTimeout); err != nil {
		f := &failure{
			exit:   probeConnection,
			code:   codes.Unavailable,
			reason: reasonNotReachable,
			err:    fmt.Errorf("cannot connect to %s: %w", p.address, err),
		}
		if advice := a.connectAdvice(err.Error()); advice != noNodeAdvice {
			f.next = advice
		}
		return f
	}
	connected := time.Now()
	rpcCtx, cancel := context.WithTimeout(ctx, p.rpcTimeout)
	defer cancel()
	var call []grpc.CallOption
	if p.gzip {
		call = append(call, grpc.UseCompressor(gzip.Name))
	}
	resp, err := healthpb.NewHealthClient(conn).Check(rpcCtx, &healthpb.HealthCheckRequest{Service: p.service}, call...)
	if p.verbose {
		fmt.Fprintf(a.stderr, "%s: connected in %s, answered in %s\n", p.address, connected.Sub(begun).Round(time.Microsecond), time.Since(connected).Round(time.Microsecond))
	}
	if err != nil {
		s := status.Convert(err)
		reason := probeReason(s)
		return &failure{
			exit:   probeRPC,
			code:   s.Code(),
			reason: reason,
			err:    fmt.Errorf("check of %s at %s failed: %s: %s", format.Service(p.service), p.address, format.Code(s.Code()), probeMessage(s)),
			next:   accessAdvice(reason, s.Message()),
		}
	}
	if resp.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		return &failure{
			exit:   probeNotServing,
			code:   codes.FailedPrecondition,
			reason: reasonNotAsAsked,
			err:    fmt.Errorf("%s is %s at %s", format.Service(p.service), resp.GetStatus(), p.address),
		}
	}
	out := struct {
		Service  string `json:"service"`
		Status   string `json:"status"`
		Endpoint string `json:"endpoint"`
	}{p.service, resp.GetStatus().String(), p.address}
	return a.print(out, []string{p.service}, func() error {
		_, err := fmt.Fprintf(a.stdout, "%s %s\n", format.Service(p.service), resp.GetStatus())
		return err
	})
}

// probeReason returns why a node of Rollcall refused; "" if another server did, or none.
func probeReason(s *status.Status) string {
	for _, d := range s.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.GetDomain() == "rollcall" {
			return info.GetReason()
		}
	}
	return ""
}

// probeMessage returns what a server said, or why it said nothing.
func probeMessage(s *status.Status) string {
	switch s.Code() {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Unknown, codes.Internal, codes.Unimplemented:
		return connfailure.Text(s.Message())
	}
	return s.Message()
}
