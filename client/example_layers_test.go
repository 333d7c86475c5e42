package client_test

import (
	"context"
	"fmt"
	"log"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcallhq/rollcall/client"
)

// A planned maintenance: the services of a host leave for half an hour, whatever they report meanwhile.
func ExampleClient_SetOverride() {
	c, stop := shop()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()

	resp, err := c.SetOverride(ctx, "shop/*", healthpb.HealthCheckResponse_NOT_SERVING, client.WriteOptions{
		TTL: 30 * time.Minute, Reason: "disk swap",
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("covers", resp.GetMatchedCount(), "services")
	got, err := c.Get(ctx, "shop/cart")
	if err != nil {
		log.Fatal(err)
	}
	s := got.GetService()
	fmt.Printf("%s: %s, because %q says so (%s); it reports %s\n", s.GetService(), s.GetStatus(),
		s.GetOverride().GetPattern(), s.GetOverride().GetReason(), s.GetReport().GetStatus())
	// Output:
	// covers 2 services
	// shop/cart: NOT_SERVING, because "shop/*" says so (disk swap); it reports SERVING
}

// What would an override change?
func ExampleClient_SetOverride_dryRun() {
	c, stop := shop()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()

	resp, err := c.SetOverride(ctx, "shop/*", healthpb.HealthCheckResponse_NOT_SERVING, client.WriteOptions{DryRun: true})
	if err != nil {
		log.Fatal(err)
	}
	for _, a := range resp.GetAffected() {
		fmt.Println(a.GetService(), "was", a.GetBefore(), "and would be", a.GetAfter())
	}
	fmt.Println(resp.GetAffectedTotal(), "would change")
	// Output:
	// shop/cart was SERVING and would be NOT_SERVING
	// 1 would change
}

func ExampleClient_ClearOverride() {
	c, stop := shop()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()

	if _, err := c.SetOverride(ctx, "shop/cart", healthpb.HealthCheckResponse_NOT_SERVING, client.WriteOptions{TTL: client.Forever}); err != nil {
		log.Fatal(err)
	}
	if _, err := c.ClearOverride(ctx, "shop/cart", client.WriteOptions{Reason: "disk swapped"}); err != nil {
		log.Fatal(err)
	}
	fmt.Println(c.Check(ctx, "shop/cart"))
	// Output: SERVING <nil>
}

func ExampleClient_ListOverrides() {
	c, stop := shop()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()

	for _, pattern := range []string{"shop/cart", "shop/*"} {
		if _, err := c.SetOverride(ctx, pattern, healthpb.HealthCheckResponse_NOT_SERVING, client.WriteOptions{TTL: client.Forever}); err != nil {
			log.Fatal(err)
		}
	}
	for o, err := range c.ListOverrides(ctx, client.ListOverridesOptions{}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(o.GetPattern(), o.GetStatus(), "by", o.GetActor().GetName(), "forever:", o.GetExpireTime() == nil)
	}
	// Output:
	// shop/* NOT_SERVING by example forever: true
	// shop/cart NOT_SERVING by example forever: true
}

// The whole registry is switched off and on. What was reported meanwhile is there afterwards.
func ExampleClient_Shutdown() {
	c, stop := shop()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()

	if _, err := c.Shutdown(ctx, client.WriteOptions{Reason: "power test"}); err != nil {
		log.Fatal(err)
	}
	if _, err := c.Set(ctx, "shop/search", healthpb.HealthCheckResponse_SERVING, client.WriteOptions{Reason: "index is built"}); err != nil {
		log.Fatal(err)
	}
	fmt.Println(c.Check(ctx, "shop/search"))
	if _, err := c.Resume(ctx, client.WriteOptions{}); err != nil {
		log.Fatal(err)
	}
	fmt.Println(c.Check(ctx, "shop/search"))
	// Output:
	// NOT_SERVING <nil>
	// SERVING <nil>
}

func ExampleClient_Resume() {
	c, stop := shop()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()

	// Nothing was shut down. A script that only wants it so says AllowMissing.
	resp, err := c.Resume(ctx, client.WriteOptions{AllowMissing: true})
	fmt.Println(resp.GetOverride() == nil, err)
	// Output: true <nil>
}

// At least one service of the shop must serve, whoever drains what.
func ExampleClient_SetRule() {
	c, stop := shop()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()

	_, err := c.SetRule(ctx, client.Rule{Name: "shop-min", Pattern: "shop/*", MinServing: 1}, client.WriteOptions{Reason: "we sell all day"})
	if err != nil {
		log.Fatal(err)
	}
	_, err = c.SetOverride(ctx, "shop/*", healthpb.HealthCheckResponse_NOT_SERVING, client.WriteOptions{})
	for _, r := range client.BrokenRules(err) {
		fmt.Printf("breaks %s (%s): %d needed, %d of %d would serve\n", r.GetRule(), r.GetPattern(), r.GetNeeded(), r.GetServing(), r.GetTotal())
	}
	// Output: breaks shop-min (shop/*): 1 needed, 0 of 2 would serve
}

// Who must break a rule names it and says why; both stay in the history.
func ExampleBrokenRules() {
	c, stop := shop()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()

	if _, err := c.SetRule(ctx, client.Rule{Name: "shop-min", Pattern: "shop/*", MinServing: 1}, client.WriteOptions{}); err != nil {
		log.Fatal(err)
	}
	o := client.WriteOptions{Reason: "fire in the building"}
	_, err := c.SetOverride(ctx, "shop/*", healthpb.HealthCheckResponse_NOT_SERVING, o)
	for _, r := range client.BrokenRules(err) {
		o.BreakGlass = append(o.BreakGlass, r.GetRule())
	}
	resp, err := c.SetOverride(ctx, "shop/*", healthpb.HealthCheckResponse_NOT_SERVING, o)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("broke", resp.GetBrokenRules()[0].GetRule())
	// Output: broke shop-min
}

func ExampleClient_ListRules() {
	c, stop := shop()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()

	if _, err := c.SetRule(ctx, client.Rule{Name: "shop-two", Pattern: "shop/*", MinServing: 2}, client.WriteOptions{}); err != nil {
		log.Fatal(err)
	}
	resp, err := c.ListRules(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for _, r := range resp.GetRules() {
		fmt.Println(r.GetName(), "broken:", r.GetServing() < r.GetNeeded())
	}
	// Output: shop-two broken: true
}

func ExampleClient_RemoveRule() {
	c, stop := shop()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()

	_, err := c.RemoveRule(ctx, "shop-min", client.WriteOptions{AllowMissing: true})
	fmt.Println(err)
	// Output: <nil>
}
