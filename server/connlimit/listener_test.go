package connlimit

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// fakeConn holds a file descriptor, as far as Listener can tell.
type fakeConn struct {
	net.Conn
	remote net.Addr
	mu     sync.Mutex
	closed bool
	looks  *int // how often the descriptor was looked at
}

func (c *fakeConn) RemoteAddr() net.Addr { return c.remote }

func (c *fakeConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	return nil
}

func (c *fakeConn) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

func (c *fakeConn) SyscallConn() (syscall.RawConn, error) { return fakeRaw{c}, nil }

type fakeRaw struct{ *fakeConn }

func (r fakeRaw) Control(func(uintptr)) error {
	*r.looks++
	if r.isClosed() {
		return net.ErrClosed
	}
	return nil
}
func (fakeRaw) Read(func(uintptr) bool) error  { return nil }
func (fakeRaw) Write(func(uintptr) bool) error { return nil }

// incoming is a listener whose connections a test makes.
type incoming chan net.Conn

func (l incoming) Accept() (net.Conn, error) {
	if c, ok := <-l; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}
func (l incoming) Close() error   { close(l); return nil }
func (l incoming) Addr() net.Addr { return &net.TCPAddr{} }

// withListener runs test with a limit, in virtual time. arrive has a connection come, and says whether it was
// accepted.
func withListener(t *testing.T, limit int, test func(l *Listener, arrive func() (*fakeConn, bool), looks *int, logged *bytes.Buffer)) {
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		looks := 0
		in := make(incoming)
		l := New(in, limit, slog.New(slog.NewTextHandler(&logged, nil)))
		accepted := make(chan net.Conn, 1)
		var accepting sync.WaitGroup
		accepting.Go(func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					if !errors.Is(err, net.ErrClosed) {
						t.Error(err)
					}
					return
				}
				accepted <- conn
			}
		})
		time.Sleep(time.Hour) // so that nothing was looked at or logged just now
		test(l, func() (*fakeConn, bool) {
			// Addresses are equal: only the value itself tells them apart.
			c := &fakeConn{remote: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 7}, looks: &looks}
			in <- c
			synctest.Wait()
			select {
			case got := <-accepted:
				if got != net.Conn(c) {
					t.Error("another connection, or a wrapped one, was accepted")
				}
				return c, true
			default:
				return c, false
			}
		}, &looks, &logged)
		l.Close()
		accepting.Wait()
	})
}

// TestListenerRefusesOverTheLimit: what is over the limit is closed, and one that has closed makes room.
func TestListenerRefusesOverTheLimit(t *testing.T) {
	withListener(t, 3, func(l *Listener, arrive func() (*fakeConn, bool), looks *int, logged *bytes.Buffer) {
		var open []*fakeConn
		for range 3 {
			c, ok := arrive()
			if !ok || c.isClosed() {
				t.Fatal("one below the limit is refused")
			}
			open = append(open, c)
		}
		for range 2 {
			if c, ok := arrive(); ok || !c.isClosed() {
				t.Error("one over the limit is accepted, or stays open")
			}
		}
		if n := strings.Count(logged.String(), "connections are refused"); n != 1 {
			t.Errorf("logged %d times in a moment: %s", n, logged)
		}
		open[1].Close()
		time.Sleep(lookEvery)
		if _, ok := arrive(); !ok {
			t.Error("one that has closed makes no room")
		}
		if _, ok := arrive(); ok {
			t.Error("it made room for two")
		}
		time.Sleep(2 * time.Minute)
		if arrive(); strings.Count(logged.String(), "connections are refused") != 2 {
			t.Errorf("logged once more after a minute? %s", logged)
		}
	})
}

// TestListenerLooksSeldom: those who are refused again and again have it look at its connections once in
// lookEvery.
func TestListenerLooksSeldom(t *testing.T) {
	withListener(t, 100, func(l *Listener, arrive func() (*fakeConn, bool), looks *int, _ *bytes.Buffer) {
		for range 100 {
			arrive()
		}
		time.Sleep(time.Second)
		*looks = 0
		for range 1_000 {
			if _, ok := arrive(); ok {
				t.Fatal("one over the limit is accepted")
			}
		}
		if *looks > 100 {
			t.Errorf("%d looks at 100 connections in a moment", *looks)
		}
	})
}

// TestListenerForgetsWhatHasClosed, also far below the limit.
func TestListenerForgetsWhatHasClosed(t *testing.T) {
	withListener(t, 1_000_000, func(l *Listener, arrive func() (*fakeConn, bool), _ *int, _ *bytes.Buffer) {
		for range 10_000 {
			c, ok := arrive()
			if !ok {
				t.Fatal("refused")
			}
			c.Close()
		}
		if n := len(l.open); n > 200 {
			t.Errorf("it knows of %d connections; all have closed", n)
		}
	})
}

// TestListenerTellsConnectionsApart by the address value itself.
func TestListenerTellsConnectionsApart(t *testing.T) {
	withListener(t, 10, func(l *Listener, arrive func() (*fakeConn, bool), _ *int, _ *bytes.Buffer) {
		one, _ := arrive()
		two, _ := arrive()
		if l.Closed(one.remote) || l.Closed(two.remote) {
			t.Error("an open connection counts as closed")
		}
		if !l.Cut(one.remote) {
			t.Error("an open connection is not known")
		}
		if !one.isClosed() || two.isClosed() {
			t.Errorf("cut the first: closed are %t and %t", one.isClosed(), two.isClosed())
		}
		if !l.Closed(one.remote) || l.Closed(two.remote) {
			t.Error("the first has closed, the second has not")
		}
		if !l.Closed(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 7}) {
			t.Error("an address that is only equal counts as an open connection")
		}
		if l.Closed(&net.UnixAddr{}) {
			t.Error("a connection without a descriptor counts as closed")
		}
		if l.Cut(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 7}) || two.isClosed() {
			t.Error("a connection with an equal address was cut")
		}
	})
}

// TestPipesHaveNoLimit: they hold no file descriptor.
func TestPipesHaveNoLimit(t *testing.T) {
	in := make(incoming, 3)
	l := New(in, 1, slog.New(slog.DiscardHandler))
	for range 3 {
		a, b := net.Pipe()
		defer a.Close()
		defer b.Close()
		in <- a
		if got, err := l.Accept(); err != nil || got != a {
			t.Errorf("%v, %v", got, err)
		}
	}
}

// TestTCP: with connections of the system's.
func TestTCP(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := New(tcp, 1, slog.New(slog.DiscardHandler))
	accepted := make(chan net.Conn, 2)
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	})
	dial := func() net.Conn {
		conn, err := net.Dial("tcp", tcp.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	dial()
	first := <-accepted
	if _, err := dial().Read(make([]byte, 1)); err == nil {
		t.Error("one over the limit was sent something")
	}
	if l.Closed(first.RemoteAddr()) {
		// RemoteAddr of a TCP connection returns the same value each time: Closed rests on that.
		t.Error("an open connection counts as closed")
	}
	l.Cut(first.RemoteAddr())
	if _, err := io.ReadAll(first); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a connection that was cut: %v", err)
	}
	l.Close()
	accepting.Wait()
}

// TestHandshakes: CloseYoung closes those whose handshake may still be under way, and no others.
func TestHandshakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := make(incoming, 3)
		h := &Handshakes{Listener: in, Timeout: 5 * time.Second}
		looks := 0
		arrive := func() *fakeConn {
			c := &fakeConn{looks: &looks}
			in <- c
			if got, err := h.Accept(); err != nil || got != net.Conn(c) {
				t.Fatalf("%v, %v", got, err)
			}
			return c
		}
		old := arrive()
		time.Sleep(3 * time.Second)
		young := arrive()
		time.Sleep(3 * time.Second)
		youngest := arrive()
		if len(h.young) != 2 {
			t.Errorf("%d are remembered", len(h.young))
		}
		h.CloseYoung()
		if old.isClosed() || !young.isClosed() || !youngest.isClosed() {
			t.Errorf("closed: %t %t %t", old.isClosed(), young.isClosed(), youngest.isClosed())
		}
		in.Close()
		if _, err := h.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
}
