package tlsport

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcallhq/rollcall/certs"
	"github.com/rollcallhq/rollcall/internal/tlstest"
)

// wholeHello is what a client begins with.
func wholeHello(t *testing.T) []byte {
	t.Helper()
	near, far := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = tls.Client(near, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"echo"}}).Handshake()
	}()
	b := make([]byte, 64<<10)
	n, err := far.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	far.Close()
	<-done
	near.Close()
	return bytes.Clone(b[:n])
}

// slow is a connection whose other side is far away: what is written arrives later.
type slow struct {
	net.Conn
	by time.Duration
}

func (s slow) Write(b []byte) (int, error) {
	time.Sleep(s.by)
	return s.Conn.Write(b)
}

// flood has strangers come, so many a second, until stop is called, which ends them.
func (p *testPort) flood(perSecond int, says func(i int) []byte) (stop func()) {
	stopped := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		var all []net.Conn
		for i := 0; ; i++ {
			conn := p.dial()
			all = append(all, conn)
			wg.Go(func() {
				_, _ = conn.Write(says(i)) // whoever is dropped at once
				_, _ = io.Copy(io.Discard, conn)
			})
			select {
			case <-time.After(time.Second / time.Duration(perSecond)):
				continue
			case <-stopped:
			}
			for _, conn := range all {
				conn.Close()
			}
			return
		}
	})
	return func() {
		close(stopped)
		wg.Wait()
	}
}

// TestStrangersKeepNobodyOut: while strangers come without end, far more of them than the port has places, a client is
// served at once, also one that needs 60 ms for its answer.
func TestStrangersKeepNobodyOut(t *testing.T) {
	hello := wholeHello(t)
	garbage := append([]byte{firstTLSByte, 3, 1, 4, 0, 1, 0, 3, 0xfc}, bytes.Repeat([]byte{0xa5}, 1100)...)
	large := append([]byte{firstTLSByte, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff}, make([]byte, maxHelloBytes-9)...)
	kinds := map[string][]byte{"nothing": nil, "half a hello": hello[:len(hello)/2], "garbage": garbage, "a large hello": large}
	for kind, perSecond := range map[string]int{"nothing": 190, "half a hello": 190, "a hello": 190, "a hello, less often": 30, "garbage": 190, "a large hello": 190} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ca, other := tlstest.NewCA(t, "ca"), tlstest.NewCA(t, "other")
				p := open(t, Required, certs.Optional, ca.Issue([]string{"n1"}))
				defer p.cancel()
				stop := p.flood(perSecond, func(i int) []byte {
					if says, ok := kinds[kind]; ok && i%5 > 0 {
						return says
					}
					return hello
				})
				defer stop()
				wrong, err := tls.LoadX509KeyPair(func() (string, string) { f := other.Issue([]string{"n2"}); return f.Cert, f.Key }())
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(3 * time.Second) // nothing can be known of a flood before
				for i := range 30 {
					begun := time.Now()
					conn := p.dial()
					took := 50 * time.Millisecond
					if i%3 == 0 {
						conn, took = slow{conn, 60 * time.Millisecond}, 250*time.Millisecond
					}
					source, err := certs.Open(certs.Files{CA: []string{ca.File}}, certs.Options{})
					if err != nil {
						t.Fatal(err)
					}
					client := tls.Client(conn, source.Client(certs.Dial{ServerName: "n1", NextProtos: []string{"echo"}}))
					if got, err := echo(client); got != "Hello" || err != nil || time.Since(begun) > took {
						t.Fatalf("client %d: %q %v after %v", i, got, err, time.Since(begun))
					}
					conn.Close()
					// One whose handshake goes well, but whose certificate is of another CA.
					conn = p.dial()
					if _, err := echo(tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"echo"}, Certificates: []tls.Certificate{wrong}})); err == nil {
						t.Error("a stranger is answered")
					}
					conn.Close()
					time.Sleep(100 * time.Millisecond)
				}
			})
		})
	}
}

// TestCrowd: clients that come at once all get in, more than are answered at once, also if each needs most of a second
// for its answer.
func TestCrowd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := tlstest.NewCA(t, "ca")
		p := open(t, Required, certs.Optional, ca.Issue([]string{"n1"}))
		defer p.cancel()
		var wg sync.WaitGroup
		for range testLimit {
			conn := p.client(certs.Files{CA: []string{ca.File}})
			wg.Go(func() {
				defer conn.Close()
				raw := slow{conn.NetConn(), 450 * time.Millisecond}
				client := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"echo"}})
				if got, err := echo(client); got != "Hello" || err != nil {
					t.Errorf("%q %v", got, err)
				}
			})
		}
		wg.Wait()
	})
}

// TestTheOldestMakesRoom: of connections whose handshake is not over there are only so many.
func TestTheOldestMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := tlstest.NewCA(t, "ca")
		p := open(t, Required, certs.Optional, ca.Issue([]string{"n1"}))
		defer p.cancel()
		used := p.client(certs.Files{CA: []string{ca.File}})
		if _, err := echo(used); err != nil {
			t.Fatal(err)
		}
		var all []net.Conn
		for range testLimit + 10 {
			conn := p.dial()
			if _, err := conn.Write([]byte{firstTLSByte}); err != nil {
				t.Fatal(err)
			}
			all = append(all, conn)
			synctest.Wait()
		}
		if n := p.cfg.Handshakes.opening.Len(); n != testLimit {
			t.Errorf("%d are open", n)
		}
		for i, conn := range all {
			_ = conn.SetReadDeadline(time.Now().Add(time.Millisecond))
			_, err := conn.Read(make([]byte, 1))
			if closed := !errors.Is(err, os.ErrDeadlineExceeded); closed != (i < 10) {
				t.Errorf("connection %d: %v", i, err)
			}
			conn.Close()
		}
		if got, err := echo(used); got != "Hello" || err != nil {
			t.Errorf("one that is in use: %q %v", got, err)
		}
		used.Close()
		synctest.Wait()
		p.nothingLeft()
	})
}

// nothingLeft checks that no handshake is remembered.
func (p *testPort) nothingLeft() {
	p.t.Helper()
	h := p.cfg.Handshakes
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.opening.Len() != 0 || h.waiting.Len() != 0 || h.computing != 0 || h.answered.Len() != 0 || h.dropped != 0 || h.large != 0 || len(h.of) != 0 {
		p.t.Errorf("in the end: %d open, %d wait, %d compute, %d answered, %d dropped, %d bytes, of %v", h.opening.Len(), h.waiting.Len(), h.computing, h.answered.Len(), h.dropped, h.large, h.of)
	}
}

// TestLargeHellos: what is sent during a handshake stays in memory, so there is a limit.
func TestLargeHellos(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := tlstest.NewCA(t, "ca")
		p := open(t, Required, certs.Optional, ca.Issue([]string{"n1"}))
		defer p.cancel()
		conn := p.dial()
		hello := append([]byte{firstTLSByte, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff}, make([]byte, maxHelloBytes)...)
		if _, err := conn.Write(hello); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		if _, err := io.Copy(io.Discard, conn); time.Since(begun) > time.Second {
			t.Errorf("ended after %v: %v", time.Since(begun), err)
		}
		conn.Close()
		synctest.Wait()
		if !strings.Contains(p.log.String(), errTooLarge.Error()) || p.Refusals()[ReasonProtocol] != 1 {
			t.Errorf("counts %v, log\n%s", p.Refusals(), p.log)
		}
		// A chain of certificates may be larger than a hello.
		names := []string{"alice"}
		for i := range 400 {
			names = append(names, fmt.Sprintf("a-rather-long-name-%d.example.org", i))
		}
		big := ca.Issue(names)
		echoes := func(files certs.Files) bool {
			conn := p.client(files)
			defer conn.Close()
			got, err := echo(conn)
			return got == "Hello" && err == nil
		}
		if !echoes(big) {
			t.Error("a large certificate is refused")
		}
		// All handshakes share what is above a few KiB.
		p.cfg.Handshakes.large += maxLargeBytes - 1000
		if echoes(big) || p.Refusals()[ReasonCrowded] != 1 {
			t.Errorf("too much at once: counts %v", p.Refusals())
		}
		if !echoes(ca.Issue([]string{"bob"})) {
			t.Error("a usual client is refused")
		}
		p.cfg.Handshakes.large -= maxLargeBytes - 1000
		synctest.Wait()
		p.nothingLeft()
	})
}

// TestHellosInPieces: a hello may come byte by byte, and in several records.
func TestHellosInPieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := tlstest.NewCA(t, "ca")
		p := open(t, Required, certs.Optional, ca.Issue([]string{"n1"}))
		defer p.cancel()
		hello := wholeHello(t)
		for name, pieces := range map[string]func() [][]byte{
			"bytes": func() (all [][]byte) {
				for i := range hello {
					all = append(all, hello[i:i+1])
				}
				return all
			},
			"records": func() (all [][]byte) {
				for message := hello[recordHeader:]; len(message) > 0; {
					n := min(700, len(message))
					all = append(all, []byte{firstTLSByte, 3, 1, byte(n >> 8), byte(n)}, message[:n])
					message = message[n:]
				}
				return all
			},
		} {
			conn := p.dial()
			for _, b := range pieces() {
				if h := p.cfg.Handshakes; h.computing+h.answered.Len() != 0 {
					t.Errorf("%s: answered before it is whole", name)
				}
				if _, err := conn.Write(b); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
			}
			b := make([]byte, 6)
			if _, err := io.ReadFull(conn, b); err != nil || b[0] != firstTLSByte || b[5] != 2 {
				t.Errorf("%s: %x %v, want a ServerHello", name, b, err)
			}
			conn.Close()
			synctest.Wait()
			p.nothingLeft()
		}
	})
}

// TestListener: a connection is accepted when its handshake is over. Close ends the others.
func TestListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := tlstest.NewCA(t, "ca")
		p := open(t, Required, certs.Optional, ca.Issue([]string{"n1"}))
		silent := p.dial()
		defer silent.Close()
		first := p.client(certs.Files{CA: []string{ca.File}})
		defer first.Close()
		if err := first.Handshake(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(p.conns) != 1 || !(<-p.conns).TLS() {
			t.Errorf("%d more are accepted", len(p.conns))
		}
		time.Sleep(2 * HandshakeTimeout)
		if got, err := echo(first); got != "Hello" || err != nil { // the time for the handshake does not end it
			t.Errorf("%q %v", got, err)
		}
		if _, err := silent.Read(make([]byte, 1)); err == nil {
			t.Error("one that says nothing stays")
		}
		late := p.dial()
		defer late.Close()
		synctest.Wait()
		begun := time.Now()
		first.Close()
		p.cancel()
		if took := time.Since(begun); took > 0 {
			t.Errorf("Close waits for %v", took)
		}
		p.nothingLeft()
	})
}
