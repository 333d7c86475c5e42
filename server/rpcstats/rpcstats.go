package rpcstats

import (
	"cmp"
	"context"
	"slices"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Stats counts calls by method and code, and gives each the stack that it needs. It wraps the handlers
// of a service when the service is registered. An interceptor or stats handler would cost every Check
// allocations; this costs one atomic addition after the handler.
type Stats struct {
	methods map[string]*Counts // by full name without the slash; complete before Serve
}

// Counts are those of a method: it has a slot for each code of gRPC.
type Counts struct {
	_     [64]byte // the hot methods share no cache line with their neighbours
	ended [codes.Unauthenticated + 1]atomic.Uint64
}

// Count is how many calls of a method have ended with a code; of a stream, when it ended.
type Count struct {
	Method string // "grpc.health.v1.Health/Check"
	Code   codes.Code
	Count  uint64
}

// New returns Stats of no service yet.
func New() *Stats { return &Stats{methods: map[string]*Counts{}} }

// On registers services on s with their calls counted.
func (r *Stats) On(s grpc.ServiceRegistrar) grpc.ServiceRegistrar { return countedServices{r, s} }

type countedServices struct {
	rpcs *Stats
	next grpc.ServiceRegistrar
}

func (c countedServices) RegisterService(desc *grpc.ServiceDesc, impl any) {
	counted := *desc
	counted.Methods = slices.Clone(desc.Methods)
	for i, m := range counted.Methods {
		n := c.rpcs.Of(desc.ServiceName + "/" + m.MethodName)
		counted.Methods[i].Handler = func(srv any, ctx context.Context, dec func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
			growStack()
			res, err := m.Handler(srv, ctx, dec, interceptor)
			n.End(err)
			return res, err
		}
	}
	counted.Streams = slices.Clone(desc.Streams)
	for i, m := range counted.Streams {
		n := c.rpcs.Of(desc.ServiceName + "/" + m.StreamName)
		counted.Streams[i].Handler = func(srv any, stream grpc.ServerStream) error {
			growStack()
			err := m.Handler(srv, stream)
			n.End(err)
			return err
		}
	}
	c.next.RegisterService(&counted, impl)
}

// Of returns the counts of a method. A service of both ports counts as one.
func (r *Stats) Of(method string) *Counts {
	n := r.methods[method]
	if n == nil {
		n = &Counts{}
		r.methods[method] = n
	}
	return n
}

// End counts a call that ended with err.
func (n *Counts) End(err error) {
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
	if code := s.Code(); int(code) < len(Counts{}.ended) {
		return code
	}
	return codes.Unknown
}

// All returns the calls that have ended on either port, in order of method and code. Reflection is
// not counted.
func (r *Stats) All() []Count {
	var all []Count
	for method, n := range r.methods {
		for code := range n.ended {
			if count := n.ended[code].Load(); count > 0 {
				all = append(all, Count{method, codes.Code(code), count})
			}
		}
	}
	slices.SortFunc(all, func(a, b Count) int {
		return cmp.Or(cmp.Compare(a.Method, b.Method), cmp.Compare(a.Code, b.Code))
	})
	return all
}
