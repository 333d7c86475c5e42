package raftnode

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	"github.com/rollcallhq/rollcall/raftnode/memnet"
	"github.com/rollcallhq/rollcall/store"
)

// newTestTransport is the transport of a member of threeMembers, without a node.
func newTestTransport(t *testing.T, m *memnet.Network, member Member) (*transport, func()) {
	t.Helper()
	v := clusterView(member.Name, true)
	v.known = map[string]string{"n1": "dir-n1", "n2": "dir-n2", "n3": "dir-n3"}
	p := &peerPort{
		network: m.Host(member.Name),
		logger:  slog.New(slog.DiscardHandler),
		view:    func() view { return v },
		resolve: func(name string) []string {
			for _, m := range threeMembers {
				if m.Name == name {
					return []string{m.PeerAddress}
				}
			}
			return nil
		},
		met:   func(*peerv1.Hello) {},
		peers: newPeers(slog.New(slog.DiscardHandler)),
	}
	if err := p.open(member.Name, member.PeerAddress); err != nil {
		t.Fatal(err)
	}
	tr := newTransport(p, time.Second, 3*time.Second, newRaftLogger(p.logger))
	return tr, func() {
		if err := errors.Join(tr.Close(), tr.Close()); err != nil {
			t.Error(err)
		}
		p.close()
	}
}

func heartbeat() *raft.AppendEntriesRequest {
	return &raft.AppendEntriesRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: 3, ID: []byte("n1"), Addr: []byte("n1")}, Term: 2}
}

// A heartbeat goes the way of all RPCs, whatever handler raft sets.
func TestHeartbeatsAreNotHandledAside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memnet.New()
		from, closeFrom := newTestTransport(t, m, threeMembers[0])
		defer closeFrom()
		to, closeTo := newTestTransport(t, m, threeMembers[1])
		defer closeTo()
		to.SetHeartbeatHandler(func(rpc raft.RPC) {
			t.Error("a heartbeat was handled aside")
			rpc.Respond(&raft.AppendEntriesResponse{}, nil)
		})
		ended := make(chan error, 1)
		go func() { ended <- from.AppendEntries("n2", "n2", heartbeat(), &raft.AppendEntriesResponse{}) }()
		select {
		case rpc := <-to.Consumer():
			rpc.Respond(&raft.AppendEntriesResponse{Success: true}, nil)
		case <-time.After(time.Second):
			t.Error("no heartbeat came")
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// An offer is taken as long as it stands and nothing came from others, or never.
func TestOffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memnet.New()
		from, closeFrom := newTestTransport(t, m, threeMembers[0])
		defer closeFrom()
		to, closeTo := newTestTransport(t, m, threeMembers[1])
		defer closeTo()
		offer := func(ctx context.Context) <-chan bool {
			taken := make(chan bool, 1)
			go func() { taken <- to.offer(ctx, timeoutNow("n2")) }()
			synctest.Wait()
			return taken
		}

		taken := offer(t.Context())
		if rpc := <-to.Consumer(); !<-taken {
			t.Errorf("%T was received but not taken", rpc.Command)
		}

		ctx, cancel := context.WithCancel(t.Context())
		taken = offer(ctx)
		cancel()
		select { // at once: what is withdrawn must not be received, whoever runs first
		case rpc := <-to.Consumer():
			t.Errorf("%T was received after it was withdrawn", rpc.Command)
		default:
		}
		if <-taken {
			t.Error("taken after it was withdrawn")
		}

		taken = offer(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- from.AppendEntries("n2", "n2", heartbeat(), &raft.AppendEntriesResponse{}) }()
		synctest.Wait()
		rpc := <-to.Consumer()
		if _, ok := rpc.Command.(*raft.AppendEntriesRequest); !ok || <-taken {
			t.Errorf("received %T before what came from the leader", rpc.Command)
		}
		rpc.Respond(&raft.AppendEntriesResponse{Success: true}, nil)
		if err := <-ended; err != nil {
			t.Error(err)
		}

		taken = offer(t.Context())
		if err := to.Close(); err != nil || <-taken {
			t.Errorf("taken by a closed transport, %v", err)
		}
		if to.offer(t.Context(), timeoutNow("n2")) {
			t.Error("taken by a closed transport")
		}
	})
}

func TestTransport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memnet.New()
		from, closeFrom := newTestTransport(t, m, threeMembers[0])
		defer closeFrom()
		if from.LocalAddr() != "n1" || string(from.EncodePeer("n1", "n1")) != "n1" {
			t.Errorf("the local address is %s", from.LocalAddr())
		}
		if _, err := from.AppendEntriesPipeline("n2", "n2"); !errors.Is(err, raft.ErrPipelineReplicationNotSupported) {
			t.Errorf("pipeline: %v", err)
		}
		call := func() error {
			return from.AppendEntries("n2", "n2", heartbeat(), &raft.AppendEntriesResponse{})
		}
		if err := call(); err == nil || err.Error() != "n2: connection refused" {
			t.Errorf("nobody there: %v", err)
		}
		to, closeTo := newTestTransport(t, m, threeMembers[1])
		defer closeTo()
		// Nobody answers: the RPC ends in its time, and with the transport.
		begin := time.Now()
		if err := call(); err == nil || time.Since(begin) != 3*time.Second {
			t.Errorf("no answer: %v after %s", err, time.Since(begin))
		}
		begin = time.Now()
		time.AfterFunc(time.Second, func() { _ = from.Close() })
		if err := call(); err == nil || time.Since(begin) != time.Second {
			t.Errorf("closed meanwhile: %v after %s", err, time.Since(begin))
		}
		if err := call(); err == nil {
			t.Error("an RPC over a closed transport")
		}
		_ = to
	})
}

// The founding of a member whose directory was replaced still lists the old one.
func TestViewPrefersWhatWasAnnounced(t *testing.T) {
	f := newTestFold()
	founding := &store.Founding{ClusterID: "3f9a", Members: []store.FoundingMember{{Name: "n1", DirectoryID: "d1"}, {Name: "n2", DirectoryID: "d2"}}}
	f.members["n2"] = announced("n2", "new")
	f.members["n1"] = announced("n1", "")
	f.members["n4"] = announced("n4", "d4")
	v := newView(&Config{Node: "n1", State: f}, "d1", founding, true)
	for name, want := range map[string]string{"n1": "d1", "n2": "new", "n4": "d4"} {
		if got := v.known[name]; got != want {
			t.Errorf("%s is known by %q, want %q", name, got, want)
		}
	}
}
