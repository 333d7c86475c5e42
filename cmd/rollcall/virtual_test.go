package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"
)

const (
	virtualFake   = "127.0.0.1:7600" // where the fake of a bubble is
	virtualSilent = "127.0.0.1:7610" // accepts and says nothing
	virtualCall   = time.Millisecond // what each call of the fake takes
)

// virtual runs a test that is about time in a bubble, with a fake at virtualFake: what a command does in
// 300 ms must not depend on how busy the machine is. Command lines are run by run.
func virtual(t *testing.T, do func(t *testing.T, f *fake, run func(args ...string) result)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		t.Setenv("ROLLCALL_ENDPOINTS", virtualFake)
		l := bufconn.Listen(64 << 10)
		f := serveFake(t, l, grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			time.Sleep(virtualCall)
			return next(ctx, req)
		}))
		f.address = virtualFake
		dial := func(ctx context.Context, address string) (net.Conn, error) {
			if other := f.others[address]; other != nil {
				return other.DialContext(ctx)
			}
			switch address {
			case virtualFake:
				return l.DialContext(ctx)
			case virtualSilent:
				near, far := net.Pipe()
				t.Cleanup(func() { errors.Join(near.Close(), far.Close()) })
				return near, nil
			}
			return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: tcpAddress(t, address), Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
		}
		f.dialer = []grpc.DialOption{grpc.WithContextDialer(dial)}
		do(t, f, func(args ...string) result {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			var stdout, stderr bytes.Buffer
			a := &app{
				stdin: strings.NewReader(""), stdout: &stdout, stderr: &lockedWriter{w: &stderr}, now: time.Now,
				dialer: f.dialer,
			}
			code := a.run(ctx, args)
			return ended(t, ctx, args, &stdout, &stderr, code)
		})
	})
}

func tcpAddress(t *testing.T, address string) *net.TCPAddr {
	t.Helper()
	a, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return a
}
