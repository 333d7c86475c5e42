package transport

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/rollcallhq/rollcall/raftnode/memnet"
)

func TestProgress(t *testing.T) {
	p := newProgress()
	ok := func(term uint64) *raft.AppendEntriesResponse {
		return &raft.AppendEntriesResponse{Term: term, Success: true}
	}
	is := func(what string, address raft.ServerAddress, term, want uint64) {
		t.Helper()
		m, told := p.Of(address, term)
		if told != (want > 0) || told && (m.Index != want || m.At.IsZero()) {
			t.Errorf("%s: %+v, told: %t; want %d", what, m, told, want)
		}
	}
	is("nothing yet", "n4/d4", 3, 0)
	p.appended("n4/d4", &raft.AppendEntriesRequest{Term: 3}, ok(3))
	is("a heartbeat", "n4/d4", 3, 0)
	p.appended("n4/d4", &raft.AppendEntriesRequest{Term: 3, PrevLogEntry: 7}, &raft.AppendEntriesResponse{Term: 3})
	is("a refusal", "n4/d4", 3, 0)
	p.appended("n4/d4", &raft.AppendEntriesRequest{Term: 3, PrevLogEntry: 7, Entries: make([]*raft.Log, 2)}, ok(3))
	is("two entries", "n4/d4", 3, 9)
	p.appended("n4/d4", &raft.AppendEntriesRequest{Term: 3, PrevLogEntry: 8}, ok(3))
	is("a late answer", "n4/d4", 3, 9)
	is("another directory", "n4/d5", 3, 0)
	is("another term", "n4/d4", 4, 0)
	p.note("n4/d4", 4, 2)
	is("a new leader finds a shorter log", "n4/d4", 4, 2)
	p.note("n4/d4", 3, 100)
	is("an old leader's answer", "n4/d4", 4, 2)
	p.retain(map[raft.ServerAddress]bool{"n4/d5": true})
	is("forgotten", "n4/d4", 4, 0)
}

// TestDirectoryOfAServer: a dial reaches the data directory that the address names, or none. What was dialed ends when
// the server is no longer in the configuration.
func TestDirectoryOfAServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memnet.New()
		from, closeFrom := newTestTransport(t, m, threeMembers[0])
		defer closeFrom()
		to, closeTo := newTestTransport(t, m, threeMembers[1])
		defer closeTo()
		done, ended := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(ended)
			for {
				select {
				case rpc := <-to.Consumer():
					rpc.Respond(&raft.AppendEntriesResponse{Term: 2, Success: true}, nil)
				case <-done:
					return
				}
			}
		}()
		defer func() { close(done); <-ended }()
		req := heartbeat()
		req.PrevLogEntry = 5
		if err := from.AppendEntries("n2", "n2/dir-n2", req, &raft.AppendEntriesResponse{}); err != nil {
			t.Fatal(err)
		}
		err := from.AppendEntries("n2", "n2/dir-old", req, &raft.AppendEntriesResponse{})
		if err == nil || !strings.Contains(err.Error(), "another directory") {
			t.Errorf("the wrong directory: %v", err)
		}
		if _, told := from.Progress().Of("n2/dir-n2", 2); !told || !from.Acks().Since("n2/dir-n2", 2, 0) {
			t.Error("the answer is not noted by its address")
		}
		if _, told := from.Progress().Of("n2/dir-old", 2); told {
			t.Error("the old directory has answered")
		}
		open := func() int {
			from.streams.mu.Lock()
			defer from.streams.mu.Unlock()
			return len(from.streams.open)
		}
		from.Retain([]raft.Server{{ID: "n2", Address: "n2/dir-n2"}})
		if open() != 1 {
			t.Errorf("%d connections are open, want 1", open())
		}
		from.Retain([]raft.Server{{ID: "n2", Address: "n2/dir-new"}})
		if _, told := from.Progress().Of("n2/dir-n2", 2); open() != 0 || told || from.Acks().Since("n2/dir-n2", 2, 1) {
			t.Errorf("%d connections to a server that was removed; its answers: %t", open(), told)
		}
		// Should it come back, it is dialed again, once the broken connection is used up.
		_ = from.AppendEntries("n2", "n2/dir-n2", req, &raft.AppendEntriesResponse{})
		time.Sleep(time.Second)
		if err := from.AppendEntries("n2", "n2/dir-n2", req, &raft.AppendEntriesResponse{}); err != nil {
			t.Error(err)
		}
	})
}
