package peerport

import (
	"context"
	"net"
	"time"
)

// keepAlive finds peers that went away without a word within about half a minute: a connection
// that raft only reads from would otherwise stay for ever.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 4}

// TCP is the Network of real nodes.
type TCP struct{}

// Listen listens on a TCP address.
func (TCP) Listen(address string) (net.Listener, error) {
	lc := net.ListenConfig{KeepAliveConfig: keepAlive}
	return lc.Listen(context.Background(), "tcp", address)
}

// Dial connects to a TCP address. Only ctx bounds the time it takes.
func (TCP) Dial(ctx context.Context, address string) (net.Conn, error) {
	d := net.Dialer{KeepAliveConfig: keepAlive}
	return d.DialContext(ctx, "tcp", address)
}
