package raftnode

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcallhq/rollcall/raftnode/memnet"
	"github.com/rollcallhq/rollcall/raftnode/peerport"
)

// holding is a Network whose answers can be held back: what a dialed connection reads while it is held
// has arrived, and is under way to its reader.
type holding struct {
	peerport.Network
	mu       sync.Mutex
	released chan struct{} // nil: nothing is held
	held     int           // answers so far
}

func (h *holding) Dial(ctx context.Context, address string) (net.Conn, error) {
	conn, err := h.Network.Dial(ctx, address)
	if err != nil {
		return nil, err
	}
	return holdingConn{conn, h}, nil
}

func (h *holding) hold() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.released = make(chan struct{})
}

func (h *holding) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.released != nil {
		close(h.released)
		h.released = nil
	}
}

func (h *holding) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.held
}

type holdingConn struct {
	net.Conn
	h *holding
}

func (c holdingConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err == nil {
		c.h.mu.Lock()
		released := c.h.released
		if released != nil {
			c.h.held++
		}
		c.h.mu.Unlock()
		if released != nil {
			<-released
		}
	}
	return n, err
}

// TestVirtualDeposedLeaderIsNotConfirmed is why rounds count requests, and not answers. n1 leads, and the
// answers to its last heartbeats are under way when it is cut off. The others elect, and a write is
// acknowledged. Then n1, which still believes that it leads, is asked, and the old answers arrive:
// raft's VerifyLeader takes them for a quorum of now.
func TestVirtualDeposedLeaderIsNotConfirmed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hold := &holding{}
		opts := map[string]testOptions{}
		for _, name := range threeNames {
			opts[name] = testOptions{config: func(cfg *Config) {
				// n1 believes for long; the others elect soon.
				cfg.HeartbeatTimeout = 400 * time.Millisecond
				if name == "n1" {
					cfg.HeartbeatTimeout = 4 * time.Second
					hold.Network = cfg.Network
					cfg.Network = hold
				}
			}}
		}
		c, leader := openThree(t, opts)
		defer c.closeAll()
		n1 := c.nodes["n1"]
		if leader != n1 {
			if err := leader.raft.Load().LeadershipTransferToServer("n1", "n1").Error(); err != nil {
				t.Fatal(err)
			}
		}
		n1.await(t, "it leads", func(s Status) bool { return s.Leading })
		before := n1.write(t, "before")
		index, err := n1.ReadIndex(t.Context())
		if err != nil || index < before.Index {
			t.Fatalf("a leader that can reach all: %d, %v; wrote %d", index, err, before.Index)
		}

		hold.hold()
		defer hold.release()
		time.Sleep(50 * time.Millisecond) // more than raft leaves between two appends
		if hold.count() < 2 {
			t.Fatalf("%d answers are under way", hold.count())
		}
		c.network.Isolate(memnet.Stall, "n1")
		c.nodes["n2"].await(t, "another leads", func(s Status) bool { return s.Leader != "" && s.Leader != "n1" })
		fresh := c.leader("n2", "n3")
		after := fresh.write(t, "acknowledged")
		if s := n1.Status(); !s.Leading || slices.Contains(n1.fold.requestIDs(), "acknowledged") {
			t.Fatalf("n1 should lead on, knowing nothing: %+v", s)
		}

		begin := time.Now()
		raftSays := n1.raft.Load().VerifyLeader()
		ours := make(chan error, 1)
		go func() {
			index, err := n1.ReadIndex(context.Background())
			if err == nil && index < after.Index {
				err = errors.New("confirmed, with an index that misses an acknowledged write")
			}
			ours <- err
		}()
		synctest.Wait()
		hold.release()
		if err := raftSays.Error(); err != nil || time.Since(begin) != 0 {
			t.Errorf("VerifyLeader: %v after %s: the case this test is for does not arise any more", err, time.Since(begin))
		}
		synctest.Wait()
		if s := n1.Status(); !s.Leading {
			t.Errorf("n1 does not lead any more, so it proves little that it was not confirmed: %+v", s)
		}
		if err := <-ours; !errors.Is(err, ErrNotLeader) {
			t.Errorf("ReadIndex on the deposed leader: %v", err)
		}
		if time.Since(begin) < time.Second {
			t.Errorf("ReadIndex ended after %s, before the lease did", time.Since(begin))
		}
		c.network.Heal()
		index, err = c.leader().ReadIndex(t.Context())
		if err != nil || index < after.Index {
			t.Errorf("ReadIndex on the leader of all: %d, %v; %d was acknowledged", index, err, after.Index)
		}
	})
}

func TestReadIndex(t *testing.T) {
	t.Parallel()
	t.Run("contact is made at once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, leader := openThree(t, map[string]testOptions{})
			defer c.closeAll()
			for range 100 {
				begin := time.Now()
				if _, err := leader.ReadIndex(t.Context()); err != nil || time.Since(begin) != 0 {
					t.Fatalf("%v after %s, on a network without delay", err, time.Since(begin))
				}
				time.Sleep(7 * time.Millisecond)
			}
		})
	})
	t.Run("a follower cannot", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, leader := openThree(t, nil)
			defer c.closeAll()
			for _, n := range c.nodes {
				if n == leader {
					continue
				}
				if _, err := n.ReadIndex(t.Context()); !errors.Is(err, ErrNotLeader) {
					t.Errorf("%s: %v", n.cfg.Node, err)
				}
			}
		})
	})
	t.Run("the leadership has a term and an end", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, leader := openThree(t, nil)
			defer c.closeAll()
			term, ended := leader.Leadership()
			if term != leader.Status().Term {
				t.Errorf("it leads in term %d, status says %d", term, leader.Status().Term)
			}
			for _, n := range c.nodes {
				if term, _ := n.Leadership(); n != leader && term != 0 {
					t.Errorf("follower %s leads in term %d", n.cfg.Node, term)
				}
			}
			c.network.Isolate(memnet.Stall, leader.cfg.Node)
			<-ended
			if term, _ := leader.Leadership(); term != 0 {
				t.Errorf("afterwards it leads in term %d", term)
			}
		})
	})
	t.Run("a majority is enough", func(t *testing.T) {
		for _, how := range []memnet.Cut{memnet.Stall, memnet.Reset} {
			synctest.Test(t, func(t *testing.T) {
				c, leader := openThree(t, nil)
				defer c.closeAll()
				for name := range c.nodes {
					if name != leader.cfg.Node {
						c.network.Isolate(how, name)
						break
					}
				}
				for range 100 {
					if _, err := leader.ReadIndex(t.Context()); err != nil {
						t.Fatal(err)
					}
					time.Sleep(50 * time.Millisecond)
				}
			})
		}
	})
	t.Run("a leader cut off says so within its lease", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, leader := openThree(t, nil)
			defer c.closeAll()
			c.network.Isolate(memnet.Stall, leader.cfg.Node)
			begin := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			if _, err := leader.ReadIndex(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("with a deadline: %v", err)
			}
			if _, err := leader.ReadIndex(t.Context()); !errors.Is(err, ErrNotLeader) {
				t.Errorf("cut off: %v", err)
			}
			if took := time.Since(begin); took > 2*leader.cfg.HeartbeatTimeout {
				t.Errorf("took %s", took)
			}
		})
	})
	t.Run("one node alone", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newTestCluster(t, "n1")
			defer c.closeAll()
			n := c.open("n1")
			n.await(t, "it leads", func(s Status) bool { return s.Leading })
			r := n.write(t, "a")
			if index, err := n.ReadIndex(t.Context()); err != nil || index < r.Index {
				t.Errorf("%d, %v; wrote %d", index, err, r.Index)
			}
		})
	})
	t.Run("closing ends it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, leader := openThree(t, nil)
			defer c.closeAll()
			c.network.Isolate(memnet.Stall, leader.cfg.Node)
			ended := make(chan error, 1)
			go func() {
				_, err := leader.ReadIndex(context.Background())
				ended <- err
			}()
			synctest.Wait()
			c.close(leader.cfg.Node)
			if err := <-ended; !errors.Is(err, ErrClosed) && !errors.Is(err, ErrNotLeader) {
				t.Errorf("ended with %v", err)
			}
		})
	})
}
