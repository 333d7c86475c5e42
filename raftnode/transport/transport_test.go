package transport

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/goleak"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	"github.com/rollcallhq/rollcall/raftnode/memnet"
	"github.com/rollcallhq/rollcall/raftnode/peerport"
	"github.com/rollcallhq/rollcall/raftnode/raftlogger"
	"github.com/rollcallhq/rollcall/raftnode/serveraddress"
	"github.com/rollcallhq/rollcall/raftnode/workaround"
	"github.com/rollcallhq/rollcall/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var threeMembers = []peerport.Member{
	{Name: "n1", PeerAddress: "h1:7601"},
	{Name: "n2", PeerAddress: "h2:7601"},
	{Name: "n3", PeerAddress: "h3:7601"},
}

// newTestTransport is the transport of a member of threeMembers, without a node.
func newTestTransport(t *testing.T, m *memnet.Network, member peerport.Member) (*Transport, func()) {
	t.Helper()
	return newTestTransportAt(t, m, member, logv1.BaseLevel)
}

// newTestTransportAt is one whose binary can read up to a feature level.
func newTestTransportAt(t *testing.T, m *memnet.Network, member peerport.Member, level uint32) (*Transport, func()) {
	t.Helper()
	v := peerport.View{Node: member.Name, DirectoryID: "dir-" + member.Name, Members: threeMembers, Known: map[string]string{}, Running: true,
		Founding: &store.Founding{ClusterID: "3f9a000000000000"}, MaxLevel: level, ClusterLevel: logv1.BaseLevel}
	for _, m := range threeMembers {
		v.Known[m.Name] = "dir-" + m.Name
	}
	p, err := peerport.Open(peerport.Config{
		Node: member.Name, Listen: member.PeerAddress,
		Network: m.Host(member.Name),
		Logger:  slog.New(slog.DiscardHandler),
		View:    func() peerport.View { return v },
		Resolve: func(name string) []string {
			for _, m := range threeMembers {
				if m.Name == name {
					return []string{m.PeerAddress}
				}
			}
			return nil
		},
		Met: func(*peerv1.Hello) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	tr := New(Config{Port: p, DialTimeout: time.Second, RPCTimeout: 3 * time.Second, Logger: raftlogger.New(slog.New(slog.DiscardHandler)), Meant: meant,
		MaxLevel: level, ClusterLevel: func() uint32 { return logv1.BaseLevel }})
	return tr, func() {
		if err := errors.Join(tr.Close(), tr.Close()); err != nil {
			t.Error(err)
		}
		p.Close()
	}
}

// meant takes an address with a directory at its word.
func meant(address raft.ServerAddress, directory string) error {
	if _, want := serveraddress.Split(address); want != "" && want != directory {
		return errors.New("another directory")
	}
	return nil
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
			go func() { taken <- to.Offer(ctx, workaround.TimeoutNow("n2")) }()
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
		if to.Offer(t.Context(), workaround.TimeoutNow("n2")) {
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
		if err := call(); err == nil || time.Since(begin).Round(100*time.Millisecond) != 3*time.Second {
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
