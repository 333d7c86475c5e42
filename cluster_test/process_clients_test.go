package cluster_test

import (
	"context"
	"flag"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/aware"
)

var flips = flag.Int("flips", 0, "how many flips TestProcessClients makes before nodes fail, printed as a table, at 2,000 calls/s; 0: 10 at 1,000")

// cells are three nodes, two cells of three instances each, and a stock client that calls all of them.
type cells struct {
	t         *testing.T
	c         *processes
	cl        *client.Client
	load      *workLoad
	stalls    *stallMeter
	instances [2][]*instance
}

// cellNames are the services that operators switch.
var cellNames = [2]string{"cell-a/checkout", "cell-b/checkout"}

// TestProcessClients switches cells off and on, in every way there is, while a stock client calls them, and while
// nodes, and instances, fail in every way there is. No call may fail.
func TestProcessClients(t *testing.T) {
	beside(t, ofProcesses)
	begun := time.Now()
	f := &cells{t: t, c: startProcesses(t, processOptions{})}
	f.cl, f.stalls = f.c.client(), startStallMeter(t)
	for cell, service := range cellNames {
		f.c.set(service, serving)
		for k := range 3 {
			name := fmt.Sprintf("%c%d", 'a'+cell, k+1)
			f.instances[cell] = append(f.instances[cell], startInstance(t, name, service, f.c.endpoints()))
		}
	}
	f.calls(fmt.Sprintf(bareConfig, "checkout"))
	f.load.settles(t, "at the start", 100, f.all()...)
	f.load.excuse(begun, time.Now()) // before all instances served
	for _, i := range f.all() {
		f.reported(t, i) // an override of a pattern covers what is registered
	}
	for _, part := range []struct {
		name string
		run  func(t *testing.T)
	}{
		{"Flips", f.flips},
		{"InstanceStopped", f.instanceStopped},
		{"RegistryShutDown", f.registryShutDown},
		{"NodesKilled", f.nodesKilled},
		{"NodesHung", f.nodesHung},
		{"AllNodesKilled", f.allNodesKilled},
		{"Restored", f.restored},
		{"FoundedAnew", f.foundedAnew},
		{"InstanceKilled", f.instanceKilled},
	} {
		begun = time.Now()
		ok := t.Run(part.name, func(t *testing.T) {
			part.run(t)
			f.load.check(t)
		})
		t.Logf("%s took %s", part.name, time.Since(begun).Round(time.Millisecond))
		if !ok {
			return
		}
	}
}

// calls begins a load of calls through a new channel.
func (f *cells) calls(config string) {
	f.t.Helper()
	callers := 2
	if *flips > 0 {
		callers = 4
	}
	f.load = startWorkLoad(f.t, stockChannel(f.t, config, f.all()), callers, 2*time.Millisecond)
}

func (f *cells) all() []*instance { return slices.Concat(f.instances[0], f.instances[1]) }

// instanceStopped: one stops in order, and comes back. A Watch that nobody gives up does not hold it.
func (f *cells) instanceStopped(t *testing.T) {
	i := f.instances[1][2]
	raw := i.watch(t)
	select {
	case <-raw.began:
	case <-time.After(patience):
		t.Fatal("a Watch of an instance that serves begins with nothing")
	}
	i.stop()
	<-raw.done
	if want := []client.Status{serving, notServing}; !slices.Equal(raw.seen, want) || status.Code(raw.err) != codes.Unavailable {
		t.Errorf("a Watch of what stops saw %v and ended with %v", raw.seen, raw.err)
	}
	if strings.Contains(i.log.String(), "still under way") {
		t.Error("it waited until its patience ended")
	}
	f.load.settles(t, "an instance stopped", 60, slices.Concat(f.instances[0], f.instances[1][:2])...)
	i.start()
	f.load.settles(t, "it is back", 12, f.all()...)
}

// registryShutDown: the switch of all services at once. Only then do calls fail.
func (f *cells) registryShutDown(t *testing.T) {
	begun := time.Now()
	acked(t, "shutdown", func(ctx context.Context) error {
		_, err := f.cl.Shutdown(ctx, client.WriteOptions{Reason: "a drill"})
		return err
	})
	eventually(t, "calls to fail everywhere", func(context.Context) bool {
		f.load.mu.Lock()
		defer f.load.mu.Unlock()
		return len(f.load.failed) >= 20
	})
	acked(t, "resume", func(ctx context.Context) error {
		_, err := f.cl.Resume(ctx, client.WriteOptions{AllowMissing: true})
		return err
	})
	f.load.settles(t, "resume", 12, f.all()...)
	f.load.excuse(begun, time.Now())
}

func (f *cells) nodesKilled(t *testing.T) {
	leader := f.c.leader()
	for k, p := range append([]*process{leader}, f.c.others(leader)...) {
		p.kill()
		m := f.flip(t, f.set(), k%2)
		t.Logf("%s was killed: last call after %s, all back after %s", p.name, m.last, m.back)
		p.start()
		f.c.waitReady()
	}
}

func (f *cells) nodesHung(t *testing.T) {
	for k, p := range f.c.nodes {
		p.signal(syscall.SIGSTOP)
		begun := time.Now()
		m := f.flip(t, f.set(), k%2)
		t.Logf("%s hung: last call after %s, all back after %s; both writes and that took %s", p.name, m.last, m.back, time.Since(begun).Round(time.Millisecond))
		p.signal(syscall.SIGCONT)
		f.c.waitReady()
	}
}

// allNodesKilled: what is off stays off, what is on stays on, and the next switch is seen.
func (f *cells) allNodesKilled(t *testing.T) {
	f.off(t, f.set(), 0)
	from := f.load.count()
	f.c.killAll()
	f.load.settles(t, "all nodes are dead", 500, f.instances[1]...)
	f.c.start()
	f.c.waitReady()
	f.load.settles(t, "all nodes are back", 100, f.instances[1]...)
	f.untouched(t, from, 0)
	f.on(t, f.set(), 0)
}

// untouched fails the test if a cell that is off was called.
func (f *cells) untouched(t *testing.T, from, cell int) {
	t.Helper()
	for _, c := range f.load.since(from) {
		if f.serves(cell, c) {
			t.Fatalf("%s is off, and was called at %s", cellNames[cell], c.served.Format("15:04:05.000"))
		}
	}
}

// restored: a backup says what was off then, and it counts.
func (f *cells) restored(t *testing.T) {
	f.off(t, f.set(), 1)
	backup := filepath.Join(t.TempDir(), "backup")
	mustRun(t, "snapshot", "save", backup, "-e", f.c.nodes[0].api)
	f.on(t, f.set(), 1)
	f.c.restoreOnSameAddresses(backup)
	f.load.settles(t, "as the backup says", 100, f.instances[0]...)
	f.on(t, f.set(), 1)
	f.off(t, f.set(), 0)
	f.on(t, f.set(), 0)
}

// foundedAnew: the registry lost its disks. What was off stays off, until the new cluster speaks of it.
func (f *cells) foundedAnew(t *testing.T) {
	f.off(t, f.set(), 1)
	from := f.load.count()
	f.c.killAll()
	for _, p := range f.c.nodes {
		p.data = filepath.Join(f.t.TempDir(), "data")
	}
	f.c.start()
	f.c.waitReady()
	for _, i := range f.all() {
		f.reported(t, i)
	}
	f.load.settles(t, "another cluster", 300, f.instances[0]...)
	f.untouched(t, from, 1)
	f.on(t, f.set(), 1)
	f.off(t, f.set(), 0)
	f.on(t, f.set(), 0)
}

// reported waits until the registry has the report of an instance.
func (f *cells) reported(t *testing.T, i *instance) {
	t.Helper()
	eventually(t, "the report of "+i.name, func(ctx context.Context) bool {
		r, err := f.cl.Get(ctx, i.registered())
		return err == nil && r.GetService().GetReport().GetStatus() == serving && r.GetService().GetReport().GetLeaseId() != ""
	})
}

// instanceKilled: the registry knows within its TTL and a second. The calls under way on it are made again elsewhere.
// If it starts while its cell is off, it gets none.
func (f *cells) instanceKilled(t *testing.T) {
	f.load.stop()
	config, err := aware.ServiceConfig(aware.Options{Service: "checkout"})
	if err != nil {
		t.Fatal(err)
	}
	f.calls(config)
	f.load.settles(t, "with retries", 12, f.all()...)
	i := f.instances[0][0]
	f.reported(t, i)
	i.kill()
	killed := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var seen time.Duration
	for u, err := range f.cl.Watch(ctx, i.registered()) {
		if err != nil {
			t.Fatal(err)
		}
		if u.Status == notServing {
			seen = time.Since(killed)
			break
		}
	}
	if late := seen - instanceTTL - time.Second - f.stalls.since(killed); late > 0 {
		t.Errorf("the registry knew %s after it, the TTL is %s", seen, instanceTTL)
	}
	t.Logf("the registry knew after %s; the TTL is %s", seen.Round(time.Millisecond), instanceTTL)
	f.load.settles(t, "an instance is dead", 100, slices.Concat(f.instances[0][1:], f.instances[1])...)

	f.off(t, f.set(), 0)
	from := f.load.count()
	raw := i.watch(t)
	i.start()
	f.reported(t, i)
	f.load.settles(t, "it started while it is off", 300, f.instances[1]...)
	f.untouched(t, from, 0)
	if raw.stop(); !slices.Equal(raw.seen, []client.Status{notServing}) {
		t.Errorf("it started while it is off, and showed %v", raw.seen)
	}
	f.on(t, f.set(), 0)
}
