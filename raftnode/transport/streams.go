package transport

import (
	"context"
	"errors"
	"net"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	"github.com/rollcallhq/rollcall/raftnode/peerport"
)

// streams is the raft.StreamLayer over the peer port.
type streams struct {
	port        *peerport.Port
	dialTimeout time.Duration
}

func (s streams) Accept() (net.Conn, error) {
	return s.port.Listener(peerv1.Hello_PURPOSE_RAFT).Accept()
}

func (s streams) Close() error {
	s.port.CloseConnections(peerv1.Hello_PURPOSE_RAFT)
	return nil
}

// Addr is the node's name: raft takes its own address from it.
func (s streams) Addr() net.Addr { return s.port.Listener(peerv1.Hello_PURPOSE_RAFT).Addr() }

func (s streams) Dial(name raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	if s.port.Closed(peerv1.Hello_PURPOSE_RAFT) {
		return nil, peerport.ErrClosed
	}
	ctx, cancel := context.WithTimeout(s.port.Context(), min(timeout, s.dialTimeout))
	defer cancel()
	member, _, _ := strings.Cut(string(name), "/") // then follows its data directory: see package roster
	conn, err := s.port.Dial(ctx, member, peerv1.Hello_PURPOSE_RAFT)
	if err != nil {
		return nil, errors.New(member + ": " + peerport.Reason(err))
	}
	return &patientConn{Conn: conn}, nil
}

// slowestLink is the rate, in bytes a second, down to which a link can carry what raft sends in the time
// that it has.
const slowestLink = 64 << 10

// patientConn is a connection whose deadline moves on with each write, by the time that a slow link takes
// to carry it: raft's transport gives each request the same time, however large it is.
type patientConn struct {
	net.Conn
	deadline time.Time // zero: none. Raft uses a connection from one goroutine at a time
}

func (c *patientConn) SetDeadline(t time.Time) error {
	c.deadline = t
	return c.Conn.SetDeadline(t)
}

func (c *patientConn) Write(b []byte) (int, error) {
	if !c.deadline.IsZero() {
		c.deadline = c.deadline.Add(time.Duration(len(b)) * time.Second / slowestLink)
		if err := c.Conn.SetDeadline(c.deadline); err != nil {
			return 0, err
		}
	}
	return c.Conn.Write(b)
}
