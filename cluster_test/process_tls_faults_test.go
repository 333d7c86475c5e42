package cluster_test

import (
	"context"
	"errors"
	"sync"
	"syscall"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/rollcallhq/rollcall/certs"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/internal/tlstest"
)

// TestProcessTLSBack: under load a cluster goes from TLS back to plain text in two rolling restarts. No call fails.
func TestProcessTLSBack(t *testing.T) {
	beside(t, ofProcesses)
	ca := tlstest.NewCA(t, "ca")
	c, files := secureProcesses(t, processOptions{}, "required", ca)
	secured := c.nodes[0].creds
	c.start()
	c.waitReady()
	tls := c.call("tls", secured)
	tls.progress()
	c.roll(files, "permissive", secured, tls)
	plain := c.call("plain", insecure.NewCredentials())
	plain.progress()
	tls.stop() // the clients have changed
	c.roll(files, "off", insecure.NewCredentials(), plain)
	plain.stop()
	if out, err := c.nodes[0].probe(nil); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := c.nodes[0].probe(&ca.File); err == nil {
		t.Errorf("TLS is answered: %s", out)
	}
}

// TestProcessTLSLeaderLost: with TLS everywhere the leader is killed, and a later one hangs. No call fails.
func TestProcessTLSLeaderLost(t *testing.T) {
	beside(t, ofProcesses)
	ca := tlstest.NewCA(t, "ca")
	c, _ := secureProcesses(t, processOptions{}, "required", ca)
	c.start()
	c.waitReady()
	load := c.call("load", c.nodes[0].creds)
	load.progress()
	killed := c.leader()
	killed.kill()
	load.progress()
	if c.leader() == killed {
		t.Error("the killed node leads")
	}
	killed.start()
	c.waitReady()
	hung := c.leader()
	hung.signal(syscall.SIGSTOP)
	load.progress()
	hung.signal(syscall.SIGCONT)
	c.waitReady()
	load.progress()
	load.stop()
}

// lastingWatch is a watch of one service by a client with a certificate of its own.
type lastingWatch struct {
	c      *processes
	cancel context.CancelFunc
	wg     sync.WaitGroup
	last   client.Status // that was set

	mu   sync.Mutex    // guards seen
	seen client.Status // that the watch gave last
}

// watchWith begins a watch that is to go on to the end of the test.
func (c *processes) watchWith(files certs.Files) *lastingWatch {
	c.t.Helper()
	cfg := client.DefaultConfig()
	cfg.Endpoints = c.endpoints()
	cfg.DialOptions = []grpc.DialOption{grpc.WithTransportCredentials(clientCredentials(c.t, files))}
	cl, err := client.New(cfg)
	must(c.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	w := &lastingWatch{c: c, cancel: cancel, last: notServing}
	w.wg.Go(func() {
		for update, err := range cl.Watch(ctx, "watched") {
			if err != nil {
				if !errors.Is(err, context.Canceled) {
					c.t.Errorf("the watch ends: %v", err)
				}
				return
			}
			w.mu.Lock()
			w.seen = update.Status
			w.mu.Unlock()
		}
	})
	c.t.Cleanup(func() {
		cancel()
		w.wg.Wait()
		cl.Close()
	})
	return w
}

// flip changes the service and waits until the watch says so.
func (w *lastingWatch) flip() {
	w.c.t.Helper()
	if w.last == serving {
		w.last = notServing
	} else {
		w.last = serving
	}
	w.c.set("watched", w.last)
	eventually(w.c.t, "the watch to go on", func(context.Context) bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.seen == w.last
	})
}
