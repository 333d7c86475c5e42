package raftnode

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/raftnode/memnet"
)

// alive asks for ten seconds at most.
func alive(t *testing.T, n *testNode) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return n.Alive(ctx)
}

func TestEveryRoleIsAlive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, threeNames...)
		defer c.closeAll()
		if err := alive(t, c.open("n1")); err != nil {
			t.Errorf("while forming: %v", err)
		}
		c.open("n2")
		leader := func() *testNode {
			c.open("n3")
			for {
				for _, n := range c.nodes {
					if n.Status().Leading {
						return n
					}
				}
				time.Sleep(10 * time.Millisecond)
			}
		}()
		for name, n := range c.nodes {
			if err := alive(t, n); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		// Without a quorum, as the leader at first, and then as a candidate for long.
		c.network.Isolate(memnet.Stall, leader.cfg.Node)
		for range 20 {
			if err := alive(t, leader); err != nil {
				t.Errorf("without a quorum: %v", err)
			}
			time.Sleep(time.Second)
		}
	})
}

func TestAStuckFoldIsNotAlive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, leader := openThree(t, nil)
		defer c.closeAll()
		hold := make(chan struct{})
		leader.fold.intercept = func(cmd *logv1.Command) {
			if cmd.GetRequestId() == "stuck" {
				<-hold
			}
		}
		if err := alive(t, leader); err != nil {
			t.Errorf("before: %v", err)
		}
		done := make(chan error, 1)
		go func() {
			_, err := leader.Propose(t.Context(), command("stuck"))
			done <- err
		}()
		time.Sleep(time.Second)
		began := time.Now()
		if err := alive(t, leader); err == nil || !strings.Contains(err.Error(), "the fold stays at log entry") || time.Since(began) != 10*time.Second {
			t.Errorf("stuck: %v after %v", err, time.Since(began))
		}
		close(hold)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := alive(t, leader); err != nil {
			t.Errorf("after: %v", err)
		}
	})
}

func TestAStuckLoopIsNotAlive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		opts := map[string]testOptions{}
		for _, name := range threeNames {
			opts[name] = testOptions{intercept: func(logs []*raft.Log) error {
				for _, l := range logs {
					if strings.Contains(string(l.Data), "stuck") {
						<-hold
					}
				}
				return nil
			}}
		}
		c, leader := openThree(t, opts)
		defer c.closeAll()
		done := make(chan error, 1)
		go func() {
			_, err := leader.Propose(t.Context(), command("stuck"))
			done <- err
		}()
		time.Sleep(time.Second)
		for i := range 3 { // with one goroutine, however often it is asked
			if err := alive(t, leader); fmt.Sprint(err) != "raft's main loop does not answer" {
				t.Errorf("question %d: %v", i, err)
			}
		}
		close(hold)
		<-done
		time.Sleep(time.Minute)
		for name, n := range c.nodes {
			if err := alive(t, n); err != nil {
				t.Errorf("%s after: %v", name, err)
			}
		}
	})
}
