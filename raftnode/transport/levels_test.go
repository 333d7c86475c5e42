package transport

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/raftnode/memnet"
)

// entriesAt is a request with an entry of raft's own and one of each of the levels.
func entriesAt(t *testing.T, levels ...uint32) *raft.AppendEntriesRequest {
	t.Helper()
	req := heartbeat()
	req.Entries = []*raft.Log{{Index: 1, Term: 2, Type: raft.LogNoop}}
	for i, level := range levels {
		data, err := logv1.Seal(&logv1.Entry{Time: 7, Level: level, Commands: []*logv1.Command{{Reason: "r"}}})
		if err != nil {
			t.Fatal(err)
		}
		req.Entries = append(req.Entries, &raft.Log{Index: uint64(i + 2), Term: 2, Type: raft.LogCommand, Data: data})
	}
	return req
}

// TestOlderPeersGetNothingThatTheyCannotRead: a leader's transport withholds entries and snapshots that
// need a higher feature level than the peer's process can read, before and after it has told its level,
// and when it was replaced by an older one.
func TestOlderPeersGetNothingThatTheyCannotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memnet.New()
		from, closeFrom := newTestTransportAt(t, m, threeMembers[0], 2)
		defer closeFrom()
		received := map[uint64]bool{} // by index
		serve := func(level uint32) func() {
			to, closeTo := newTestTransportAt(t, m, threeMembers[1], level)
			done := make(chan struct{})
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				for {
					select {
					case rpc := <-to.Consumer():
						if req, ok := rpc.Command.(*raft.AppendEntriesRequest); ok {
							for _, entry := range req.Entries {
								received[entry.Index] = true
							}
						}
						rpc.Respond(&raft.AppendEntriesResponse{Term: 2, Success: true}, nil)
					case <-done:
						return
					}
				}
			}()
			return func() {
				close(done)
				<-ended
				closeTo()
			}
		}
		send := func(req *raft.AppendEntriesRequest) error {
			return from.AppendEntries("n2", "n2", req, &raft.AppendEntriesResponse{})
		}
		refused := func(what string, err error) {
			t.Helper()
			synctest.Wait()
			if err == nil || !strings.Contains(err.Error(), "needs feature level 2, and n2 can read level 1 at most") {
				t.Errorf("%s: %v", what, err)
			}
			if len(received) != 0 {
				t.Errorf("%s: entries %v were received", what, received)
			}
			clear(received)
		}
		taken := func(what string, err error, entries int) {
			t.Helper()
			synctest.Wait()
			if err != nil || len(received) != entries {
				t.Errorf("%s: %v, entries %v were received, want %d", what, err, received, entries)
			}
			clear(received)
		}

		stop := serve(1)
		refused("before the first heartbeat", send(entriesAt(t, 0, 2)))
		taken("a heartbeat", send(heartbeat()), 0)
		taken("entries of the base level", send(entriesAt(t, 0, 1)), 3)
		refused("entries of level 2", send(entriesAt(t, 1, 2)))
		from.cfg.ClusterLevel = func() uint32 { return 2 }
		refused("a snapshot", from.InstallSnapshot("n2", "n2", &raft.InstallSnapshotRequest{}, &raft.InstallSnapshotResponse{}, strings.NewReader("")))
		from.cfg.ClusterLevel = func() uint32 { return 1 }
		stop()

		stop = serve(2)
		time.Sleep(time.Second)
		for send(heartbeat()) != nil { // until the broken connections are used up
			time.Sleep(time.Millisecond)
		}
		taken("a newer process", send(entriesAt(t, 0, 2)), 3)
		stop()

		stop = serve(1)
		for range 5 {
			// The first dial finds out. None of the others may carry what was decided before that.
			if err := send(entriesAt(t, 2)); err == nil {
				t.Error("an older process took entries of level 2")
			}
		}
		taken("the older process again", send(heartbeat()), 0)
		refused("the older process again", send(entriesAt(t, 2)))
		stop()
	})
}
