package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// side is one end of a connection.
type side struct {
	conn *tls.Conn
	err  error
}

// shake connects two configurations, and exchanges a byte each way: with TLS 1.3 a client learns only then what the
// server thinks of its certificate.
func shake(t testing.TB, server, client *tls.Config) (s, c side) {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	raw, err := net.Dial("tcp", lis.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := lis.Accept()
	if err != nil {
		t.Fatal(err)
	}
	var both sync.WaitGroup
	talk := func(on *side, raw net.Conn) {
		if _, on.err = on.conn.Write([]byte{1}); on.err == nil {
			_, on.err = io.ReadFull(on.conn, make([]byte, 1))
		}
		if on.err != nil {
			raw.Close()
		}
	}
	s.conn, c.conn = tls.Server(accepted, server), tls.Client(raw, client)
	both.Go(func() { talk(&s, accepted) })
	both.Go(func() { talk(&c, raw) })
	both.Wait()
	t.Cleanup(func() { accepted.Close(); raw.Close() })
	return s, c
}

// opened is a Source of a certificate and CAs, at the time begin.
func opened(t testing.TB, use Use, leaf *issued, cas ...*issued) (*Source, directory) {
	t.Helper()
	return openedAt(t, use, &clock{now: begin}, leaf, cas...)
}

func openedAt(t testing.TB, use Use, c *clock, leaf *issued, cas ...*issued) (*Source, directory) {
	t.Helper()
	d := newDirectory(t)
	if leaf == nil {
		d.write(d.files.CA[0], pemOf(cas...))
		d.files.Cert, d.files.Key = "", ""
	} else {
		d.put(leaf, cas...)
	}
	s, err := Open(d.files, Options{Use: use, Now: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	return s, d
}

func clientOf(ca *issued, t testing.TB, name string) *issued {
	template := nodeTemplate(name)
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return sign(t, ca, template)
}

func TestHandshake(t *testing.T) {
	one, two := newCA(t, "ca one"), newCA(t, "ca two")
	n1, _ := opened(t, ForNode, one.node(t, "n1"), one)
	ops, _ := opened(t, ForClient, clientOf(one, t, "ops"), one)
	nobody, _ := opened(t, ForClient, nil, one)
	stranger, _ := opened(t, ForClient, two.node(t, "ops"), two, one)
	refuseAll := func(*x509.Certificate) error { return errors.New("not today") }
	toN1 := Dial{ServerName: "n1"}
	for name, c := range map[string]struct {
		server         *tls.Config
		client         *tls.Config
		serverErr      string // reason, or text
		clientErr      string
		noClientsChain bool
	}{
		"both know each other":          {server: n1.Server(Accept{}), client: ops.Client(toN1)},
		"no certificate is needed":      {server: n1.Server(Accept{ClientCertificate: Optional}), client: nobody.Client(toN1), noClientsChain: true},
		"one is needed":                 {server: n1.Server(Accept{}), client: nobody.Client(toN1), serverErr: "didn't provide a certificate", clientErr: "certificate required"},
		"of another CA":                 {server: n1.Server(Accept{}), client: stranger.Client(toN1), serverErr: ReasonUnknownCA, clientErr: "bad certificate"},
		"of another CA, and not needed": {server: n1.Server(Accept{ClientCertificate: Optional}), client: stranger.Client(toN1), serverErr: ReasonUnknownCA, clientErr: "bad certificate"},
		"server of another CA":          {server: stranger.Server(Accept{}), client: ops.Client(toN1), serverErr: "bad certificate", clientErr: ReasonUnknownCA},
		"server of another name":        {server: n1.Server(Accept{}), client: ops.Client(Dial{ServerName: "n2"}), serverErr: "bad certificate", clientErr: ReasonWrongName},
		"server without an address":     {server: n1.Server(Accept{}), client: ops.Client(Dial{ServerName: "127.0.0.1"}), serverErr: "bad certificate", clientErr: ReasonWrongName},
		"client's as a server's":        {server: ops.Server(Accept{}), client: n1.Client(Dial{ServerName: "ops"}), serverErr: "bad certificate", clientErr: ReasonWrongUsage},
		"the server refuses the name":   {server: n1.Server(Accept{Verify: refuseAll}), client: ops.Client(toN1), serverErr: "not today", clientErr: "bad certificate"},
		"the client refuses the name":   {server: n1.Server(Accept{}), client: ops.Client(Dial{Verify: refuseAll}), serverErr: "bad certificate", clientErr: "not today"},
		"nobody looks at the name":      {server: n1.Server(Accept{}), client: ops.Client(Dial{}), serverErr: "bad certificate", clientErr: "which name"},
		"TLS 1.2":                       {server: n1.Server(Accept{ClientCertificate: Optional}), client: &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}, serverErr: "unsupported versions", clientErr: "protocol version"},
		"no common protocol":            {server: n1.Server(Accept{NextProtos: []string{"h2"}}), client: ops.Client(Dial{ServerName: "n1", NextProtos: []string{"x"}}), serverErr: "unsupported application protocols", clientErr: "no application protocol"},
	} {
		t.Run(name, func(t *testing.T) {
			s, c2 := shake(t, c.server, c.client)
			for _, end := range []struct {
				what string
				err  error
				want string
			}{{"server", s.err, c.serverErr}, {"client", c2.err, c.clientErr}} {
				switch {
				case end.want == "" && end.err != nil:
					t.Errorf("%s: %v", end.what, end.err)
				case end.want != "" && (end.err == nil || Reason(end.err) != end.want && !strings.Contains(end.err.Error(), end.want)):
					t.Errorf("%s: %v, want %s", end.what, end.err, end.want)
				}
			}
			if s.err != nil || c2.err != nil {
				return
			}
			state := s.conn.ConnectionState()
			if state.Version != tls.VersionTLS13 || state.DidResume || (len(state.PeerCertificates) == 0) != c.noClientsChain {
				t.Errorf("version %x, resumed %v, %d certificates", state.Version, state.DidResume, len(state.PeerCertificates))
			}
		})
	}
}

func TestHandshakeLooksAtTheTime(t *testing.T) {
	ca := newCA(t, "ca")
	serverClock, clientClock := &clock{now: begin}, &clock{now: begin}
	n1, _ := openedAt(t, ForNode, serverClock, ca.node(t, "n1"), ca)
	ops, _ := openedAt(t, ForClient, clientClock, clientOf(ca, t, "ops"), ca)
	for _, c := range []struct {
		server, client       time.Duration
		serverErr, clientErr string
	}{
		{0, 0, reasonOther, reasonOther},
		{366 * day, 0, ReasonExpired, reasonOther},
		{-366 * day, 0, ReasonNotYetValid, reasonOther},
		{0, 366 * day, reasonOther, ReasonExpired},
		{0, -366 * day, reasonOther, ReasonNotYetValid},
		{0, 0, reasonOther, reasonOther},
	} {
		serverClock.set(begin.Add(c.server))
		clientClock.set(begin.Add(c.client))
		s, c2 := shake(t, n1.Server(Accept{}), ops.Client(Dial{ServerName: "n1"}))
		if Reason(s.err) != c.serverErr || Reason(c2.err) != c.clientErr || (c.server == c.client) != (s.err == nil && c2.err == nil) {
			t.Errorf("server's clock %s ahead, client's %s: %v; %v", c.server, c.client, s.err, c2.err)
		}
	}
}

// Without CAs a server takes no certificate, though those of the system would do for a client.
func TestAServerWithoutCAs(t *testing.T) {
	ca := newCA(t, "ca")
	d := newDirectory(t)
	d.put(ca.node(t, "n1"), ca)
	d.files.CA = nil
	n1, err := Open(d.files, nodeAt(begin))
	if err != nil {
		t.Fatal(err)
	}
	nobody, _ := opened(t, ForClient, nil, ca)
	ops, _ := opened(t, ForClient, clientOf(ca, t, "ops"), ca)
	config := n1.Server(Accept{ClientCertificate: Optional})
	if s, c := shake(t, config, nobody.Client(Dial{ServerName: "n1"})); s.err != nil || c.err != nil {
		t.Errorf("%v; %v", s.err, c.err)
	}
	if s, _ := shake(t, config, ops.Client(Dial{ServerName: "n1"})); Reason(s.err) != ReasonUnknownCA {
		t.Error(s.err)
	}
	if err := n1.Verify([]*x509.Certificate{clientOf(ca, t, "ops").cert}, x509.ExtKeyUsageClientAuth); Reason(err) != ReasonUnknownCA || !strings.Contains(err.Error(), "no CAs are given here") {
		t.Error(err)
	}
}

// A configuration that a port has kept uses the files that were taken last, both the certificate and the CAs.
func TestHandshakesUseTheNewestFiles(t *testing.T) {
	one, two := newCA(t, "ca one"), newCA(t, "ca two")
	n1, d := opened(t, ForNode, one.node(t, "n1"), one)
	config := n1.Server(Accept{})
	old, _ := opened(t, ForClient, clientOf(one, t, "ops"), one)
	s, c := shake(t, config, old.Client(Dial{ServerName: "n1"}))
	if s.err != nil || c.err != nil {
		t.Fatalf("%v; %v", s.err, c.err)
	}
	next := two.node(t, "n1")
	d.put(next, two)
	if err := n1.Reload(); err != nil {
		t.Fatal(err)
	}
	if s, _ := shake(t, config, old.Client(Dial{ServerName: "n1", Verify: func(*x509.Certificate) error { return nil }})); s.err == nil {
		t.Error("the old CA's client is let in")
	}
	ops, _ := opened(t, ForClient, clientOf(two, t, "ops"), two)
	if s, c = shake(t, config, ops.Client(Dial{ServerName: "n1"})); s.err != nil || c.err != nil {
		t.Fatalf("%v; %v", s.err, c.err)
	}
	if !c.conn.ConnectionState().PeerCertificates[0].Equal(next.cert) {
		t.Error("the old certificate is shown")
	}
}

// No handshake fails while files are exchanged, and none sees the certificate of one bundle with the key of another.
func TestReloadUnderHandshakes(t *testing.T) {
	ca := newCA(t, "ca")
	n1, d := opened(t, ForNode, ca.node(t, "n1"), ca)
	ops, _ := opened(t, ForClient, clientOf(ca, t, "ops"), ca)
	config := n1.Server(Accept{})
	versions := []*issued{ca.node(t, "n1"), ca.node(t, "n1")}
	stop := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			d.put(versions[i%2], ca)
			if err := n1.Reload(); err != nil {
				t.Error(err)
			}
		}
	})
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			for range 25 {
				if s, c := shake(t, config, ops.Client(Dial{ServerName: "n1"})); s.err != nil || c.err != nil {
					t.Errorf("%v; %v", s.err, c.err)
				}
			}
		})
	}
	callers.Wait()
	close(stop)
	all.Wait()
	if n1.Generation() < 2 {
		t.Errorf("generation %d", n1.Generation())
	}
}

// A certificate of which everything that a holder may choose is hostile leads to errors of bounded length, on one line.
func TestErrorsAreBounded(t *testing.T) {
	ca, other := newCA(t, "ca"), newCA(t, "other\n"+strings.Repeat("x", 5000))
	var names []string
	for range 1000 {
		names = append(names, strings.Repeat("y", 200)+"\n")
	}
	hostile := other.node(t, "n\n"+strings.Repeat("z", 5000)).cert
	hostile.DNSNames = names
	n1, _ := opened(t, ForNode, ca.node(t, "n1"), ca)
	for _, err := range []error{
		n1.Verify([]*x509.Certificate{hostile}, x509.ExtKeyUsageClientAuth),
		verifyHost(hostile, "n1"), DefaultPeerNames().Match(hostile, "n1"), inTime(hostile, begin.Add(-999*day)),
	} {
		if err == nil || len(err.Error()) > 3000 || bytes.ContainsAny([]byte(err.Error()), "\n\r\x00") {
			t.Errorf("%d bytes: %v", len(err.Error()), err)
		}
	}
}

func BenchmarkServerConfig(b *testing.B) {
	ca := newCA(b, "ca")
	n1, _ := opened(b, ForNode, ca.node(b, "n1"), ca)
	config := n1.Server(Accept{})
	for b.Loop() {
		config.GetConfigForClient(nil)
	}
}
