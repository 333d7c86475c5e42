package balancer_test

import (
	"fmt"
	"log"
	"net/netip"

	grpcbalancer "google.golang.org/grpc/balancer"
	"google.golang.org/grpc/resolver"

	"github.com/rollcallhq/rollcall/client/aware"
	"github.com/rollcallhq/rollcall/client/balancer"
)

// Calls stay in the zone of this process while at least 70 % of its servers are READY.
func ExampleNew() {
	zone := netip.MustParsePrefix("10.1.0.0/16")
	tiers, err := balancer.New("zone_tiers", func(e resolver.Endpoint) int {
		if a, err := netip.ParseAddrPort(e.Addresses[0].Addr); err == nil && zone.Contains(a.Addr()) {
			return 0
		}
		return 1
	})
	if err != nil {
		log.Fatal(err)
	}
	grpcbalancer.Register(tiers) // in main, before channels are made

	conn, err := aware.Dial("dns:///checkout.example.org:8080", "checkout", aware.WithPolicy("zone_tiers", `{"readyPercent": 70}`))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	fmt.Println(tiers.Name())
	// Output: zone_tiers
}
