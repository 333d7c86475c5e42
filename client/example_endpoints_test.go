package client_test

import (
	"context"
	"fmt"
	"log"
	"sync"
	"time"

	"github.com/rollcallhq/rollcall/client"
)

// Two watches at two halves of the endpoints: a node that hangs holds up one of them at most. The newer of what they
// say counts. (Package view does this, and more.)
func ExampleWithEndpoints() {
	c, stop := shop()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()

	e := c.Endpoints()
	var both sync.WaitGroup
	var mu sync.Mutex // guards newest
	var newest client.Update
	for _, half := range [][]string{e[:len(e)/2], e[len(e)/2:]} {
		both.Go(func() {
			for u, err := range c.Watch(client.WithEndpoints(ctx, half...), "shop/cart") {
				if err != nil {
					return // ctx has ended
				}
				mu.Lock()
				if u.ClusterChanged || u.AsOf > newest.AsOf {
					newest = u
				}
				if newest.Status == client.Serving {
					cancel() // this program wants to know no more
				}
				mu.Unlock()
			}
		})
	}
	both.Wait()
	fmt.Println(newest.Service, newest.Status)
	// Output: shop/cart SERVING
}

func ExampleWithWatchState() {
	c, stop := shop()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()

	ctx = client.WithWatchState(ctx, func(s client.WatchState) {
		fmt.Println("a node is heard:", s.Connected)
	})
	for u, err := range c.Watch(ctx, "shop/cart") {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(u.Service, u.Status)
		break
	}
	// Output:
	// a node is heard: true
	// shop/cart SERVING
	// a node is heard: false
}
