package raftnode

import (
	"context"
	"errors"
	"io"
	"sync"
	"syscall"
)

// lines counts, per peer, the connections of raft from it that are open. A leader keeps some to every
// voter; when its process ends its system closes them all at once, which no slow process and no lost
// packet does.
//
// A connection counts as ended only when all that came over it was handled: raft's transport reads it
// again after its answer. So the log does not grow by a peer that has no line.
type lines struct {
	ended chan struct{} // capacity 1: a peer may have ended its last one

	mu      sync.Mutex // guards what follows
	peers   map[string]*line
	changed chan struct{} // closed and replaced when a last one ends
}

type line struct {
	open   int
	remote bool // the other side ended one since there were none
}

func newLines() *lines {
	return &lines{ended: make(chan struct{}, 1), peers: map[string]*line{}, changed: make(chan struct{})}
}

// begin counts a connection from a peer until over is called first, with true if the other side ended it.
func (l *lines) begin(peer string) (over func(remote bool)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.peers[peer]
	if p == nil {
		p = &line{}
		l.peers[peer] = p
	}
	if p.open == 0 {
		p.remote = false
	}
	p.open++
	var once sync.Once
	return func(remote bool) { once.Do(func() { l.end(p, remote) }) }
}

func (l *lines) end(p *line, remote bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p.open--
	p.remote = p.remote || remote
	if p.open > 0 {
		return
	}
	close(l.changed)
	l.changed = make(chan struct{})
	if p.remote {
		select {
		case l.ended <- struct{}{}:
		default:
		}
	}
}

// cut says whether a peer had connections to this node and ended them all.
func (l *lines) cut(peer string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.peers[peer]
	return p != nil && p.open == 0 && p.remote
}

// awaitNone waits until a peer has no connection to this node; false: not before ctx ended.
func (l *lines) awaitNone(ctx context.Context, peer string) bool {
	for {
		l.mu.Lock()
		p, changed := l.peers[peer], l.changed
		none := p == nil || p.open == 0
		l.mu.Unlock()
		if none {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// brokenOff says whether an error means that the other side, or its system, ended the connection.
func brokenOff(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// refused says whether a dial failed because nothing listens there, at none of the addresses.
func refused(err error) bool {
	var several addressErrors
	if !errors.As(err, &several) {
		return errors.Is(err, syscall.ECONNREFUSED)
	}
	for _, e := range several {
		if !refused(e.err) {
			return false
		}
	}
	return len(several) > 0
}
