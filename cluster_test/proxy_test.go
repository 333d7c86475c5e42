package cluster_test

import (
	"io"
	"net"
	"sync"
	"testing"
)

// proxy stands in front of a peer port; cutting it resets what passes and refuses what comes.
type proxy struct {
	address, target string
	mu              sync.Mutex // guards what follows
	cut             bool
	conns           map[net.Conn]struct{}
	wg              sync.WaitGroup
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", freePort(t))
	if err != nil {
		t.Fatal(err)
	}
	x := &proxy{address: l.Addr().String(), target: target, conns: map[net.Conn]struct{}{}}
	x.wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			x.wg.Go(func() { x.serve(in) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		x.setCut(true)
		x.wg.Wait()
	})
	return x
}

func (x *proxy) serve(in net.Conn) {
	if !x.track(in) {
		return
	}
	defer x.untrack(in)
	out, err := net.Dial("tcp", x.target)
	if err != nil {
		return
	}
	if !x.track(out) {
		return
	}
	defer x.untrack(out)
	done := make(chan struct{})
	go func() {
		defer close(done)
		io.Copy(out, in)
		out.Close()
	}()
	io.Copy(in, out)
	in.Close()
	<-done
}

func (x *proxy) track(c net.Conn) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.cut {
		c.Close()
		return false
	}
	x.conns[c] = struct{}{}
	return true
}

func (x *proxy) untrack(c net.Conn) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.conns, c)
	c.Close()
}

func (x *proxy) setCut(cut bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.cut = cut
	if cut {
		for c := range x.conns {
			c.Close()
		}
	}
}
