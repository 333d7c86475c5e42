package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
)

// authority makes certificates for tests.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string // its certificate
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t}
	a.cert, a.key, a.file, _ = a.make("authority", true)
	return a
}

// make writes a certificate of 127.0.0.1 and its key.
func (a *authority) make(name string, ca bool) (cert *x509.Certificate, key *ecdsa.PrivateKey, certFile, keyFile string) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{name + ".example"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: ca, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	parent, signer := template, key
	if !ca {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	if cert, err = x509.ParseCertificate(der); err != nil {
		a.t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	dir := a.t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	return cert, key, certFile, keyFile
}

// probed is a server that is asked, and what it was asked with.
type probed struct {
	*health.Server
	address string

	mu  sync.Mutex // guards got
	got metadata.MD
}

func (p *probed) Check(ctx context.Context, r *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	p.mu.Lock()
	p.got = md
	p.mu.Unlock()
	return p.Server.Check(ctx, r)
}

func startProbed(t *testing.T, l net.Listener, options ...grpc.ServerOption) *probed {
	t.Helper()
	p := &probed{Server: health.NewServer(), address: l.Addr().String()}
	p.SetServingStatus("up", serving)
	p.SetServingStatus("down", notServing)
	s := grpc.NewServer(options...)
	healthpb.RegisterHealthServer(s, p)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() { s.Stop(); <-served })
	return p
}

func listen(t *testing.T, network, address string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// The command lines are those that stand in manifests.
func TestProbeTakesTheFlagsOfGRPCHealthProbe(t *testing.T) {
	t.Setenv("ROLLCALL_ENDPOINTS", closedPort())
	p := startProbed(t, listen(t, "tcp", "127.0.0.1:0"))
	_, port, _ := strings.Cut(p.address, ":")
	socket := filepath.Join(t.TempDir(), "s")
	startProbed(t, listen(t, "unix", socket))
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"-addr=" + p.address}, 0, `"" SERVING`},
		{[]string{"-addr", p.address, "-service", "up"}, 0, "up SERVING"},
		{[]string{"--addr=:" + port, "--service=up"}, 0, "up SERVING"},
		{[]string{"-addr=unix:" + socket, "-service=up"}, 0, "up SERVING"},
		{[]string{"-addr=unix://" + socket, "-service=up"}, 0, "up SERVING"},
		{[]string{"-service=down", "-addr=localhost:" + port, "-connect-timeout=250ms", "-rpc-timeout=2s"}, 4, ""},
		{[]string{"-service=none", "-addr=" + p.address}, 3, ""},
		{[]string{"-addr=" + closedPort(), "-connect-timeout", "100ms"}, 2, ""},
		{[]string{"-addr=" + p.address, "-connect-timeout", "0s"}, 1, ""},
		{[]string{"-addr=" + p.address, "-rpc-timeout", "-1s"}, 1, ""},
		{[]string{"-addr=" + p.address, "-nope"}, 1, ""},
		{[]string{"-addr"}, 1, ""},
		{[]string{"-addr="}, 1, ""},
		{[]string{"-addr=no-port"}, 1, ""},
		{[]string{"-addr=" + p.address, "-tls-no-verify"}, 1, ""},
		{[]string{"-addr=" + p.address, "up", "-service=down"}, 1, ""},
		{[]string{"-addr=" + p.address, "-service", "-v"}, 3, ""}, // a service of that name
		{[]string{"-addr=" + p.address, "-gzip", "-v"}, 0, `"" SERVING`},
		{[]string{"-addr=" + p.address, "-gzip=true", "-verbose=false", "--", "up"}, 0, "up SERVING"},
		{[]string{"-addr=" + p.address, "-tls"}, 2, ""},
	} {
		r := rollcall(t, append([]string{"probe"}, test.args...)...)
		if r.code != test.code || strings.TrimSuffix(r.stdout, "\n") != test.want || (r.code != 0) != strings.HasPrefix(r.stderr, "rollcall: ") {
			t.Errorf("probe %q: %+v", test.args, r)
		}
	}

	r := rollcall(t, "probe", "-addr="+p.address, "-user-agent=kubelet/1.36", "-rpc-header=Authorization: Bearer x:y", "-rpc-header", "tenant:7", "-rpc-header=tenant: 8")
	if r.code != 0 || strings.Join(p.got.Get("authorization"), ",") != "Bearer x:y" || strings.Join(p.got.Get("tenant"), ",") != "7,8" ||
		!strings.HasPrefix(strings.Join(p.got.Get("user-agent"), ","), "kubelet/1.36 ") {
		t.Errorf("%+v: %v", r, p.got)
	}
	for _, header := range []string{"no colon", ": x", "a b: c", "grpc-timeout: 1S", ":path: x", "x: a\nb", "ü: x", "x: ü", ""} {
		if r := rollcall(t, "probe", "-addr="+p.address, "-rpc-header="+header); r.code != 1 || !strings.HasPrefix(r.stderr, "rollcall: --rpc-header ") {
			t.Errorf("header %q: %+v", header, r)
		}
	}
}

func TestProbeOverTLS(t *testing.T) {
	a := newAuthority(t)
	_, _, certFile, keyFile := a.make("server", false)
	_, _, clientCert, clientKey := a.make("client", false)
	_, _, foreignCert, foreignKey := newAuthority(t).make("client", false)
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	p := startProbed(t, listen(t, "tcp", "127.0.0.1:0"), grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{pair}})))
	mutual := startProbed(t, listen(t, "tcp", "127.0.0.1:0"), grpc.Creds(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, MaxVersion: tls.VersionTLS12,
	})))
	garbage := filepath.Join(t.TempDir(), "garbage.pem")
	if err := os.WriteFile(garbage, []byte("no PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		to   *probed
		args string
		code int
	}{
		{p, "-tls -tls-ca-cert " + a.file, 0},
		{p, "-tls -tls-no-verify", 0},
		{p, "-tls -tls-ca-cert " + a.file + " -tls-server-name server.example", 0},
		{p, "-tls -tls-ca-cert " + a.file + " -tls-server-name other.example", 2},
		{p, "-tls", 2}, // the system does not know the authority
		{p, "", 2},     // plain text to TLS
		{p, "-tls -tls-ca-cert " + foreignCert, 2},
		{p, "-tls-ca-cert " + a.file, 1},
		{p, "-tls -tls-no-verify -tls-ca-cert " + a.file, 1},
		{p, "-tls -tls-no-verify -tls-server-name x", 1},
		{p, "-tls -tls-ca-cert " + garbage, 1},
		{p, "-tls -tls-ca-cert " + garbage + ".gone", 1},
		{mutual, "-tls -tls-ca-cert " + a.file, 2},
		{mutual, "-tls -tls-ca-cert " + a.file + " -tls-client-cert " + clientCert + " -tls-client-key " + clientKey, 0},
		{mutual, "-tls -tls-ca-cert " + a.file + " -tls-client-cert " + foreignCert + " -tls-client-key " + foreignKey, 2},
		{mutual, "-tls -tls-ca-cert " + a.file + " -tls-client-cert " + clientCert, 1},
		{mutual, "-tls -tls-ca-cert " + a.file + " -tls-client-key " + clientKey, 1},
		{mutual, "-tls -tls-client-cert " + clientCert + " -tls-client-key " + foreignKey, 1},
	} {
		args := append([]string{"probe", "up", "-addr", test.to.address}, strings.Fields(test.args)...)
		r := rollcall(t, args...)
		if r.code != test.code || (r.code != 0) != strings.HasPrefix(r.stderr, "rollcall: ") || strings.Count(r.stderr, "\n") > 1 {
			t.Errorf("%s: %+v", test.args, r)
		}
		t.Logf("%q %d %s", args[4:], r.code, r.stderr)
	}
}

func TestProgramCalledGRPCHealthProbe(t *testing.T) {
	for _, test := range []struct {
		program string
		args    string
		want    string
	}{
		{"rollcall", "-addr=x", "-addr=x"},
		{"/bin/grpc_health_probe", "-addr=x -service y", "probe -addr=x -service y"},
		{"/bin/grpc_health_probe", "", "probe"},
		{"./grpc_health_probe.exe", "-tls", "probe -tls"},
		{"grpc_health_probe", "-version", "--version"},
		{"/opt/grpc_health_probe/rollcall", "status", "status"},
	} {
		if got := strings.Join(programArguments(test.program, strings.Fields(test.args)), " "); got != test.want {
			t.Errorf("%s %s: %s", test.program, test.args, got)
		}
	}
	for args, want := range map[string]string{
		"probe -addr=x -service y -v": "probe --addr=x --service y -v",
		"probe -service -addr":        "probe --service -addr",
		"probe -- -addr":              "probe -- -addr",
		"probe -e x -o json ---addr":  "probe -e x -o json ---addr",
		"-o=json probe -addr x":       "-o=json probe --addr x",
		"get probe -addr":             "get probe -addr",
		"probe -tls -addr x":          "probe --tls --addr x",
	} {
		if got := strings.Join(probeArguments(strings.Fields(args)), " "); got != want {
			t.Errorf("%s: %s, want %s", args, got, want)
		}
	}
}
