// Tiers calls the instances nearby as long as half of them are healthy, and those far away when fewer are.
package main

import (
	"context"
	"flag"
	"log"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	grpcbalancer "google.golang.org/grpc/balancer"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	"github.com/rollcallhq/rollcall/client/aware"
	"github.com/rollcallhq/rollcall/client/balancer"
	"github.com/rollcallhq/rollcall/examples/shop"
)

var (
	near = flag.String("near", "127.0.0.1:8080", "instances nearby")
	far  = flag.String("far", "127.0.0.1:8081", "instances far away")
)

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	nearby := strings.Split(*near, ",")
	// A program would rather ask for the zone of an address.
	tiers, err := balancer.New(balancer.DefaultName, func(e resolver.Endpoint) int {
		if slices.Contains(nearby, e.Addresses[0].Addr) {
			return 0
		}
		return 1
	})
	if err != nil {
		return err
	}
	grpcbalancer.Register(tiers)

	list := manual.NewBuilderWithScheme("list")
	var state resolver.State
	for _, address := range append(nearby, strings.Split(*far, ",")...) {
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: address}}})
	}
	list.InitialState(state)
	conn, err := aware.Dial("list:///checkout", "", aware.WithResolver(list), aware.WithPolicy(balancer.DefaultName, `{"readyPercent": 50}`))
	if err != nil {
		return err
	}
	defer conn.Close()
	for tick := time.NewTicker(50 * time.Millisecond); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			call, cancel := context.WithTimeout(ctx, 5*time.Second)
			if answer, err := shop.Order(call, conn, "a book"); err != nil && ctx.Err() == nil {
				log.Print("failed: ", err)
			} else if err == nil {
				log.Print(answer)
			}
			cancel()
		}
	}
}
