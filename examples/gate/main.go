// Gate is an instance that refuses calls itself while it is switched off, for callers that check no health, as those
// of Node (grpc-js). It publishes nothing.
package main

import (
	"context"
	"flag"
	"log"
	"log/slog"
	"net"
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
	registry = flag.String("registry", "127.0.0.1:7600,127.0.0.1:7610,127.0.0.1:7620", "nodes of the registry")
	name     = flag.String("service", "checkout", "what operators switch")
	listen   = flag.String("listen", "127.0.0.1:8080", "where this process serves")
)

func main() {
	flag.Parse()
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	config := client.DefaultConfig()
	config.Endpoints = strings.Split(*registry, ",")
	c, err := client.New(config)
	if err != nil {
		return err
	}
	defer c.Close()
	health, err := healthserver.New(*name, healthserver.WithClient(c), healthserver.WithLogger(slog.Default()))
	if err != nil {
		return err
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(health.UnaryGate), grpc.StreamInterceptor(health.StreamGate))
	healthpb.RegisterHealthServer(server, health)
	shop.Register(server, func(_ context.Context, item string) (string, error) { return *listen + " has " + item, nil })
	listener, err := net.Listen("tcp", *listen)
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
	log.Printf("serving %s at %s", *name, *listen)
	if err := server.Serve(listener); err != nil {
		return err
	}
	<-done
	return nil
}
