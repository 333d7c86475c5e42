package tlsport

import (
	"container/list"
	"sync"
)

// pending are the connections whose handshake is not over. At the limit the oldest makes room for a new one: strangers
// who say nothing use up neither memory nor the connections of a port.
type pending struct {
	limit int

	mu    sync.Mutex // guards what follows
	conns list.List  // of *Conn, the oldest first
	of    map[*Conn]*list.Element
}

func (p *pending) add(c *Conn) {
	p.mu.Lock()
	var oldest *Conn
	if p.conns.Len() >= p.limit {
		oldest = p.conns.Remove(p.conns.Front()).(*Conn)
		delete(p.of, oldest)
	}
	if p.of == nil {
		p.of = map[*Conn]*list.Element{}
	}
	p.of[c] = p.conns.PushBack(c)
	p.mu.Unlock()
	if oldest != nil {
		oldest.abort()
	}
}

func (p *pending) remove(c *Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.of[c]; e != nil {
		p.conns.Remove(e)
		delete(p.of, c)
	}
}

func (p *pending) len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conns.Len()
}
