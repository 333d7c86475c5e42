package resolver_test

import (
	"log"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/aware"
	"github.com/rollcallhq/rollcall/client/resolver"
)

// A channel to all instances of shop/checkout that are SERVING. When less than half of those are that nobody switched
// off, it has these all.
func ExampleNew() {
	c, err := client.New(client.DefaultConfig())
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	instances, err := resolver.New(c, resolver.WithPanic(50))
	if err != nil {
		log.Fatal(err)
	}
	conn, err := grpc.NewClient("rollcall:///shop/checkout", grpc.WithResolvers(instances),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"round_robin": {}}]}`),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close() // before the client's
}

// A channel to the nodes of the registry that can answer reads.
func ExampleNewNodes() {
	conn, err := aware.Dial("rollcall-nodes:///a.example.org:7600,b.example.org:7600", "rollcall.reads",
		aware.WithResolver(resolver.NewNodes()))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
}
