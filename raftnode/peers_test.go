package raftnode

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	"github.com/rollcallhq/rollcall/raftnode/peerport"
)

// echo serves one connection of a peer listener.
func echo(l net.Listener) {
	conn, err := l.Accept()
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = io.Copy(conn, conn)
}

func talk(t *testing.T, conn net.Conn) {
	t.Helper()
	if _, err := conn.Write([]byte("ping")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4)
	if _, err := io.ReadFull(conn, b); err != nil || string(b) != "ping" {
		t.Fatalf("%q, %v", b, err)
	}
}

func TestDialPeer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, _ := openThree(t, nil)
		defer c.closeAll()
		n1, n2 := c.nodes["n1"], c.nodes["n2"]
		go echo(n2.PeerListener())
		conn, err := n1.DialPeer(t.Context(), "n2")
		if err != nil {
			t.Fatal(err)
		}
		talk(t, conn)
		time.Sleep(2 * peerport.HandshakeTimeout) // no deadline of the handshake is left
		talk(t, conn)
		for name, want := range map[string]string{"n1": "dial n1: that is this node", "n9": "no address of n9 is known"} {
			if _, err := n1.DialPeer(t.Context(), name); err == nil || err.Error() != want {
				t.Errorf("%v, want %s", err, want)
			}
		}
		c.close("n2")
		if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("after the peer was closed: %v", err)
		}
		if _, err := n1.DialPeer(t.Context(), "n2"); err == nil || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("dial of a closed peer: %v", err)
		}
		c.close("n1")
		if _, err := conn.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("after this node was closed: %v", err)
		}
		if _, err := n1.DialPeer(t.Context(), "n3"); !errors.Is(err, ErrClosed) {
			t.Errorf("dial on a closed node: %v", err)
		}
		if _, err := n1.PeerListener().Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("accept on a closed node: %v", err)
		}
	})
}

func TestAddressOfAnotherNode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, _ := openThree(t, nil)
		defer c.closeAll()
		c.close("n1")
		n1 := c.open("n1", testOptions{config: func(cfg *Config) {
			cfg.PeerListen = "127.0.0.1:7601"
			cfg.Members = []Member{
				{Name: "n1", PeerAddress: "127.0.0.1:7601"},
				{Name: "n2", PeerAddress: "127.0.0.1:7621"}, // n3's
				{Name: "n3", PeerAddress: "127.0.0.1:7631"}, // nobody's
			}
		}})
		// The founding still knows better.
		conn, err := n1.DialPeer(t.Context(), "n3")
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		c.close("n2")
		_, err = n1.DialPeer(t.Context(), "n2")
		want := "127.0.0.1:7621 is n3, not n2; 127.0.0.1:7611: connection refused"
		if err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	})
}

// A member that moved is found by what it announced.
func TestAnnouncedAddressIsDialed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, _ := openThree(t, nil)
		defer c.closeAll()
		c.close("n3")
		n3 := c.open("n3", testOptions{config: func(cfg *Config) { cfg.PeerListen = "127.0.0.1:9999" }})
		leader := c.leader("n1", "n2")
		if _, err := leader.Propose(t.Context(), &logv1.Command{Kind: &logv1.Command_AnnounceMember{
			AnnounceMember: &logv1.AnnounceMember{Member: &logv1.Member{Name: "n3", PeerAddress: "127.0.0.1:9999"}}}}); err != nil {
			t.Fatal(err)
		}
		r := leader.write(t, "a")
		if err := n3.fold.WaitIndex(t.Context(), r.Index); err != nil {
			t.Fatal(err)
		}
	})
}

func TestSilentClientIsDropped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, "n1")
		defer c.closeAll()
		n := c.open("n1")
		for name, sends := range map[string]string{"nothing": "", "half": "RCP\x01\x00\x00\x10\x00abc"} {
			conn, err := c.network.Dial(t.Context(), "127.0.0.1:7601")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Write([]byte(sends)); err != nil {
				t.Fatal(err)
			}
			begin := time.Now()
			if got, err := io.ReadAll(conn); len(got) > 0 || err != nil || time.Since(begin) != peerport.HandshakeTimeout {
				t.Errorf("who sends %s was told %q, %v after %s", name, got, err, time.Since(begin))
			}
			conn.Close()
		}
		synctest.Wait()
		if got := n.port.Handshakes(); got != 0 {
			t.Errorf("%d handshakes are left", got)
		}
	})
}

// Idle strangers must not keep a member out, nor make the node hold ever more of them.
func TestIdleStrangersMakeRoom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, _ := openThree(t, nil)
		defer c.closeAll()
		n := c.nodes["n1"]
		var strangers []net.Conn
		for range 5 * peerport.MaxHandshakes {
			conn, err := c.network.Dial(t.Context(), "127.0.0.1:7601")
			if err != nil {
				t.Fatal(err)
			}
			strangers = append(strangers, conn)
			synctest.Wait()
			if open := n.port.Handshakes(); open > peerport.MaxHandshakes {
				t.Fatalf("%d handshakes at once", open)
			}
		}
		go echo(n.PeerListener())
		conn, err := c.nodes["n2"].DialPeer(t.Context(), "n1")
		if err != nil {
			t.Fatal(err)
		}
		talk(t, conn)
		conn.Close()
		for _, conn := range strangers {
			conn.Close()
		}
	})
}

// Nobody accepts what a peer dials: it is closed and not kept.
func TestPeerListenerThatNobodyServes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, _ := openThree(t, nil)
		defer c.closeAll()
		var last net.Conn
		for range peerport.MaxUndelivered + 1 {
			var err error
			if last, err = c.nodes["n1"].DialPeer(t.Context(), "n2"); err != nil {
				t.Fatal(err)
			}
			synctest.Wait() // it has its place
		}
		begin := time.Now()
		if _, err := last.Read(make([]byte, 1)); err != io.EOF || time.Since(begin) > peerport.HandshakeTimeout {
			t.Errorf("%v after %s", err, time.Since(begin))
		}
	})
}

func TestRefusalIsLoggedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log logBuffer
		opts := map[string]testOptions{"n1": {config: func(cfg *Config) {
			cfg.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))
		}}}
		c, _ := openThree(t, opts)
		defer c.closeAll()
		v := c.nodes["n3"].view()
		v.DirectoryID = "dir-lost"
		say := func(change func(*peerv1.Hello)) string {
			conn, err := c.network.Dial(t.Context(), "127.0.0.1:7601")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			h := v.Hello(peerv1.Hello_PURPOSE_RAFT, "n1")
			change(h)
			if err := peerport.WriteHello(conn, h); err != nil {
				t.Fatal(err)
			}
			answer, err := peerport.ReadHello(conn)
			if err != nil {
				t.Fatal(err)
			}
			return answer.GetRefusal()
		}
		for i := range 100 {
			if got := say(func(*peerv1.Hello) {}); !strings.Contains(got, "n3 has another data directory") {
				t.Fatalf("refused with %q", got)
			}
			say(func(h *peerv1.Hello) { h.Node = fmt.Sprintf("stranger-%d", i) })
		}
		if got := strings.Count(log.String(), "peer is refused"); got != 2 {
			t.Errorf("%d refusals are logged, want one of n3 and one of the strangers:\n%s", got, log.String())
		}
	})
}

func TestPeerThatIsAwayIsLoggedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log logBuffer
		opts := map[string]testOptions{"n1": {config: func(cfg *Config) {
			cfg.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelInfo}))
		}}}
		c, _ := openThree(t, opts)
		defer c.closeAll()
		n1 := c.nodes["n1"]
		n1.await(t, "it leads", func(s Status) bool { return s.Leading }) // the first to be there
		away := time.Now()
		c.close("n2")
		time.Sleep(time.Minute)
		if got := strings.Count(log.String(), `msg="peer cannot be reached" node=n1 member=n2 reason="connection refused"`); got != 1 {
			t.Errorf("logged %d times:\n%s", got, log.String())
		}
		for _, p := range n1.Status().Peers {
			if want := map[string]string{"n2": "connection refused", "n3": ""}[p.Name]; p.Err != want {
				t.Errorf("%s: %q, want %q", p.Name, p.Err, want)
			}
			if p.Name == "n2" && p.Since.Sub(away) > time.Second {
				t.Errorf("n2 is away since %s, %s after its end\n%s", p.Since, p.Since.Sub(away), log.String())
			}
		}
		c.open("n2")
		time.Sleep(time.Minute)
		if got := strings.Count(log.String(), `msg="peer is back" node=n1 member=n2`); got != 1 {
			t.Errorf("logged %d times that it is back:\n%s", got, log.String())
		}
	})
}

// A follower dials nobody; it must not show for ever what it met at its start.
func TestPeerThatCallsIsNotAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, leader := openThree(t, nil)
		defer c.closeAll()
		var followers []string
		for _, name := range threeNames {
			if name != leader.cfg.Node {
				followers = append(followers, name)
			}
		}
		for _, name := range followers {
			c.close(name)
		}
		here := func() string {
			for _, p := range c.nodes[followers[0]].Status().Peers {
				if p.Name == followers[1] {
					return p.Err
				}
			}
			return "not dialed"
		}
		c.open(followers[0])
		if got := here(); got != "connection refused" {
			t.Errorf("%q", got)
		}
		c.open(followers[1])
		time.Sleep(time.Second)
		if got := here(); got != "" {
			t.Errorf("%q", got)
		}
	})
}

// boundTCP is TCP whose listeners are there from the beginning: a port that was let go in between could
// be somebody else's by then.
type boundTCP struct {
	peerport.TCP
	bound map[string]net.Listener // by address
}

func (n boundTCP) Listen(address string) (net.Listener, error) {
	if l := n.bound[address]; l != nil {
		return l, nil
	}
	return n.TCP.Listen(address)
}

// writeInRealTime writes on whoever leads, again on the next one if leadership moves, and returns it.
func (c *testCluster) writeInRealTime(id string) *testNode {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	for try := 0; ; try++ {
		changed := map[string]<-chan struct{}{}
		for name, n := range c.nodes {
			changed[name] = n.Changed()
		}
		for name, n := range c.nodes {
			if !n.Status().Leading {
				continue
			}
			_, err := n.Propose(ctx, command(fmt.Sprintf("%s.%d", id, try)))
			if err == nil {
				return n
			}
			c.t.Logf("%s: %v", name, err)
		}
		select {
		case <-changed["n1"]:
		case <-changed["n2"]:
		case <-changed["n3"]:
		case <-ctx.Done():
			c.t.Fatalf("%s cannot be written", id)
		}
	}
}

// The same over TCP, in real time.
func TestClusterOverTCP(t *testing.T) {
	c := newTestCluster(t, threeNames...)
	network := boundTCP{bound: map[string]net.Listener{}}
	for i := range c.members {
		l, err := network.TCP.Listen("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() // should no node be there to do it
		c.members[i].PeerAddress = l.Addr().String()
		network.bound[l.Addr().String()] = l
	}
	defer c.closeAll()
	for i, name := range threeNames {
		c.open(name, testOptions{config: func(cfg *Config) {
			cfg.Network = network
			cfg.PeerListen = c.members[i].PeerAddress
			// A member may be listed by a name that is resolved.
			cfg.Members = append([]Member{}, cfg.Members...)
			for i := range cfg.Members {
				cfg.Members[i].PeerAddress = strings.Replace(cfg.Members[i].PeerAddress, "127.0.0.1", "localhost", 1)
			}
		}})
	}
	leader := c.writeInRealTime("a")
	for _, n := range c.nodes {
		n.await(t, "there is a leader", func(s Status) bool { return s.Leader != "" })
	}
	other := "n1"
	if leader.cfg.Node == other {
		other = "n2"
	}
	go echo(c.nodes[other].PeerListener())
	conn, err := leader.DialPeer(t.Context(), other)
	if err != nil {
		t.Fatal(err)
	}
	talk(t, conn)

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := (peerport.TCP{}).Dial(ctx, "rollcall.invalid:1"); err == nil || !strings.Contains(peerport.Reason(err), "host not found") {
		t.Errorf("dial of a name that does not exist: %v", err)
	}
}
