package raftnode

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcallhq/rollcall/raftnode/clock"
)

// skewed is a wall clock that can be wrong.
type skewed struct {
	by    atomic.Int64 // ahead, in nanoseconds
	drift atomic.Int64 // ahead, in nanoseconds for each second since started
	start time.Time
}

func (s *skewed) now() time.Time {
	t := time.Now()
	return t.Add(time.Duration(s.by.Load()) + time.Duration(s.drift.Load()*int64(t.Sub(s.start)/time.Second)))
}

func (s *skewed) leap(by time.Duration) { s.by.Add(int64(by)) }

// clockCluster is three nodes, each with a clock of its own.
type clockCluster struct {
	*testCluster
	clocks map[string]*skewed
	logs   map[string]*logBuffer
}

func (c *clockCluster) options(name string) testOptions {
	return testOptions{config: func(cfg *Config) {
		cfg.Now = c.clocks[name].now
		cfg.Logger = slog.New(slog.NewTextHandler(c.logs[name], nil))
	}}
}

func openClocks(t *testing.T, names ...string) *clockCluster {
	t.Helper()
	c := &clockCluster{newTestCluster(t, names...), map[string]*skewed{}, map[string]*logBuffer{}}
	for _, name := range names {
		c.clocks[name], c.logs[name] = &skewed{start: time.Now()}, &logBuffer{}
	}
	for _, name := range names {
		c.open(name, c.options(name))
	}
	c.leader()
	time.Sleep(3 * clock.MeasureEvery) // all have measured
	return c
}

// off is how far log time is from the true time after a write.
func (c *clockCluster) off(id string) time.Duration {
	c.t.Helper()
	r := c.writeAnywhere(id)
	leader := c.leader()
	if err := leader.fold.WaitIndex(c.t.Context(), r.Index); err != nil {
		c.t.Fatal(err)
	}
	return time.Duration(leader.fold.LogTime() - time.Now().UnixNano())
}

func (c *clockCluster) wantOff(id string, most time.Duration) {
	c.t.Helper()
	if off := c.off(id); off.Abs() > most {
		c.t.Errorf("%s: log time is %s from the true time", id, off)
	}
}

// named are the members that a node says are off.
func named(n *testNode) (names []string) {
	for _, o := range n.Status().Clocks {
		if o.Off {
			names = append(names, o.Member)
		}
	}
	return names
}

func (c *clockCluster) wantNamed(what string, want ...string) {
	c.t.Helper()
	for name, n := range c.nodes {
		if got := named(n); !slices.Equal(got, want) {
			c.t.Errorf("%s: %s names %v, want %v: %+v", what, name, got, want, n.Status().Clocks)
		}
	}
}

// One clock of three moves nothing, whether its node leads, follows or comes to lead while it is wrong.
func TestVirtualOneWrongClock(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for _, tt := range []struct {
		name string
		leap time.Duration
	}{
		{"60 days ahead", 60 * day}, {"60 days back", -60 * day}, {"an hour ahead", time.Hour},
		{"two seconds back", -2 * time.Second}, {"to before 1970", -100 * 365 * day}, {"centuries ahead", 250 * 365 * day},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := openClocks(t, threeNames...)
				defer c.closeAll()
				wrong := c.leader().cfg.Node
				c.clocks[wrong].leap(tt.leap)
				c.wantOff("at once", 10*time.Millisecond)
				time.Sleep(14 * time.Second)
				c.wantOff("measured", 10*time.Millisecond)
				// The time of 1843 is below the range of nanoseconds, and no clock's: its node names itself only.
				if tt.leap > -100*365*day && tt.leap < 200*365*day {
					c.wantNamed("the leader is wrong", wrong)
				}
				if !strings.Contains(c.logs[wrong].String(), "the clock of this node stepped") {
					t.Errorf("no line tells of the step:\n%s", c.logs[wrong])
				}
				// A follower that is wrong comes to lead.
				if err := c.leader().TransferLeadership(t.Context()); err != nil {
					t.Fatal(err)
				}
				for c.leader().cfg.Node != wrong {
					c.wantOff("another leads", 10*time.Millisecond)
					if err := c.leader().TransferLeadership(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				c.wantOff("it leads again", 10*time.Millisecond)
				// And is restarted, still wrong.
				c.close(wrong)
				c.wantOff("it is away", 10*time.Millisecond)
				c.open(wrong, c.options(wrong))
				for c.leader().cfg.Node != wrong {
					if err := c.leader().TransferLeadership(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				c.wantOff("restarted, it leads", 10*time.Millisecond)
				c.clocks[wrong].leap(-tt.leap)
				time.Sleep(3 * clock.MeasureEvery)
				c.wantOff("right again", 10*time.Millisecond)
				c.wantNamed("right again")
			})
		})
	}
}

// A clock that drifts is named when it is off by half a second, and log time does not drift with it.
func TestVirtualDriftingClock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := openClocks(t, threeNames...)
		defer c.closeAll()
		wrong := c.leader().cfg.Node
		c.clocks[wrong].drift.Store(int64(10 * time.Millisecond)) // a hundredth
		for i := range 20 {
			time.Sleep(10 * time.Second)
			c.wantOff(fmt.Sprint(i), 10*time.Millisecond)
		}
		c.wantNamed("after 200 s", wrong)
	})
}

// Two wrong clocks of three: while the cluster runs, time can only pass as the monotonic clock says.
func TestVirtualTwoWrongClocks(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for _, leaps := range [][2]time.Duration{{60 * day, 60 * day}, {60 * day, 90 * day}, {-day, -day}, {day, -day}} {
		t.Run(fmt.Sprint(leaps), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := openClocks(t, threeNames...)
				defer c.closeAll()
				wrong := []string{"n1", "n2"}
				for i, name := range wrong {
					c.clocks[name].leap(leaps[i])
				}
				for i := range 10 {
					c.wantOff(fmt.Sprint(i), 10*time.Millisecond)
					time.Sleep(5 * time.Second)
				}
				c.wantNamed("two are wrong", wrong...)
				// Every node restarts, one after another; each finds the cluster running.
				for _, name := range threeNames {
					c.close(name)
					c.wantOff(name+" is away", 5*time.Second)
					c.open(name, c.options(name))
					c.leader()
					time.Sleep(3 * clock.MeasureEvery)
				}
				c.wantOff("all were restarted", 5*time.Second)
			})
		})
	}
}

// A member alone: a step of its clock while it runs moves log time by a tenth of what passes; after a stop
// log time follows the clock.
func TestVirtualOneMember(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := openClocks(t, "n1")
		defer c.closeAll()
		c.wantOff("right", 10*time.Millisecond)
		c.clocks["n1"].leap(60 * 24 * time.Hour)
		time.Sleep(100 * time.Second)
		if off := c.off("ahead"); off < 9*time.Second || off > 12*time.Second {
			t.Errorf("log time is %s ahead after 100 s", off)
		}
		if log := c.logs["n1"].String(); !strings.Contains(log, "follows them only slowly") {
			t.Errorf("nothing tells of it:\n%s", log)
		}
		c.clocks["n1"].leap(-60 * 24 * time.Hour)
		time.Sleep(100 * time.Second)
		c.wantOff("right again", 10*time.Millisecond)

		held := c.nodes["n1"].fold.LogTime()
		c.close("n1")
		time.Sleep(30 * 24 * time.Hour)
		c.open("n1", c.options("n1"), testOptions{logTime: held})
		c.leader()
		c.wantOff("after a month", 10*time.Millisecond)
		if log := c.logs["n1"].String(); !strings.Contains(log, "log time moves ahead by more than has passed") {
			t.Errorf("nothing tells of it:\n%s", log)
		}
	})
}

// The whole cluster is stopped for a month: log time moves on with its first entry, though one clock is
// wrong meanwhile.
func TestVirtualLongStop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := openClocks(t, threeNames...)
		defer c.closeAll()
		c.wantOff("before", 10*time.Millisecond)
		for _, name := range threeNames {
			c.close(name)
		}
		time.Sleep(30 * 24 * time.Hour)
		c.clocks["n2"].leap(-400 * 24 * time.Hour)
		for _, name := range threeNames {
			c.open(name, c.options(name))
		}
		c.wantOff("after", 10*time.Millisecond)
	})
}

// A cluster of which one clock is wrong from the beginning.
func TestVirtualFoundedWithAWrongClock(t *testing.T) {
	t.Parallel()
	for _, wrong := range threeNames {
		synctest.Test(t, func(t *testing.T) {
			c := &clockCluster{newTestCluster(t, threeNames...), map[string]*skewed{}, map[string]*logBuffer{}}
			defer c.closeAll()
			for _, name := range threeNames {
				c.clocks[name], c.logs[name] = &skewed{start: time.Now()}, &logBuffer{}
			}
			c.clocks[wrong].leap(60 * 24 * time.Hour)
			for _, name := range threeNames {
				c.open(name, c.options(name))
			}
			c.wantOff("the first write", 10*time.Millisecond)
		})
	}
}

// All clocks are put right together, as when the time service comes up after the cluster.
func TestVirtualAllClocksArePutRight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := openClocks(t, threeNames...)
		defer c.closeAll()
		for _, clock := range c.clocks {
			clock.leap(3 * time.Hour)
		}
		time.Sleep(3 * clock.MeasureEvery)
		if off := c.off("after"); (off - 3*time.Hour).Abs() > 10*time.Millisecond {
			t.Errorf("log time is %s ahead, want 3h", off)
		}
		c.wantNamed("all agree")
	})
}

// The clock of the leader steps again and again under writes, while leadership moves: log time never goes
// back, and stays near the true time.
func TestVirtualStepsUnderLoad(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := openClocks(t, threeNames...)
		defer c.closeAll()
		last := int64(0)
		for round := range 30 {
			wrong := threeNames[round%3]
			step := time.Duration(round-15) * 37 * time.Minute
			c.clocks[wrong].leap(step)
			if round%5 == 4 {
				if err := c.leader().TransferLeadership(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			for i := range 20 {
				off := c.off(fmt.Sprintf("%d.%d", round, i))
				now := time.Now().UnixNano() + int64(off)
				if off.Abs() > 20*time.Millisecond || now < last {
					t.Fatalf("round %d: %s from the true time, %s after the last", round, off, time.Duration(now-last))
				}
				last = now
				time.Sleep(300 * time.Millisecond)
			}
			c.clocks[wrong].leap(-step)
			time.Sleep(time.Duration(round%4) * time.Second)
		}
	})
}
