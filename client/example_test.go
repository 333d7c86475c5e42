package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"maps"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcallhq/rollcall/client"
)

func sorted(names map[string]bool) []string { return slices.Sorted(maps.Keys(names)) }

// shop starts three nodes that know shop/cart and shop/search, and a client of theirs.
func shop() (c *client.Client, stop func()) {
	cluster, err := startLoopback(3)
	if err != nil {
		log.Fatal(err)
	}
	cluster.write(event{"shop/cart", serving, "deployed"}, event{"shop/search", notServing, "index is being built"})
	cfg := client.DefaultConfig()
	cfg.Actor = "example"
	cfg.Endpoints = nil
	for _, n := range cluster.nodes {
		cfg.Endpoints = append(cfg.Endpoints, n.name)
	}
	c, err = client.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	return c, func() {
		c.Close()
		cluster.stop()
	}
}

func ExampleNew() {
	cfg := client.DefaultConfig()
	cfg.Endpoints = []string{"10.0.0.1:7600", "10.0.0.2:7600", "10.0.0.3:7600"}
	cfg.Actor = "deploy-bot"
	c, err := client.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	fmt.Println("nothing is connected to yet")
	// Output: nothing is connected to yet
}

func ExampleConfig_Validate() {
	cfg := client.DefaultConfig()
	cfg.Endpoints = []string{"localhost"}
	fmt.Println(cfg.Validate())
	// Output: client: endpoint "localhost" is not host:port
}

func ExampleClient_Set() {
	c, stop := shop()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()

	resp, err := c.Set(ctx, "shop/cart", healthpb.HealthCheckResponse_NOT_SERVING, client.WriteOptions{Reason: "deploying 1.4"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(resp.GetService().GetService(), resp.GetService().GetStatus(), "revision", resp.GetRevision())
	// Output: shop/cart NOT_SERVING revision 3
}

// IfRevision makes a write depend on nobody else having written meanwhile.
func ExampleClient_Set_ifRevision() {
	c, stop := shop()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()

	outdated := int64(7)
	_, err := c.Set(ctx, "shop/cart", healthpb.HealthCheckResponse_NOT_SERVING, client.WriteOptions{IfRevision: &outdated})
	if e, ok := errors.AsType[*client.Error](err); ok {
		fmt.Println(e.Reason, "revision is", e.CurrentRevision)
	}
	// Output: REVISION_MISMATCH revision is 1
}

func ExampleClient_SetBatch() {
	c, stop := shop()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()

	resp, err := c.SetBatch(ctx, []client.Change{
		{Service: "shop/cart", Status: healthpb.HealthCheckResponse_NOT_SERVING},
		{Service: "shop/search", Status: healthpb.HealthCheckResponse_SERVICE_UNKNOWN}, // deletes
	}, client.WriteOptions{Reason: "closing down"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(resp.GetChangedCount(), "changed")
	// Output: 2 changed
}

func ExampleClient_Delete() {
	c, stop := shop()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()

	if _, err := c.Delete(ctx, "shop/search", client.WriteOptions{Reason: "replaced"}); err != nil {
		log.Fatal(err)
	}
	_, err := c.Get(ctx, "shop/search")
	e, _ := errors.AsType[*client.Error](err)
	fmt.Println(e.Code == codes.NotFound)
	// Output: true
}

func ExampleClient_Check() {
	c, stop := shop()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()

	s, err := c.Check(ctx, "shop/cart")
	fmt.Println(s, err)
	// Output: SERVING <nil>
}

func ExampleClient_Get() {
	c, stop := shop()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()

	resp, err := c.Get(ctx, "shop/search")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s: %s\n", resp.GetService().GetStatus(), resp.GetService().GetReport().GetReason())
	// Output: NOT_SERVING: index is being built
}

func ExampleClient_List() {
	c, stop := shop()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()

	for record, err := range c.List(ctx, client.ListOptions{Prefix: "shop/"}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(record.GetService(), record.GetStatus())
	}
	// Output:
	// shop/cart SERVING
	// shop/search NOT_SERVING
}

func ExampleClient_Watch() {
	c, stop := shop()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()

	for u, err := range c.Watch(ctx, "shop/cart") {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(u.Status, "since revision", u.Revision)
		if u.Status != healthpb.HealthCheckResponse_SERVING {
			break
		}
		if _, err := c.Set(ctx, "shop/cart", healthpb.HealthCheckResponse_NOT_SERVING, client.WriteOptions{}); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// SERVING since revision 1
	// NOT_SERVING since revision 3
}

func ExampleClient_WaitFor() {
	c, stop := shop()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()

	u, err := c.WaitFor(ctx, "shop/cart", healthpb.HealthCheckResponse_SERVING)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(u.Service, "is", u.Status)
	// Output: shop/cart is SERVING
}

func ExampleClient_ClusterStatus() {
	c, stop := shop()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()

	s, err := c.ClusterStatus(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("cluster %s, leader %s, revision %d\n", s.GetClusterId(), s.GetLeader(), s.GetRevision())
	// Output: cluster 3f9a, leader n2, revision 2
}

func ExampleClient_Cluster() {
	c, stop := shop()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()

	resp, err := c.Get(ctx, "shop/cart")
	if err != nil {
		log.Fatal(err)
	}
	// The cluster belongs to the revision: a program that keeps one keeps both.
	revision, cluster := resp.GetService().GetReport().GetRevision(), resp.GetClusterId()
	_, err = c.Set(ctx, "shop/cart", healthpb.HealthCheckResponse_NOT_SERVING, client.WriteOptions{IfRevision: &revision, Cluster: cluster})
	fmt.Println(c.Cluster() == cluster, err)
	// Output: true <nil>
}

func ExampleClient_Close() {
	c, stop := shop()
	defer stop()

	c.Close()
	_, err := c.Check(context.Background(), "shop/cart")
	fmt.Println(err, errors.Is(err, client.ErrClosed))
	// Output: check shop/cart: the client is closed true
}

// What became of a write that failed?
func ExampleError() {
	cfg := client.DefaultConfig()
	cfg.Endpoints = []string{"127.0.0.1:1"} // nothing listens there
	c, err := client.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	_, err = c.Set(context.Background(), "shop/cart", healthpb.HealthCheckResponse_SERVING, client.WriteOptions{})
	e, ok := errors.AsType[*client.Error](err)
	if !ok {
		log.Fatal(err)
	}
	fmt.Println(e)
	switch e.Written {
	case client.WrittenNo:
		fmt.Println("nothing was changed; trying again is safe")
	case client.WrittenUnknown:
		fmt.Println("read it back first; request id", e.RequestID)
	}
	// Output:
	// set shop/cart: no endpoint answers: tried 127.0.0.1:1: connection refused; not written
	// nothing was changed; trying again is safe
}

// A read that shows every write that was acknowledged before it, whichever node answers.
func ExampleWithReadOptions() {
	c, stop := shop()
	defer stop()
	var info client.ReadInfo
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	ctx = client.WithReadOptions(ctx, client.ReadOptions{Consistency: client.Linearizable, Info: &info})
	status, err := c.Check(ctx, "shop/cart")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(status)
	// Output: SERVING
}
