// Package shop stands for the code that protoc generates for a program's own service: one method, Order, which
// answers a text with a text.
package shop

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const order = "/shop.Checkout/Order"

// Register registers the service. The answer to each order is what serve returns.
func Register(s grpc.ServiceRegistrar, serve func(ctx context.Context, item string) (string, error)) {
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "shop.Checkout",
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Order", Handler: func(_ any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
			in := &wrapperspb.StringValue{}
			if err := decode(in); err != nil {
				return nil, err
			}
			handle := func(ctx context.Context, in any) (any, error) {
				answer, err := serve(ctx, in.(*wrapperspb.StringValue).GetValue())
				return wrapperspb.String(answer), err
			}
			if intercept == nil {
				return handle(ctx, in)
			}
			return intercept(ctx, in, &grpc.UnaryServerInfo{FullMethod: order}, handle)
		}}},
	}, struct{}{})
}

// Order calls the service.
func Order(ctx context.Context, conn grpc.ClientConnInterface, item string, opts ...grpc.CallOption) (string, error) {
	out := &wrapperspb.StringValue{}
	err := conn.Invoke(ctx, order, wrapperspb.String(item), out, opts...)
	return out.GetValue(), err
}
