package metrics_test

import (
	"context"
	"fmt"
	"log"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/checks"
	"github.com/rollcallhq/rollcall/client/healthserver"
	"github.com/rollcallhq/rollcall/client/metrics"
)

func Example() {
	c, err := client.New(client.DefaultConfig())
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	m := metrics.New()
	registry := prometheus.NewRegistry() // or prometheus.DefaultRegisterer
	registry.MustRegister(m)

	health, err := healthserver.New("checkout", healthserver.WithClient(c), healthserver.WithObserver(m))
	if err != nil {
		log.Fatal(err)
	}
	m.AddView(health.View())
	runner := checks.NewRunner(checks.To(health), checks.WithObserver(m))
	if err := runner.Add("", checks.Func("stock", func(context.Context) error { return nil })); err != nil {
		log.Fatal(err)
	}
	// … health.Run, runner.Run, and a handler of promhttp for the registry.

	all, err := registry.Gather()
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range all {
		fmt.Println(f.GetName())
	}
	// Output:
	// rollcall_lease_lost_total
	// rollcall_view_age_seconds
	// rollcall_view_held
	// rollcall_view_off
}
