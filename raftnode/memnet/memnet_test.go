package memnet

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/nettest"
)

// connect returns both ends of a connection from a to b.
func connect(t *testing.T, m *Network, a, b string) (near, far net.Conn) {
	t.Helper()
	l, err := m.Host(b).Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if near, err = m.Host(a).Dial(t.Context(), l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if far, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return near, far
}

func TestConnIsANetConn(t *testing.T) {
	nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
		a, b := connect(t, New(), "a", "b")
		return a, b, func() { a.Close(); b.Close() }, nil
	})
}

func TestListener(t *testing.T) {
	m := New()
	l, err := m.Listen("127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Listen("127.0.0.1:1"); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a second listener: %v", err)
	}
	if _, err := m.Listen("here"); err == nil {
		t.Error("an address without a port is listened on")
	}
	waiting, err := m.Dial(t.Context(), "127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Close(), l.Close()); err != nil {
		t.Error(err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept after close: %v", err)
	}
	if _, err := waiting.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("a connection that nobody accepted: %v", err)
	}
	waiting.Close()
	if len(m.links) != 0 {
		t.Errorf("%d connections are remembered", len(m.links))
	}
	if _, err := m.Dial(t.Context(), "127.0.0.1:1"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial without a listener: %v", err)
	}
	if l, err = m.Listen("127.0.0.1:1"); err != nil {
		t.Errorf("listen again: %v", err)
	}
	l.Close()
}

func TestStalledConnGoesOnAfterHeal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New()
		near, far := connect(t, m, "a", "b")
		other, otherFar := connect(t, m, "a", "c")
		m.Partition(Stall, "b", "a")
		if _, err := near.Write([]byte("late")); err != nil {
			t.Fatal(err)
		}
		if err := far.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 4)
		if _, err := far.Read(b); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read across a partition: %v", err)
		}
		// Nor does the news of a close come through.
		if err := near.Close(); err != nil {
			t.Fatal(err)
		}
		if err := far.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := far.Read(b); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read across a partition after close: %v", err)
		}
		if _, err := other.Write([]byte("fine")); err != nil {
			t.Error(err)
		}
		if _, err := io.ReadFull(otherFar, b); err != nil || string(b) != "fine" {
			t.Errorf("beside the partition: %q, %v", b, err)
		}
		if err := far.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Minute, m.Heal)
		got, err := io.ReadAll(far)
		if string(got) != "late" || err != nil {
			t.Errorf("after heal: %q, %v", got, err)
		}
	})
}

func TestStalledWriteWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New()
		near, far := connect(t, m, "a", "b")
		m.Isolate(Stall, "a")
		if err := near.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := near.Write(make([]byte, pipeBuffer+1))
		if n != pipeBuffer || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("wrote %d, %v", n, err)
		}
		near.Close()
		m.Heal()
		if got, err := io.ReadAll(far); len(got) != pipeBuffer || err != nil {
			t.Errorf("read %d, %v", len(got), err)
		}
	})
}

func TestDialAcrossAPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New()
		l, err := m.Host("b").Listen("127.0.0.1:1")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		near, far := connect(t, m, "a", "b")
		m.Partition(Reset, "a", "b")
		for _, c := range []net.Conn{near, far} {
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("read of a broken connection: %v", err)
			}
			if _, err := c.Write(bytes.Repeat([]byte("x"), 10)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("write to a broken connection: %v", err)
			}
		}
		if _, err := m.Host("a").Dial(t.Context(), "127.0.0.1:1"); !errors.Is(err, syscall.EHOSTUNREACH) {
			t.Errorf("dial: %v", err)
		}
		m.Heal()
		m.Partition(Stall, "a", "b")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := m.Host("a").Dial(ctx, "127.0.0.1:1"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("dial: %v", err)
		}
		if _, err := m.Dial(t.Context(), "127.0.0.1:1"); err != nil {
			t.Errorf("a host without a name: %v", err)
		}
		begin := time.Now()
		time.AfterFunc(time.Hour, m.Heal)
		if _, err := m.Host("a").Dial(t.Context(), "127.0.0.1:1"); err != nil || time.Since(begin) != time.Hour {
			t.Errorf("dial after heal: %v, waited %s", err, time.Since(begin))
		}
	})
}

// TestOneWay: what one host dials to another is cut, and what it dials back is not; with Undialed the connections that
// are there go on.
func TestOneWay(t *testing.T) {
	for _, how := range []Cut{Stall, Reset, Refuse} {
		for _, undialed := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				m := New()
				there, at := connect(t, m, "a", "b")
				back, backAt := connect(t, m, "b", "a")
				defer func() {
					for _, c := range []net.Conn{there, at, back, backAt} {
						c.Close()
					}
				}()
				a, err := m.Host("a").Listen("127.0.0.2:1")
				if err != nil {
					t.Fatal(err)
				}
				defer a.Close()
				b, err := m.Host("b").Listen("127.0.0.3:1")
				if err != nil {
					t.Fatal(err)
				}
				defer b.Close()
				dial := func(from, to string) error {
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					defer cancel()
					conn, err := m.Host(from).Dial(ctx, to)
					if err == nil {
						conn.Close()
					}
					return err
				}
				passes := func(from, to net.Conn) bool {
					for _, way := range [][2]net.Conn{{from, to}, {to, from}} {
						if err := way[1].SetReadDeadline(time.Now().Add(time.Second)); err != nil {
							t.Fatal(err)
						}
						if _, err := way[0].Write([]byte{1}); err != nil {
							return false
						}
						if _, err := io.ReadFull(way[1], make([]byte, 1)); err != nil {
							return false
						}
					}
					return true
				}
				if undialed {
					m.Undialed(how, "a", "b")
				} else {
					m.OneWay(how, "a", "b")
				}
				if err := dial("a", "127.0.0.3:1"); err == nil {
					t.Errorf("%v, undialed %v: a dial went through", how, undialed)
				}
				if err := dial("b", "127.0.0.2:1"); err != nil {
					t.Errorf("%v, undialed %v: a dial the other way: %v", how, undialed, err)
				}
				if !passes(back, backAt) {
					t.Errorf("%v, undialed %v: the connection the other way is cut", how, undialed)
				}
				if got := passes(there, at); got != undialed {
					t.Errorf("%v, undialed %v: the connection that was there passes: %v", how, undialed, got)
				}
				m.Heal()
				if err := dial("a", "127.0.0.3:1"); err != nil {
					t.Errorf("%v, undialed %v: after healing: %v", how, undialed, err)
				}
			})
		}
	}
}
