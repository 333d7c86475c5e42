package checks

import (
	"context"
	"net"
)

// TCP returns a check that connects to addr, HOST:PORT, and closes the connection. It proves that the port is open,
// no more: the system accepts connections for a process that hangs. Where there is something to ask, HTTP or GRPC
// proves more.
//
// A check of another host is not critical by default; one of this host, by a loopback address, is.
func TCP(name, addr string) Check {
	c := &readymade{name: name, err: hostPort(addr)}
	if host, _, err := net.SplitHostPort(addr); err == nil {
		c.nonCritical = otherHost(host)
	}
	c.run = func(ctx context.Context) error {
		a := begin(ctx)
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if err != nil {
			return a.network(addr, err)
		}
		conn.Close()
		return nil
	}
	return c
}
