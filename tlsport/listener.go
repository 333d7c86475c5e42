package tlsport

import "net"

// Listen returns l, secured. Accept waits for no handshake: the first Read of a connection does it, on the goroutine of
// the connection.
func (p *Port) Listen(l net.Listener) net.Listener { return listener{l, p} }

type listener struct {
	net.Listener
	port *Port
}

// Accept implements net.Listener.
func (l listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.port.Accept(conn), nil
}
