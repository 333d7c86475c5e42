// Client calls the instances of a service that say they are healthy, with one line more than a stock client.
package main

import (
	"context"
	"flag"
	"log"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	"github.com/rollcallhq/rollcall/client/aware"
	"github.com/rollcallhq/rollcall/examples/shop"
)

var servers = flag.String("servers", "127.0.0.1:8080,127.0.0.1:8081", "the instances, of both cells")

func main() {
	flag.Parse()
	// Where the addresses come from is as before: DNS, xDS, or a list as here.
	list := manual.NewBuilderWithScheme("list")
	var state resolver.State
	for _, address := range strings.Split(*servers, ",") {
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: address}}})
	}
	list.InitialState(state)

	// The one line: round robin over the healthy ones, retries, pauses of at most 5 s.
	conn, err := aware.Dial("list:///checkout", "", aware.WithResolver(list))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	for tick := time.NewTicker(50 * time.Millisecond); ; {
		select {
		case <-ctx.Done():
			return
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
