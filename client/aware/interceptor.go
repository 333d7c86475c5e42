package aware

import (
	"context"
	"errors"

	"google.golang.org/grpc"

	"github.com/rollcallhq/rollcall/client/view"
)

// Observer is told of refused calls. It is called by the goroutine of the call: it must not block, and must be safe
// for use by many.
type Observer interface {
	// Refused is called for each call that was refused because service, a name of the view, is switched off.
	Refused(service string)
}

// InterceptorOption is an option of [UnaryInterceptor], [StreamInterceptor] and [WithView].
type InterceptorOption func(*gate) error

// WithObserver sets the [Observer], for metrics. There is none by default. Dial takes it through WithView.
func WithObserver(o Observer) InterceptorOption {
	return func(g *gate) error {
		if o == nil {
			return errors.New("aware: the observer is nil")
		}
		g.observer = o
		return nil
	}
}

// opinions is what a gate asks: a view.View.
type opinions interface {
	Get(name string) view.Opinion
}

// gate refuses calls.
type gate struct {
	view     opinions
	targets  *targets
	observer Observer // may be nil
}

func newGate(v *view.View, m Mapping, opts []InterceptorOption) (*gate, error) {
	if v == nil {
		return nil, errors.New("aware: the view is nil")
	}
	t, err := m.compile(v.Names())
	if err != nil {
		return nil, err
	}
	g := &gate{view: v, targets: t}
	for _, o := range opts {
		if o == nil {
			return nil, errors.New("aware: an option is nil")
		}
		if err := o(g); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// refuse returns the error of a call that is not to be made; nil: it goes on.
func (g *gate) refuse(method string) error {
	t := g.targets.of(method)
	if t == nil {
		return nil
	}
	o := g.view.Get(t.name)
	if !o.Off {
		return nil
	}
	if g.observer != nil {
		g.observer.Refused(t.name)
	}
	return t.refuse(&o)
}

// UnaryInterceptor refuses calls whose target the view says to be off: at once, without a connection, with
// UNAVAILABLE and an ErrorInfo of ReasonTargetNotServing. All other calls go on, also those that depend on a name
// that was not heard of yet, or that does not exist. Somebody must run the view.
//
// It adds some 30 ns to a call and allocates nothing, for refused calls too. The error is of a view that is nil, or
// of a mapping that is empty, malformed, or names what is not in the view. The mapping is copied.
func UnaryInterceptor(v *view.View, m Mapping, opts ...InterceptorOption) (grpc.UnaryClientInterceptor, error) {
	g, err := newGate(v, m, opts)
	if err != nil {
		return nil, err
	}
	return g.unary, nil
}

// StreamInterceptor is UnaryInterceptor for streams. A stream that was opened before its target was switched off
// goes on.
func StreamInterceptor(v *view.View, m Mapping, opts ...InterceptorOption) (grpc.StreamClientInterceptor, error) {
	g, err := newGate(v, m, opts)
	if err != nil {
		return nil, err
	}
	return g.stream, nil
}

func (g *gate) unary(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	if err := g.refuse(method); err != nil {
		return err
	}
	return invoke(ctx, method, req, reply, cc, opts...)
}

func (g *gate) stream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	if err := g.refuse(method); err != nil {
		return nil, err
	}
	return open(ctx, desc, cc, method, opts...)
}
