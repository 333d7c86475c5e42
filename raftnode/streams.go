package raftnode

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
)

const (
	// handshakeTimeout is how long the other side has for its hello and its answer.
	handshakeTimeout = 5 * time.Second
	// maxHandshakes is how many connections may be in their handshake. A member needs milliseconds
	// for its own, so the oldest makes room for a new one: idle strangers cannot keep members out.
	maxHandshakes = 64
)

// peerPort is the one port on which nodes talk to each other. A connection says hello first, and
// for what it is.
type peerPort struct {
	network  Network
	logger   *slog.Logger
	view     func() view
	resolve  func(name string) []string
	met      func(h *peerv1.Hello) // told of every hello, from both sides; must not block
	peers    *peers
	lines    *lines // from raft's peers to this node
	listener net.Listener

	// succession answers another voter's question; nil answers none.
	succession func(ctx context.Context, asker string, q *peerv1.Succession) *peerv1.Succession

	raft *handoff // dialed connections of raft are in its set too
	rpc  *handoff

	ctx    context.Context // ends dials and handshakes at close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu         sync.Mutex // guards all below
	handshakes list.List  // of net.Conn, oldest first
	refusals   map[string]string
}

type nodeAddr string

func (nodeAddr) Network() string  { return "rollcall" }
func (a nodeAddr) String() string { return string(a) }

func (p *peerPort) open(node, address string) error {
	l, err := p.network.Listen(address)
	if err != nil {
		return fmt.Errorf("listen for peers on %s: %w", address, err)
	}
	p.listener = l
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.refusals = map[string]string{}
	p.raft = newHandoff(nodeAddr(node))
	p.raft.lines = p.lines
	p.rpc = newHandoff(l.Addr())
	p.wg.Go(p.accept)
	return nil
}

// close ends everything at once; it waits for the goroutines of handshakes, which end with their
// connections.
func (p *peerPort) close() {
	p.cancel()
	_ = p.listener.Close()
	p.raft.closeAll()
	p.rpc.closeAll()
	p.mu.Lock()
	for e := p.handshakes.Front(); e != nil; e = e.Next() {
		_ = e.Value.(net.Conn).Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
}

func (p *peerPort) accept() {
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
		p.logger.Error("peer connections are not accepted", "error", err, "retry_in", wait.String())
		select {
		case <-time.After(wait):
		case <-p.ctx.Done():
			return
		}
	}
}

// admit starts the handshake of a new connection.
func (p *peerPort) admit(conn net.Conn) {
	p.mu.Lock()
	if p.ctx.Err() != nil {
		p.mu.Unlock()
		_ = conn.Close()
		return
	}
	if p.handshakes.Len() >= maxHandshakes {
		_ = p.handshakes.Remove(p.handshakes.Front()).(net.Conn).Close()
	}
	e := p.handshakes.PushBack(conn)
	p.mu.Unlock()
	p.wg.Go(func() {
		ctx, cancel := context.WithTimeout(p.ctx, handshakeTimeout)
		defer cancel()
		ok := p.handshake(ctx, conn)
		p.mu.Lock()
		p.handshakes.Remove(e)
		p.mu.Unlock()
		if !ok {
			_ = conn.Close()
		}
	})
}

// handshake answers a hello and hands the connection on; false: it is not wanted.
func (p *peerPort) handshake(ctx context.Context, conn net.Conn) bool {
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return false
	}
	h, err := readHello(conn)
	if err != nil {
		// A scanner, a health probe of the port or a peer that went away: nobody need act.
		p.logger.Debug("peer connection without a hello", "remote", conn.RemoteAddr().String(), "reason", inWords(err))
		return false
	}
	v := p.view()
	reason := v.refuse(h)
	target := p.target(h.GetPurpose())
	if reason == "" && target != nil && target.closed() {
		reason = v.node + " is stopping"
	}
	answer := v.hello(h.GetPurpose(), h.GetNode())
	answer.Refusal = reason
	if q := h.GetSuccession(); q != nil && p.succession != nil && h.GetPurpose() == peerv1.Hello_PURPOSE_PROBE &&
		reason == "" && h.GetClusterId() != "" && v.stranger(h) == "" {
		answer.Succession = p.succession(ctx, h.GetNode(), q)
	}
	p.refused(v, h, reason)
	if err := writeHello(conn, answer); err != nil {
		return false
	}
	p.met(h)
	if reason == "" {
		p.peers.heard(h.GetNode())
	}
	if reason != "" || target == nil || conn.SetDeadline(time.Time{}) != nil {
		return false
	}
	target.deliver(ctx, h.GetNode(), conn)
	return true
}

// target is where connections of a purpose go; nil: they end after the answer.
func (p *peerPort) target(purpose peerv1.Hello_Purpose) *handoff {
	switch purpose {
	case peerv1.Hello_PURPOSE_RAFT:
		return p.raft
	case peerv1.Hello_PURPOSE_RPC:
		return p.rpc
	}
	return nil
}

// refused logs a refusal once until it changes. Names that are not members' share one place, so that
// nobody can make the node remember or say much.
func (p *peerPort) refused(v view, h *peerv1.Hello, reason string) {
	if h.GetPurpose() == peerv1.Hello_PURPOSE_PROBE {
		return
	}
	name := h.GetNode()
	if _, member := v.known[name]; !member {
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
	if v.founding == nil || !v.running {
		level = slog.LevelDebug // it will be right in a moment
	}
	p.logger.Log(context.Background(), level, "peer is refused", "peer", h.GetNode(), "reason", reason)
}

// dial connects to the named peer for a purpose and says hello, at the first of its addresses that
// is right. It returns the peer's answer and the address too.
func (p *peerPort) dial(ctx context.Context, name string, purpose peerv1.Hello_Purpose) (net.Conn, *peerv1.Hello, string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.ctx, cancel)()
	conn, h, address, err := p.dialAny(ctx, name, purpose, nil)
	if p.ctx.Err() != nil {
		if err == nil {
			_ = conn.Close()
		}
		return nil, nil, "", ErrClosed
	}
	p.peers.dialed(name, purpose, err)
	return conn, h, address, err
}

func (p *peerPort) dialAny(ctx context.Context, name string, purpose peerv1.Hello_Purpose, q *peerv1.Succession) (net.Conn, *peerv1.Hello, string, error) {
	addresses := p.resolve(name)
	if len(addresses) == 0 {
		return nil, nil, "", fmt.Errorf("no address of %s is known", name)
	}
	var failed addressErrors
	for i, address := range addresses {
		conn, h, err := p.dialOne(ctx, name, address, purpose, q, len(addresses)-i)
		if err == nil {
			return conn, h, address, nil
		}
		if len(addresses) == 1 {
			return nil, nil, "", err
		}
		failed = append(failed, addressError{address, err})
	}
	return nil, nil, "", failed
}

// dialOne tries one address with its share of the time: share is how many are left to try.
func (p *peerPort) dialOne(ctx context.Context, name, address string, purpose peerv1.Hello_Purpose, q *peerv1.Succession, share int) (_ net.Conn, _ *peerv1.Hello, err error) {
	timeout := handshakeTimeout
	if deadline, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(deadline))
	}
	ctx, cancel := context.WithTimeout(ctx, timeout/time.Duration(share))
	defer cancel()
	conn, err := p.network.Dial(ctx, address)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			_ = conn.Close()
			if cancelled := ctx.Err(); errors.Is(cancelled, context.Canceled) {
				err = cancelled
			}
		}
	}()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, nil, err
	}
	// A deadline does not know of a cancelled context.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	v := p.view()
	own := v.hello(purpose, name)
	own.Succession = q
	if err := writeHello(conn, own); err != nil {
		return nil, nil, err
	}
	h, err := readHello(conn)
	if err != nil {
		return nil, nil, err
	}
	p.met(h)
	if err := v.reject(purpose, name, address, h); err != nil {
		return nil, h, err
	}
	if !stop() {
		return nil, nil, ctx.Err()
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return nil, nil, err
	}
	return conn, h, nil
}

// probe asks the named peer for its hello.
func (p *peerPort) probe(ctx context.Context, name string) (*peerv1.Hello, string, error) {
	conn, h, address, err := p.dial(ctx, name, peerv1.Hello_PURPOSE_PROBE)
	if err != nil {
		return nil, "", err
	}
	return h, address, conn.Close()
}

// ask puts a question to the named peer; nil: it does not answer it.
func (p *peerPort) ask(ctx context.Context, name string, q *peerv1.Succession) (*peerv1.Succession, error) {
	conn, h, _, err := p.dialAny(ctx, name, peerv1.Hello_PURPOSE_PROBE, q)
	if err != nil {
		return nil, err
	}
	if p.view().stranger(h) != "" {
		return nil, conn.Close()
	}
	return h.GetSuccession(), conn.Close()
}

// dialFor connects for raft or RPC. The connection is closed with the node at the latest.
func (p *peerPort) dialFor(ctx context.Context, name string, purpose peerv1.Hello_Purpose) (net.Conn, error) {
	conn, _, _, err := p.dial(ctx, name, purpose)
	if err != nil {
		return nil, err
	}
	if conn = p.target(purpose).set.add(conn, nil); conn == nil {
		return nil, ErrClosed
	}
	return conn, nil
}
