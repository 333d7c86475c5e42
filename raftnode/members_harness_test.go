package raftnode

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/raftnode/memnet"
	"github.com/rollcallhq/rollcall/raftnode/reconciler"
	"github.com/rollcallhq/rollcall/raftnode/serveraddress"
	"github.com/rollcallhq/rollcall/store"
	"github.com/rollcallhq/rollcall/store/raftlog"
)

// changing is a cluster whose members change.
type changing struct {
	*testCluster
	founding store.Founding
	paths    map[string]string // of the data directory that a member has now
	joined   map[string]bool
	made     map[string]string // the id of the directory in paths of one that came later
	count    int               // of those
	// opts are for all nodes.
	opts testOptions
	// stepped is told of each step of whoever leads; nil: nobody is.
	stepped func(n *testNode, step reconciler.Step, done bool)
	mu      sync.Mutex           // guards writing nodes2, and reading it beside the test's own goroutine
	nodes2  map[string]*testNode // every node that was opened last, by name, open or not
}

// openChanging forms a cluster of the named founders.
func openChanging(t *testing.T, opts testOptions, founders ...string) *changing {
	t.Helper()
	c := &changing{testCluster: newTestCluster(t, founders...), paths: map[string]string{}, joined: map[string]bool{}, made: map[string]string{}, opts: opts, nodes2: map[string]*testNode{}}
	for _, name := range founders {
		c.paths[name] = c.path(name)
		c.start(name)
	}
	c.founding = *c.leader().founding.Load()
	r := c.writeAnywhere("formed")
	for _, n := range c.nodes {
		if err := n.fold.WaitIndex(t.Context(), r.Index); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func (c *changing) address(name string) string {
	return fmt.Sprintf("127.0.0.1:77%s1", strings.TrimPrefix(name, "n"))
}

// start opens a member on the data directory that it has.
func (c *changing) start(name string) *testNode {
	c.t.Helper()
	n, err := c.tryStart(name)
	if err != nil {
		c.t.Fatalf("open %s: %v", name, err)
	}
	return n
}

func (c *changing) tryStart(name string) (*testNode, error) {
	c.t.Helper()
	opts := []testOptions{c.opts, {
		path: c.paths[name],
		config: func(cfg *Config) {
			if c.opts.config != nil {
				c.opts.config(cfg)
			}
			if c.joined[name] {
				cfg.Members = append(slices.DeleteFunc(slices.Clone(c.members), func(m Member) bool { return m.Name == name }),
					Member{Name: name, PeerAddress: c.address(name), APIAddress: "127.0.0.1:1"})
			}
			cfg.stepped = func(step reconciler.Step, done bool) {
				if c.stepped != nil {
					c.mu.Lock()
					n := c.nodes2[name]
					c.mu.Unlock()
					if n != nil { // nil: it is not open yet
						c.stepped(n, step, done)
					}
				}
			}
		},
		before: func(d *store.Directory, _ *raftlog.Log) {
			if c.joined[name] && d.Identity().Founding == nil {
				if err := d.SetJoined(c.founding, c.roster()); err != nil {
					c.t.Fatal(err)
				}
			}
		},
	}}
	n, err := c.tryOpen(name, opts...)
	if err == nil {
		c.mu.Lock()
		c.nodes2[name] = n
		c.mu.Unlock()
	}
	return n, err
}

// roster is what a node that joins is told: who belongs to the cluster, as the open node says that knows most.
func (c *changing) roster() *store.Roster {
	var best *store.Roster
	for _, n := range c.nodes {
		if r := n.Node.roster().Store(); r.Revision > 0 && (best == nil || r.Revision > best.Revision) {
			best = &r
		}
	}
	return best
}

// empty makes a new data directory for a member, and returns what the registry is told of it. The node waits to be
// added, so it does not run yet.
func (c *changing) empty(name string, replica bool) *logv1.Member {
	c.t.Helper()
	c.count++
	c.paths[name] = filepath.Join(c.root, fmt.Sprintf("%s-%d", name, c.count))
	c.joined[name] = true
	d, err := store.OpenDirectory(c.paths[name], name)
	if err != nil {
		c.t.Fatal(err)
	}
	id := d.Identity().DirectoryID
	if err := d.Close(); err != nil {
		c.t.Fatal(err)
	}
	c.made[name] = id
	return &logv1.Member{Name: name, PeerAddress: c.address(name), DirectoryId: id, Replica: replica}
}

// directory is the id of the data directory of a member.
func (c *changing) directory(name string) string {
	c.t.Helper()
	if c.joined[name] {
		return c.made[name]
	}
	if n := c.nodes2[name]; n != nil {
		return n.directoryID
	}
	c.t.Fatalf("%s was never open", name)
	return ""
}

// change has a member command applied by whoever leads. All of these may be applied twice.
func (c *changing) change(cmd *logv1.Command) {
	c.t.Helper()
	for range 200 {
		ctx, cancel := context.WithTimeout(c.t.Context(), time.Second)
		_, err := c.leader().Propose(ctx, cmd)
		cancel()
		if err == nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	c.t.Fatal("the members cannot be changed")
}

// add makes a node a member and starts it.
func (c *changing) add(name string, replica bool) {
	c.t.Helper()
	c.change(logv1.AddMemberCommand(c.empty(name, replica)))
	c.start(name)
}

// servers are those of the leader's configuration.
func (c *changing) servers() []Server { return c.leader().Status().Servers }

// awaitServers waits until raft's configuration is the wanted one, for two minutes at most.
func (c *changing) awaitServers(want ...string) {
	c.t.Helper()
	var got []string
	for range 2400 {
		if leader := c.leads(); leader != nil {
			if got = c.describe(leader.Status().Servers); slices.Equal(got, want) {
				return
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	steps := map[string]string{}
	if leader := c.leads(); leader != nil {
		steps = leader.Status().Steps
	}
	c.t.Fatalf("raft has %q, not %q; %q", got, want, steps)
}

// leads returns the open node that leads; nil: none does.
func (c *changing) leads() *testNode {
	var newest *testNode
	for _, n := range c.nodes {
		if s := n.Status(); s.Leading && (newest == nil || s.Term > newest.Status().Term) {
			newest = n
		}
	}
	return newest
}

// describe is a configuration in short: "n1", "n4+" for a member that came later, "n4+?" if it does not vote. "!" stands
// behind a directory that is not the member's newest.
func (c *changing) describe(servers []Server) []string {
	var all []string
	for _, s := range servers {
		text := s.Name
		if s.Directory != "" {
			text += "+"
			if c.made[s.Name] != s.Directory {
				text += "!"
			}
		} else if c.joined[s.Name] {
			text += "!"
		}
		if !s.Voter {
			text += "?"
		}
		all = append(all, text)
	}
	return all
}

// checkLogs checks every configuration that was ever in the log of a member.
func (c *changing) checkLogs(leader *testNode) {
	c.t.Helper()
	first, err := leader.dirLog().FirstIndex()
	if err != nil {
		c.t.Fatal(err)
	}
	last, err := leader.dirLog().LastIndex()
	if err != nil {
		c.t.Fatal(err)
	}
	var before map[raft.ServerAddress]raft.ServerSuffrage
	gone := map[raft.ServerAddress]bool{}
	for i := first; i <= last; i++ {
		var entry raft.Log
		if err := leader.dirLog().GetLog(i, &entry); err != nil {
			c.t.Fatal(err)
		}
		if entry.Type != raft.LogConfiguration {
			continue
		}
		now := map[raft.ServerAddress]raft.ServerSuffrage{}
		names := map[string]bool{}
		for _, s := range raft.DecodeConfiguration(entry.Data).Servers {
			name, _ := serveraddress.Split(s.Address)
			if string(s.ID) != name || names[name] || gone[s.Address] {
				c.t.Errorf("entry %d: server %+v", i, s)
			}
			names[name] = true
			now[s.Address] = s.Suffrage
			was, there := before[s.Address]
			if before != nil && !there && s.Suffrage == raft.Voter {
				c.t.Errorf("entry %d: %s votes at once", i, s.Address)
			}
			if there && was == raft.Voter && s.Suffrage != raft.Voter {
				c.t.Errorf("entry %d: %s lost its vote", i, s.Address)
			}
		}
		changes := 0
		for address, suffrage := range now {
			if was, ok := before[address]; !ok || was != suffrage {
				changes++
			}
		}
		for address := range before {
			if _, ok := now[address]; !ok {
				changes++
				gone[address] = true
			}
		}
		if before != nil && changes != 1 {
			c.t.Errorf("entry %d: %d changes at once: %v, %v", i, changes, before, now)
		}
		before = now
	}
}

func (n *testNode) dirLog() *raftlog.Log { return n.log }

// kill ends a node as if by a signal: nothing leaves it any more.
func (c *changing) kill(name string) {
	c.t.Helper()
	c.network.Isolate(memnet.Refuse, name)
	c.close(name)
	c.network.Heal()
}
