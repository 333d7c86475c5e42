package inprocess

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// Conn calls the methods that are registered on it. Its zero value has none. Calls may be made from anywhere once
// everything is registered.
type Conn struct {
	methods map[string]method // by full name, "/rollcall.v1.Admin/SetServingStatus"
	streams map[string]stream
}

type method struct {
	handler grpc.MethodHandler
	impl    any
}

type stream struct {
	handler grpc.StreamHandler
	impl    any
}

var (
	_ grpc.ServiceRegistrar    = (*Conn)(nil)
	_ grpc.ClientConnInterface = (*Conn)(nil)
)

// RegisterService implements grpc.ServiceRegistrar.
func (c *Conn) RegisterService(desc *grpc.ServiceDesc, impl any) {
	if c.methods == nil {
		c.methods, c.streams = make(map[string]method), make(map[string]stream)
	}
	for _, m := range desc.Methods {
		c.methods["/"+desc.ServiceName+"/"+m.MethodName] = method{m.Handler, impl}
	}
	for _, s := range desc.Streams {
		c.streams["/"+desc.ServiceName+"/"+s.StreamName] = stream{s.Handler, impl}
	}
}

// Invoke implements grpc.ClientConnInterface. The call has the incoming metadata and the peer of ctx. Outgoing metadata
// of ctx is not passed on: neither to the handler, nor to whom the handler calls. The handler gets args itself, and reply
// shares memory with the handler's answer: change neither. Of opts, grpc.Header and grpc.Trailer are filled in.
//
// An answer that the server counts while it is held is counted until release of Hold, or until Invoke returns if there
// is none.
func (c *Conn) Invoke(ctx context.Context, name string, args, reply any, opts ...grpc.CallOption) error {
	m, ok := c.methods[name]
	if !ok {
		return unimplemented(name)
	}
	t := &transport{method: name}
	res, err := m.handler(m.impl, t.context(ctx), func(into any) error { return move(into, args) }, nil)
	for _, o := range opts {
		switch o := o.(type) {
		case grpc.HeaderCallOption:
			*o.HeaderAddr = t.header
		case grpc.TrailerCallOption:
			*o.TrailerAddr = t.trailer
		}
	}
	if err != nil {
		return asStatus(err)
	}
	answer, left := open(res)
	if left != nil && !hold(ctx, left) {
		defer left()
	}
	return move(reply, answer)
}

// NewStream implements grpc.ClientConnInterface. It always fails: see Stream.
func (c *Conn) NewStream(_ context.Context, _ *grpc.StreamDesc, name string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, status.Errorf(codes.Unimplemented, "%s is a stream, and this interface has none", name)
}

// Stream calls a method that answers with a stream, and returns when the stream has ended. send gets each message, in
// order, and the headers that are set by then. m is valid until send returns. The stream ends if send fails: Stream then
// returns that error, else that of the handler, which is a status. To a method that receives a stream too the client's
// side ends after req.
func (c *Conn) Stream(ctx context.Context, name string, req proto.Message, send func(header metadata.MD, m proto.Message) error) error {
	h, ok := c.streams[name]
	if !ok {
		return unimplemented(name)
	}
	t := &transport{method: name}
	s := &serverStream{transport: t, ctx: t.context(ctx), req: req, send: send}
	err := h.handler(h.impl, s)
	switch {
	case s.failed != nil:
		return s.failed
	case err != nil:
		return asStatus(err)
	}
	return nil
}

func unimplemented(name string) error {
	return status.Errorf(codes.Unimplemented, "this node has no method %s", name)
}

// asStatus is the error of a handler as gRPC would send it.
func asStatus(err error) error {
	if s, ok := status.FromError(err); ok {
		return s.Err()
	}
	return status.FromContextError(err).Err()
}
