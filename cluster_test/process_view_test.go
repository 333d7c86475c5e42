package cluster_test

import (
	"context"
	"flag"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/view"
)

// viewing is a View of a cluster of processes that runs.
type viewing struct {
	*view.View
	t *testing.T
}

// view runs a View until the test ends. Its client never notices that a process hangs: what is seen while one does was
// heard from another.
func (c *processes) view(names ...string) *viewing {
	c.t.Helper()
	cfg := client.DefaultConfig()
	cfg.Endpoints, cfg.KeepOrder = c.endpoints(), true
	cfg.DialOptions = []grpc.DialOption{grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: time.Hour, Timeout: time.Hour})}
	cl, err := client.New(cfg)
	must(c.t, err)
	v, err := view.New(cl, names)
	must(c.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = v.Run(ctx) })
	c.t.Cleanup(func() {
		cancel()
		running.Wait()
		cl.Close()
	})
	select {
	case <-v.Ready():
	case <-time.After(patience):
		c.t.Fatal("the view is not ready")
	}
	return &viewing{View: v, t: c.t}
}

// shows waits until the view says whether a name is off, and held.
func (v *viewing) shows(name string, off, held bool) {
	v.t.Helper()
	eventually(v.t, fmt.Sprintf("%s off %t, held %t", name, off, held), func(context.Context) bool {
		o := v.Get(name)
		return o.Heard && o.Off == off && o.Held == held
	})
}

// TestProcessView follows two names while each node hangs in turn, while all are dead, and in a registry that was founded
// anew on the same addresses.
func TestProcessView(t *testing.T) {
	beside(t, ofProcesses)
	c := startProcesses(t, processOptions{})
	c.set("view/flips", serving)
	c.set("view/drained", notServing)
	v := c.view("view/flips", "view/drained", "view/missing")
	v.shows("view/flips", false, false)
	v.shows("view/drained", true, false)
	v.shows("view/missing", false, false)

	for _, hung := range c.nodes {
		c.waitReady()
		c.caughtUp()
		hung.signal(syscall.SIGSTOP)
		c.set("view/flips", notServing)
		v.shows("view/flips", true, false)
		c.set("view/flips", serving)
		v.shows("view/flips", false, false)
		hung.signal(syscall.SIGCONT)
	}
	c.waitReady()
	c.caughtUp()

	cl := c.client()
	change := func(what string, make func(ctx context.Context) error) {
		t.Helper()
		eventually(t, what, func(ctx context.Context) bool { return make(ctx) == nil })
	}
	change("an override", func(ctx context.Context) error {
		_, err := cl.SetOverride(ctx, "view/*", client.NotServing, client.WriteOptions{Reason: "maintenance"})
		return err
	})
	v.shows("view/flips", true, false)
	if o := v.Get("view/flips"); o.Record.GetOverride().GetReason() != "maintenance" || o.Record.GetReport().GetStatus() != serving {
		t.Errorf("an override shows as %v", o.Record)
	}
	change("its end", func(ctx context.Context) error {
		_, err := cl.ClearOverride(ctx, "view/*", client.WriteOptions{AllowMissing: true})
		return err
	})
	v.shows("view/flips", false, false)
	change("a shutdown", func(ctx context.Context) error {
		_, err := cl.Shutdown(ctx, client.WriteOptions{})
		return err
	})
	v.shows("view/flips", true, false)
	change("resume", func(ctx context.Context) error {
		_, err := cl.Resume(ctx, client.WriteOptions{AllowMissing: true})
		return err
	})
	v.shows("view/flips", false, false)
	v.shows("view/drained", true, false)

	changed := v.Changed()
	c.killAll()
	eventually(t, "silence", func(context.Context) bool { return v.Silent() > 0 })
	if v.Get("view/flips").Off || !v.Get("view/drained").Off {
		t.Errorf("all nodes are dead: %+v, %+v", v.Get("view/flips"), v.Get("view/drained"))
	}
	c.start()
	c.waitReady()
	eventually(t, "nodes are heard again", func(context.Context) bool { return v.Silent() == 0 })
	select {
	case <-changed:
		t.Errorf("that all nodes died and came back changed an opinion: %+v, %+v", v.Get("view/flips"), v.Get("view/drained"))
	default:
	}
	c.set("view/flips", notServing)
	v.shows("view/flips", true, false)
	c.set("view/flips", serving)
	v.shows("view/flips", false, false)

	old := v.Get("view/drained").Cluster
	c.killAll()
	for _, p := range c.nodes {
		p.data = filepath.Join(t.TempDir(), "anew")
	}
	c.start()
	c.waitReady()
	v.shows("view/drained", true, true)
	c.set("view/flips", notServing)
	v.shows("view/flips", true, false)
	if o := v.Get("view/drained"); !o.Held || o.Cluster != old {
		t.Errorf("another name was set, and %+v", o)
	}
	c.set("view/drained", serving)
	v.shows("view/drained", false, false)
	c.set("view/drained", notServing)
	v.shows("view/drained", true, false)
}

var viewFlips = flag.Int("view-flips", 10, "how many flips TestProcessViewFlips makes, and measures")

// TestProcessViewFlips measures how long after a write is acknowledged a view has told of it. The processes are local.
func TestProcessViewFlips(t *testing.T) {
	beside(t, ofProcesses)
	c := startProcesses(t, processOptions{})
	c.set("view/flips", serving)
	v := c.view("view/flips", "view/flips/10.0.0.7:8080")
	cl := c.client()
	var late, wrote []time.Duration
	for i := range *viewFlips {
		s := []client.Status{notServing, serving}[i%2]
		seen := make(chan time.Time, 1)
		go func() {
			for {
				changed := v.Changed()
				if v.Get("view/flips").Status == s {
					seen <- time.Now()
					return
				}
				<-changed
			}
		}()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		began := time.Now()
		_, err := cl.Set(ctx, "view/flips", s, client.WriteOptions{})
		acknowledged := time.Now()
		cancel()
		if err != nil && !client.IsUnknown(err) {
			t.Fatal(err)
		}
		wrote = append(wrote, acknowledged.Sub(began))
		late = append(late, max(0, (<-seen).Sub(acknowledged)))
	}
	slices.Sort(late)
	slices.Sort(wrote)
	for what, took := range map[string][]time.Duration{"a write": wrote, "from its acknowledgement to Changed": late} {
		t.Logf("%d flips: %s p50 %v, p99 %v, max %v", len(took), what, took[len(took)/2], took[len(took)*99/100], took[len(took)-1])
	}
}
