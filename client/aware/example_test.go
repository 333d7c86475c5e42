package aware_test

import (
	"context"
	"fmt"
	"log"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health" // gRPC checks no health without it
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/aware"
	"github.com/rollcallhq/rollcall/client/view"
)

// A channel that leaves servers which are not SERVING, and retries all methods but one.
func ExampleDial() {
	conn, err := aware.Dial("dns:///checkout.example.org:8080", "checkout", aware.WithUnsafe("/shop.Checkout/Pay"))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
}

// The same with gRPC alone, and for other languages.
func ExampleServiceConfig() {
	config, err := aware.ServiceConfig(aware.Options{Service: "checkout"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(config)
	conn, err := grpc.NewClient("dns:///checkout.example.org:8080",
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultServiceConfig(config))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	// Output:
	// {"loadBalancingConfig":[{"round_robin":{}}],"healthCheckConfig":{"serviceName":"checkout"},"methodConfig":[{"name":[{}],"retryPolicy":{"maxAttempts":4,"initialBackoff":"0.1s","maxBackoff":"1s","backoffMultiplier":2,"retryableStatusCodes":["UNAVAILABLE"]}}],"retryThrottling":{"maxTokens":1000,"tokenRatio":1}}
}

// Calls are refused at once while their target is switched off in the registry.
func ExampleUnaryInterceptor() {
	c, err := client.New(client.DefaultConfig())
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	v, err := view.New(c, []string{"checkout", "payments"})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = v.Run(ctx) // until ctx ends
	}()
	defer func() {
		cancel()
		<-done
	}()
	unary, err := aware.UnaryInterceptor(v, aware.Mapping{"/shop.Payments/": "payments", "": "checkout"})
	if err != nil {
		log.Fatal(err) // a name that the view does not have, for example
	}
	conn, err := grpc.NewClient("dns:///checkout.example.org:8080",
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithChainUnaryInterceptor(unary))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()

	_, err = testpb.NewTestServiceClient(conn).UnaryCall(ctx, &testpb.SimpleRequest{})
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.GetReason() == aware.ReasonTargetNotServing {
			fmt.Println(info.GetMetadata()["service"], "was switched off by", info.GetMetadata()["who"], "because of", info.GetMetadata()["why"])
		}
	}
}
