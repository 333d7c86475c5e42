package checks

import (
	"context"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"
)

// blackhole returns an address that takes no more connections: the listener's queue is full, so the kernel answers
// nothing at all, as a firewall that drops.
func blackhole(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	bound, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", bound.(*syscall.SockaddrInet4).Port)
	for range 10 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		cancel()
		if err != nil {
			return addr
		}
		t.Cleanup(func() { conn.Close() })
	}
	t.Skip("this kernel takes connections that no queue has room for")
	return ""
}

// TestBlackhole: nothing answers the connection, not even with a refusal.
func TestBlackhole(t *testing.T) {
	addr := blackhole(t)
	begun := make(chan struct{})
	close(begun)
	for _, c := range []Check{TCP("x", addr), HTTP("x", "http://"+addr), HTTP("x", "https://"+addr), GRPC("x", addr), CertEndpoint("x", addr)} {
		wantLate(t, within(t, c, hang), addr)
		stopped(t, c, begun)
	}
}
