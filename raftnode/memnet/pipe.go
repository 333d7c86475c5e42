package memnet

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// pipeBuffer is how many bytes a pipe takes before a write waits, in place of socket buffers.
const pipeBuffer = 64 << 10

// pipe carries bytes one way between the two ends of an in-memory connection. Those who wait do so
// on a sync.Cond, which a testing/synctest bubble knows to be durable.
type pipe struct {
	mu      sync.Mutex // guards all fields; locked alone
	changed sync.Cond

	buf         []byte
	wire        *wire     // nil: bytes arrive at once
	travelling  []segment // of buf, those that have not arrived yet, in order
	stalled     bool      // nothing arrives, neither bytes nor the news of a close
	reset       bool      // both ends fail at once
	readClosed  bool
	writeClosed bool

	readBy, writeBy pipeDeadline
}

// pipeDeadline wakes the waiters of a pipe when its time has come.
type pipeDeadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *pipeDeadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func newPipe() *pipe {
	p := &pipe{}
	p.changed.L = &p.mu
	return p
}

// change runs f under the lock and wakes everybody.
func (p *pipe) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	p.changed.Broadcast()
}

// arrived is how many bytes at the head of buf can be read. mu must be held.
func (p *pipe) arrived() int {
	for len(p.travelling) > 0 && !p.travelling[0].at.After(time.Now()) {
		p.travelling = p.travelling[1:]
	}
	n := len(p.buf)
	for _, s := range p.travelling {
		n -= s.bytes
	}
	return n
}

func (p *pipe) read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch {
		case p.readClosed:
			return 0, net.ErrClosed
		case p.reset:
			return 0, syscall.ECONNRESET
		case p.readBy.passed():
			return 0, os.ErrDeadlineExceeded
		case len(b) == 0:
			return 0, nil
		case !p.stalled && p.arrived() > 0:
			n := copy(b, p.buf[:p.arrived()])
			p.buf = append(p.buf[:0], p.buf[n:]...)
			p.changed.Broadcast()
			return n, nil
		case !p.stalled && p.writeClosed && len(p.buf) == 0:
			return 0, io.EOF
		}
		p.changed.Wait()
	}
}

func (p *pipe) write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	written := 0
	for {
		switch {
		case p.writeClosed:
			return written, net.ErrClosed
		case p.reset:
			return written, syscall.ECONNRESET
		case p.writeBy.passed():
			return written, os.ErrDeadlineExceeded
		case !p.stalled && p.readClosed:
			return written, syscall.EPIPE
		case len(b) == 0:
			return written, nil
		case len(p.buf) < pipeBuffer:
			n := min(len(b), pipeBuffer-len(p.buf))
			if p.wire != nil {
				n = min(n, segmentSize)
				at := p.wire.send(n)
				p.travelling = append(p.travelling, segment{at, n})
				p.wakeAt(at)
			}
			p.buf = append(p.buf, b[:n]...)
			b, written = b[n:], written+n
			p.changed.Broadcast()
			continue
		}
		p.changed.Wait()
	}
}

func (p *pipe) setDeadline(d *pipeDeadline, at time.Time) {
	p.change(func() {
		d.at = at
		if d.timer != nil {
			d.timer.Stop()
			d.timer = nil
		}
		if !at.IsZero() {
			d.timer = p.wakeAt(at)
		}
	})
}

// wakeAt wakes everybody at a time, or returns nil if it has come: then the caller does. A timer that fires while it is
// made would run beside others of the same synctest bubble, and the race detector of Go 1.26 can crash of that: they
// share one of its contexts.
func (p *pipe) wakeAt(at time.Time) *time.Timer {
	left := time.Until(at)
	if left <= 0 {
		return nil
	}
	return time.AfterFunc(left, func() { p.change(func() {}) })
}

// pipeConn is one end of an in-memory connection.
type pipeConn struct {
	local, remote addr
	in, out       *pipe
	onClose       func() // once
	closed        sync.Once
}

func (c *pipeConn) opError(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return &net.OpError{Op: op, Net: "memory", Source: c.local, Addr: c.remote, Err: err}
}

func (c *pipeConn) Read(b []byte) (int, error) {
	n, err := c.in.read(b)
	return n, c.opError("read", err)
}

func (c *pipeConn) Write(b []byte) (int, error) {
	n, err := c.out.write(b)
	return n, c.opError("write", err)
}

// Close ends the connection. The other end reads what was written, then EOF.
func (c *pipeConn) Close() error {
	err := net.ErrClosed
	c.closed.Do(func() {
		err = nil
		c.in.setDeadline(&c.in.readBy, time.Time{})
		c.out.setDeadline(&c.out.writeBy, time.Time{})
		c.in.change(func() { c.in.readClosed = true })
		c.out.change(func() { c.out.writeClosed = true })
		c.onClose()
	})
	return c.opError("close", err)
}

func (c *pipeConn) LocalAddr() net.Addr  { return c.local }
func (c *pipeConn) RemoteAddr() net.Addr { return c.remote }

func (c *pipeConn) SetReadDeadline(t time.Time) error {
	c.in.setDeadline(&c.in.readBy, t)
	return nil
}

func (c *pipeConn) SetWriteDeadline(t time.Time) error {
	c.out.setDeadline(&c.out.writeBy, t)
	return nil
}

func (c *pipeConn) SetDeadline(t time.Time) error {
	c.in.setDeadline(&c.in.readBy, t)
	c.out.setDeadline(&c.out.writeBy, t)
	return nil
}
