package peerport

import (
	"errors"
	"io"
	"syscall"
)

// ErrClosed means that the node is stopping or has stopped.
var ErrClosed = errors.New("node is stopping")

// A RefusedError is a peer that answered and does not want the connection, or that this node does not
// want to talk to.
type RefusedError struct {
	Peer, Address string
	Reason        string
}

func (e *RefusedError) Error() string { return e.Reason }

// noHelloError is a peer that has closed a connection in plain text before its hello. A port that needs TLS does that,
// and a process that ends.
type noHelloError struct{ err error }

func (*noHelloError) Error() string {
	return "closed the connection without a hello; does it need TLS (--tls required)?"
}

func (e *noHelloError) Unwrap() error { return e.err }

// withoutHello returns what an error means that came before the hello of a peer that was dialed in plain text.
func withoutHello(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return &noHelloError{err}
	}
	return err
}
