package transport

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	"github.com/rollcallhq/rollcall/raftnode/peerport"
	"github.com/rollcallhq/rollcall/raftnode/serveraddress"
)

// streams is the raft.StreamLayer over the peer port.
type streams struct {
	port        *peerport.Port
	dialTimeout time.Duration
	meant       func(raft.ServerAddress, string) error

	mu   sync.Mutex // guards open
	open map[*patientConn]raft.ServerAddress
}

func (s *streams) Accept() (net.Conn, error) {
	return s.port.Listener(peerv1.Hello_PURPOSE_RAFT).Accept()
}

func (s *streams) Close() error {
	s.port.CloseConnections(peerv1.Hello_PURPOSE_RAFT)
	return nil
}

// Addr is the node's name: raft takes its own address from it.
func (s *streams) Addr() net.Addr { return s.port.Listener(peerv1.Hello_PURPOSE_RAFT).Addr() }

// Dial connects to the server that an address means: also to its data directory. A member that was replaced has the name
// of its predecessor, but not the predecessor's log and vote.
func (s *streams) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	if s.port.Closed(peerv1.Hello_PURPOSE_RAFT) {
		return nil, peerport.ErrClosed
	}
	ctx, cancel := context.WithTimeout(s.port.Context(), min(timeout, s.dialTimeout))
	defer cancel()
	name, _ := serveraddress.Split(address)
	conn, err := s.port.DialDirectory(ctx, name, peerv1.Hello_PURPOSE_RAFT, func(directory string) error {
		return s.meant(address, directory)
	})
	if err != nil {
		return nil, errors.New(name + ": " + peerport.Reason(err))
	}
	patient := &patientConn{Conn: conn, streams: s}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open[patient] = address
	return patient, nil
}

// retain ends the connections to all other servers.
func (s *streams) retain(addresses map[raft.ServerAddress]bool) {
	var others []*patientConn
	s.mu.Lock()
	for conn, address := range s.open {
		if !addresses[address] {
			others = append(others, conn)
		}
	}
	s.mu.Unlock()
	for _, conn := range others {
		_ = conn.Close()
	}
}

// slowestLink is the rate, in bytes a second, down to which a link can carry what raft sends in the time
// that it has.
const slowestLink = 64 << 10

// patientConn is a connection whose deadline moves on with each write, by the time that a slow link takes
// to carry it: raft's transport gives each request the same time, however large it is.
type patientConn struct {
	net.Conn
	streams  *streams
	deadline time.Time // zero: none. Raft uses a connection from one goroutine at a time
}

func (c *patientConn) Close() error {
	c.streams.mu.Lock()
	delete(c.streams.open, c)
	c.streams.mu.Unlock()
	return c.Conn.Close()
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
