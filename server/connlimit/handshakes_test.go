package connlimit

import (
	"net"
	"testing"
	"time"
)

// TestYoungConnectionsAreForgottenWhenClosed: many that came and went in a moment are not kept, and those that are open
// are closed by CloseYoung.
func TestYoungConnectionsAreForgottenWhenClosed(t *testing.T) {
	in := make(incoming, 1)
	h := &Handshakes{Listener: in, Timeout: time.Hour}
	looks := 0
	var open []*fakeConn
	for i := range 1000 {
		conn := &fakeConn{remote: &net.TCPAddr{Port: i}, looks: &looks}
		in <- conn
		if _, err := h.Accept(); err != nil {
			t.Fatal(err)
		}
		if i%100 == 0 {
			open = append(open, conn)
		} else {
			conn.Close()
		}
	}
	if len(h.young) > 2*minLook {
		t.Errorf("%d are kept", len(h.young))
	}
	h.CloseYoung()
	for i, conn := range open {
		if !conn.isClosed() {
			t.Errorf("%d is open", i)
		}
	}
	if looks > 10_000 {
		t.Errorf("%d looks at 1,000 connections", looks)
	}
}
