// Aware refuses calls to a service that is switched off, before they leave the process. The server knows nothing of
// that: it needs no health service.
package main

import (
	"cmp"
	"context"
	"flag"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/aware"
	"github.com/rollcallhq/rollcall/client/view"
	"github.com/rollcallhq/rollcall/examples/shop"
)

var (
	registry = flag.String("registry", cmp.Or(os.Getenv("ROLLCALL_ENDPOINTS"), "127.0.0.1:7600,127.0.0.1:7610,127.0.0.1:7620"), "nodes of the registry")
	name     = flag.String("service", "checkout", "what operators switch")
	server   = flag.String("server", "127.0.0.1:8080", "who is called")
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
	config := client.DefaultConfig()
	config.Endpoints = strings.Split(*registry, ",")
	c, err := client.New(config)
	if err != nil {
		return err
	}
	defer c.Close()
	v, err := view.New(c, []string{*name}, view.WithLogger(slog.Default()))
	if err != nil {
		return err
	}
	following := make(chan struct{})
	go func() {
		v.Run(ctx)
		close(following)
	}()
	refuse, err := aware.UnaryInterceptor(v, aware.Mapping{"/shop.Checkout/": *name})
	if err != nil {
		return err
	}
	conn, err := grpc.NewClient(*server, grpc.WithUnaryInterceptor(refuse), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	for tick := time.NewTicker(50 * time.Millisecond); ; {
		select {
		case <-ctx.Done():
			<-following
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
