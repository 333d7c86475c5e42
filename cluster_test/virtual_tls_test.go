package cluster_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/rollcallhq/rollcall/certs"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/internal/tlstest"
	"github.com/rollcallhq/rollcall/node"
	"github.com/rollcallhq/rollcall/raftnode/memnet"
	"github.com/rollcallhq/rollcall/tlsport"
)

// secureVirtual is a cluster that is not started, with a certificate for each node.
func secureVirtual(t *testing.T, size int, mode tlsport.Mode, ca *tlstest.CA) (*virtual, map[string]*syncBuffer) {
	t.Helper()
	logs := map[string]*syncBuffer{}
	c := newVirtual(t, size, func(cfg *node.Config) {
		logs[cfg.Name] = &syncBuffer{}
		cfg.Logger = slog.New(slog.NewTextHandler(logs[cfg.Name], nil))
		cfg.TLS.Mode = mode
		cfg.TLS.Files = ca.Issue([]string{cfg.Name, "127.0.0." + cfg.Name[1:]})
	})
	c.creds = clientCredentials(t, certs.Files{CA: []string{ca.File}})
	return c, logs
}

func clientCredentials(t *testing.T, files certs.Files) credentials.TransportCredentials {
	t.Helper()
	source, err := certs.Open(files, certs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return tlsport.ClientCredentials(source)
}

// TestVirtualTLS: with TLS everywhere a cluster forms, forwards, takes over at once when its leader is gone, and heals.
func TestVirtualTLS(t *testing.T) {
	beside(t, ofVirtualTime)
	synctest.Test(t, func(t *testing.T) {
		ca := tlstest.NewCA(t, "ca")
		c, logs := secureVirtual(t, 3, tlsport.Required, ca)
		defer c.close()
		for _, n := range c.nodes {
			n.start()
		}
		c.waitReady()
		leader := c.leader()
		follower := c.others(leader)[0]
		set := func(name string, at ...*virtualNode) time.Duration {
			t.Helper()
			cl := c.client(at...)
			defer cl.Close()
			begun := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if _, err := cl.Set(ctx, name, serving, client.WriteOptions{}); err != nil {
				t.Fatalf("set %s: %v", name, err)
			}
			return time.Since(begun)
		}
		set("forwarded", follower)
		c.net.Isolate(memnet.Refuse, leader.cfg.Name)
		left := c.others(leader)
		next := c.leader(left...)
		set("without-the-leader", left...)
		c.net.Heal()
		c.caughtUp()
		if next == leader {
			t.Error("the leader was not replaced")
		}
		// In plain text nobody is heard, on any port.
		c.creds = insecure.NewCredentials()
		cl := c.client()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if _, err := cl.Set(ctx, "plain", serving, client.WriteOptions{}); err == nil {
			t.Error("a write in plain text was done")
		}
		cl.Close()
		if log := logs["n1"].String(); !strings.Contains(log, `msg="a connection is refused"`) || !strings.Contains(log, "port=api") || !strings.Contains(log, "plain text came") {
			t.Errorf("log of n1:\n%s", log)
		}
	})
}

// TestVirtualTLSCutOver: a running cluster goes from plain text to TLS and back, one node after the other, and always
// takes writes by every node.
func TestVirtualTLSCutOver(t *testing.T) {
	beside(t, ofVirtualTime)
	synctest.Test(t, func(t *testing.T) {
		ca := tlstest.NewCA(t, "ca")
		c, logs := secureVirtual(t, 3, tlsport.Off, ca)
		defer c.close()
		secured := c.creds
		c.creds = insecure.NewCredentials()
		for _, n := range c.nodes {
			n.start()
		}
		c.waitReady()
		writes := 0
		write := func(what string) {
			t.Helper()
			for _, n := range c.nodes {
				cl := c.client(n)
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				writes++
				if _, err := cl.Set(ctx, fmt.Sprintf("s%d", writes), serving, client.WriteOptions{}); err != nil {
					t.Errorf("%s: a write by %s: %v", what, n.cfg.Name, err)
				}
				cancel()
				cl.Close()
			}
		}
		roll := func(mode tlsport.Mode) {
			t.Helper()
			for _, n := range c.nodes {
				n.stop()
				n.cfg.TLS.Mode = mode
				n.start()
				if n.conn != nil {
					n.conn.Close()
					n.conn = nil
				}
				c.waitReady()
				write(fmt.Sprintf("%s is %v", n.cfg.Name, mode))
			}
		}
		clients := func(creds credentials.TransportCredentials) {
			c.creds = creds
			for _, n := range c.nodes {
				n.conn.Close()
				n.conn = nil
			}
			write("clients changed")
		}
		roll(tlsport.Permissive)
		clients(secured)
		roll(tlsport.Required)
		if log := logs["n1"].String(); !strings.Contains(log, `msg="peer is reached in plain text: it does not speak TLS"`) || !strings.Contains(log, `msg="peer is reached with TLS now"`) {
			t.Errorf("log of n1:\n%s", log)
		}
		roll(tlsport.Permissive)
		clients(insecure.NewCredentials())
		roll(tlsport.Off)
		c.caughtUp()
		if got := len(c.nodes[0].services()); got != writes {
			t.Errorf("%d services, %d writes", got, writes)
		}
	})
}

// TestVirtualTLSStrangers: a member whose certificate is expired, of another CA, or another member's, has no part in the
// cluster, and both sides say why.
func TestVirtualTLSStrangers(t *testing.T) {
	beside(t, ofVirtualTime)
	for name, test := range map[string]struct {
		files         func(ca *tlstest.CA) certs.Files
		others, other string // in the logs of those that refuse it, and in its own
	}{
		"another CA": {func(ca *tlstest.CA) certs.Files {
			stranger := tlstest.NewCA(ca.T(), "stranger")
			files := stranger.Issue([]string{"n3", "127.0.0.3"})
			files.CA = append(files.CA, ca.File)
			return files
		}, "is signed by no CA that is trusted here", "does not accept this node's certificate"},
		"expired later": {func(ca *tlstest.CA) certs.Files {
			return ca.Issue([]string{"n3", "127.0.0.3"}, tlstest.ExpiresIn(time.Minute))
		},
			"expired on", "a certificate has expired"},
		"another member's": {func(ca *tlstest.CA) certs.Files { return ca.Issue([]string{"n2", "127.0.0.3"}) },
			"", ""},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ca := tlstest.NewCA(t, "ca")
				c, logs := secureVirtual(t, 3, tlsport.Required, ca)
				defer c.close()
				for _, n := range c.nodes {
					n.start()
				}
				c.waitReady()
				n3 := c.nodes[2]
				n3.stop()
				n3.cfg.TLS.Files = test.files(ca)
				if name == "another member's" {
					// The node itself says so before it does anything.
					_, err := node.Open(t.Context(), n3.cfg)
					if err == nil || !strings.Contains(err.Error(), "n3") {
						t.Fatalf("%v", err)
					}
					n3.cfg.TLS.Files = ca.Issue([]string{"n2", "127.0.0.3"})
					n3.cfg.TLS.SharedPeerIdentity = true // and so does everybody else
					test.others, test.other = "n3", "n3"
				}
				mark := map[string]int{}
				for name, log := range logs {
					mark[name] = len(log.String())
				}
				n3.start()
				if name == "expired later" {
					c.waitReady()
					time.Sleep(2 * time.Minute)
					if n3.check("") != serving {
						t.Error("n3 has lost its connections because its certificate has expired")
					}
					c.net.Isolate(memnet.Reset, "n3")
					time.Sleep(time.Second)
					c.net.Heal()
				}
				time.Sleep(time.Minute)
				leader := c.leader(c.nodes[0], c.nodes[1])
				if got := leader.status(); got.GetLeader() == "n3" {
					t.Error("n3 leads")
				}
				for _, n := range []string{"n1", "n2"} {
					if log := logs[n].String()[mark[n]:]; !strings.Contains(log, test.others) || !strings.Contains(log, `msg="a connection is refused"`) {
						t.Errorf("log of %s:\n%s", n, log)
					}
				}
				if log := logs["n3"].String()[mark["n3"]:]; !strings.Contains(log, test.other) {
					t.Errorf("log of n3:\n%s", log)
				}
				for _, n := range []*virtualNode{c.nodes[0], c.nodes[1]} {
					if n.check("") != serving {
						t.Errorf("%s is not ready without n3", n.cfg.Name)
					}
				}
			})
		})
	}
}

// TestVirtualTLSRotation: leaves are replaced, then the CA, while the cluster runs. Nothing is restarted, and in the end
// the old CA's certificates are worth nothing.
func TestVirtualTLSRotation(t *testing.T) {
	beside(t, ofVirtualTime)
	synctest.Test(t, func(t *testing.T) {
		old, next := tlstest.NewCA(t, "old"), tlstest.NewCA(t, "next")
		bundle := t.TempDir() + "/bundle.pem"
		writeCAs := func(pems ...[]byte) {
			t.Helper()
			var all []byte
			for _, pem := range pems {
				all = append(all, pem...)
			}
			if err := os.WriteFile(bundle, all, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		writeCAs(old.PEM())
		c, logs := secureVirtual(t, 3, tlsport.Required, old)
		defer c.close()
		for _, n := range c.nodes {
			n.cfg.TLS.Files.CA = []string{bundle}
		}
		c.creds = clientCredentials(t, certs.Files{CA: []string{bundle}})
		for _, n := range c.nodes {
			n.start()
		}
		c.waitReady()
		term := c.leader().status().GetTerm()
		cl := c.client()
		defer cl.Close()
		i := 0
		write := func(what string) {
			t.Helper()
			for range 20 {
				i++
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				_, err := cl.Set(ctx, fmt.Sprintf("s%d", i), serving, client.WriteOptions{})
				cancel()
				if err != nil {
					t.Errorf("%s: %v", what, err)
				}
				time.Sleep(time.Second)
			}
		}
		write("before")
		writeCAs(old.PEM(), next.PEM())
		write("both CAs are believed")
		for _, n := range c.nodes {
			next.IssueTo(n.cfg.TLS.Files, []string{n.cfg.Name, "127.0.0." + n.cfg.Name[1:]})
			write("new certificate of " + n.cfg.Name)
		}
		writeCAs(next.PEM())
		write("the old CA is gone")
		write("still")
		c.caughtUp()
		for name, log := range logs {
			for _, line := range strings.Split(log.String(), "\n") {
				if strings.Contains(line, "level=ERROR") || strings.Contains(line, "certificate") && strings.Contains(line, "refused") {
					t.Errorf("%s: %s", name, line)
				}
			}
		}
		if now := c.leader().status().GetTerm(); now != term {
			t.Logf("term was %d, is %d", term, now)
		}
	})
}

// TestVirtualTLSMixed: members of which some need TLS and others have none, or not the right certificate, say what is
// wrong: both in their logs.
func TestVirtualTLSMixed(t *testing.T) {
	beside(t, ofVirtualTime)
	for name, test := range map[string]struct {
		mode          tlsport.Mode
		stranger      bool   // the certificate of the other is signed by another CA
		others, other string // in the logs of those with TLS, and in that of the other
	}{
		"without TLS":              {tlsport.Off, false, "closed the connection during the TLS handshake; does it speak TLS?", "closed the connection without a hello; does it need TLS (--tls required)?"},
		"permissive, of no use":    {tlsport.Permissive, true, "signed by no CA that is trusted here", "the other side does not accept this node's certificate"},
		"permissive, as it should": {tlsport.Permissive, false, "leader changed", "leader=n1"},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ca := tlstest.NewCA(t, "ca")
				c, logs := secureVirtual(t, 3, tlsport.Required, ca)
				defer c.close()
				for _, n := range c.nodes {
					n.start()
				}
				c.waitReady()
				other := c.nodes[2]
				other.stop()
				other.cfg.TLS.Mode = test.mode
				if test.stranger {
					other.cfg.TLS.Files = tlstest.NewCA(t, "stranger").Issue([]string{"n3", "127.0.0.3"})
					other.cfg.TLS.Files.CA = append(other.cfg.TLS.Files.CA, ca.File)
				}
				other.start()
				time.Sleep(time.Minute)
				if got := logs["n1"].String() + logs["n2"].String(); !strings.Contains(got, test.others) {
					t.Errorf("the others do not say %q:\n%s", test.others, got)
				}
				if got := logs["n3"].String(); !strings.Contains(got, test.other) || test.mode == tlsport.Permissive && strings.Contains(got, "hello") {
					t.Errorf("it does not say %q:\n%s", test.other, got)
				}
			})
		})
	}
}
