package peerport

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	"github.com/rollcallhq/rollcall/tlsport"
)

// dial connects to the named peer and exchanges hellos. It tries the peer's addresses in order and takes the
// first one where that peer answers. It returns also the peer's hello and the address.
func (p *Port) dial(ctx context.Context, name string, purpose peerv1.Hello_Purpose) (net.Conn, *peerv1.Hello, string, error) {
	begun := time.Now()
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
	p.reachability.dialed(name, purpose, begun, err)
	return conn, h, address, err
}

func (p *Port) dialAny(ctx context.Context, name string, purpose peerv1.Hello_Purpose, q *peerv1.LeaderLoss) (net.Conn, *peerv1.Hello, string, error) {
	addresses := p.cfg.Resolve(name)
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

// dialOne tries one address. It may take a share of the time: share is how many addresses are left to try.
func (p *Port) dialOne(ctx context.Context, name, address string, purpose peerv1.Hello_Purpose, q *peerv1.LeaderLoss, share int) (net.Conn, *peerv1.Hello, error) {
	timeout := HandshakeTimeout
	if deadline, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(deadline))
	}
	ctx, cancel := context.WithTimeout(ctx, timeout/time.Duration(share))
	defer cancel()
	if p.cfg.TLS == nil {
		return p.exchange(ctx, name, address, purpose, q, false)
	}
	who := cmp.Or(name, address)
	conn, h, err := p.exchange(ctx, name, address, purpose, q, true)
	failure, isTLS := errors.AsType[*tlsport.HandshakeError](err)
	if !isTLS || p.cfg.TLS.Mode() != tlsport.Permissive || ctx.Err() != nil {
		if err == nil {
			p.dialedPlain(who, nil)
		}
		return conn, h, err
	}
	conn, h, err = p.exchange(ctx, name, address, purpose, q, false)
	if err == nil {
		p.dialedPlain(who, failure)
	}
	if _, silent := errors.AsType[*noHelloError](err); silent {
		err = failure // it needs TLS, so that is what is wrong
	}
	return conn, h, err
}

// exchange dials one address, with TLS or in plain text, and exchanges hellos. ctx has a deadline. The hello is returned
// also with an error, if it is from who the certificate names.
func (p *Port) exchange(ctx context.Context, name, address string, purpose peerv1.Hello_Purpose, q *peerv1.LeaderLoss, secured bool) (_ net.Conn, _ *peerv1.Hello, err error) {
	conn, err := p.cfg.Network.Dial(ctx, address)
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
	var over *tlsport.Conn
	if secured {
		if over, err = p.secure(ctx, conn, name); err != nil {
			return nil, nil, err
		}
		conn = over
	}
	v := p.cfg.View()
	own := v.Question(purpose, name)
	own.LeaderLoss = q
	var h *peerv1.Hello
	if err = WriteHello(conn, own); err == nil {
		h, err = ReadHello(conn)
	}
	switch {
	case err != nil && secured:
		return nil, nil, tlsport.ReadError(err)
	case err != nil:
		return nil, nil, withoutHello(err)
	}
	if over != nil && name == "" && p.cfg.Names != nil {
		if err = p.cfg.Names(over.Certificates()[0], h.GetNode()); err != nil {
			return nil, nil, err
		}
	}
	p.cfg.Met(h)
	if p.cfg.Answered != nil && (name == "" || h.GetNode() == name) {
		p.cfg.Answered(address, h)
	}
	if h.GetNode() == name && v.Stranger(h) == "" {
		p.levels.note(h)
	}
	if err = v.Reject(purpose, name, address, h); err != nil {
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

// Probe asks the named peer for its hello. It returns also the address that answered.
func (p *Port) Probe(ctx context.Context, name string) (*peerv1.Hello, string, error) {
	conn, h, address, err := p.dial(ctx, name, peerv1.Hello_PURPOSE_PROBE)
	if err != nil {
		return nil, "", err
	}
	_ = conn.Close() // with TLS it may fail: who has answered a probe ends the connection
	return h, address, nil
}

// ProbeAddress asks whoever is at an address, host:port, for its hello. The hello is returned also with a RefusedError:
// who answers does not want to be asked.
func (p *Port) ProbeAddress(ctx context.Context, address string) (*peerv1.Hello, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.ctx, cancel)()
	conn, h, err := p.dialOne(ctx, "", address, peerv1.Hello_PURPOSE_PROBE, nil, 1)
	if p.ctx.Err() != nil {
		err = errors.Join(ErrClosed, err)
	}
	if conn != nil {
		_ = conn.Close() // with TLS it may fail: who has answered a probe ends the connection
	}
	return h, err
}

// AskFailover asks the named peer whether it has lost the leader too. The answer is nil when the peer does
// not answer such questions.
func (p *Port) AskFailover(ctx context.Context, name string, q *peerv1.LeaderLoss) (*peerv1.LeaderLoss, error) {
	conn, h, _, err := p.dialAny(ctx, name, peerv1.Hello_PURPOSE_PROBE, q)
	if err != nil {
		return nil, err
	}
	_ = conn.Close() // with TLS it may fail: who has answered a probe ends the connection
	if p.cfg.View().Stranger(h) != "" {
		return nil, nil
	}
	return h.GetLeaderLoss(), nil
}

// Dial connects to the named peer. The connection is closed with the port at the latest.
func (p *Port) Dial(ctx context.Context, name string, purpose peerv1.Hello_Purpose) (net.Conn, error) {
	return p.DialDirectory(ctx, name, purpose, func(string) error { return nil })
}

// DialDirectory is Dial with a look at the data directory of who answers: an error of wanted ends the connection.
func (p *Port) DialDirectory(ctx context.Context, name string, purpose peerv1.Hello_Purpose, wanted func(directory string) error) (net.Conn, error) {
	before := p.PeerLevel(name)
	conn, h, _, err := p.dial(ctx, name, purpose)
	if err == nil {
		err = wanted(h.GetDirectoryId())
		if err == nil {
			err = fell(before, h)
		}
		if err != nil {
			_ = conn.Close()
		}
	}
	if err != nil {
		return nil, err
	}
	if conn = p.handoffs[purpose].set.add(conn, name, h.GetDirectoryId(), nil); conn == nil {
		return nil, ErrClosed
	}
	return conn, nil
}
