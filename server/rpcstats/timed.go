package rpcstats

import (
	"context"
	"slices"
	"time"

	"google.golang.org/grpc"
)

// Timed registers services on next. It has observe told how long each call of the methods of one service took;
// those of other services, and streams, are as they were.
func Timed(next grpc.ServiceRegistrar, service string, observe func(method string, took time.Duration)) grpc.ServiceRegistrar {
	return timedServices{next, service, observe}
}

type timedServices struct {
	next    grpc.ServiceRegistrar
	service string
	observe func(method string, took time.Duration)
}

func (t timedServices) RegisterService(desc *grpc.ServiceDesc, impl any) {
	if desc.ServiceName != t.service {
		t.next.RegisterService(desc, impl)
		return
	}
	timed := *desc
	timed.Methods = slices.Clone(desc.Methods)
	for i, m := range timed.Methods {
		timed.Methods[i].Handler = func(srv any, ctx context.Context, dec func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
			began := time.Now()
			res, err := m.Handler(srv, ctx, dec, interceptor)
			t.observe(m.MethodName, time.Since(began))
			return res, err
		}
	}
	t.next.RegisterService(&timed, impl)
}
