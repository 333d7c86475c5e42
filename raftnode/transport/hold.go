package transport

import (
	"errors"
	"sync"

	"github.com/hashicorp/raft"
)

var (
	errSuperseded = errors.New("the leader has sent again")
	errStuck      = errors.New("this node's disk has stored nothing for long")
)

// hold is where entries from the leader wait while this node has enough to store. Raft's main loop is free
// meanwhile and answers heartbeats: a follower with a slow disk stays a follower, and its leader, which
// waits for the answer, sends it nothing more.
type hold struct {
	mu    sync.Mutex    // guards newer
	newer chan struct{} // closed when another request comes to wait; nil: none waits
}

// holds takes a request with entries while this node is congested, and delivers it to raft later. At most
// one waits: when the leader gives up waiting it sends the same entries again.
func (t *Transport) holds(rpc raft.RPC) bool {
	req, ok := rpc.Command.(*raft.AppendEntriesRequest)
	if !ok || len(req.Entries) == 0 || t.cfg.Congested == nil {
		return false
	}
	room := t.cfg.Congested()
	if room == nil {
		return false
	}
	newer := make(chan struct{})
	t.hold.mu.Lock()
	if t.hold.newer != nil {
		close(t.hold.newer)
	}
	t.hold.newer = newer
	t.hold.mu.Unlock()
	t.wg.Go(func() {
		for room != nil {
			select {
			case <-room:
				room = t.cfg.Congested()
			case <-newer:
				rpc.Respond(nil, errSuperseded)
				return
			case <-t.done:
				return
			}
		}
		t.hold.mu.Lock()
		if t.hold.newer == newer {
			t.hold.newer = nil
		}
		t.hold.mu.Unlock()
		t.deliver(rpc)
	})
	return true
}
