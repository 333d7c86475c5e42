package peerport

import "errors"

// ErrClosed means that the node is stopping or has stopped.
var ErrClosed = errors.New("node is stopping")

// A RefusedError is a peer that answered and does not want the connection, or that this node does not
// want to talk to.
type RefusedError struct {
	Peer, Address string
	Reason        string
}

func (e *RefusedError) Error() string { return e.Reason }
