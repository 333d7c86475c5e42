// Node asks the registry's own nodes by gRPC alone, taking turns among those that can answer reads.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"

	"google.golang.org/grpc"

	"github.com/rollcallhq/rollcall/client/aware"
	"github.com/rollcallhq/rollcall/client/resolver"
)

var (
	registry = flag.String("registry", cmp.Or(os.Getenv("ROLLCALL_ENDPOINTS"), "127.0.0.1:7600,127.0.0.1:7610,127.0.0.1:7620"), "nodes of the registry")
	name     = flag.String("service", "checkout", "whose status is asked for")
	times    = flag.Int("times", 9, "how often")
)

func main() {
	flag.Parse()
	conn, err := aware.Dial("rollcall-nodes:///"+*registry, "rollcall.reads", aware.WithResolver(resolver.NewNodes()))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for range *times {
		var node peer.Peer
		answer, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{Service: *name}, grpc.Peer(&node), grpc.WaitForReady(true))
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(node.Addr, "says", answer.GetStatus())
	}
}
