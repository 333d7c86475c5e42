package raftnode

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/rollcallhq/rollcall/raftnode/memnet"
	"github.com/rollcallhq/rollcall/store"
	"github.com/rollcallhq/rollcall/store/raftlog"
)

func (c *testCluster) wipe(name string) {
	c.t.Helper()
	if err := os.RemoveAll(c.path(name)); err != nil {
		c.t.Fatal(err)
	}
}

// neverForms lets a long time pass and checks that a node still waits.
func (n *testNode) neverForms(t *testing.T) {
	t.Helper()
	time.Sleep(3 * time.Minute)
	if s := n.Status(); s.Formed || s.Waiting == "" {
		t.Errorf("%s: %+v", n.cfg.Node, s)
	}
}

func TestOneMemberFoundsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, "n1")
		defer c.closeAll()
		n := c.open("n1")
		if s := n.Status(); !s.Formed || len(s.ClusterID) != 16 {
			t.Errorf("%+v", s)
		}
		n.await(t, "it leads", func(s Status) bool { return s.Leading })
		n.write(t, "a")
	})
}

func TestEmptyNodesWaitForAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, threeNames...)
		defer c.closeAll()
		c.open("n1").neverForms(t)
		c.open("n2").neverForms(t)
		if got, want := c.nodes["n1"].Status().Waiting, "waiting for n3 to form the cluster: n3: connection refused"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
		c.open("n3")
		c.leader().write(t, "a")
	})
}

func TestWipedNodeWaitsToBeReplaced(t *testing.T) {
	t.Parallel()
	for _, wiped := range threeNames {
		synctest.Test(t, func(t *testing.T) {
			c, leader := openThree(t, nil)
			defer c.closeAll()
			leader.write(t, "a")
			id := leader.Status().ClusterID
			c.closeAll()
			c.wipe(wiped)
			n := c.open(wiped)
			n.neverForms(t) // the others are down
			up := threeNames[(slices.Index(threeNames, wiped)+1)%3]
			c.open(up) // the third stays down
			want := fmt.Sprintf("cluster %s knows %s by another data directory than %s, which is empty; start %s with that one; if it is lost, run \"rollcall member replace %s\"",
				id[:4], wiped, c.path(wiped), wiped, wiped)
			n.neverForms(t)
			if got := n.Status().Waiting; got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			if s := c.nodes[up].Status(); s.Leader != "" {
				t.Errorf("%s has a leader, with a wiped node and one that is down: %+v", up, s)
			}
			before := n.dir.Identity()
			c.close(wiped)
			// With the cluster there it is known when Open returns, and the directory stays the same.
			if n = c.open(wiped); n.Status().Waiting != want || !reflect.DeepEqual(n.dir.Identity(), before) {
				t.Errorf("%+v", n.Status())
			}
		})
	}
}

// The founder loses its disk while the only other node that knows the cluster is down, and the third
// never heard of it: two empty nodes that could found anew, over an acknowledged write.
func TestWipedFounderDoesNotFoundAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, threeNames...)
		defer c.closeAll()
		c.open("n2")
		c.open("n3")
		c.open("n1") // founds at once
		c.network.Isolate(memnet.Stall, "n2")
		c.leader("n1", "n3").write(t, "acknowledged")
		if s := c.nodes["n2"].Status(); s.Formed {
			t.Fatalf("n2 has heard of the cluster: %+v", s)
		}
		c.close("n1")
		c.close("n3")
		c.wipe("n1")
		c.network.Heal()
		c.open("n1").neverForms(t)
		c.nodes["n2"].neverForms(t)

		n3 := c.open("n3")
		c.nodes["n1"].neverForms(t)
		if got := c.nodes["n1"].Status().Waiting; !strings.Contains(got, `run "rollcall member replace n1"`) {
			t.Error(got)
		}
		c.leader("n2", "n3").write(t, "after")
		if got := n3.fold.requestIDs(); !slices.Equal(got, []string{"acknowledged", "after"}) {
			t.Errorf("n3 applied %v", got)
		}
	})
}

func TestFounderFinishesAfterACrash(t *testing.T) {
	t.Parallel()
	for name, log := range map[string]func(*raftlog.Log) error{
		"before raft's term":  func(*raftlog.Log) error { return nil },
		"before raft's entry": func(l *raftlog.Log) error { return l.SetUint64([]byte("CurrentTerm"), 1) },
		"after bootstrap": func(l *raftlog.Log) error {
			if err := l.SetUint64([]byte("CurrentTerm"), 1); err != nil {
				return err
			}
			var servers raft.Configuration
			for _, name := range threeNames {
				servers.Servers = append(servers.Servers, raft.Server{ID: raft.ServerID(name), Address: raft.ServerAddress(name)})
			}
			return l.StoreLog(&raft.Log{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(servers)})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newTestCluster(t, threeNames...)
				defer c.closeAll()
				f := store.Founding{ClusterID: "3f9a000000000000"}
				for _, m := range c.members {
					d, err := store.OpenDirectory(c.path(m.Name), m.Name)
					if err != nil {
						t.Fatal(err)
					}
					f.Members = append(f.Members, store.FoundingMember{Name: m.Name, PeerAddress: m.PeerAddress, DirectoryID: d.Identity().DirectoryID})
					if err := d.Close(); err != nil {
						t.Fatal(err)
					}
				}
				c.open("n2")
				c.open("n1", testOptions{before: func(d *store.Directory, l *raftlog.Log) {
					if err := errors.Join(d.SetFounding(f), log(l)); err != nil {
						t.Fatal(err)
					}
				}})
				c.leader("n1", "n2").write(t, "a")
				c.open("n3")
				c.leader().write(t, "b")
			})
		})
	}
}

func TestMemberListsThatDiffer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, threeNames...)
		defer c.closeAll()
		c.open("n1")
		_, err := c.tryOpen("n2", testOptions{config: func(cfg *Config) { cfg.Members = cfg.Members[:2] }})
		if err == nil || !strings.Contains(err.Error(), "n2: n1=127.0.0.1:7601, n2=127.0.0.1:7611; n1: n1=127.0.0.1:7601, n2=127.0.0.1:7611, n3=127.0.0.1:7621") {
			t.Errorf("open: %v", err)
		}
	})
}

func TestStrangerIsNotAMember(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, leader := openThree(t, nil)
		defer c.closeAll()
		c.members = append(c.members, Member{Name: "n4", PeerAddress: "127.0.0.1:7631"})
		n4 := c.open("n4")
		n4.neverForms(t)
		want := fmt.Sprintf(`n4 is not a member of cluster %s, to which n1 (127.0.0.1:7601) belongs; to make it one, run "rollcall member add n4 --peer 127.0.0.1:7631"`, leader.Status().ClusterID[:4])
		if got := n4.Status().Waiting; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	})
}

func TestOtherClusterIsRefusedAtStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, "n1", "n2")
		defer c.closeAll()
		alone := func(cfg *Config) {
			cfg.Members = slices.DeleteFunc(slices.Clone(cfg.Members), func(m Member) bool { return m.Name != cfg.Node })
		}
		n1 := c.open("n1", testOptions{config: alone})
		n2 := c.open("n2", testOptions{config: alone})
		one, two := n1.Status().ClusterID[:4], n2.Status().ClusterID[:4]
		c.close("n2")
		_, err := c.tryOpen("n2")
		want := fmt.Sprintf("%s belongs to cluster %s, but n1 (127.0.0.1:7601) belongs to cluster %s", c.path("n2"), two, one)
		if err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	})
}

// A copy of what a node had, put where another directory id is, is not the node that the cluster
// knows.
func TestOtherDirectoryIsRefusedAtStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, leader := openThree(t, nil)
		defer c.closeAll()
		f := c.nodes["n2"].dir.Identity().Founding
		_ = leader
		c.close("n2")
		c.wipe("n2")
		_, err := c.tryOpen("n2", testOptions{before: func(d *store.Directory, _ *raftlog.Log) {
			if err := d.SetFounding(*f); err != nil {
				t.Fatal(err)
			}
		}})
		want := c.path("n2") + " is not the data directory by which n1 (127.0.0.1:7601) knows n2; start n2 with that directory; if it is lost, run \"rollcall member replace n2\""
		if err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	})
}

func TestForceBootstrap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, threeNames...)
		defer c.closeAll()
		c.open("n2")
		c.open("n3", testOptions{config: func(cfg *Config) { cfg.ForceBootstrap = true }})
		c.leader("n2", "n3").write(t, "a")
		c.open("n1")
		c.leader().write(t, "b")
		if got := c.nodes["n2"].dir.Identity().Founding.Members[0].DirectoryID; got != "" {
			t.Errorf("the founding knows a directory %q of n1, which was away", got)
		}
	})
}

func TestForceBootstrapFinishesAfterACrash(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, threeNames...)
		defer c.closeAll()
		set := func(d *store.Directory, _ *raftlog.Log) {
			f := store.Founding{ClusterID: "3f9a000000000000"}
			for _, m := range c.members {
				f.Members = append(f.Members, store.FoundingMember{Name: m.Name, PeerAddress: m.PeerAddress})
			}
			if err := d.SetFounding(f); err != nil {
				t.Fatal(err)
			}
		}
		n := c.open("n2", testOptions{before: set})
		time.Sleep(time.Minute)
		if s := n.Status(); s.LastIndex > 0 {
			t.Fatalf("not the founder, but it has a log: %+v", s)
		}
		c.close("n2")
		c.open("n2", testOptions{config: func(cfg *Config) { cfg.ForceBootstrap = true }})
		c.open("n3")
		c.leader("n2", "n3").write(t, "a")
	})
}

func TestDataWithoutIdentityIsRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, "n1")
		defer c.closeAll()
		_, err := c.tryOpen("n1", testOptions{before: func(_ *store.Directory, l *raftlog.Log) {
			if err := l.SetUint64([]byte("CurrentTerm"), 3); err != nil {
				t.Fatal(err)
			}
		}})
		if err == nil || !strings.Contains(err.Error(), "its identity names no cluster") {
			t.Errorf("open: %v", err)
		}
	})
}
