package receive

import (
	"context"
	"slices"

	"google.golang.org/grpc"
)

// Methods registers services on s whose unary methods receive their requests here.
func (l *Limits) Methods(s grpc.ServiceRegistrar) grpc.ServiceRegistrar { return methods{l, s} }

type methods struct {
	limits *Limits
	next   grpc.ServiceRegistrar
}

func (r methods) RegisterService(desc *grpc.ServiceDesc, impl any) {
	limited := *desc
	limited.Methods = slices.Clone(desc.Methods)
	for i, m := range limited.Methods {
		limited.Methods[i].Handler = func(srv any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
			q := r.limits.begin(ctx)
			q.decode = decode
			res, err := m.Handler(srv, ctx, q.receive, interceptor)
			r.limits.end(q)
			return res, err
		}
	}
	r.next.RegisterService(&limited, impl)
}

// Streams registers services on s whose streams receive their requests here.
func (l *Limits) Streams(s grpc.ServiceRegistrar) grpc.ServiceRegistrar { return streams{l, s} }

type streams struct {
	limits *Limits
	next   grpc.ServiceRegistrar
}

func (r streams) RegisterService(desc *grpc.ServiceDesc, impl any) {
	limited := *desc
	limited.Streams = slices.Clone(desc.Streams)
	for i, s := range limited.Streams {
		limited.Streams[i].Handler = func(srv any, stream grpc.ServerStream) error {
			return s.Handler(srv, &limitedStream{stream, r.limits, !s.ClientStreams})
		}
	}
	r.next.RegisterService(&limited, impl)
}

type limitedStream struct {
	grpc.ServerStream
	limits *Limits
	only   bool // one request comes
}

// RecvMsg implements grpc.ServerStream.
func (s *limitedStream) RecvMsg(m any) error { return s.limits.message(s.ServerStream, m, s.only) }

// Only receives the only request of a stream, for a handler that Streams has not wrapped.
func (l *Limits) Only(stream grpc.ServerStream, m any) error { return l.message(stream, m, true) }

func (l *Limits) message(stream grpc.ServerStream, m any, only bool) error {
	q := l.begin(stream.Context())
	defer l.end(q)
	if q.from == nil {
		return stream.RecvMsg(m)
	}
	return l.receive(q, m, only)
}

func (l *Limits) begin(ctx context.Context) *request {
	q := l.requests.Get().(*request)
	q.ctx, q.from = ctx, transportOf(ctx)
	return q
}

func (l *Limits) end(q *request) {
	q.ctx, q.from, q.decode = nil, nil, nil
	l.requests.Put(q)
}
