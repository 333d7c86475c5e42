package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcallhq/rollcall/client"
)

func ExampleClient_WatchEvents() {
	c, stop := shop()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()

	cluster, next := "", int64(1) // as they were kept when this program ran last
	for batch, err := range c.WatchEvents(ctx, client.WatchEventsOptions{Prefixes: []string{"shop/"}, From: next, Cluster: cluster}) {
		if errors.Is(err, client.ErrClusterChanged) {
			log.Fatal("restored from a backup, or founded anew: what was made of the events has to be made anew")
		}
		if err != nil {
			log.Fatal(err)
		}
		for _, e := range batch.Events {
			fmt.Println(e.GetRevision(), e.GetService(), e.GetStatus(), e.GetReason())
		}
		cluster, next = batch.Cluster, batch.Revision+1 // to be kept together with what came of the events
		if batch.Revision >= 2 {
			break
		}
	}
	fmt.Println("to go on with", next, "of cluster", cluster)
	// Output:
	// 1 shop/cart SERVING deployed
	// 2 shop/search NOT_SERVING index is being built
	// to go on with 3 of cluster 3f9a
}

func ExampleClient_WatchServices() {
	c, stop := shop()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()

	state := map[string]client.Status{}
	for u, err := range c.WatchServices(ctx, "shop/") {
		if err != nil {
			log.Fatal(err)
		}
		if u.Reset { // another cluster
			clear(state)
		}
		for _, r := range u.Services {
			state[r.GetService()] = r.GetStatus()
		}
		for _, name := range u.Deleted {
			delete(state, name)
		}
		if !u.Synced {
			continue // more follows soon
		}
		fmt.Println(u.Revision, state)
		if _, there := state["shop/search"]; !there {
			break
		}
		if _, err := c.Delete(ctx, "shop/search", client.WriteOptions{}); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// 2 map[shop/cart:SERVING shop/search:NOT_SERVING]
	// 3 map[shop/cart:SERVING]
}

func ExampleClient_ListEvents() {
	c, stop := shop()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()

	for e, err := range c.ListEvents(ctx, client.ListEventsOptions{NewestFirst: true}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(e.GetRevision(), e.GetService(), e.GetStatus(), e.GetReason())
	}
	// Output:
	// 2 shop/search NOT_SERVING index is being built
	// 1 shop/cart SERVING deployed
}

func ExampleClient_GetAt() {
	c, stop := shop()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()

	before, err := c.Get(ctx, "shop/cart")
	if err != nil {
		log.Fatal(err)
	}
	if _, err := c.Set(ctx, "shop/cart", healthpb.HealthCheckResponse_NOT_SERVING, client.WriteOptions{Reason: "deploying 1.4"}); err != nil {
		log.Fatal(err)
	}
	then, err := c.GetAt(ctx, "shop/cart", client.AtRevision(before.GetRevision()))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("it was", then.GetService().GetStatus(), then.GetService().GetReport().GetReason())
	// Output: it was SERVING deployed
}

func ExampleAtTime() {
	c, stop := shop()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()

	yesterday := time.Now().Add(-24 * time.Hour)
	for r, err := range c.List(ctx, client.ListOptions{Prefix: "shop/", At: client.AtTime(yesterday)}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(r.GetService(), r.GetStatus())
	}
	// Output:
	// shop/cart SERVING
	// shop/search NOT_SERVING
}
