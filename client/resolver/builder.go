package resolver

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"sync"

	"google.golang.org/grpc/resolver"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/view"
)

// Observer is told what the channels to a service get. It is called by one goroutine for each service and must not
// block.
type Observer interface {
	// Endpoints is called at each change. serving instances are SERVING and in use. panicked ones are not SERVING and
	// in use, see WithPanic. skipped ones have names that do not end with HOST:PORT. All are 0 when no channel is left.
	Endpoints(service string, serving, skipped, panicked int)
}

// Option is an option of [New].
type Option func(*builder) error

// WithPanic sets the panic threshold, in percent from 0 to 100; 0, the default, is off. When fewer instances than
// that are SERVING, of those that no operator switched off by an override, all of these are given: when most
// instances are ill, the few that are well would not bear all calls. What an operator switched off, one instance or
// SERVICE, is never given.
//
// It helps only where the channel does not check health on its connections: with a healthCheckConfig, instances that
// say themselves that they are not SERVING get no calls.
func WithPanic(percent int) Option {
	return func(b *builder) error {
		if percent < 0 || percent > 100 {
			return fmt.Errorf("resolver: the panic threshold is %d %%; it must be from 0 (off) to 100", percent)
		}
		b.panicPercent = percent
		return nil
	}
}

// WithLogger sets the logger. It gets a line when a panic begins or ends, when instances are skipped or held, and when
// the registry cannot be asked. The default logs nothing.
func WithLogger(l *slog.Logger) Option {
	return func(b *builder) error {
		if l == nil {
			return errors.New("resolver: the logger is nil")
		}
		b.logger = l
		return nil
	}
}

// WithObserver sets the [Observer], for metrics. There is none by default.
func WithObserver(o Observer) Option {
	return func(b *builder) error {
		if o == nil {
			return errors.New("resolver: the observer is nil")
		}
		b.observer = o
		return nil
	}
}

// Builder is the resolver of rollcall:///SERVICE, for grpc.WithResolvers. Channels to one SERVICE share what they
// watch. A Builder may be used by any number of channels at once, and needs no closing: it watches while there are
// channels that do.
type builder struct {
	panicPercent int
	logger       *slog.Logger
	observer     Observer

	endpoints []string
	source    source
	opinions  func(service string) (opinions, error)

	mu       sync.Mutex          // guards what follows
	services map[string]*service // that channels were made to
}

// service is one SERVICE of a builder.
type service struct {
	state    *state
	channels int
	watch    *watch // nil if there is no channel and was none
}

// New returns the resolver of rollcall:///SERVICE, for grpc.WithResolvers or aware.WithResolver. It is a Builder of
// google.golang.org/grpc/resolver. New connects to nothing; its errors are those of its arguments.
//
// Any number of channels may use one resolver at the same time. Channels to one SERVICE share what they watch. The
// resolver needs no closing: it watches while there are channels that use it. Close these channels before c.
func New(c *client.Client, opts ...Option) (resolver.Builder, error) {
	if c == nil {
		return nil, errors.New("resolver: the client is nil")
	}
	b := &builder{
		logger:    slog.New(slog.DiscardHandler),
		services:  map[string]*service{},
		endpoints: c.Endpoints(),
		source: func(ctx context.Context, endpoints []string, prefix string, connected func(bool)) iter.Seq2[client.ServicesUpdate, error] {
			ctx = client.WithEndpoints(ctx, endpoints...)
			ctx = client.WithWatchState(ctx, func(s client.WatchState) { connected(s.Connected) })
			return c.WatchServices(ctx, prefix)
		},
	}
	for _, o := range opts {
		if o == nil {
			return nil, errors.New("resolver: an option is nil")
		}
		if err := o(b); err != nil {
			return nil, err
		}
	}
	b.opinions = func(service string) (opinions, error) {
		return view.New(c, []string{service}, view.WithLogger(b.logger))
	}
	return b, nil
}

// Scheme is that of the targets.
func (b *builder) Scheme() string { return scheme }

// CheckTarget says what is wrong with a target; nil if nothing is. grpc.NewClient asks no resolver: there a wrong
// target is the error of each call. aware.Dial asks.
func (b *builder) CheckTarget(t resolver.Target) error {
	_, err := serviceOf(t)
	return err
}

// Build is called by gRPC when a channel is used for the first time, and when it was idle.
func (b *builder) Build(t resolver.Target, cc resolver.ClientConn, _ resolver.BuildOptions) (resolver.Resolver, error) {
	name, err := serviceOf(t)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background()) // ends with Close
	c := &channel{cc: cc, watch: b.join(name), leave: func() { b.leave(name) }, cancel: cancel, done: make(chan struct{})}
	go c.run(ctx)
	return c, nil
}

// join returns the watch of a service, and starts it for the first channel.
func (b *builder) join(name string) *watch {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.services[name]
	if s == nil {
		s = &service{state: &state{service: name, panicPercent: b.panicPercent}}
		b.services[name] = s
	}
	if s.channels++; s.channels == 1 {
		ctx, cancel := context.WithCancel(context.Background()) // ends with the last channel
		before := s.watch
		s.watch = &watch{b: b, state: s.state, cancel: cancel, done: make(chan struct{}), changed: make(chan struct{})}
		go s.watch.run(ctx, before)
	}
	return s.watch
}

// leave ends the watch with the last channel, and waits.
func (b *builder) leave(name string) {
	b.mu.Lock()
	s := b.services[name]
	s.channels--
	w, last := s.watch, s.channels == 0
	b.mu.Unlock()
	if last {
		w.stop()
	}
}

func sameAddresses(a, b *list) bool { return slices.Equal(a.addresses, b.addresses) }
