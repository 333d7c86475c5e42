package inprocess

import (
	"context"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// transport is what a handler finds of gRPC's in its context. Only the handler's goroutine uses it.
type transport struct {
	method          string
	header, trailer metadata.MD
}

var _ grpc.ServerTransportStream = (*transport)(nil)

// context returns the context of the call.
func (t *transport) context(ctx context.Context) context.Context {
	if _, has := metadata.FromOutgoingContext(ctx); has {
		ctx = metadata.NewOutgoingContext(ctx, nil)
	}
	return grpc.NewContextWithServerTransportStream(ctx, t)
}

// Method implements grpc.ServerTransportStream.
func (t *transport) Method() string { return t.method }

// RecvCompress is as gRPC's: the request did not come compressed.
func (t *transport) RecvCompress() string { return "" }

// SetHeader implements grpc.ServerTransportStream.
func (t *transport) SetHeader(md metadata.MD) error {
	t.header = join(t.header, md)
	return nil
}

// SendHeader implements grpc.ServerTransportStream. Headers are not sent before the first message.
func (t *transport) SendHeader(md metadata.MD) error { return t.SetHeader(md) }

// SetTrailer implements grpc.ServerTransportStream.
func (t *transport) SetTrailer(md metadata.MD) error {
	t.trailer = join(t.trailer, md)
	return nil
}

func join(has, more metadata.MD) metadata.MD {
	if len(has) == 0 {
		return more
	}
	return metadata.Join(has, more)
}

// serverStream is the handler's side of a stream.
type serverStream struct {
	transport *transport
	ctx       context.Context
	req       proto.Message // nil once it is received
	send      func(metadata.MD, proto.Message) error
	failed    error // of send
}

var _ grpc.ServerStream = (*serverStream)(nil)

func (s *serverStream) Context() context.Context        { return s.ctx }
func (s *serverStream) SetHeader(md metadata.MD) error  { return s.transport.SetHeader(md) }
func (s *serverStream) SendHeader(md metadata.MD) error { return s.transport.SendHeader(md) }
func (s *serverStream) SetTrailer(md metadata.MD)       { _ = s.transport.SetTrailer(md) }

// SendMsg implements grpc.ServerStream.
func (s *serverStream) SendMsg(v any) error {
	if s.failed != nil {
		return s.failed
	}
	m, left := open(v)
	if left != nil {
		defer left()
	}
	sent, ok := m.(proto.Message)
	if !ok {
		return notMessage(m)
	}
	s.failed = s.send(s.transport.header, sent)
	return s.failed
}

// RecvMsg implements grpc.ServerStream.
func (s *serverStream) RecvMsg(into any) error {
	req := s.req
	if req == nil {
		return io.EOF
	}
	s.req = nil
	return move(into, req)
}
