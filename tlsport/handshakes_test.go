package tlsport

import (
	"context"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fakeConn comes from an address, and takes note of its end.
type fakeConn struct {
	net.Conn
	from string
	once sync.Once
	end  chan struct{}
}

func (c *fakeConn) RemoteAddr() net.Addr { return fakeAddr(c.from) }

func (c *fakeConn) Close() error {
	c.once.Do(func() { close(c.end) })
	return nil
}

func (c *fakeConn) ended() bool {
	synctest.Wait()
	select {
	case <-c.end:
		return true
	default:
		return false
	}
}

type fakeAddr string

func (fakeAddr) Network() string  { return "tcp" }
func (a fakeAddr) String() string { return string(a) }

// testHandshakes are used by hand, in a bubble.
type testHandshakes struct {
	*Handshakes
	port *Port
}

// one is a handshake of such.
type one struct {
	*handshake
	conn *fakeConn
	turn chan bool // what ready returned; capacity 1: it is called once
}

func (h testHandshakes) begin(from string) one {
	conn := &fakeConn{from: from, end: make(chan struct{})}
	c := &Conn{Conn: conn, port: h.port, gone: make(chan struct{})}
	c.handshake = h.open(c)
	return one{c.handshake, conn, make(chan bool, 1)}
}

// hello is the whole hello of one.
func (o one) hello() one {
	go func() { o.turn <- o.ready(HandshakeTimeout) }()
	synctest.Wait()
	return o
}

// at says how far one is.
func (o one) at() stage {
	o.all.mu.Lock()
	defer o.all.mu.Unlock()
	return o.stage
}

func (h testHandshakes) answered(from string) one {
	o := h.begin(from).hello()
	o.wasAnswered()
	return o
}

// TestTurns: as many compute as may, and as many are answered. The newest is next.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := testHandshakes{NewHandshakes(1000), new(Port)}
		var all []one
		for range maxComputing {
			all = append(all, h.begin("10.0.0.1:1").hello())
		}
		older, newer := h.begin("10.0.0.1:1").hello(), h.begin("10.0.0.1:1").hello()
		if all[maxComputing-1].at() != computing || older.at() != opening || newer.at() != opening {
			t.Fatalf("stages %v, %v, %v", all[maxComputing-1].at(), older.at(), newer.at())
		}
		all[0].wasAnswered()
		if older.at() != opening || newer.at() != computing || !<-newer.turn {
			t.Errorf("the next: %v, %v", older.at(), newer.at())
		}
		all[1].end() // without an answer
		if older.at() != computing {
			t.Errorf("the one after it: %v", older.at())
		}
		late := h.begin("10.0.0.1:1").hello()
		time.Sleep(HandshakeTimeout)
		if <-late.turn || late.at() != opening || h.waiting.Len() != 0 {
			t.Errorf("one that has waited: %v", late.at())
		}
		gone := h.begin("10.0.0.1:1").hello()
		gone.handshake.conn.abort()
		if <-gone.turn {
			t.Error("one that is gone has its turn")
		}
		for _, o := range append(all, older, newer, late, gone) {
			o.end()
			o.end()
			o.wasAnswered()
		}
		if h.computing != 0 || h.hanging() != 0 || len(h.of) != 0 {
			t.Errorf("in the end %d compute, %d are answered, of %v", h.computing, h.hanging(), h.of)
		}
	})
}

func (h testHandshakes) hanging() int { return h.Handshakes.answered.Len() + h.dropped }

// TestWhoHangsMakesRoom: one that is answered and does not go on is dropped when others wait, after patience, and in a
// flood sooner. Its place is free when it is over.
func TestWhoHangsMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := testHandshakes{NewHandshakes(6), new(Port)}
		a := h.answered("10.0.0.1:1")
		time.Sleep(patience / 2)
		b := h.answered("10.0.0.2:1")
		time.Sleep(2 * patience)
		if a.conn.ended() || b.conn.ended() {
			t.Fatal("dropped, and nobody waits")
		}
		a.wasAnswered() // as after a second hello
		waits := h.begin("10.0.0.3:1").hello()
		if a.conn.ended() || !b.conn.ended() {
			t.Errorf("dropped: a %v, b %v", a.conn.ended(), b.conn.ended())
		}
		another := h.begin("10.0.0.3:1").hello()
		if a.conn.ended() {
			t.Error("one that has just been answered is dropped")
		}
		another.handshake.conn.Close()
		if waits.at() != opening {
			t.Errorf("there is no place, and one that waits is at %v", waits.at())
		}
		time.Sleep(2 * patience)
		if a.conn.ended() {
			t.Error("two are dropped for one")
		}
		b.end()
		if waits.at() != computing || !<-waits.turn {
			t.Errorf("there is a place, and one that waits is at %v", waits.at())
		}
		waits.end()
		c := h.answered("10.0.0.3:1")
		two := []one{h.begin("10.0.0.4:1").hello(), h.begin("10.0.0.4:1").hello()}
		if !a.conn.ended() || c.conn.ended() {
			t.Errorf("dropped: a %v, c %v", a.conn.ended(), c.conn.ended())
		}
		time.Sleep(patience - time.Millisecond)
		if c.conn.ended() {
			t.Error("c is dropped too soon")
		}
		time.Sleep(time.Millisecond)
		if !c.conn.ended() {
			t.Error("c is not dropped")
		}
		for _, o := range append(two, a, c) {
			o.handshake.conn.Close()
		}
		// A flood.
		d := h.hanging()
		for range 7 {
			h.begin("10.0.0.5:1")
		}
		e := h.begin("10.0.0.6:1").hello()
		if d != 0 || e.at() != computing {
			t.Fatalf("%d are answered, e is at %v", d, e.at())
		}
		e.wasAnswered()
		time.Sleep(floodPatience)
		f := h.begin("10.0.0.7:1").hello()
		f.wasAnswered()
		g := h.begin("10.0.0.7:1").hello()
		if !e.conn.ended() || f.conn.ended() {
			t.Errorf("in a flood: dropped: e %v, f %v; g is at %v", e.conn.ended(), f.conn.ended(), g.at())
		}
		h.close()
		synctest.Wait()
	})
}

// TestShares: an address that has more than a quarter of what may be makes room before others, and comes after them.
func TestShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := testHandshakes{NewHandshakes(200), new(Port)}
		fair := h.answered("10.0.0.1:1")
		silent := h.begin("10.0.0.1:2")
		for range 99 {
			h.answered("10.0.0.2:1")
		}
		time.Sleep(patience)
		hangs := h.begin("10.0.0.2:1").hello()
		for range 198 {
			h.begin("10.0.0.2:1")
		}
		time.Sleep(floodPatience)
		first := h.begin("10.0.0.3:1").hello()
		second := h.begin("10.0.0.2:2").hello()
		if fair.conn.ended() || silent.conn.ended() {
			t.Errorf("dropped: one that is answered %v, one that is not %v", fair.conn.ended(), silent.conn.ended())
		}
		if h.opening.Len() != 200 || hangs.conn.ended() != true {
			t.Errorf("%d are open; the oldest of the many is dropped: %v", h.opening.Len(), hangs.conn.ended())
		}
		for e := h.Handshakes.answered.Front(); e != nil && first.at() == opening; e = h.Handshakes.answered.Front() {
			if s := e.Value.(*handshake); s != fair.handshake {
				s.end()
				continue
			}
			h.Handshakes.answered.MoveToBack(e)
		}
		if first.at() != computing || second.at() != opening {
			t.Errorf("the next: %v, of the many: %v", first.at(), second.at())
		}
		h.close()
	})
}

// TestNetworks: the addresses of one network count together, and ports do not.
func TestNetworks(t *testing.T) {
	for a, want := range map[string]string{
		"10.1.2.3:4": "10.1.2.3", "[::ffff:10.1.2.3]:9": "10.1.2.3", "[2001:db8:1:2:3:4:5:6]:7": "2001:db8:1:2::/64", "[fe80::1%eth0]:7": "fe80::/64", "pipe": "pipe",
	} {
		if got := network(fakeAddr(a)); got != want {
			t.Errorf("%s: %s, want %s", a, got, want)
		}
	}
	if got := network(nil); got != "" {
		t.Errorf("without an address: %q", got)
	}
}

// TestGarbage: garbage is collected while many handshakes hang, and only then.
func TestGarbage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := testHandshakes{NewHandshakes(MaxHandshakes), new(Port)}
		for range 2 * collectAfter {
			h.answered("10.0.0.1:1").end()
		}
		if len(h.collect) != 0 {
			t.Error("garbage is collected for handshakes that are over")
		}
		for range 2 * collectAfter {
			h.answered("10.0.0.1:1")
		}
		if len(h.collect) != 1 {
			t.Error("garbage is not collected")
		}
		last := h.begin("10.0.0.1:1").hello()
		if last.at() != opening {
			t.Error("there is no end of garbage")
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			h.Run(ctx)
		}()
		synctest.Wait()
		if len(h.collect) != 0 {
			t.Error("nobody collects garbage")
		}
		if last.at() != computing {
			t.Error("nobody goes on when garbage is collected")
		}
		cancel()
		<-done
		if o := h.begin("10.0.0.1:1").hello(); <-o.turn {
			t.Error("one has its turn after the end")
		}
	})
}
