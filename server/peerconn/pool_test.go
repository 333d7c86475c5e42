package peerconn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/test/bufconn"
)

// fakeDialer is a member that is reached by name, or not.
type fakeDialer struct {
	mu    sync.Mutex
	err   error // why nobody is reached
	dials map[string]int
	lis   *bufconn.Listener
	hold  chan struct{} // nil: a dial does not wait
}

func (d *fakeDialer) DialPeer(ctx context.Context, name string) (net.Conn, error) {
	d.mu.Lock()
	d.dials[name]++
	err, hold := d.err, d.hold
	d.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if err != nil {
		return nil, err
	}
	return d.lis.DialContext(ctx)
}

func (d *fakeDialer) set(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
}

func (d *fakeDialer) count(name string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.dials[name]
}

// withPool runs test with a pool and a member that can be reached, in virtual time.
func withPool(t *testing.T, test func(t *testing.T, p *Pool, d *fakeDialer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := &fakeDialer{dials: map[string]int{}, lis: bufconn.Listen(1 << 16)}
		s := grpc.NewServer()
		served := make(chan error, 1)
		go func() { served <- s.Serve(d.lis) }()
		p := NewPool(d)
		test(t, p, d)
		p.Close()
		s.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

func get(t *testing.T, p *Pool, name string) *Conn {
	t.Helper()
	c, err := p.Get(name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestOneConnectionForEachMember: made when it is needed, and kept.
func TestOneConnectionForEachMember(t *testing.T) {
	withPool(t, func(t *testing.T, p *Pool, d *fakeDialer) {
		n2, n3 := get(t, p, "n2"), get(t, p, "n3")
		if n2 == n3 || get(t, p, "n2") != n2 {
			t.Error("not one connection for each member")
		}
		synctest.Wait()
		if d.count("n2") != 0 {
			t.Error("Get connects")
		}
		for range 3 {
			if err := n2.Ready(t.Context(), true); err != nil {
				t.Error(err)
			}
		}
		if d.count("n2") != 1 || d.count("n3") != 0 {
			t.Errorf("dialed %v", d.dials)
		}
	})
}

// TestReady: with failFast one failed dial is enough, and it tells why; without it goes on until the member is
// there, or ctx ends.
func TestReady(t *testing.T) {
	withPool(t, func(t *testing.T, p *Pool, d *fakeDialer) {
		refused := errors.New("n2 is stopping")
		d.set(refused)
		c := get(t, p, "n2")
		began := time.Now()
		if err := c.Ready(t.Context(), true); !errors.Is(err, refused) || time.Since(began) > 0 {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		// The next one waits for a dial of its own: the last may be of long ago.
		time.Sleep(time.Minute)
		dials := d.count("n2")
		if err := c.Ready(t.Context(), true); !errors.Is(err, refused) || d.count("n2") == dials {
			t.Errorf("%v, without a new dial", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		began = time.Now()
		if err := c.Ready(ctx, false); !errors.Is(err, refused) || time.Since(began) != 2*time.Second {
			t.Errorf("without failFast: %v after %v", err, time.Since(began))
		}
		ready := make(chan error, 1)
		go func() { ready <- c.Ready(t.Context(), false) }()
		time.Sleep(time.Second)
		d.set(nil)
		back := time.Now()
		if err := <-ready; err != nil || time.Since(back) > 200*time.Millisecond {
			t.Errorf("a member that is back is noticed after %v, %v", time.Since(back), err)
		}
	})
}

// TestReadyOfWhoDoesNotAnswer ends with ctx, and does not say that this node gave up as if the member had.
func TestReadyOfWhoDoesNotAnswer(t *testing.T) {
	withPool(t, func(t *testing.T, p *Pool, d *fakeDialer) {
		d.hold = make(chan struct{})
		defer close(d.hold)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if err := get(t, p, "n2").Ready(ctx, true); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}

// TestAClosedPool makes no connections, and those there were have ended.
func TestAClosedPool(t *testing.T) {
	withPool(t, func(t *testing.T, p *Pool, d *fakeDialer) {
		open := get(t, p, "n2")
		if err := open.Ready(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		p.Close()
		p.Close()
		if _, err := p.Get("n2"); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
		if err := open.Ready(t.Context(), false); !errors.Is(err, ErrClosed) || open.GetState() != connectivity.Shutdown {
			t.Errorf("%v, %v", err, open.GetState())
		}
	})
}

func TestEndedBy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parent, leave := context.WithCancel(t.Context())
		c := make(chan struct{})
		byChannel, done := EndedBy(parent, c)
		byParent, doneToo := EndedBy(parent, make(chan struct{}))
		synctest.Wait()
		if byChannel.Err() != nil || byParent.Err() != nil {
			t.Error("it has ended before its time")
		}
		close(c)
		<-byChannel.Done()
		if parent.Err() != nil || byParent.Err() != nil {
			t.Error("others have ended with it")
		}
		leave()
		<-byParent.Done()
		done()
		doneToo()
		var ended atomic.Bool
		ctx, done := EndedBy(t.Context(), make(chan struct{}))
		context.AfterFunc(ctx, func() { ended.Store(true) })
		done() // waits for its goroutine; the bubble would not end with one left
		synctest.Wait()
		if !ended.Load() {
			t.Error("done leaves it open")
		}
	})
}

func TestDescribe(t *testing.T) {
	for want, err := range map[string]error{
		"connection refused": &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)},
		"no route to host":   fmt.Errorf("dial: %w", syscall.EHOSTUNREACH),
		"no answer":          fmt.Errorf("dial: %w", context.DeadlineExceeded),
		"unknown host n2.x":  fmt.Errorf("dial: %w", &net.DNSError{Name: "n2.x", Err: "no such host"}),
		"n2 is stopping":     errors.New("n2 is stopping"),
	} {
		if got := Describe(err); got != want {
			t.Errorf("%v reads %q, want %q", err, got, want)
		}
		if got := NobodyAnswers(err); got != (want != "n2 is stopping") {
			t.Errorf("%v: nobody answers: %v", err, got)
		}
	}
	if got := Describe(os.ErrDeadlineExceeded); got != "no answer" {
		t.Errorf("a read that took too long reads %q", got)
	}
}

// TestKeep: a connection ends with its member, or with its member's data directory.
func TestKeep(t *testing.T) {
	withPool(t, func(t *testing.T, p *Pool, d *fakeDialer) {
		open := map[string]*Conn{}
		for _, name := range []string{"n2", "n3", "n4"} {
			open[name] = get(t, p, name)
			if err := open[name].Ready(t.Context(), true); err != nil {
				t.Fatal(err)
			}
		}
		for _, step := range []struct {
			members map[string]string
			ended   string
		}{
			{map[string]string{"n2": "a", "n3": "", "n4": "d"}, ""},
			{map[string]string{"n2": "a", "n3": "c", "n4": ""}, ""},
			{map[string]string{"n2": "a", "n3": "c", "n4": "d"}, ""},
			{map[string]string{"n2": "a", "n3": "c", "n4": ""}, ""},
			{map[string]string{"n2": "a", "n3": "c", "n4": "e"}, "n4"},
			{map[string]string{"n2": "a"}, "n3"},
		} {
			p.Keep(step.members)
			for name, c := range open {
				if ended := c.GetState() == connectivity.Shutdown; ended != (name == step.ended) {
					t.Errorf("after %v: %s has ended: %v", step.members, name, ended)
				}
			}
			if step.ended != "" {
				if err := open[step.ended].Ready(t.Context(), false); !errors.Is(err, ErrLeft) {
					t.Errorf("%v", err)
				}
				delete(open, step.ended)
				if again := get(t, p, step.ended); again.Ready(t.Context(), true) != nil {
					t.Error("who is a member again is not reached")
				}
			}
		}
	})
}
