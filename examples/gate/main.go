// Gate is an instance that can be switched off, without a database. It also refuses calls itself while it is off, for
// callers that check no health, as those of Node (grpc-js).
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/healthserver"
	"github.com/rollcallhq/rollcall/examples/shop"
)

var (
	registry = flag.String("registry", cmp.Or(os.Getenv("ROLLCALL_ENDPOINTS"), "127.0.0.1:7600,127.0.0.1:7610,127.0.0.1:7620"), "nodes of the registry")
	name     = flag.String("service", "checkout", "what operators switch")
	instance = flag.String("instance", "127.0.0.1:8080", "the address at which others reach this process")
)

func main() {
	flag.Parse()
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	config := client.DefaultConfig()
	config.Endpoints, config.Actor = strings.Split(*registry, ","), *instance
	c, err := client.New(config)
	if err != nil {
		return err
	}
	defer c.Close()
	health, err := healthserver.New(*name, healthserver.WithClient(c), healthserver.WithInstance(*instance),
		healthserver.WithPublish(healthserver.Publish{}), healthserver.WithLogger(slog.New(slog.NewTextHandler(os.Stderr, nil))))
	if err != nil {
		return err
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(health.UnaryGate), grpc.StreamInterceptor(health.StreamGate))
	healthpb.RegisterHealthServer(server, health)
	shop.Register(server, func(_ context.Context, item string) (string, error) { return *instance + " has " + item, nil })
	listener, err := net.Listen("tcp", *instance)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go health.Run(ctx)
	stop, stopped := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stopped()
	done := make(chan struct{})
	go func() {
		<-stop.Done()
		deadline, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		health.Stop(deadline, server)
		close(done)
	}()
	fmt.Println("serving", *name, "at", *instance)
	if err := server.Serve(listener); err != nil {
		return err
	}
	<-done
	return nil
}
