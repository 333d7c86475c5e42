package healthserver_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/healthserver"
)

// A whole main. Beside the line with New, the drop-in needs Run, and Stop at the end.
func ExampleNew() {
	registry, err := client.New(client.DefaultConfig())
	if err != nil {
		log.Fatal(err)
	}
	defer registry.Close()
	hs, err := healthserver.New("shop/checkout", healthserver.WithClient(registry)) // was: hs := health.NewServer()
	if err != nil {
		log.Fatal(err)
	}
	g := grpc.NewServer()
	healthpb.RegisterHealthServer(g, hs)
	listener, err := net.Listen("tcp", ":8080")
	if err != nil {
		log.Fatal(err)
	}
	go hs.Run(context.Background()) // until Stop
	go g.Serve(listener)

	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	<-signals
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	hs.Stop(ctx, g)
}

// The process reports itself as shop/checkout/10.0.0.7:8080, and calls of clients that do no health checking are
// refused while it is switched off.
func ExampleWithPublish() {
	registry, err := client.New(client.DefaultConfig())
	if err != nil {
		log.Fatal(err)
	}
	defer registry.Close()
	hs, err := healthserver.New("shop/checkout",
		healthserver.WithClient(registry),
		healthserver.WithInstance("10.0.0.7:8080"),
		healthserver.WithPublish(healthserver.Publish{TTL: 15 * time.Second, OnStop: client.StopWithdraw}),
		healthserver.WithStateFile("/var/lib/checkout/switched-off"),
	)
	if err != nil {
		log.Fatal(err)
	}
	g := grpc.NewServer(grpc.ChainUnaryInterceptor(hs.UnaryGate), grpc.ChainStreamInterceptor(hs.StreamGate))
	healthpb.RegisterHealthServer(g, hs)
	hs.SetServingStatus("", client.NotServing) // until the process is ready
	go hs.Run(context.Background())
	hs.SetServingStatus("", client.Serving)
}

// Two cells serve the same name to the same clients; operators switch each cell alone.
func Example_twoCells() {
	for _, cell := range []string{"cell-a", "cell-b"} {
		hs, err := healthserver.New(cell + "/checkout") // with WithClient, as above
		if err != nil {
			log.Fatal(err)
		}
		hs.SetServingStatus("checkout", client.Serving) // what clients have as serviceName of their healthCheckConfig
		resp, err := hs.Check(context.Background(), &healthpb.HealthCheckRequest{Service: "checkout"})
		fmt.Println(cell, resp.GetStatus(), err)
	}
	// Output:
	// cell-a SERVING <nil>
	// cell-b SERVING <nil>
}
