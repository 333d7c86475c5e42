package cluster_test

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/store/lossyfs"
)

// powerLossRounds is how many rounds are asked for, rounds unless told otherwise.
func powerLossRounds(t *testing.T, rounds int) int {
	t.Helper()
	n, err := strconv.Atoi(cmp.Or(os.Getenv("POWERLOSS_ROUNDS"), strconv.Itoa(rounds)))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// lossyDisk is the disk of a node, mounted.
type lossyDisk struct {
	t     *testing.T
	dir   string
	power *lossyfs.Power
	disk  *lossyfs.Disk
	at    *lossyfs.Mounted
}

func newLossyDisk(t *testing.T, power *lossyfs.Power) *lossyDisk {
	t.Helper()
	d := &lossyDisk{t: t, dir: t.TempDir(), power: power, disk: lossyfs.NewDisk(power)}
	d.mount()
	return d
}

func (d *lossyDisk) mount() {
	d.t.Helper()
	var err error
	if d.at, err = d.disk.Mount(d.dir); err != nil {
		d.t.Skipf("no disk that loses its power: %v", err)
	}
}

func (d *lossyDisk) unmount() {
	if d.at == nil {
		return
	}
	d.power.Release()
	if err := d.at.Unmount(); err != nil {
		d.t.Error(err)
	}
	d.at = nil
}

// lose has the disk go on with what is left after its power was cut. Nobody uses it.
func (d *lossyDisk) lose(next *lossyfs.Power, loss lossyfs.Loss) {
	d.t.Helper()
	d.unmount()
	d.power, d.disk = next, d.disk.After(next, loss)
	d.mount()
}

// lossyCluster is a cluster whose disks lose what was not flushed, all at one instant.
type lossyCluster struct {
	*processes
	disks []*lossyDisk
	power *lossyfs.Power
}

// newLossyCluster makes a cluster; power is nil: each disk has its own.
func newLossyCluster(t *testing.T, power *lossyfs.Power) *lossyCluster {
	t.Helper()
	c := &lossyCluster{power: power}
	// Before the processes, so that the disks are unmounted after they were killed.
	for range 3 {
		d := newLossyDisk(t, cmp.Or(power, lossyfs.NewPower()))
		c.disks = append(c.disks, d)
		t.Cleanup(d.unmount)
	}
	c.processes = newProcesses(t, processOptions{})
	for i, p := range c.nodes {
		p.data = filepath.Join(c.disks[i].dir, "var", "lib", "rollcall") // several levels are missing
	}
	t.Cleanup(func() { // before any other: a process cannot be killed while its disk does not answer
		for i, p := range c.nodes {
			p.signal(syscall.SIGKILL)
			c.disks[i].power.Release()
		}
	})
	return c
}

// loseAll goes on, after the power was cut, with what is left on all disks.
func (c *lossyCluster) loseAll(loss lossyfs.Loss) {
	c.t.Helper()
	<-c.power.Lost()
	for _, p := range c.nodes {
		p.signal(syscall.SIGKILL)
	}
	c.power.Release() // what waits for a disk fails, in processes that are dead
	for _, p := range c.nodes {
		p.kill()
	}
	c.power = lossyfs.NewPower()
	for _, d := range c.disks {
		d.lose(c.power, loss)
	}
}

// cutWithin cuts the power unless a trigger does so before the load has acknowledged n more writes.
func (c *lossyCluster) cutWithin(l *load, n int64) {
	c.t.Helper()
	for want := l.acked.Load() + n; l.acked.Load() < want; {
		select {
		case <-l.ackedC:
		case <-c.power.Lost():
			return
		case <-time.After(patience):
			c.t.Fatalf("waited %s for acknowledged writes", patience)
		}
	}
	c.power.Cut()
}

// fill writes large batches, so that segments fill up, and makes backups, until the power is cut.
func (c *lossyCluster) fill(cl *client.Client) {
	var changes []client.Change
	for i := range 2000 {
		changes = append(changes, client.Change{Service: fmt.Sprintf("fill/%s/%d", strings.Repeat("x", 200), i), Status: serving})
	}
	var wg sync.WaitGroup
	for _, f := range []func(ctx context.Context){
		func(ctx context.Context) { _, _ = cl.SetBatch(ctx, changes, client.WriteOptions{}) },
		func(ctx context.Context) { _, _ = cl.ExportSnapshot(ctx, discard{}, client.ExportOptions{}) },
	} {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			wg.Go(func() { <-c.power.Lost(); cancel() })
			for begun := time.Now(); ctx.Err() == nil; f(ctx) {
				if time.Since(begun) > patience {
					c.t.Errorf("no such file appears")
					c.power.Cut()
				}
			}
		})
	}
	wg.Wait()
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// recovered starts all nodes and requires each to show what was acknowledged.
func (c *lossyCluster) recovered(l *load) {
	c.t.Helper()
	c.start()
	c.waitReady()
	c.caughtUp()
	for _, p := range c.nodes {
		l.verify(p)
	}
	l.settle(c.nodes[0])
}

// TestProcessPowerLoss takes the power away from all disks of a cluster at one instant: under load, while the
// nodes start, while they recover from a first loss, and at the first write after a new file appears. What
// was acknowledged is there afterwards.
func TestProcessPowerLoss(t *testing.T) {
	needProcesses(t)
	beside(t, ofProcesses)
	c := newLossyCluster(t, lossyfs.NewPower())
	cl := c.client()
	// The nodes form a cluster while they lose their power.
	c.power.CutAtEvent(20 + rand.Int64N(60))
	c.start()
	c.loseAll(lossyfs.LoseAll())
	c.start()
	c.waitReady()
	l := startLoad(t, cl, 8)
	for round := range powerLossRounds(t, 4) {
		loss, how := lossyfs.LoseAll(), "all"
		if rand.IntN(2) == 0 {
			loss, how = lossyfs.LoseSome(rand.New(rand.NewPCG(rand.Uint64(), 1))), "some"
		}
		if round > 0 {
			l.resume(cl)
		}
		l.wait(20)
		when := "under load"
		sorts := []string{"", ".wal", "spool-", ""}
		if *logStore != "wal" {
			sorts[1] = "spool-"
		}
		if sort := sorts[round%4]; sort != "" {
			when = "at the first write after a new " + sort
			var appeared atomic.Bool
			c.power.CutWhen(func(e lossyfs.Event) bool {
				if e.Op == lossyfs.Create && strings.Contains(e.Name, sort) {
					appeared.Store(true)
				}
				return e.Op == lossyfs.Write && appeared.Load()
			})
			c.fill(cl)
		} else {
			c.cutWithin(l, 20+rand.Int64N(200))
		}
		l.abandon()
		l.stop()
		acked := l.acked.Load()
		c.loseAll(loss)
		again := rand.IntN(3)
		for range again {
			c.power.CutAtEvent(1 + rand.Int64N(100))
			c.start()
			c.loseAll(loss)
		}
		t.Logf("round %d: %s, %d acknowledged, lost %s of what was not flushed, %d times more at the start", round, when, acked, how, again)
		c.recovered(l)
		if t.Failed() {
			return
		}
	}
}

// TestProcessPowerLossOfTheOnlyHolder: what was acknowledged is on two nodes; one loses its power, the other
// one is stopped. The first and a third, which had been down, must have all of it.
func TestProcessPowerLossOfTheOnlyHolder(t *testing.T) {
	needProcesses(t)
	beside(t, ofProcesses)
	c := newLossyCluster(t, nil)
	c.start()
	c.waitReady()
	l := startLoad(t, c.client(), 8)
	for round := range max(1, powerLossRounds(t, 4)/4) {
		if round > 0 {
			l.resume(c.client())
		}
		l.wait(20)
		down, cut, other := round%3, (round+1)%3, (round+2)%3
		c.nodes[down].kill()
		l.wait(100)
		c.disks[cut].power.Cut()
		l.abandon()
		l.stop()
		c.nodes[cut].signal(syscall.SIGKILL)
		c.disks[cut].power.Release()
		c.nodes[cut].kill()
		c.nodes[other].kill()
		c.disks[cut].lose(lossyfs.NewPower(), lossyfs.LoseAll())
		holders := []*process{c.nodes[cut], c.nodes[down]}
		for _, p := range holders {
			p.start()
		}
		for _, p := range holders {
			p.waitStatus("", serving)
		}
		c.caughtUp()
		for _, p := range holders {
			l.verify(p)
		}
		c.nodes[other].start()
		c.waitReady()
		c.caughtUp()
		l.settle(c.nodes[other])
		if t.Failed() {
			return
		}
	}
}
