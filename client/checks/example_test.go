package checks_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"time"

	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/checks"
)

// The checks of a process decide what its own gRPC health server says.
func Example() {
	server := health.NewServer() // or a server of client/healthserver
	runner := checks.NewRunner(checks.To(server))
	database := func(context.Context) error { return errors.New("the disk of the database is full") }
	if err := runner.Add("", checks.Func("database", database)); err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/checks", runner.Handler())

	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- runner.Run(ctx) }()
	for {
		answer, err := server.Check(ctx, &healthpb.HealthCheckRequest{})
		if err != nil {
			log.Fatal(err)
		}
		if answer.GetStatus() == client.NotServing {
			break
		}
	}
	for _, r := range runner.Results() {
		fmt.Printf("%s is %v: %s\n", r.Check, r.Status, r.Error)
	}

	server.Shutdown()
	cancel()
	fmt.Println(<-ended)
	// Output:
	// database is NOT_SERVING: the disk of the database is full
	// <nil>
}

// The checks of a process are reported to the registry under a lease, and to its own health server.
func ExampleToRegistry() {
	c, err := client.New(client.DefaultConfig())
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	lease, err := c.KeepLease(client.LeaseOptions{TTL: 10 * time.Second}, client.KeepOptions{Reason: "checkout on host 7"})
	if err != nil {
		log.Fatal(err)
	}
	local := health.NewServer()
	instance := func(string) string { return "checkout/10.0.0.7:8080" }
	runner := checks.NewRunner(checks.To(local, checks.ToRegistry(lease, instance)))
	if err := runner.Add("", checks.FileAge("nightly import", "/var/lib/checkout/imported", 26*time.Hour)); err != nil {
		log.Fatal(err)
	}

	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(time.Hour, func() { // the process is asked to stop
		local.Shutdown()
		cancel()
	})
	if err := runner.Run(ctx); err != nil {
		log.Print(err) // which checks hang
	}
	stop, done := context.WithTimeout(context.Background(), 5*time.Second)
	defer done()
	if err := lease.Close(stop); err != nil { // its reports turn NOT_SERVING
		log.Print(err)
	}
}

// A manager checks a system in layers. Each layer is a service, so that an operator sees at once where a fault is.
func ExampleRunner_layers() {
	server := health.NewServer()
	runner := checks.NewRunner(checks.To(server), checks.WithMaxParallel(16))
	ok := func(context.Context) error { return nil }
	for _, add := range []error{
		// What the system is there for.
		runner.Add("shop/business", checks.Func("an order goes through", ok), checks.Interval(time.Minute), checks.Timeout(20*time.Second)),
		// What it needs.
		runner.Add("shop/database", checks.Func("orders", ok), checks.Fall(2)),
		// What others do for it: shown, and it turns nothing.
		runner.Add("shop/external", checks.HTTP("payment", "https://payment.example/healthz")),
		// What it runs on.
		runner.Add("shop/resources", checks.Goroutines("goroutines", 10_000)),
		runner.Add("shop/resources", checks.Func("cache", func(context.Context) error {
			return checks.Degraded(errors.New("91 % full"))
		})),
	} {
		if add != nil {
			log.Fatal(add)
		}
	}
	for _, r := range runner.Results() {
		fmt.Printf("%s: %s, critical: %v\n", r.Service, r.Check, r.Critical)
	}
	// Output:
	// shop/business: an order goes through, critical: true
	// shop/database: orders, critical: true
	// shop/external: payment, critical: false
	// shop/resources: cache, critical: true
	// shop/resources: goroutines, critical: true
}

// A warning is shown, and turns nothing.
func ExampleDegraded() {
	free := 7
	disk := checks.Func("disk", func(context.Context) error {
		switch {
		case free < 5:
			return fmt.Errorf("only %d %% of the disk are free", free)
		case free < 10:
			return checks.Degraded(fmt.Errorf("only %d %% of the disk are free", free))
		}
		return nil
	})
	fmt.Println(disk.Check(context.Background()))
	// Output: only 7 % of the disk are free
}
