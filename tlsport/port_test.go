package tlsport

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcallhq/rollcall/certs"
	"github.com/rollcallhq/rollcall/internal/tlstest"
	"github.com/rollcallhq/rollcall/raftnode/memnet"
)

// syncBuffer is a log that may be read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// testPort is a port that echoes, in a bubble.
type testPort struct {
	*Port
	t      *testing.T
	net    *memnet.Network
	log    *syncBuffer
	cancel func()
	wg     sync.WaitGroup
	conns  chan *Conn // accepted; capacity 1000: no test has so many
}

const (
	at = "127.0.0.1:7600"
	// testLimit is how many handshakes may be open, and 15 be answered.
	testLimit = 40
)

func open(t *testing.T, mode Mode, ask certs.ClientCertificate, files certs.Files) *testPort {
	t.Helper()
	p := &testPort{t: t, net: memnet.New(), log: &syncBuffer{}, conns: make(chan *Conn, 1000)}
	log := slog.New(slog.NewTextHandler(p.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	source := tlstest.Open(t, files)
	p.Port = New(Config{Name: "test", Mode: mode, Source: source, ClientCertificate: ask, Protocols: []string{"echo"}, Handshakes: NewHandshakes(testLimit), Logger: log})
	ctx, cancel := context.WithCancel(context.Background())
	l, err := p.net.Listen(at)
	if err != nil {
		t.Fatal(err)
	}
	p.wg.Go(func() { source.Run(ctx) })
	p.wg.Go(func() { p.Run(ctx) })
	p.wg.Go(func() { p.cfg.Handshakes.Run(ctx) })
	secured := p.Listen(l)
	p.wg.Go(func() {
		for {
			conn, err := secured.Accept()
			if err != nil {
				return
			}
			p.wg.Go(func() {
				defer conn.Close()
				p.conns <- conn.(*Conn)
				_, _ = io.Copy(conn, conn)
			})
		}
	})
	p.cancel = func() {
		cancel()
		secured.Close()
		p.wg.Wait()
	}
	return p
}

func (p *testPort) dial() net.Conn {
	p.t.Helper()
	conn, err := p.net.Dial(p.t.Context(), at)
	if err != nil {
		p.t.Fatal(err)
	}
	return conn
}

// echo says what comes back.
func echo(conn net.Conn) (string, error) {
	if _, err := conn.Write([]byte("Hello")); err != nil {
		return "", err
	}
	b := make([]byte, 5)
	_, err := io.ReadFull(conn, b)
	return string(b), err
}

// client is a connection with the certificates of files.
func (p *testPort) client(files certs.Files) *tls.Conn {
	p.t.Helper()
	source, err := certs.Open(files, certs.Options{})
	if err != nil {
		p.t.Fatal(err)
	}
	return tls.Client(p.dial(), source.Client(certs.Dial{ServerName: "n1", NextProtos: []string{"echo"}}))
}

func TestModes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := tlstest.NewCA(t, "ca")
		for _, mode := range []Mode{Permissive, Required} {
			p := open(t, mode, certs.Optional, ca.Issue([]string{"n1"}))
			for name, files := range map[string]certs.Files{"with a certificate": ca.Issue([]string{"alice"}), "without one": {CA: []string{ca.File}}} {
				conn := p.client(files)
				if got, err := echo(conn); got != "Hello" || err != nil {
					t.Errorf("%v, %s: %q %v", mode, name, got, err)
				}
				c := <-p.conns
				if shown := len(c.Certificates()) > 0; !c.TLS() || shown != (files.Cert != "") {
					t.Errorf("%v, %s: TLS %v, certificates %v", mode, name, c.TLS(), c.Certificates())
				}
				conn.Close()
			}
			conn := p.dial()
			got, err := echo(conn)
			if mode == Permissive {
				if c := <-p.conns; got != "Hello" || err != nil || c.TLS() || c.Certificates() != nil {
					t.Errorf("%v, plain text: %q %v", mode, got, err)
				}
			} else if err == nil || p.Refusals()[ReasonPlainText] != 1 || !strings.Contains(p.log.String(), `level=WARN msg="a connection is refused" port=test remote=`) ||
				!strings.Contains(p.log.String(), "plain text came, and this port needs TLS") {
				t.Errorf("%v, plain text: %q %v\n%s", mode, got, err, p.log)
			}
			conn.Close()
			p.cancel()
		}
	})
}

// TestRefusals: what is wrong stands in the log of the port, and the other side hears as much as TLS carries.
func TestRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, other := tlstest.NewCA(t, "ca"), tlstest.NewCA(t, "other")
		p := open(t, Required, certs.Required, ca.Issue([]string{"n1"}))
		defer p.cancel()
		raw := func(files certs.Files, protocol string) *tls.Conn {
			cfg := &tls.Config{InsecureSkipVerify: true, NextProtos: strings.Fields(protocol)}
			if files.Cert != "" {
				pair, err := tls.LoadX509KeyPair(files.Cert, files.Key)
				if err != nil {
					t.Fatal(err)
				}
				cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
			}
			return tls.Client(p.dial(), cfg)
		}
		for name, test := range map[string]struct {
			conn                *tls.Conn
			reason, log, remote string
		}{
			"wrong CA":       {raw(other.Issue([]string{"n2"}), "echo"), certs.ReasonUnknownCA, "is signed by no CA that is trusted here", refusesOurs},
			"expired":        {raw(ca.Issue([]string{"n2"}, tlstest.Expired), "echo"), certs.ReasonExpired, "expired on", refusesOurs},
			"no certificate": {raw(certs.Files{}, "echo"), certs.ReasonNoCertificate, "the other side shows no certificate", "the other side wants a certificate"},
			"other protocol": {raw(ca.Issue([]string{"n2"}), "h2"), ReasonProtocol, "", "the other side speaks another protocol over TLS; is it the right port?"},
			"no protocol":    {raw(ca.Issue([]string{"n2"}), ""), ReasonProtocol, "another protocol", ""},
		} {
			before, warned := p.Refusals()[test.reason], strings.Count(p.log.String(), "level=WARN")
			_, err := echo(test.conn)
			if err == nil {
				t.Errorf("%s: not refused", name)
				continue
			}
			if test.remote != "" && newHandshakeError(err).Error() != test.remote {
				t.Errorf("%s: the other side hears %q of %v", name, newHandshakeError(err), err)
			}
			test.conn.NetConn().Close()
			synctest.Wait()
			if quiet := test.reason == ReasonProtocol; quiet != (strings.Count(p.log.String(), "level=WARN") == warned) {
				t.Errorf("%s: log\n%s", name, p.log)
			}
			if p.Refusals()[test.reason] != before+1 || !strings.Contains(p.log.String(), test.log) {
				t.Errorf("%s: counts %v, log\n%s", name, p.Refusals(), p.log)
			}
		}
		if p.open.Len() != 0 {
			t.Errorf("%d connections are remembered", p.open.Len())
		}
		// One reason is logged once a minute.
		warned := strings.Count(p.log.String(), "level=WARN")
		for i := range 3 {
			conn := raw(other.Issue([]string{"n2"}), "echo")
			_, _ = echo(conn)
			conn.NetConn().Close()
			synctest.Wait()
			if got := strings.Count(p.log.String(), "level=WARN"); got != warned+i/2 {
				t.Errorf("the log has %d warnings, had %d", got, warned)
			}
			time.Sleep(quietFor / 2)
		}
	})
}

func TestDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, other := tlstest.NewCA(t, "ca"), tlstest.NewCA(t, "other")
		p := open(t, Permissive, certs.Required, ca.Issue([]string{"n1"}))
		defer p.cancel()
		named := func(want string) func(*x509.Certificate) error {
			return func(leaf *x509.Certificate) error {
				if err := leaf.VerifyHostname(want); err != nil {
					return errors.New("it is not " + want)
				}
				return nil
			}
		}
		conn, err := p.Dial(t.Context(), p.dial(), named("n1"))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := echo(conn); got != "Hello" || err != nil || !conn.TLS() {
			t.Errorf("%q %v", got, err)
		}
		conn.Close()
		if _, err := p.Dial(t.Context(), p.dial(), named("n2")); err == nil || !strings.Contains(err.Error(), "it is not n2") {
			t.Errorf("another name: %v", err)
		}
		stranger := New(Config{Name: "stranger", Mode: Required, Source: tlstest.Open(t, other.Issue([]string{"n1"})), Protocols: []string{"echo"}, Logger: slog.New(slog.DiscardHandler)})
		_, err = stranger.Dial(t.Context(), p.dial(), nil2)
		if failure, ok := errors.AsType[*HandshakeError](err); !ok || failure.Reason != certs.ReasonUnknownCA {
			t.Errorf("another CA: %v", err)
		}
		// Who does not speak TLS, and who says nothing.
		l, err := p.net.Listen("127.0.0.1:1")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		p.wg.Go(func() {
			conn, err := l.Accept()
			if err == nil {
				_, _ = conn.Read(make([]byte, 4))
				_, _ = conn.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
				conn.Close()
			}
			if conn, err = l.Accept(); err == nil {
				_, _ = io.Copy(io.Discard, conn)
				conn.Close()
			}
		})
		for _, want := range []string{"the other side does not speak TLS", context.DeadlineExceeded.Error()} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			conn, err := p.net.Dial(ctx, "127.0.0.1:1")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := p.Dial(ctx, conn, nil2); err == nil || err.Error() != want {
				t.Errorf("%v, want %s", err, want)
			}
			cancel()
		}
	})
}

func nil2(*x509.Certificate) error { return nil }

// TestRotation: connections whose CA is not believed any more are ended, in a quiet moment; others stay.
func TestRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, next := tlstest.NewCA(t, "old"), tlstest.NewCA(t, "next")
		files := old.Issue([]string{"n1"})
		bundle := t.TempDir() + "/bundle.pem"
		writeFile(t, bundle, append(old.PEM(), next.PEM()...))
		files.CA = []string{bundle}
		p := open(t, Required, certs.Optional, files)
		defer p.cancel()
		both := func(ca *tlstest.CA, name string) certs.Files {
			f := ca.Issue([]string{name})
			f.CA = []string{bundle}
			return f
		}
		of := map[string]*tls.Conn{"old": p.client(both(old, "alice")), "new": p.client(both(next, "bob")), "none": p.client(certs.Files{CA: []string{bundle}}), "busy": p.client(both(old, "carol"))}
		for name, conn := range of {
			if _, err := echo(conn); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		next.IssueTo(files, []string{"n1"})
		writeFile(t, bundle, next.PEM())
		begun := time.Now()
		busyUntil := make(chan time.Duration, 1)
		p.wg.Go(func() { // carries something all the time
			for {
				if _, err := echo(of["busy"]); err != nil {
					busyUntil <- time.Since(begun)
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
		if _, err := of["old"].Read(make([]byte, 1)); err == nil || time.Since(begun) > 20*time.Second {
			t.Errorf("of the old CA: %v after %v", err, time.Since(begun))
		}
		if until := <-busyUntil; until < endWithin || until > time.Minute {
			t.Errorf("the busy connection was ended after %v", until)
		}
		for _, name := range []string{"new", "none"} {
			if got, err := echo(of[name]); got != "Hello" || err != nil {
				t.Errorf("%s: %q %v", name, got, err)
			}
		}
		synctest.Wait() // a connection is forgotten after it was closed
		if !strings.Contains(p.log.String(), "no longer verifies") || p.open.Len() != 1 {
			t.Errorf("%d are remembered; log\n%s", p.open.Len(), p.log)
		}
		for _, conn := range of {
			conn.Close()
		}
		synctest.Wait()
		if p.open.Len() != 0 {
			t.Errorf("%d are remembered in the end", p.open.Len())
		}
	})
}

// TestEndOfThePort: handshakes do not wait for a port that ends, and Close waits for no handshake.
func TestEndOfThePort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := tlstest.NewCA(t, "ca")
		p := open(t, Required, certs.Optional, ca.Issue([]string{"n1"}))
		hello := wholeHello(t)
		var all []net.Conn
		for i := range testLimit {
			conn := p.dial()
			if _, err := conn.Write(hello[:len(hello)-i%2]); err != nil {
				t.Fatal(err)
			}
			all = append(all, conn)
		}
		synctest.Wait()
		near, far := net.Pipe()
		c := p.Accept(near)
		ended := make(chan error, 1)
		go func() { ended <- c.Handshake() }()
		synctest.Wait()
		begun := time.Now()
		c.Close()
		if err := <-ended; err == nil || time.Since(begun) > 0 {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
		far.Close()
		for _, conn := range all {
			conn.Close()
		}
		p.cancel()
	})
}

func TestParseMode(t *testing.T) {
	for _, name := range Modes() {
		if m, err := ParseMode(name); err != nil || m.String() != name {
			t.Errorf("%s: %v %v", name, m, err)
		}
	}
	for _, name := range []string{"", "on", "Required", "TLS"} {
		if m, err := ParseMode(name); err == nil || m != Off {
			t.Errorf("%q: %v %v", name, m, err)
		}
	}
}

func writeFile(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path+".next", b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".next", path); err != nil {
		t.Fatal(err)
	}
}
