package tlsport

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"os"
	"sync/atomic"
	"testing"

	"github.com/rollcallhq/rollcall/certs"
	"github.com/rollcallhq/rollcall/internal/tlstest"
)

// stalling is a connection whose other side stops reading: writes fail as they do when their deadline has passed.
type stalling struct {
	net.Conn
	stalled atomic.Bool
	tried   atomic.Int64 // writes since
}

func (c *stalling) Write(b []byte) (int, error) {
	if !c.stalled.Load() {
		return c.Conn.Write(b)
	}
	c.tried.Add(1)
	return 0, os.ErrDeadlineExceeded
}

type stallingListener struct {
	net.Listener
	last *stalling
}

func (l *stallingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.last = &stalling{Conn: c}
	return l.last, nil
}

// TestNoGoodbyeToWhoDoesNotRead: a connection on which a write has failed is closed at once. TLS would wait 5 s for who is
// cut off because it does not read, to say goodbye.
func TestNoGoodbyeToWhoDoesNotRead(t *testing.T) {
	for _, failed := range []bool{false, true} {
		source := tlstest.Open(t, tlstest.NewCA(t, "ca").Issue([]string{"n1"}))
		port := New(Config{Name: "test", Mode: Required, Source: source, ClientCertificate: certs.Optional, Handshakes: NewHandshakes(10), Logger: slog.New(slog.DiscardHandler)})
		raw, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l := &stallingListener{Listener: raw}
		client, err := net.Dial("tcp", raw.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		shook := make(chan error, 1)
		go func() { shook <- tls.Client(client, &tls.Config{InsecureSkipVerify: true}).Handshake() }()
		secured := port.Listen(l)
		defer secured.Close()
		c, err := secured.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.(*Conn).Handshake(); err != nil {
			t.Fatal(err)
		}
		if err := <-shook; err != nil {
			t.Fatal(err)
		}
		l.last.stalled.Store(true)
		if failed {
			if _, err := c.Write([]byte("an event")); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("a write to who does not read: %v", err)
			}
		}
		tried := l.last.tried.Load()
		_ = c.Close()
		if said := l.last.tried.Load() > tried; said == failed {
			t.Errorf("a write has failed: %v; goodbye was said: %v", failed, said)
		}
		if _, err := c.Write([]byte("more")); err == nil {
			t.Error("it is not closed")
		}
	}
}
