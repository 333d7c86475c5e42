package aware

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health" // without it gRPC checks no health, whatever the service config says
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/resolver"

	"github.com/rollcallhq/rollcall/client/view"
)

const (
	firstDialPause = 200 * time.Millisecond
	maxDialPause   = 5 * time.Second // gRPC's own is two minutes
	connectTimeout = 5 * time.Second
	// Servers close a connection that is pinged more often than every 5 minutes, unless they were told otherwise.
	// Beside the pings, it sets for how long sent bytes may stay without an acknowledgement (TCP_USER_TIMEOUT).
	keepaliveTime    = 6 * time.Minute
	keepaliveTimeout = 10 * time.Second
)

// Option is an option of [Dial].
type Option func(*dial) error

// dial is what the options of Dial say.
type dial struct {
	config    Options
	gate      *gate
	resolvers []resolver.Builder
	options   []grpc.DialOption
}

// WithPolicy sets the load balancing policy instead of round_robin, and its config, a JSON object or "" for none;
// see Options.Policy.
func WithPolicy(name, config string) Option {
	return func(d *dial) error {
		d.config.Policy, d.config.PolicyConfig = name, nil
		if config != "" {
			d.config.PolicyConfig = json.RawMessage(config)
		}
		return nil
	}
}

// WithUnsafe names methods that are not retried; see Options.Unsafe.
func WithUnsafe(methods ...string) Option {
	return func(d *dial) error {
		d.config.Unsafe = append(d.config.Unsafe, methods...)
		return nil
	}
}

// WithView refuses calls as UnaryInterceptor and StreamInterceptor do. They stand behind the interceptors of
// WithDialOptions, which see the refusals.
func WithView(v *view.View, m Mapping, opts ...InterceptorOption) Option {
	return func(d *dial) error {
		g, err := newGate(v, m, opts)
		d.gate = g
		return err
	}
}

// WithResolver has the channel find its servers by b, a Builder of google.golang.org/grpc/resolver, if the target has
// its scheme. It may be given more than once. If the resolver has a method CheckTarget(resolver.Target) error, as
// those of client/resolver, Dial returns what is wrong with the target.
func WithResolver(b resolver.Builder) Option {
	return func(d *dial) error {
		if b == nil {
			return errors.New("aware: the resolver is nil")
		}
		d.resolvers = append(d.resolvers, b)
		return nil
	}
}

// WithDialOptions adds gRPC's own options, credentials for example; the default is plain text. They prevail over
// Dial's, but not over its service config, which is the one thing that Dial is for: grpc.WithDefaultServiceConfig
// has no effect. grpc.WithDisableHealthCheck and grpc.WithDisableRetry undo what Dial does.
func WithDialOptions(options ...grpc.DialOption) Option {
	return func(d *dial) error {
		if slices.Contains(options, nil) {
			return errors.New("aware: an option of gRPC is nil")
		}
		d.options = append(d.options, options...)
		return nil
	}
}

// Dial returns a channel of stock gRPC that leaves servers which say that service is not SERVING, and retries calls
// that a broken connection took along; "" is the whole server. It connects with the first call, as grpc.NewClient
// does. Its service config is that of ServiceConfig. A service config of the resolver is not used, because it would
// replace this one as a whole, health check included.
func Dial(target, service string, opts ...Option) (*grpc.ClientConn, error) {
	d := &dial{config: Options{Service: service}}
	for _, o := range opts {
		if o == nil {
			return nil, errors.New("aware: an option is nil")
		}
		if err := o(d); err != nil {
			return nil, err
		}
	}
	if err := d.checkTarget(target); err != nil {
		return nil, err
	}
	config, err := ServiceConfig(d.config)
	if err != nil {
		return nil, err
	}
	if name := d.config.Policy; name != "" && balancer.Get(name) == nil {
		return nil, fmt.Errorf("aware: no policy %s is registered: import its package, or register it", name)
	}
	return grpc.NewClient(target, d.dialOptions(config)...)
}

func (d *dial) dialOptions(config string) []grpc.DialOption {
	pause := backoff.DefaultConfig
	pause.BaseDelay, pause.MaxDelay = firstDialPause, maxDialPause
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: pause, MinConnectTimeout: connectTimeout}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}),
		grpc.WithResolvers(d.resolvers...),
	}
	options = append(options, d.options...)
	if d.gate != nil {
		options = append(options, grpc.WithChainUnaryInterceptor(d.gate.unary), grpc.WithChainStreamInterceptor(d.gate.stream))
	}
	return append(options, grpc.WithDisableServiceConfig(), grpc.WithDefaultServiceConfig(config))
}

// checkTarget finds what gRPC would only say at the first call, or take for the name of a host.
func (d *dial) checkTarget(target string) error {
	if target == "" {
		return errors.New("aware: the target is empty")
	}
	u, err := url.Parse(target)
	switch {
	case err != nil && strings.Contains(target, "://"):
		return fmt.Errorf("aware: the target cannot be read: %w", err)
	case err != nil:
		return nil // host:port
	}
	for _, b := range d.resolvers {
		if b.Scheme() != u.Scheme {
			continue
		}
		if checker, ok := b.(interface{ CheckTarget(resolver.Target) error }); ok {
			return checker.CheckTarget(resolver.Target{URL: *u})
		}
		return nil
	}
	// Options can bring a resolver. Without slashes it is the name of a host and its port.
	if strings.Contains(target, "://") && resolver.Get(u.Scheme) == nil && len(d.options) == 0 {
		return fmt.Errorf("aware: the target %s: nothing resolves the scheme %q; see WithResolver", target, u.Scheme)
	}
	return nil
}
