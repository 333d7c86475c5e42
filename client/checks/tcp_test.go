package checks

import (
	"io"
	"log"
	"net"
	"testing"
	"time"
)

var discardLog = log.New(io.Discard, "", 0)

func TestTCP(t *testing.T) {
	got := make(chan error, 1)
	addr := listen(t, func(conn net.Conn) {
		_, err := conn.Read(make([]byte, 1))
		got <- err
	})
	wantOK(t, within(t, TCP("x", addr), 5*time.Second))
	if err := <-got; err != io.EOF {
		t.Errorf("the connection was not closed in order: %v", err)
	}
	addr = closedPort(t)
	wantFailure(t, within(t, TCP("x", addr), 5*time.Second), addr+": connection refused")
	wantFailure(t, within(t, TCP("x", "nohost.invalid:80"), 5*time.Second), "nohost.invalid:80: the host is not known")
}
