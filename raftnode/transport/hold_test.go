package transport

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/rollcallhq/rollcall/raftnode/memnet"
)

// Entries wait while the follower has enough to store; heartbeats do not.
func TestEntriesWaitForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memnet.New()
		from, closeFrom := newTestTransport(t, m, threeMembers[0])
		defer closeFrom()
		to, closeTo := newTestTransport(t, m, threeMembers[1])
		defer closeTo()
		room := make(chan struct{})
		var full atomic.Bool
		full.Store(true)
		to.cfg.Congested = func() <-chan struct{} {
			if full.Load() {
				return room
			}
			return nil
		}
		entries := func() *raft.AppendEntriesRequest {
			req := heartbeat()
			req.Entries = []*raft.Log{{Index: 1, Term: 2, Data: []byte("x")}}
			return req
		}
		send := func(req *raft.AppendEntriesRequest) <-chan error {
			ended := make(chan error, 1)
			go func() { ended <- from.AppendEntries("n2", "n2", req, &raft.AppendEntriesResponse{}) }()
			synctest.Wait()
			return ended
		}
		first := send(entries())
		beat := send(heartbeat())
		rpc := <-to.Consumer()
		if got := rpc.Command.(*raft.AppendEntriesRequest); len(got.Entries) != 0 {
			t.Error("entries came before the heartbeat")
		}
		rpc.Respond(&raft.AppendEntriesResponse{Term: 2, Success: true}, nil)
		if err := <-beat; err != nil {
			t.Error(err)
		}
		// The leader gives up and sends again: one waits.
		if err := <-first; err == nil {
			t.Error("entries were acknowledged that raft has not seen")
		}
		second := send(entries())
		time.Sleep(time.Second)
		full.Store(false)
		close(room)
		rpc = <-to.Consumer()
		rpc.Respond(&raft.AppendEntriesResponse{Term: 2, Success: true}, nil)
		if err := <-second; err != nil {
			t.Error(err)
		}
		synctest.Wait()
		select {
		case rpc := <-to.Consumer():
			t.Errorf("what was given up came too: %v", rpc.Command)
		default:
		}
	})
}

// A leader that cannot store says nothing.
func TestStuckLeaderIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from, closeFrom := newTestTransport(t, memnet.New(), threeMembers[0])
		defer closeFrom()
		from.cfg.Stuck = func() bool { return true }
		if err := from.AppendEntries("n2", "n2", heartbeat(), &raft.AppendEntriesResponse{}); err != errStuck {
			t.Errorf("%v", err)
		}
	})
}
