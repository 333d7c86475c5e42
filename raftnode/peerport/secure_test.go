package peerport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	"github.com/rollcallhq/rollcall/certs"
	"github.com/rollcallhq/rollcall/internal/tlstest"
	"github.com/rollcallhq/rollcall/raftnode/memnet"
	"github.com/rollcallhq/rollcall/tlsport"
)

// securePort opens the port of a member with a certificate for names.
func securePort(t *testing.T, network *memnet.Network, node string, ca *tlstest.CA, mode tlsport.Mode, check bool, names ...string) *Port {
	t.Helper()
	cfg := Config{
		Node: node, Listen: node + ":7601", Network: network.Host(node), Logger: slog.New(slog.DiscardHandler),
		View:    func() View { return clusterView(node, true) },
		Resolve: func(name string) []string { return []string{name + ":7601"} },
		Met:     func(*peerv1.Hello) {},
	}
	if mode != tlsport.Off {
		cfg.TLS = tlsport.New(tlsport.Config{
			Name: "peer", Mode: mode, Source: tlstest.Open(t, ca.Issue(names)), ClientCertificate: certs.Required,
			Protocols: []string{"rollcall-peer"}, Handshakes: tlsport.NewHandshakes(10), Logger: cfg.Logger,
		})
	}
	if check {
		cfg.Names = certs.DefaultPeerNames().Match
	}
	p, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestBothSidesCompareTheName: a certificate that verifies and names another member is refused by who dials, and by who
// is dialed, also if the other side compares nothing.
func TestBothSidesCompareTheName(t *testing.T) {
	const off, permissive, required = tlsport.Off, tlsport.Permissive, tlsport.Required
	for name, test := range map[string]struct {
		from, to tlsport.Mode
		names    [2]string // in the certificates of n1 and n3
		checks   [2]bool
		want     string // "": the connection stands
		isTLS    bool
	}{
		"right":                          {required, required, [2]string{"n1", "n3"}, [2]bool{true, true}, "", true},
		"the dialed one is another":      {required, required, [2]string{"n1", "n2"}, [2]bool{true, false}, `"n3"`, false},
		"the dialer is another":          {required, required, [2]string{"n2", "n3"}, [2]bool{false, true}, `"n1"`, false},
		"one certificate for all":        {required, required, [2]string{"all", "all"}, [2]bool{false, false}, "", true},
		"permissive to off":              {permissive, off, [2]string{"n1", "n3"}, [2]bool{true, true}, "", false},
		"off to permissive":              {off, permissive, [2]string{"n1", "n3"}, [2]bool{true, true}, "", false},
		"permissive to required":         {permissive, required, [2]string{"n1", "n3"}, [2]bool{true, true}, "", true},
		"a wrong one in permissive":      {permissive, permissive, [2]string{"n1", "n2"}, [2]bool{true, true}, "", false},
		"off to required":                {off, required, [2]string{"n1", "n3"}, [2]bool{true, true}, "closed the connection", false},
		"required to off, in plain text": {required, off, [2]string{"n1", "n3"}, [2]bool{true, true}, "the other side closed the connection during the TLS handshake; does it speak TLS?", false},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ca, network := tlstest.NewCA(t, "ca"), memnet.New()
				n1 := securePort(t, network, "n1", ca, test.from, test.checks[0], test.names[0])
				defer n1.Close()
				n3 := securePort(t, network, "n3", ca, test.to, test.checks[1], test.names[1])
				defer n3.Close()
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				conn, err := n1.Dial(ctx, "n3", peerv1.Hello_PURPOSE_RPC)
				if test.want != "" {
					if err == nil || !strings.Contains(Reason(err), test.want) {
						t.Errorf("%v, want %s", err, test.want)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				secured, ok := conn.(*trackedConn).Conn.(*tlsport.Conn)
				if is := ok && secured.TLS(); is != test.isTLS {
					t.Errorf("TLS: %v", is)
				}
				accepted, err := n3.Listener(peerv1.Hello_PURPOSE_RPC).Accept()
				if err != nil {
					t.Fatal(err)
				}
				if from := accepted.(*trackedConn).Member(); from != "n1" || conn.(*trackedConn).Member() != "n3" {
					t.Errorf("the connection is from %q to %q", from, conn.(*trackedConn).Member())
				}
			})
		})
	}
}

// TestStrangersTakeNoRoomOfMembers: connections that do not finish their TLS handshake take no place of one whose hello
// is awaited.
func TestStrangersTakeNoRoomOfMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, network := tlstest.NewCA(t, "ca"), memnet.New()
		n1 := securePort(t, network, "n1", ca, tlsport.Required, true, "n1")
		defer n1.Close()
		source := tlstest.Open(t, ca.Issue([]string{"n2"}))
		raw, err := network.Host("n2").Dial(t.Context(), "n1:7601")
		if err != nil {
			t.Fatal(err)
		}
		defer raw.Close()
		member := tls.Client(raw, source.Client(certs.Dial{NextProtos: []string{"rollcall-peer"}, Verify: func(*x509.Certificate) error { return nil }}))
		if err := member.Handshake(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := n1.Handshakes(); n != 1 {
			t.Fatalf("%d hellos are awaited", n)
		}
		for range 2 * MaxHandshakes {
			conn, err := network.Host("n3").Dial(t.Context(), "n1:7601")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			synctest.Wait()
		}
		if err := WriteHello(member, clusterView("n2", true).Hello(peerv1.Hello_PURPOSE_PROBE, "n1")); err != nil {
			t.Fatal(err)
		}
		if h, err := ReadHello(member); err != nil || h.GetNode() != "n1" {
			t.Errorf("%v %v", h, err)
		}
	})
}

// TestProbeOfAnAddress: who is there may be anybody, and the certificate must name who it says it is.
func TestProbeOfAnAddress(t *testing.T) {
	const off, required = tlsport.Off, tlsport.Required
	for name, test := range map[string]struct {
		mode  tlsport.Mode
		names string // in the certificate of n3
		want  string // "": the hello comes
	}{
		"plain":                 {off, "", ""},
		"TLS":                   {required, "n3", ""},
		"another's certificate": {required, "n2", `"n3"`},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ca, network := tlstest.NewCA(t, "ca"), memnet.New()
				n1 := securePort(t, network, "n1", ca, test.mode, true, "n1")
				defer n1.Close()
				n3 := securePort(t, network, "n3", ca, test.mode, true, test.names)
				defer n3.Close()
				h, err := n1.ProbeAddress(t.Context(), "n3:7601")
				if test.want != "" {
					if err == nil || h != nil || !strings.Contains(err.Error(), test.want) {
						t.Errorf("%v %v, want %s", h, err, test.want)
					}
					return
				}
				if err != nil || h.GetNode() != "n3" || h.GetDirectoryId() != "dir-n3" {
					t.Errorf("%v %v", h, err)
				}
				// A node that calls itself hears itself, and nobody stays connected.
				if h, err = n1.ProbeAddress(t.Context(), "n1:7601"); h.GetDirectoryId() != "dir-n1" || err == nil || err.Error() != "n1 was called by itself" {
					t.Errorf("%v %v", h, err)
				}
				if h, err = n1.ProbeAddress(t.Context(), "n9:7601"); h != nil || err == nil {
					t.Errorf("%v %v", h, err)
				}
				n1.Close()
				if _, err = n1.ProbeAddress(t.Context(), "n3:7601"); !errors.Is(err, ErrClosed) {
					t.Errorf("on a port that is closed: %v", err)
				}
			})
		})
	}
}

// TestPortForgets: of a peer that is kept no more, nothing stays.
func TestPortForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, network := tlstest.NewCA(t, "ca"), memnet.New()
		n1 := securePort(t, network, "n1", ca, tlsport.Off, true)
		defer n1.Close()
		n3 := securePort(t, network, "n3", ca, tlsport.Off, true)
		defer n3.Close()
		conn, err := n1.Dial(t.Context(), "n3", peerv1.Hello_PURPOSE_RPC)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = n1.Dial(t.Context(), "n2", peerv1.Hello_PURPOSE_RPC)
		accepted, err := n3.Listener(peerv1.Hello_PURPOSE_RPC).Accept()
		if err != nil {
			t.Fatal(err)
		}
		n1.Keep(map[string]bool{"n3": true})
		if got := n1.Peers(); len(got) != 1 || got[0].Name != "n3" || n1.PeerLevel("n3") == 0 {
			t.Errorf("kept %+v", got)
		}
		// A member that has another directory now is dialed again.
		moved := clusterView("n3", true)
		moved.Known["n1"] = "dir-new"
		n3.cfg.View = func() View { return moved }
		n3.Keep(map[string]bool{"n1": true})
		if _, err := accepted.Read(make([]byte, 1)); err == nil {
			t.Error("the connection with a directory that was replaced stays open")
		}
		n3.cfg.View = func() View { return clusterView("n3", true) }
		if conn, err = n1.Dial(t.Context(), "n3", peerv1.Hello_PURPOSE_RPC); err != nil {
			t.Fatal(err)
		}
		n1.Keep(nil)
		if got := n1.Peers(); len(got) > 0 || n1.PeerLevel("n3") != 0 {
			t.Errorf("not forgotten: %+v", got)
		}
		if _, err := conn.Write([]byte{1}); err == nil {
			t.Error("the connection to a peer that is forgotten stays open")
		}
	})
}
