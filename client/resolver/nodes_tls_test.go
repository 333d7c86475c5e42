package resolver

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/rollcallhq/rollcall/client/aware"
	"github.com/rollcallhq/rollcall/internal/grpctest"
)

// certificate makes one that is its own authority, for one host.
func certificate(t *testing.T, host string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	if ip := net.ParseIP(host); ip != nil {
		c.IPAddresses = []net.IP{ip}
	} else {
		c.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// TestNodesAreCheckedAgainstTheirOwnNames: each node has a certificate of its own.
func TestNodesAreCheckedAgainstTheirOwnNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, roots := grpctest.NewNetwork(t), x509.NewCertPool()
		for address, host := range map[string]string{"n1:7600": "n1", "n2:7600": "n2", "[::1]:7600": "::1", "impostor:7600": "n1"} {
			c := certificate(t, host)
			roots.AddCert(c.Leaf)
			n.Start(address, grpctest.WithServerOptions(grpc.Creds(credentials.NewServerTLSFromCert(&c))))
		}
		dial := func(target string) *grpc.ClientConn {
			conn, err := aware.Dial(target, "", aware.WithResolver(NewNodes()),
				aware.WithDialOptions(n.DialOption(), grpc.WithTransportCredentials(credentials.NewClientTLSFromCert(roots, ""))))
			if err != nil {
				t.Fatal(err)
			}
			conn.Connect()
			time.Sleep(time.Second)
			return conn
		}
		conn := dial("rollcall-nodes:///n1:7600,n2:7600,[::1]:7600")
		defer conn.Close()
		servers := map[string]bool{}
		for range 30 {
			server, err := call(conn)
			if err != nil {
				t.Fatal(err)
			}
			servers[server] = true
		}
		if len(servers) != 3 {
			t.Errorf("asked %v", servers)
		}
		impostor := dial("rollcall-nodes:///impostor:7600")
		defer impostor.Close()
		if _, err := call(impostor); status.Code(err) != codes.Unavailable {
			t.Errorf("a node with another's certificate: %v", err)
		}
	})
}
