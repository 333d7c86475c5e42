package httpapi

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rollcallhq/rollcall/client"
)

// fake is an agent.
type fake struct {
	mu       sync.Mutex
	services map[string]*Service
	fixed    map[string]bool // takes no push
	alive    error
	ready    error
	silent   time.Duration
	why      error
	refused  *Refusal
	ended    bool
	pushes   int
}

func newFake(names ...string) *fake {
	f := &fake{services: map[string]*Service{}, fixed: map[string]bool{}}
	for _, name := range names {
		f.services[name] = &Service{Name: name, Instance: "10.0.0.7:8080", Status: client.Unknown, Own: Word{Status: client.Unknown}}
	}
	return f
}

func (f *fake) Alive(ctx context.Context) error {
	f.mu.Lock()
	err := f.alive
	f.mu.Unlock()
	if err != nil {
		<-ctx.Done()
	}
	return err
}

func (f *fake) Ready() error { f.mu.Lock(); defer f.mu.Unlock(); return f.ready }

func (f *fake) Silent() time.Duration { f.mu.Lock(); defer f.mu.Unlock(); return f.silent }

func (f *fake) SilentWhy() error  { f.mu.Lock(); defer f.mu.Unlock(); return f.why }
func (f *fake) Refused() *Refusal { f.mu.Lock(); defer f.mu.Unlock(); return f.refused }

func (f *fake) Service(name string) (Service, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.services[name]
	if s == nil {
		return Service{}, false
	}
	return *s, true
}

func (f *fake) Services() (all []Service) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.services {
		all = append(all, *s)
	}
	return all
}

func (f *fake) Push(name string, st client.Status, reason string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.services[name]
	switch {
	case s == nil:
		return ErrUnknown
	case f.fixed[name]:
		return fmt.Errorf("%q: %w", name, ErrNotPushable)
	case f.ended:
		return ErrStopping
	}
	f.pushes++
	s.Status, s.Own, s.Pushed = st, Word{Status: st, Reason: reason}, &Word{Status: st, Reason: reason, Since: time.Now()}
	return nil
}

func (f *fake) Release(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.services[name]
	if s == nil {
		return ErrUnknown
	}
	s.Pushed = nil
	return nil
}

// said is what was pushed of a service last: "NOT_SERVING disk full"; "" if nothing was.
func (f *fake) said(name string) string {
	s, ok := f.Service(name)
	if !ok || s.Pushed == nil {
		return ""
	}
	return strings.TrimSpace(s.Pushed.Status.String() + " " + s.Pushed.Reason)
}

// serve serves on loopback until the test ends.
func serve(t *testing.T, f *fake, o Options) (*Server, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := New(f, o)
	serveOn(t, s, l)
	return s, l.Addr().String()
}

func serveOn(t *testing.T, s *Server, l net.Listener) {
	t.Helper()
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve: %v", err)
		}
		if n := s.connections.count(); n != 0 {
			t.Errorf("%d connections are open after Close", n)
		}
	})
}

// pipes is a listener in memory, whose connections have deadlines on a virtual clock.
type pipes struct {
	conns chan net.Conn
	ended chan struct{}
	once  sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), ended: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.ended:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.ended) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

func (p *pipes) dial() net.Conn {
	here, there := net.Pipe()
	p.conns <- there
	return here
}

// raw sends a request as it stands and returns the answer's status and body.
func raw(t *testing.T, address, request string) (code int, header http.Header, body string) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	return response(t, c, strings.HasPrefix(request, "HEAD "))
}

func response(t *testing.T, c net.Conn, head bool) (code int, header http.Header, body string) {
	t.Helper()
	req := &http.Request{Method: "GET"}
	if head {
		req.Method = "HEAD"
	}
	res, err := http.ReadResponse(bufio.NewReader(c), req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header, string(b)
}

// request is a request with a body and more headers.
func request(method, target, body string, headers ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\n", method, target)
	hasHost := false
	for _, h := range headers {
		hasHost = hasHost || strings.HasPrefix(h, "Host:")
		b.WriteString(h + "\r\n")
	}
	if !hasHost {
		b.WriteString("Host: localhost:7612\r\n")
	}
	if body != "" {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	return b.String() + "Connection: close\r\n\r\n" + body
}
