package client_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/rollcallhq/rollcall/client"
)

// TestEndpointsAreTriedInRandomOrder: many clients of the same endpoints do not all begin at the first.
func TestEndpointsAreTriedInRandomOrder(t *testing.T) {
	cfg := client.DefaultConfig()
	given := slices.Clone(cfg.Endpoints)
	first := map[string]int{}
	for range 300 {
		c := newClient(t, cfg)
		got := c.Endpoints()
		first[got[0]]++
		if slices.Sort(got); !slices.Equal(got, slices.Sorted(slices.Values(given))) {
			t.Fatalf("the endpoints are %v", got)
		}
	}
	for _, e := range given {
		if first[e] < 50 {
			t.Errorf("%d of 300 clients begin at %s", first[e], e)
		}
	}
	if !slices.Equal(cfg.Endpoints, given) {
		t.Errorf("the caller's endpoints are %v now", cfg.Endpoints)
	}
	cfg.KeepOrder = true
	for range 20 {
		if got := newClient(t, cfg).Endpoints(); !slices.Equal(got, given) {
			t.Errorf("the order is %v", got)
		}
	}
}

// TestTheFirstCallGoesToTheFirstEndpoint: what Endpoints returns is the order of the calls.
func TestTheFirstCallGoesToTheFirstEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 3)
		f.write(event{"a", serving, ""})
		asked := map[string]int{}
		for range 30 {
			cfg := f.config()
			cfg.KeepOrder = false
			c := newClient(t, cfg)
			before := counts(f, "Check")
			if _, err := c.Check(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
			first := strings.TrimPrefix(c.Endpoints()[0], "passthrough:///")
			for name, n := range counts(f, "Check") {
				if n > before[name] != (name == first) {
					t.Errorf("%s was asked %d times more; the first is %s", name, n-before[name], first)
				}
				asked[name] += n - before[name]
			}
		}
		if len(asked) != 3 {
			t.Errorf("only %v were asked", asked)
		}
	})
}

func counts(f *fakeCluster, method string) map[string]int {
	found := map[string]int{}
	for _, n := range f.nodes {
		found[n.name] = len(n.seen(method))
	}
	return found
}

// TestCallsUseTheEndpointsThatTheirContextNames, in that order, and later calls without it start where they did.
func TestCallsUseTheEndpointsThatTheirContextNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 3)
		f.write(event{"a", serving, ""})
		c := f.client(t)
		e := c.Endpoints()
		ctx := client.WithEndpoints(t.Context(), e[2], e[1])
		if _, err := c.Check(ctx, "a"); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Check(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(counts(f, "Check")); got != "map[n1:1 n2:0 n3:1]" {
			t.Errorf("calls of the nodes: %s", got)
		}
		// Also in later rounds.
		f.nodes[1].onWrite = func(_ context.Context, n int) error {
			if n < 5 {
				return refusal(codes.Unavailable, "NOT_WRITTEN", nil)
			}
			return nil
		}
		if _, err := c.SetBatch(client.WithEndpoints(t.Context(), e[1]), []client.Change{{Service: "a", Status: serving}}, client.WriteOptions{}); err != nil {
			t.Error(err)
		}
		if got := fmt.Sprint(counts(f, "BatchSetServingStatus")); got != "map[n1:0 n2:5 n3:0]" {
			t.Errorf("batches of the nodes: %s", got)
		}
		f.do(func() { f.nodes[0].hung = true })
		short, cancel := context.WithTimeout(client.WithEndpoints(t.Context(), e[0]), 100*time.Millisecond)
		defer cancel()
		if _, err := c.Set(short, "b", serving, client.WriteOptions{}); !client.IsUnknown(err) {
			t.Error(err)
		}
		f.do(func() { f.nodes[0].hung = false })
		if _, err := c.Check(t.Context(), "a"); err != nil || len(f.nodes[0].seen("Check")) != 2 {
			t.Errorf("%v; calls of the nodes: %v", err, counts(f, "Check"))
		}
		f.nodes[2].kill()
		if _, err := c.Set(ctx, "a", notServing, client.WriteOptions{}); err != nil {
			t.Fatal(err)
		}
		f.nodes[1].kill()
		_, err := c.Check(ctx, "a")
		if err == nil || !strings.Contains(err.Error(), "tried "+e[2]+", "+e[1]+":") {
			t.Errorf("both are gone: %v", err)
		}
		if got := fmt.Sprint(counts(f, "SetServingStatus")); got != "map[n1:1 n2:1 n3:0]" {
			t.Errorf("writes of the nodes: %s", got)
		}
		f.write(event{"c", serving, ""})
		for u, err := range c.Watch(client.WithEndpoints(t.Context(), e[0]), "a") {
			if err != nil || u.Endpoint != e[0] || u.Revision != 4 || u.AsOf != 5 {
				t.Errorf("%+v, %v", u, err)
			}
			break
		}
	})
}

// TestEndpointsThatCannotBeUsedAreRefused by calls and by watches.
func TestEndpointsThatCannotBeUsedAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 2)
		c := f.client(t)
		e := c.Endpoints()
		for want, ctx := range map[string]context.Context{
			`no endpoint "n9:7600"`:    client.WithEndpoints(t.Context(), e[0], "n9:7600"),
			"names no endpoint":        client.WithEndpoints(t.Context()),
			`"` + e[1] + `" twice`:     client.WithEndpoints(t.Context(), e[1], e[0], e[1]),
			`has no endpoint ""`:       client.WithEndpoints(t.Context(), ""),
			`no endpoint "n1"`:         client.WithEndpoints(t.Context(), "n1"), // as it is named in Config.Endpoints
			`no endpoint "` + e[0][1:]: client.WithEndpoints(t.Context(), e[0][1:]),
		} {
			errs := map[string]error{"export": nil}
			_, errs["check"] = c.Check(ctx, "a")
			_, errs["set"] = c.Set(ctx, "a", serving, client.WriteOptions{})
			_, errs["export"] = c.ExportSnapshot(ctx, &strings.Builder{}, client.ExportOptions{})
			for _, err := range c.Watch(ctx, "a") {
				errs["watch"] = err
			}
			for _, err := range c.WatchServices(ctx) {
				errs["services"] = err
			}
			for name, err := range errs {
				if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), want) {
					t.Errorf("%s: %v, want %s", name, err, want)
				}
			}
			if err := errs["set"]; !client.IsNotWritten(err) {
				t.Errorf("set: %v", err)
			}
		}
		for _, n := range f.nodes {
			if len(n.calls) > 0 {
				t.Errorf("%s was called", n.name)
			}
		}
	})
}

// TestWatchStates: a watch tells when it begins to hear a node, and when that ends.
func TestWatchStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 3)
		f.write(event{"a", serving, ""})
		c := f.client(t)
		f.nodes[0].kill() // never heard, never told
		watches := map[string]func(ctx context.Context, each func() bool){
			"Watch": func(ctx context.Context, each func() bool) {
				for _, err := range c.Watch(ctx, "a") {
					if err != nil || !each() {
						return
					}
				}
			},
			"WatchServices": func(ctx context.Context, each func() bool) {
				for u, err := range c.WatchServices(ctx) {
					if err != nil || u.Synced && !each() {
						return
					}
				}
			},
		}
		for name, watch := range watches {
			var states []string
			ctx := client.WithWatchState(client.WithEndpoints(t.Context(), c.Endpoints()...), func(s client.WatchState) {
				states = append(states, fmt.Sprint(strings.TrimPrefix(s.Endpoint, "passthrough:///"), " ", s.Connected, " ", s.Err != nil))
			})
			updates := 0
			watch(ctx, func() bool {
				updates++
				switch updates {
				case 1:
					if want := []string{"n2 true false"}; !slices.Equal(states, want) {
						t.Errorf("%s, before the first update: %q", name, states)
					}
					f.nodes[1].drain()
					f.write(event{"a", notServing, ""})
				case 2:
					f.nodes[1].kill()
					f.nodes[1].start()
					return false
				}
				return true
			})
			want := []string{"n2 true false", "n2 false true", "n3 true false", "n3 false false"}
			if !slices.Equal(states, want) {
				t.Errorf("%s: %q", name, states)
			}
			f.write(event{"a", serving, ""})
		}
	})
}
