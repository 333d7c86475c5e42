package tlsport

import (
	"context"
	"sync"
	"time"
)

const (
	// quietTime is how long a connection has carried nothing when it is ended: its calls are answered then. endWithin
	// bounds the wait for that moment.
	quietTime = 100 * time.Millisecond
	endWithin = 20 * time.Second
)

// ending are connections that are to be ended in a quiet moment.
type ending struct {
	added chan struct{} // capacity 1: there are new ones

	mu    sync.Mutex // guards conns
	conns map[*Conn]time.Time
}

func newEnding() *ending {
	return &ending{added: make(chan struct{}, 1), conns: map[*Conn]time.Time{}}
}

// later is the io.Closer of a connection that is to be ended in a quiet moment.
type later struct{ conn *Conn }

// Close implements io.Closer. It does not wait.
func (l later) Close() error {
	now := time.Now()
	l.conn.busy.Store(now.UnixNano())
	l.conn.ending.Store(true)
	e := l.conn.port.ending
	e.mu.Lock()
	e.conns[l.conn] = now
	e.mu.Unlock()
	select {
	case e.added <- struct{}{}:
	default:
	}
	return nil
}

func (e *ending) remove(c *Conn) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.conns, c)
}

// run ends connections until ctx ends.
func (e *ending) run(ctx context.Context) {
	for {
		select {
		case <-e.added:
		case <-ctx.Done():
			return
		}
		for e.endQuiet() > 0 {
			pause := time.NewTimer(quietTime / 4)
			select {
			case <-pause.C:
			case <-ctx.Done():
				pause.Stop()
				return
			}
		}
	}
}

// endQuiet ends those whose moment has come, and returns how many are left.
func (e *ending) endQuiet() int {
	now := time.Now()
	e.mu.Lock()
	var ended []*Conn
	for c, since := range e.conns {
		if now.Sub(time.Unix(0, c.busy.Load())) >= quietTime || now.Sub(since) >= endWithin {
			ended = append(ended, c)
			delete(e.conns, c)
		}
	}
	left := len(e.conns)
	e.mu.Unlock()
	for _, c := range ended {
		_ = c.Conn.Close() // who reads from it calls Close of c
	}
	return left
}
