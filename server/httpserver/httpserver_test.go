package httpserver

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lines is a log.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func start(t *testing.T, limit int, h http.HandlerFunc) (*Server, string, *lines) {
	t.Helper()
	log := &lines{}
	s := New(h, limit, slog.New(slog.NewTextHandler(log, nil)))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve: %v", err)
		}
		if open := s.Open(); open != 0 {
			t.Errorf("%d connections are open after Close", open)
		}
	})
	return s, l.Addr().String(), log
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// ask sends a request on c and returns the answer's body.
func ask(c net.Conn) (string, error) {
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: n1\r\n\r\n"); err != nil {
		return "", err
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return string(body), err
}

// awaitIdle waits until no connection has a request. net/http says so a little after the answer was read.
func awaitIdle(s *Server) {
	for idle := false; !idle; runtime.Gosched() {
		s.mu.Lock()
		idle = s.idle.Len() == len(s.open)
		s.mu.Unlock()
	}
}

// TestP8IdleConnectionsKeepNoProbeOut: the newest takes the place of the one that is idle for longest.
func TestP8IdleConnectionsKeepNoProbeOut(t *testing.T) {
	s, address, log := start(t, 5, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })
	kept := dial(t, address)
	if body, err := ask(kept); err != nil || body != "ok" {
		t.Fatal(body, err)
	}
	for i := range 50 {
		dial(t, address) // and says nothing
		probe := dial(t, address)
		if body, err := ask(probe); err != nil || body != "ok" {
			t.Fatalf("probe %d: %q, %v", i, body, err)
		}
		awaitIdle(s)
		if open := s.Open(); open > 5 {
			t.Fatalf("%d connections are open", open)
		}
	}
	if _, err := ask(kept); err == nil {
		t.Error("the connection that was idle for longest is still open")
	}
	if got := strings.Count(log.String(), "the port has as many connections as it may"); got != 1 {
		t.Errorf("%d warnings, want 1: %s", got, log)
	}
}

// TestP8BusyConnectionsStay: one that has a request is not closed for another.
func TestP8BusyConnectionsStay(t *testing.T) {
	began, release := make(chan struct{}, 2), make(chan struct{})
	_, address, _ := start(t, 2, func(w http.ResponseWriter, _ *http.Request) {
		began <- struct{}{}
		<-release
		fmt.Fprint(w, "late")
	})
	answers := make(chan string, 2)
	for range 2 {
		c := dial(t, address)
		go func() {
			body, err := ask(c)
			answers <- fmt.Sprint(body, err)
		}()
		<-began
	}
	if body, err := ask(dial(t, address)); err == nil {
		t.Errorf("a third connection was answered %q", body)
	}
	close(release)
	for range 2 {
		if got := <-answers; got != "late<nil>" {
			t.Errorf("a busy connection got %q", got)
		}
	}
}

func TestEveryTimeoutIsSet(t *testing.T) {
	s := New(http.NotFoundHandler(), 1, slog.New(slog.DiscardHandler))
	if s.http.ReadHeaderTimeout == 0 || s.http.ReadTimeout == 0 || s.http.WriteTimeout == 0 || s.http.IdleTimeout == 0 || s.http.MaxHeaderBytes == 0 {
		t.Error("a limit is not set")
	}
}

// TestErrorsAreLoggedAsAllElse: what net/http has to say is a line of the node's log.
func TestErrorsAreLoggedAsAllElse(t *testing.T) {
	_, address, log := start(t, 2, func(http.ResponseWriter, *http.Request) { panic("boom") })
	if _, err := ask(dial(t, address)); err == nil {
		t.Fatal("a handler that panics answered")
	}
	if got := log.String(); !strings.Contains(got, "level=WARN") || !strings.Contains(got, "boom") || !strings.Contains(got, "part=http") {
		t.Errorf("the log says %q", got)
	}
}
