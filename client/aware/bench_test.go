package aware

import (
	"context"
	"fmt"
	"testing"

	"google.golang.org/grpc"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/view"
)

// bigMapping maps 1,000 methods of 100 services.
func bigMapping() Mapping {
	m := Mapping{"": "checkout"}
	for s := range 100 {
		m[fmt.Sprintf("/shop.checkout.v1.Service%d/", s)] = "checkout"
		for i := range 10 {
			m[fmt.Sprintf("/shop.checkout.v1.Service%d/Method%d", s, i)] = "checkout"
		}
	}
	return m
}

func BenchmarkInterceptor(b *testing.B) {
	cfg := client.DefaultConfig()
	cfg.Endpoints = []string{"127.0.0.1:1"}
	c, err := client.New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	v, err := view.New(c, []string{"checkout", "cart"})
	if err != nil {
		b.Fatal(err)
	}
	one, err := UnaryInterceptor(v, Mapping{"": "checkout"})
	if err != nil {
		b.Fatal(err)
	}
	many, err := UnaryInterceptor(v, bigMapping())
	if err != nil {
		b.Fatal(err)
	}
	targets, err := bigMapping().compile([]string{"checkout"})
	if err != nil {
		b.Fatal(err)
	}
	refusing := (&gate{view: fixed(off("ann", "moving")), targets: targets}).unary
	invoke := func(context.Context, string, any, any, *grpc.ClientConn, ...grpc.CallOption) error { return nil }
	for _, bench := range []struct {
		name, method string
		interceptor  grpc.UnaryClientInterceptor
	}{
		{"passing, all", "/shop.checkout.v1.Service7/Method3", one},
		{"passing, by method", "/shop.checkout.v1.Service7/Method3", many},
		{"passing, by service", "/shop.checkout.v1.Service7/Other", many},
		{"passing, by the rest", "/shop.checkout.v1.Another/Method3", many},
		{"refusing", "/shop.checkout.v1.Service7/Other", refusing},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = bench.interceptor(context.Background(), bench.method, nil, nil, nil, invoke)
			}
		})
	}
}

// fixed is a view that always says the same, without a lock.
type fixed view.Opinion

func (f fixed) Get(string) view.Opinion { return view.Opinion(f) }

func TestInterceptorAllocatesNothing(t *testing.T) {
	targets, err := bigMapping().compile([]string{"checkout"})
	if err != nil {
		t.Fatal(err)
	}
	invoke := func(context.Context, string, any, any, *grpc.ClientConn, ...grpc.CallOption) error { return nil }
	for name, opinion := range map[string]view.Opinion{"passing": {Heard: true}, "refusing": off("ann", "moving")} {
		g := &gate{view: fixed(opinion), targets: targets}
		if n := testing.AllocsPerRun(100, func() {
			_ = g.unary(context.Background(), "/shop.checkout.v1.Service7/Other", nil, nil, nil, invoke)
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
