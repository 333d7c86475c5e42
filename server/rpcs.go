package server

import (
	"cmp"
	"context"
	"slices"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// rpcs counts calls by method and code, and gives each the stack that it needs. It wraps the handlers of a service as they are registered: an
// interceptor or stats handler would be paid for by every Check, with allocations; this is one atomic
// add, after the handler.
type rpcs struct {
	methods map[string]*rpcCounts // by full name without the slash; complete before Serve
}

// rpcCounts has a slot for each code of gRPC.
type rpcCounts struct {
	_     [64]byte // the hot methods share no cache line with their neighbours
	ended [codes.Unauthenticated + 1]atomic.Uint64
}

// RPCCount is how many calls of a method have ended with a code; of a stream, when it ended.
type RPCCount struct {
	Method string // "grpc.health.v1.Health/Check"
	Code   codes.Code
	Count  uint64
}

func newRPCs() *rpcs { return &rpcs{methods: map[string]*rpcCounts{}} }

// on registers services on s with their calls counted.
func (r *rpcs) on(s grpc.ServiceRegistrar) grpc.ServiceRegistrar { return countedServices{r, s} }

type countedServices struct {
	rpcs *rpcs
	next grpc.ServiceRegistrar
}

func (c countedServices) RegisterService(desc *grpc.ServiceDesc, impl any) {
	counted := *desc
	counted.Methods = slices.Clone(desc.Methods)
	for i, m := range counted.Methods {
		n := c.rpcs.counts(desc.ServiceName + "/" + m.MethodName)
		counted.Methods[i].Handler = func(srv any, ctx context.Context, dec func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
			growStack()
			res, err := m.Handler(srv, ctx, dec, interceptor)
			n.end(err)
			return res, err
		}
	}
	counted.Streams = slices.Clone(desc.Streams)
	for i, m := range counted.Streams {
		n := c.rpcs.counts(desc.ServiceName + "/" + m.StreamName)
		counted.Streams[i].Handler = func(srv any, stream grpc.ServerStream) error {
			growStack()
			err := m.Handler(srv, stream)
			n.end(err)
			return err
		}
	}
	c.next.RegisterService(&counted, impl)
}

// counts returns those of a method. A service of both ports counts as one.
func (r *rpcs) counts(method string) *rpcCounts {
	n := r.methods[method]
	if n == nil {
		n = &rpcCounts{}
		r.methods[method] = n
	}
	return n
}

func (n *rpcCounts) end(err error) {
	code := codes.OK
	if err != nil {
		code = codeSent(err)
	}
	n.ended[code].Add(1)
}

// codeSent is the code that gRPC makes of a handler's error.
func codeSent(err error) codes.Code {
	s, ok := status.FromError(err)
	if !ok {
		s = status.FromContextError(err)
	}
	if code := s.Code(); int(code) < len(rpcCounts{}.ended) {
		return code
	}
	return codes.Unknown
}

// RPCs returns the calls that have ended on either port, in order of method and code. Reflection is
// not counted.
func (s *Server) RPCs() []RPCCount {
	var all []RPCCount
	for method, n := range s.rpcs.methods {
		for code := range n.ended {
			if count := n.ended[code].Load(); count > 0 {
				all = append(all, RPCCount{method, codes.Code(code), count})
			}
		}
	}
	slices.SortFunc(all, func(a, b RPCCount) int {
		return cmp.Or(cmp.Compare(a.Method, b.Method), cmp.Compare(a.Code, b.Code))
	})
	return all
}
