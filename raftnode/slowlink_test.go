package raftnode

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// bulky is a command of about so many bytes.
func bulky(id string, bytes int) *logv1.Command {
	cmd := command(id)
	cmd.Reason = strings.Repeat("x", bytes)
	return cmd
}

// A follower behind a slow link gets what it missed while it was away, however much that is: what goes into
// one request, and the time that it has, leave room for progress. Meanwhile the leader keeps leading.
func TestVirtualSlowLink(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name          string
		rate          int // bytes a second
		entries, size int
	}{
		{"100 entries of 1 MB over 1 MB/s", 1_000_000, 100, 1_000_000},
		{"entries of 8 MB over 1 MB/s", 1_000_000, 4, 8_000_000},
		{"entries of 8 MB over 100 kB/s", 100_000, 2, 8_000_000},
		{"many small entries over 100 kB/s", 100_000, 2000, 2000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newTestCluster(t, threeNames...)
				defer c.closeAll()
				for _, name := range threeNames[:2] {
					c.network.Throttle(tt.rate, name, "n3")
				}
				for _, name := range threeNames {
					c.open(name)
				}
				leader := c.leader()
				for leader.cfg.Node == "n3" {
					if err := leader.TransferLeadership(t.Context()); err != nil {
						t.Fatal(err)
					}
					leader = c.leader()
				}
				c.close("n3")
				for i := range tt.entries {
					if _, err := leader.Propose(t.Context(), bulky(fmt.Sprint(i), tt.size)); err != nil {
						t.Fatal(err)
					}
				}
				term := leader.Status().Term
				n3 := c.open("n3")
				begin := time.Now()
				expected := time.Duration(float64(tt.entries*tt.size) / float64(tt.rate) * float64(time.Second))
				for n3.fold.AppliedIndex() < leader.fold.AppliedIndex() {
					if time.Sleep(time.Second); time.Since(begin) > 2*expected+30*time.Second {
						t.Fatalf("after %s n3 is at entry %d of %d; the bytes take %s", time.Since(begin), n3.fold.AppliedIndex(), leader.fold.AppliedIndex(), expected)
					}
				}
				t.Logf("caught up after %s; the bytes take %s", time.Since(begin), expected)
				if s := leader.Status(); s.Term != term || !s.Leading {
					t.Errorf("the leader lost its leadership: %+v", s)
				}
				leader.write(t, "after")
			})
		})
	}
}

// Writes that are larger than what a slow link carries in raft's timeouts go through with only slow links
// between the nodes.
func TestVirtualLargeWritesOverSlowLinks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, threeNames...)
		defer c.closeAll()
		c.network.Throttle(1_000_000, "n1", "n2")
		c.network.Throttle(1_000_000, "n1", "n3")
		c.network.Throttle(1_000_000, "n2", "n3")
		for _, name := range threeNames {
			c.open(name)
		}
		leader := c.leader()
		term := leader.Status().Term
		for i := range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			if _, err := leader.Propose(ctx, bulky(fmt.Sprint(i), 7_000_000)); err != nil {
				t.Error(err)
			}
			cancel()
		}
		if s := leader.Status(); s.Term != term {
			t.Errorf("term %d became %d", term, s.Term)
		}
	})
}
