package client_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcallhq/rollcall/client"
)

// TestManyProcessesSpreadOverTheNodes: what each of many clients does at the same time does not go to one node: their
// calls, their watches of each kind, and the renewals of their leases, also if the order of the endpoints is kept.
func TestManyProcessesSpreadOverTheNodes(t *testing.T) {
	const clients = 150
	for method, begin := range map[string]func(t *testing.T, f *fakeCluster, c *client.Client){
		"SetServingStatus": func(t *testing.T, _ *fakeCluster, c *client.Client) {
			if err := set(t.Context(), c, client.WriteOptions{}); err != nil {
				t.Error(err)
			}
		},
		"Watch": func(t *testing.T, _ *fakeCluster, c *client.Client) { watch(t, c, "a") },
		"WatchServices": func(t *testing.T, _ *fakeCluster, c *client.Client) {
			for range c.WatchServices(t.Context()) {
				return
			}
		},
		"WatchEvents": func(t *testing.T, _ *fakeCluster, c *client.Client) {
			for range c.WatchEvents(t.Context(), client.WatchEventsOptions{}) {
				return
			}
		},
		"renew": func(t *testing.T, f *fakeCluster, c *client.Client) { keep(t, f, c, client.KeepOptions{}) },
	} {
		t.Run(method, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := startBuffered(t, 3)
				f.write(event{"a", serving, ""})
				for range clients {
					cfg := f.config()
					cfg.KeepOrder = method == "renew"
					begin(t, f, newClient(t, cfg))
				}
				time.Sleep(ttl / 2) // each lease is renewed once
				for name, n := range counts(f, method) {
					if n < clients/8 || n > clients*2/3 {
						t.Errorf("%s got %d %s of %d", name, n, method, clients)
					}
				}
			})
		})
	}
}
