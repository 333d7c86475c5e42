package peerport

import (
	"context"
	"net"
)

// Network is how a node reaches others: TCP, or in tests a memnet.Host.
type Network interface {
	// Listen accepts connections at an address of the form host:port.
	Listen(address string) (net.Listener, error)
	// Dial connects to an address of the form host:port. A host name is resolved every time.
	Dial(ctx context.Context, address string) (net.Conn, error)
}
