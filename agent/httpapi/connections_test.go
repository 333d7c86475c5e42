package httpapi

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// small is a Server of at most n connections.
func small(f *fake, n int) *Server {
	s := New(f, Options{AllowRemotePush: true}) // a pipe has no peer
	s.connections.limit = n
	return s
}

func TestSlowBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake("a")
		p := newPipes()
		serveOn(t, small(f, 10), p)
		c := p.dial()
		defer c.Close()
		began := time.Now()
		if _, err := io.WriteString(c, "PUT /v1/status/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 7\r\n\r\nSERV"); err != nil {
			t.Fatal(err)
		}
		code, _, body := response(t, c, false)
		if took := time.Since(began); code != 408 || !strings.Contains(body, "has not come within 10s") || took != readTimeout {
			t.Errorf("%d %q after %v", code, body, took)
		}
		if f.said("a") != "" {
			t.Error("half a body was taken")
		}
	})
}

func TestCutOffBody(t *testing.T) {
	f := newFake("a")
	_, address := serve(t, f, Options{})
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "PUT /v1/status/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 11\r\n\r\nSERVING"); err != nil {
		t.Fatal(err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if code, _, body := response(t, c, false); code != 400 || !strings.Contains(body, "did not come whole") {
		t.Errorf("%d %q", code, body)
	}
	if f.said("a") != "" {
		t.Error("half a body was taken")
	}
}

// TestSlowHeaderEnds: who never sends a request is gone after seconds.
func TestSlowHeaderEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		s := small(newFake("a"), 10)
		serveOn(t, s, p)
		c := p.dial()
		defer c.Close()
		began := time.Now()
		if _, err := io.WriteString(c, "GET /livez HTTP/1.1\r\nX: "); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, c); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > headerTimeout+time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

// alive asks /livez on c.
func alive(c net.Conn) error {
	if _, err := io.WriteString(c, "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		return err
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return errors.New(res.Status)
	}
	_, err = io.Copy(io.Discard, res.Body)
	return err
}

// TestIdleConnectionsKeepNobodyOut: of those that are kept some places stay free, and who comes is answered at once.
func TestIdleConnectionsKeepNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		s := small(newFake("a"), 8)
		serveOn(t, s, p)
		var conns []net.Conn
		began := time.Now()
		for i := range 50 {
			c := p.dial()
			defer c.Close()
			conns = append(conns, c)
			if err := alive(c); err != nil {
				t.Fatalf("connection %d: %v", i, err)
			}
			synctest.Wait()
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("it took %v", took)
		}
		for i, c := range conns {
			if err := alive(c); (err == nil) != (i < 5) {
				t.Errorf("connection %d: %v", i, err)
			}
		}
		time.Sleep(idleTimeout - time.Second)
		if n := s.connections.count(); n != 5 {
			t.Errorf("%d connections are open before the idle timeout", n)
		}
		time.Sleep(2 * time.Second)
		if n := s.connections.count(); n != 0 {
			t.Errorf("%d connections are open after the idle timeout", n)
		}
	})
}

// TestSilentConnectionsKeepNobodyOut: connections that never send a request lose their places after grace.
func TestSilentConnectionsKeepNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		var log bytes.Buffer
		s := small(newFake("a"), 5)
		s.connections.log = slog.New(slog.NewTextHandler(&log, nil))
		serveOn(t, s, p)
		kept := p.dial()
		defer kept.Close()
		if err := alive(kept); err != nil {
			t.Fatal(err)
		}
		for range 4 {
			defer p.dial().Close()
		}
		began := time.Now()
		c := p.dial()
		defer c.Close()
		if err := alive(c); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < grace || took > 2*grace {
			t.Errorf("it took %v", took)
		}
		if n := s.connections.count(); n > 5 {
			t.Errorf("%d connections are open", n)
		}
		if err := alive(kept); err != nil {
			t.Errorf("a connection that was kept for its next request: %v", err)
		}
		if got := strings.Count(log.String(), "as many connections as it may"); got != 1 {
			t.Errorf("%d warnings: %s", got, &log)
		}
	})
}

// TestBusyConnectionsAreNotCutOff: while all have a request the next one waits, and gets its answer then.
func TestBusyConnectionsAreNotCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake("a")
		f.alive = errors.New("stuck") // each answer takes aliveTimeout
		p := newPipes()
		s := small(f, 2)
		serveOn(t, s, p)
		began := time.Now()
		answers := make(chan string, 4)
		for range 4 {
			c := p.dial()
			defer c.Close()
			go func() {
				err := alive(c)
				answers <- fmt.Sprint(err, " ", time.Since(began).Round(time.Second))
			}()
		}
		got := map[string]int{}
		for range 4 {
			got[<-answers]++
		}
		if got["503 Service Unavailable 2s"] != 2 || got["503 Service Unavailable 4s"] != 2 {
			t.Errorf("got %v", got)
		}
	})
}

// TestShutdownEndsTheWait: a connection for which there is no room keeps nothing from ending.
func TestShutdownEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake("a")
		f.alive = errors.New("stuck")
		p := newPipes()
		s := small(f, 1)
		serveOn(t, s, p)
		busy, waits := p.dial(), p.dial()
		defer busy.Close()
		defer waits.Close()
		answer := make(chan error, 1)
		go func() { answer <- alive(busy) }()
		synctest.Wait()
		began := time.Now()
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if err := <-answer; err == nil || err.Error() != "503 Service Unavailable" {
			t.Errorf("the answer that was under way: %v", err)
		}
		if took := time.Since(began); took > aliveTimeout+time.Second {
			t.Errorf("it took %v", took)
		}
		if _, err := waits.Read(make([]byte, 1)); err == nil {
			t.Error("a connection that had no place is open")
		}
	})
}

func TestShutdownIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake("a")
		f.alive = errors.New("stuck")
		p := newPipes()
		s := small(f, 1)
		serveOn(t, s, p)
		c := p.dial()
		defer c.Close()
		go func() { _ = alive(c) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		if n := s.connections.count(); n != 0 {
			t.Errorf("%d connections are open", n)
		}
	})
}

// TestTenThousandPushes: more connections at once than there are places, and each push is answered.
func TestTenThousandPushes(t *testing.T) {
	var names []string
	for i := range 10_000 {
		names = append(names, fmt.Sprintf("shop/cart%d", i))
	}
	f := newFake(names...)
	s, address := serve(t, f, Options{})
	var pushing sync.WaitGroup
	work := make(chan string)
	for i := range 1200 {
		pushing.Go(func() {
			transport := &http.Transport{DisableKeepAlives: i%2 == 0}
			defer transport.CloseIdleConnections()
			c := &http.Client{Transport: transport}
			for name := range work {
				req, err := http.NewRequest("PUT", "http://"+address+"/v1/status/"+name, strings.NewReader("SERVING "+name))
				if err != nil {
					t.Error(err)
					continue
				}
				res, err := c.Do(req)
				if err != nil {
					t.Error(err)
					continue
				}
				res.Body.Close()
				if res.StatusCode != http.StatusNoContent {
					t.Errorf("%s: %s", name, res.Status)
				}
				if n := s.connections.count(); n > MaxConnections {
					t.Errorf("%d connections are open", n)
				}
			}
		})
	}
	for _, name := range names {
		work <- name
	}
	close(work)
	pushing.Wait()
	for _, name := range names {
		if got := f.said(name); got != "SERVING "+name {
			t.Errorf("%s: %q", name, got)
		}
	}
}
