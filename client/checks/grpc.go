package checks

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/rollcallhq/rollcall/internal/connfailure"
)

// GRPCOption is an option of GRPC.
type GRPCOption func(*grpcCheck)

// GRPCService has the check ask for the health of service instead of "", which is the server as a whole.
func GRPCService(service string) GRPCOption { return func(c *grpcCheck) { c.service = service } }

// GRPCTLS has the check speak TLS. The check keeps a copy of config; an empty one trusts the system's authorities.
func GRPCTLS(config *tls.Config) GRPCOption {
	return func(c *grpcCheck) { c.tls, c.tlsSet = config.Clone(), true }
}

// GRPCDialOptions adds options of the connection, such as per-call credentials or an authority.
func GRPCDialOptions(opts ...grpc.DialOption) GRPCOption {
	return func(c *grpcCheck) { c.dial = append(c.dial, opts...) }
}

type grpcCheck struct {
	readymade
	target  string
	service string
	tls     *tls.Config
	tlsSet  bool
	dial    []grpc.DialOption
}

// GRPC returns a check that calls grpc.health.v1.Health/Check at target, which is HOST:PORT, unix:///PATH or
// another target of grpc-go. It fails unless the answer is SERVING; a server that does not know the service, or has
// no health service at all, is a failure.
//
// Each run connects anew, as a new caller would, and closes the connection. It uses no proxy. GRPCConn uses a
// connection that the program has.
//
// A check of another host is not critical by default, because one outage must not take all instances out of
// service; one of this host ("localhost", a loopback address, a Unix socket) is critical.
func GRPC(name, target string, opts ...GRPCOption) Check {
	c := &grpcCheck{target: target}
	c.name, c.run = name, c.ask
	if c.err = apply(c, opts); c.err == nil {
		c.err = c.validate()
	}
	c.nonCritical = otherTarget(target)
	return c
}

func (c *grpcCheck) validate() error {
	switch {
	case slices.Contains(c.dial, nil):
		return errors.New("an option of the connection is nil")
	case c.tlsSet && c.tls == nil:
		return errors.New("GRPCTLS needs a configuration; it is nil")
	case !strings.Contains(c.target, ":"):
		return errors.New("the target must be HOST:PORT, unix:///PATH or another target of gRPC")
	case strings.Contains(c.target, "http://") || strings.Contains(c.target, "https://"):
		return errors.New("the target must be HOST:PORT, without http://")
	case isHostPortTarget(c.target):
		if err := hostPort(c.target); err != nil {
			return err
		}
	}
	conn, err := c.connect()
	if err != nil {
		return errors.New("gRPC does not take the target: " + foreign(err.Error()))
	}
	return conn.Close()
}

// isHostPortTarget is whether target has no scheme that grpc-go could know.
func isHostPortTarget(target string) bool {
	return !strings.Contains(target, "://") && !strings.HasPrefix(target, "unix:") &&
		!strings.HasPrefix(target, "dns:") && !strings.HasPrefix(target, "unix-abstract:")
}

// otherTarget is otherHost for a target of gRPC.
func otherTarget(target string) bool {
	if strings.HasPrefix(target, "unix:") || strings.HasPrefix(target, "unix-abstract:") {
		return false
	}
	addr := target
	if !isHostPortTarget(target) {
		u, err := url.Parse(target)
		if err != nil {
			return true
		}
		addr = strings.TrimPrefix(u.Path, "/")
		if u.Opaque != "" {
			addr = u.Opaque
		}
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		host = addr
	}
	return otherHost(host)
}

func (c *grpcCheck) connect() (*grpc.ClientConn, error) {
	creds := insecure.NewCredentials()
	if c.tls != nil {
		creds = credentials.NewTLS(c.tls)
	}
	opts := []grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(), // no look-up of a TXT record, no policy that waits
		grpc.WithUserAgent("rollcall-checks"),
	}
	return grpc.NewClient(c.target, append(opts, c.dial...)...)
}

func (c *grpcCheck) ask(ctx context.Context) error {
	conn, err := c.connect()
	if err != nil {
		return errors.New(c.target + ": gRPC does not take the target: " + foreign(err.Error()))
	}
	defer conn.Close()
	return askHealth(ctx, conn, c.target, c.service)
}

// GRPCConn returns a check like GRPC that uses conn, a connection that the program has and closes: it tells whether
// the program's own calls find a server. service may be "". It is not critical by default.
func GRPCConn(name string, conn grpc.ClientConnInterface, service string) Check {
	target := "the connection"
	if cc, ok := conn.(*grpc.ClientConn); ok && cc != nil {
		target = cc.Target()
	}
	c := &readymade{name: name, nonCritical: true, run: func(ctx context.Context) error {
		return askHealth(ctx, conn, target, service)
	}}
	if isNil(conn) {
		c.err = errors.New("GRPCConn needs a connection; it is nil")
	}
	return c
}

func askHealth(ctx context.Context, conn grpc.ClientConnInterface, target, service string) error {
	a := begin(ctx)
	resp, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{Service: service})
	if err != nil {
		return a.rpc(target, service, err)
	}
	if s := resp.GetStatus(); s != healthpb.HealthCheckResponse_SERVING {
		return fmt.Errorf("%s: answered %s, wanted SERVING", target, s)
	}
	return nil
}

// rpc words the failure of a call of the health service.
func (a attempt) rpc(target, service string, err error) error {
	s := status.Convert(err)
	var why string
	switch s.Code() {
	case codes.DeadlineExceeded, codes.Canceled:
		if a.ctx.Err() != nil || s.Code() == codes.DeadlineExceeded {
			return a.late(target + ": no answer")
		}
		why = "it ended the call"
	case codes.Unimplemented:
		why = "it does not serve grpc.health.v1.Health"
	case codes.NotFound:
		why = fmt.Sprintf("it does not know the service %q", service)
	case codes.Unauthenticated:
		why = "it does not know who asks (UNAUTHENTICATED): " + foreign(s.Message())
	case codes.PermissionDenied:
		why = "it does not allow the question (PERMISSION_DENIED): " + foreign(s.Message())
	case codes.Unavailable:
		why = foreign(connfailure.Text(s.Message()))
	default:
		why = fmt.Sprintf("it answered the error %s: %s", s.Code(), foreign(connfailure.Text(s.Message())))
	}
	return &wordedError{target + ": " + why, err}
}
