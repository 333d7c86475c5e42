// Resolver finds the instances of two cells in the registry, and calls the second one where the first has none.
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

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/aware"
	"github.com/rollcallhq/rollcall/client/resolver"
	"github.com/rollcallhq/rollcall/examples/shop"
)

var (
	registry = flag.String("registry", cmp.Or(os.Getenv("ROLLCALL_ENDPOINTS"), "127.0.0.1:7600,127.0.0.1:7610,127.0.0.1:7620"), "nodes of the registry")
	first    = flag.String("first", "cell-a/checkout", "the service that is preferred")
	second   = flag.String("second", "cell-b/checkout", "the one that takes over")
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
	instances, err := resolver.New(c, resolver.WithLogger(slog.Default()))
	if err != nil {
		return err
	}
	near, err := aware.Dial("rollcall:///"+*first, "", aware.WithResolver(instances))
	if err != nil {
		return err
	}
	defer near.Close()
	far, err := aware.Dial("rollcall:///"+*second, "", aware.WithResolver(instances))
	if err != nil {
		return err
	}
	defer far.Close()

	order := func() (string, error) {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		answer, err := shop.Order(ctx, near, "a book")
		if status.Code(err) == codes.Unavailable { // no instance of it is SERVING
			answer, err = shop.Order(ctx, far, "a book")
		}
		return answer, err
	}
	for tick := time.NewTicker(50 * time.Millisecond); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if answer, err := order(); err != nil && ctx.Err() == nil {
				log.Print("failed: ", err)
			} else if err == nil {
				log.Print(answer)
			}
		}
	}
}
