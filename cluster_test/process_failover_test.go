package cluster_test

import (
	"context"
	"flag"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rollcallhq/rollcall/client"
)

var kills = flag.Int("kills", 0, "how many leaders TestProcessFailoverTime kills, with and without fast failover; 0: it is skipped")

const (
	standingLine = "standing for election: the leader's process has ended"
	timeoutLine  = "the leader has not been heard: this node stands for election"
	wonLine      = "this node leads and takes changes"
)

// TestProcessFastFailover kills the leader and looks for what began the next election in the log of
// the one that won it. On a busy machine the heartbeat timeout may be first now and then.
func TestProcessFastFailover(t *testing.T) {
	c := startProcesses(t, processOptions{})
	c.set("payments", serving)
	succeeded := 0
	for kill := 0; succeeded < 3; kill++ {
		if kill == 10 {
			t.Fatalf("%d of %d elections were of a successor", succeeded, kill)
		}
		c.caughtUp()
		old := c.leader()
		said := map[*process]int{}
		for _, p := range c.others(old) {
			said[p] = len(p.log.String())
		}
		old.kill()
		c.set("orders", serving, c.others(old)...)
		fresh := c.leader()
		log := fresh.log.String()[said[fresh]:]
		stands, wins := strings.Index(log, standingLine), strings.Index(log, wonLine)
		if stands >= 0 && !strings.Contains(log[:stands], timeoutLine) {
			if wins < stands {
				t.Fatalf("%s led before it stood:\n%s", fresh.name, log)
			}
			succeeded++
		} else {
			t.Logf("kill %d: no fast failover:\n%s", kill, log)
		}
		old.start()
		c.waitReady()
	}
}

// TestProcessFastFailoverNotWhenSlow stops the leader's process with SIGSTOP: its ports and connections
// stay open, so nobody may take it for dead before raft does.
func TestProcessFastFailoverNotWhenSlow(t *testing.T) {
	c := startProcesses(t, processOptions{})
	c.set("payments", serving)
	old := c.leader()
	old.signal(syscall.SIGSTOP)
	c.set("orders", serving, c.others(old)...)
	for _, p := range c.others(old) {
		if strings.Contains(p.log.String(), standingLine) {
			t.Errorf("%s took a stopped process for an ended one", p.name)
		}
	}
	old.signal(syscall.SIGCONT)
	c.waitReady()
}

// TestProcessFailoverTime measures: from SIGKILL of the leader to the next acknowledged write, of two
// clusters in turn, one with fast failover and one without.
func TestProcessFailoverTime(t *testing.T) {
	if *kills == 0 {
		t.Skip("measures: -kills=20")
	}
	names := []string{"fast failover", "timeout"}
	clusters := map[string]*processes{
		"fast failover": startProcesses(t, processOptions{}),
		"timeout":       startProcesses(t, processOptions{args: []string{"--fast-failover=false"}}),
	}
	took := map[string][]time.Duration{}
	for range *kills {
		for _, name := range names {
			c := clusters[name]
			c.caughtUp()
			old := c.leader()
			cl := c.client()
			write := func(s client.Status) {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				if _, err := cl.Set(ctx, "payments", s, client.WriteOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			write(serving)
			write(notServing)
			begin := time.Now()
			old.signal(syscall.SIGKILL)
			write(serving)
			d := time.Since(begin)
			took[name] = append(took[name], d)
			t.Logf("%s: %s", name, d.Round(time.Millisecond))
			cl.Close()
			old.kill()
			old.start()
			c.waitReady()
		}
	}
	for _, name := range names {
		d := took[name]
		slices.Sort(d)
		t.Logf("%-10s kills %d  median %s  least %s  most %s", name, len(d),
			d[len(d)/2].Round(time.Millisecond), d[0].Round(time.Millisecond), d[len(d)-1].Round(time.Millisecond))
	}
}
