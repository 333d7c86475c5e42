package peerport

import (
	"container/list"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"sync"
	"time"

	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	"github.com/rollcallhq/rollcall/tlsport"
)

const (
	// HandshakeTimeout is how long the other side has for its hello and its answer.
	HandshakeTimeout = 5 * time.Second
	// MaxHandshakes is how many connections may be without their hello, the TLS handshake not counted, which has its
	// own bounds. A member needs milliseconds, so the oldest makes room for a new one: idle strangers cannot keep
	// members out.
	MaxHandshakes = 64
)

// Config is what a Port is made of. All fields but Answered, Again, Failover, TLS and Names are required.
type Config struct {
	Node    string
	Listen  string // host:port
	Network Network
	// MaxConnections is the most connections that this node and others have open to each other for one
	// purpose. Members need a few. 0: no limit.
	MaxConnections int
	Logger         *slog.Logger
	View           func() View
	// Resolve returns the addresses at which a member may be found, the likeliest first.
	Resolve func(name string) []string
	// Met is told of every hello, from both sides. It must not block.
	Met func(*peerv1.Hello)
	// Answered is told of every hello that answered this node at an address that it dialed, from the member that was
	// dialed, as its certificate says. It must not block; nil: nobody is told.
	Answered func(address string, h *peerv1.Hello)
	// Again is called when a peer has called that could not be connected to: to dial it now tells why. It must not block;
	// nil: nobody does.
	Again func()
	// Failover answers another voter that has lost its leader; nil: this node answers no such question.
	Failover func(ctx context.Context, from string, q *peerv1.LeaderLoss) *peerv1.LeaderLoss

	// TLS secures the connections; nil: plain text.
	TLS *tlsport.Port
	// Names says why a certificate is not that of the named member; nil: it is. With TLS, a Names that is nil takes each
	// certificate that verifies for that of any member.
	Names func(certificate *x509.Certificate, member string) error
}

// Port is the port on which this node accepts other nodes. It dials them too.
type Port struct {
	cfg          Config
	reachability *reachability
	levels       levels
	fromPeers    *PeerConnections // of raft
	listener     net.Listener
	handoffs     map[peerv1.Hello_Purpose]*handoff // dialed connections are in their sets too

	ctx    context.Context // ends dials and handshakes at close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu         sync.Mutex            // guards all below
	securing   map[net.Conn]struct{} // in their TLS handshake
	handshakes list.List             // of net.Conn whose hello is awaited, oldest first
	refusals   map[string]string
	inPlain    map[string]string // peers that were dialed in plain text last → why TLS failed
}

type nodeAddr string

func (nodeAddr) Network() string  { return "rollcall" }
func (a nodeAddr) String() string { return string(a) }

// Open listens.
func Open(cfg Config) (*Port, error) {
	l, err := cfg.Network.Listen(cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for peers on %s: %w", cfg.Listen, err)
	}
	p := &Port{
		cfg:          cfg,
		reachability: newReachability(cfg.Logger),
		fromPeers:    NewPeerConnections(),
		listener:     l,
		refusals:     map[string]string{},
		inPlain:      map[string]string{},
		securing:     map[net.Conn]struct{}{},
		handoffs: map[peerv1.Hello_Purpose]*handoff{
			// Raft takes its own address from its listener: that is the node's name.
			peerv1.Hello_PURPOSE_RAFT:  newHandoff(nodeAddr(cfg.Node), cfg.MaxConnections),
			peerv1.Hello_PURPOSE_RPC:   newHandoff(l.Addr(), cfg.MaxConnections),
			peerv1.Hello_PURPOSE_CLOCK: newHandoff(l.Addr(), cfg.MaxConnections),
		},
	}
	p.handoffs[peerv1.Hello_PURPOSE_RAFT].peerConnections = p.fromPeers
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.wg.Go(p.accept)
	return p, nil
}

// Listener accepts the connections of members for one purpose, after their hello. It is nil for a probe,
// which ends with the answer.
func (p *Port) Listener(purpose peerv1.Hello_Purpose) net.Listener {
	if h := p.handoffs[purpose]; h != nil {
		return h
	}
	return nil
}

// CloseConnections ends all connections of one purpose, from both sides, and refuses new ones.
func (p *Port) CloseConnections(purpose peerv1.Hello_Purpose) { p.handoffs[purpose].closeAll() }

// Closed reports whether connections of this purpose are refused.
func (p *Port) Closed(purpose peerv1.Hello_Purpose) bool { return p.handoffs[purpose].closed() }

// FromPeers counts the raft connections from each peer.
func (p *Port) FromPeers() *PeerConnections { return p.fromPeers }

// Peers returns how the last try to reach each peer ended, by name.
func (p *Port) Peers() []PeerStatus { return p.reachability.list() }

// Keep forgets all peers but those named: how they were reached, what they can read, and why they were refused. It ends
// the connections with them, and those with another data directory than a peer is recognised by: whoever dials again is
// told why.
func (p *Port) Keep(names map[string]bool) {
	gone := func(name string) bool { return name != "" && !names[name] }
	v := p.cfg.View()
	for _, h := range p.handoffs {
		h.set.retain(func(peer, dir string) bool {
			return names[peer] && v.recognises(&peerv1.Hello{Node: peer, DirectoryId: dir})
		})
	}
	p.reachability.forget(gone)
	p.levels.forget(gone)
	p.fromPeers.forget(gone)
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.DeleteFunc(p.refusals, func(name, _ string) bool { return gone(name) })
	maps.DeleteFunc(p.inPlain, func(name, _ string) bool { return gone(name) })
}

// CannotReach returns the peers that could not be connected to lately, whether they call or not, by name. Since is when
// that began.
func (p *Port) CannotReach() []PeerStatus { return p.reachability.cannotReach() }

// Unreachable returns for how long the named peer could not be connected to, and how the last try failed; 0: it could
// be, or nobody has tried lately.
func (p *Port) Unreachable(name string) (time.Duration, string) {
	return p.reachability.unreachable(name)
}

// Context ends when the port closes.
func (p *Port) Context() context.Context { return p.ctx }

// Close ends everything at once. It waits for the goroutines of handshakes, which end with their
// connections.
func (p *Port) Close() {
	p.cancel()
	_ = p.listener.Close()
	for _, h := range p.handoffs {
		h.closeAll()
	}
	p.mu.Lock()
	for conn := range p.securing {
		_ = conn.Close()
	}
	for e := p.handshakes.Front(); e != nil; e = e.Next() {
		_ = e.Value.(net.Conn).Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
}

func (p *Port) accept() {
	var wait time.Duration
	for {
		conn, err := p.listener.Accept()
		if err == nil {
			wait = 0
			p.admit(conn)
			continue
		}
		if p.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return
		}
		// As net/http does: out of file descriptors, most likely.
		wait = min(max(2*wait, 5*time.Millisecond), time.Second)
		p.cfg.Logger.Error("peer connections are not accepted", "error", err, "retry_in", wait.String())
		select {
		case <-time.After(wait):
		case <-p.ctx.Done():
			return
		}
	}
}

// admit starts the handshake of a new connection.
func (p *Port) admit(conn net.Conn) {
	if conn.SetDeadline(time.Now().Add(HandshakeTimeout)) != nil {
		_ = conn.Close()
		return
	}
	accepted := p.accepted(conn)
	if !p.secures(accepted) {
		_ = accepted.conn.Close()
		return
	}
	// In plain text the oldest makes room before another one is accepted: a burst opens no more files than are planned.
	var e *list.Element
	if accepted.tls == nil {
		e = p.secured(accepted, true)
	}
	p.wg.Go(func() {
		ctx, cancel := context.WithTimeout(p.ctx, HandshakeTimeout)
		defer cancel()
		if accepted.tls != nil {
			err := accepted.handshake()
			if err != nil {
				p.withoutHello(conn, err)
			}
			e = p.secured(accepted, err == nil)
		}
		if e == nil {
			_ = accepted.conn.Close()
			return
		}
		ok := p.handshake(ctx, accepted)
		p.mu.Lock()
		p.handshakes.Remove(e)
		p.mu.Unlock()
		if !ok {
			_ = accepted.conn.Close()
		}
	})
}

// secures takes note of a connection whose TLS handshake begins. It returns false after Close.
func (p *Port) secures(accepted acceptedConn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() != nil {
		return false
	}
	p.securing[accepted.conn] = struct{}{}
	return true
}

// secured takes note of a connection whose TLS handshake is over, and whose hello is awaited if that went well. The
// oldest of those makes room for it: so strangers who cannot finish a TLS handshake take no room of members. It returns
// nil for a connection that is to be closed.
func (p *Port) secured(accepted acceptedConn, ok bool) *list.Element {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.securing, accepted.conn)
	if !ok || p.ctx.Err() != nil {
		return nil
	}
	if p.handshakes.Len() >= MaxHandshakes {
		_ = p.handshakes.Remove(p.handshakes.Front()).(net.Conn).Close()
	}
	return p.handshakes.PushBack(accepted.raw)
}

// withoutHello logs a connection that brings no hello: a scanner, a health probe of the port or a peer that went away.
// Nobody need act.
func (p *Port) withoutHello(conn net.Conn, err error) {
	p.cfg.Logger.Debug("peer connection without a hello", "remote", conn.RemoteAddr().String(), "reason", Reason(err))
}

// handshake answers a hello and hands the connection on. It returns false when the connection is to be closed.
func (p *Port) handshake(ctx context.Context, accepted acceptedConn) bool {
	conn := accepted.conn
	h, err := ReadHello(conn)
	if err != nil {
		p.withoutHello(conn, err)
		return false
	}
	v := p.cfg.View()
	if refusal := accepted.names(h.GetNode()); refusal != nil {
		// Nothing of this hello is believed.
		answer := v.answerStranger(h)
		answer.Refusal = refusal.Error()
		_ = WriteHello(conn, answer)
		return false
	}
	reason := v.Refuse(h)
	target := p.handoffs[h.GetPurpose()] // nil: the connection ends after the answer
	if reason == "" && target != nil && target.closed() {
		reason = v.Node + " is stopping"
	}
	answer := v.Answer(h)
	answer.Refusal = reason
	if q := h.GetLeaderLoss(); q != nil && p.cfg.Failover != nil && h.GetPurpose() == peerv1.Hello_PURPOSE_PROBE &&
		reason == "" && h.GetClusterId() != "" && v.Stranger(h) == "" {
		answer.LeaderLoss = p.cfg.Failover(ctx, h.GetNode(), q)
	}
	p.refused(v, h, reason)
	if err := WriteHello(conn, answer); err != nil {
		return false
	}
	p.cfg.Met(h)
	if v.Stranger(h) == "" {
		p.levels.note(h)
	}
	if reason == "" {
		if p.reachability.heard(h.GetNode()) && p.cfg.Again != nil {
			p.cfg.Again()
		}
	}
	if reason != "" || target == nil || conn.SetDeadline(time.Time{}) != nil {
		return false
	}
	target.deliver(ctx, h.GetNode(), h.GetDirectoryId(), conn)
	return true
}

// refused logs a refusal once until it changes. Names that are not members' share one place, so that
// nobody can make the node remember or say much.
func (p *Port) refused(v View, h *peerv1.Hello, reason string) {
	if h.GetPurpose() == peerv1.Hello_PURPOSE_PROBE {
		return
	}
	name := h.GetNode()
	if _, member := v.Known[name]; !member {
		name = ""
	}
	p.mu.Lock()
	same := p.refusals[name] == reason || name == "" && p.refusals[name] != "" && reason != ""
	if reason == "" {
		delete(p.refusals, name)
	} else {
		p.refusals[name] = reason
	}
	p.mu.Unlock()
	if reason == "" || same {
		return
	}
	level := slog.LevelWarn
	if v.Founding == nil || !v.Running {
		level = slog.LevelDebug // it will be right in a moment
	}
	p.cfg.Logger.Log(context.Background(), level, "peer is refused", "member", h.GetNode(), "reason", reason)
}

// Handshakes is how many connections are without their hello, those in their TLS handshake not counted.
func (p *Port) Handshakes() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.handshakes.Len()
}
