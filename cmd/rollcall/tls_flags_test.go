package main

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcallhq/rollcall/certs"
	"github.com/rollcallhq/rollcall/internal/tlstest"
	"github.com/rollcallhq/rollcall/tlsport"
)

// securedHealth is a server of grpc.health.v1 behind a port with TLS. It returns its address.
func securedHealth(t *testing.T, files certs.Files, ask certs.ClientCertificate) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := tlsport.New(tlsport.Config{
		Name: "api", Mode: tlsport.Required, Source: tlstest.Open(t, files), ClientCertificate: ask, Protocols: []string{"h2"}, Handshakes: tlsport.NewHandshakes(100), Logger: slog.New(slog.DiscardHandler),
	})
	s := grpc.NewServer(grpc.Creds(port.Credentials()))
	healthpb.RegisterHealthServer(s, health.NewServer())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l)
	}()
	t.Cleanup(func() {
		s.Stop()
		<-done
	})
	return l.Addr().String()
}

func TestCommandsConnectWithTLS(t *testing.T) {
	ca, other := tlstest.NewCA(t, "ca"), tlstest.NewCA(t, "other")
	node := ca.Issue([]string{"n1", "127.0.0.1"})
	alice, stranger, expired := ca.Issue([]string{"alice"}), other.Issue([]string{"alice"}), ca.Issue([]string{"alice"}, tlstest.Expired)
	may, must, misnamed := securedHealth(t, node, certs.Optional), securedHealth(t, node, certs.Required), securedHealth(t, ca.Issue([]string{"n1"}), certs.Optional)
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		args string
		code int
		says string // on standard error; "": nothing is
	}{
		"TLS":                      {"-e " + may + " --ca " + ca.File, 0, ""},
		"with a certificate":       {"-e " + must + " --ca " + ca.File + " --cert " + alice.Cert + " --key " + alice.Key, 0, ""},
		"several CAs":              {"-e " + may + " --ca " + other.File + "," + ca.File, 0, ""},
		"plain text":               {"-e " + may, probeConnection, "it closed the connection at once: does it need TLS, or is this a peer port?; if the nodes use TLS, name the file of their CA with --ca"},
		"another CA":               {"-e " + may + " --ca " + other.File, probeConnection, `the certificate of "n1" is signed by no CA that is trusted here`},
		"the machine's CAs":        {"-e " + may + " --ca system", probeConnection, "is signed by no CA that is trusted here"},
		"for another host":         {"-e " + misnamed + " --ca " + ca.File, probeConnection, `is not for the address "127.0.0.1"`},
		"none where one is needed": {"-e " + must + " --ca " + ca.File, probeConnection, "it asks for a certificate"},
		"a certificate of another": {"-e " + may + " --ca " + ca.File + " --cert " + stranger.Cert + " --key " + stranger.Key, probeConnection, "it does not accept the certificate that is shown"},
		"expired":                  {"-e " + may + " --ca " + ca.File + " --cert " + expired.Cert + " --key " + expired.Key, 1, "expired on"},
		"no key":                   {"-e " + may + " --ca " + ca.File + " --cert " + alice.Cert, 1, "--ca, --cert and --key: a certificate is given and no key; give both"},
		"no CA":                    {"-e " + may + " --ca=", 1, "--ca is empty; give it a value, or leave it out"},
		"system and others":        {"-e " + may + " --ca system," + ca.File, 1, "--ca: system means the CAs of this machine and no others"},
		"another's key":            {"-e " + may + " --ca " + ca.File + " --cert " + alice.Cert + " --key " + node.Key, 1, "does not belong to the certificate"},
		"no file":                  {"-e " + may + " --ca " + empty + ".gone", 1, "empty.pem.gone"},
		"an empty file":            {"-e " + may + " --ca " + empty, 1, "empty.pem"},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			r := rollcall(t, append([]string{"probe"}, strings.Fields(test.args)...)...)
			if r.code != test.code || !strings.Contains(r.stderr, test.says) || strings.Count(r.stderr, "\n") > 1 || strings.Contains(r.stderr, "x509") || (test.code == 0) != (r.stderr == "") {
				t.Errorf("exit %d: %s", r.code, r.stderr)
			}
		})
	}
	for name, value := range map[string]string{"CA": ca.File, "CERT": alice.Cert, "KEY": alice.Key} {
		t.Setenv("ROLLCALL_"+name, value)
	}
	if r := rollcall(t, "probe", "-e", must); r.code != 0 {
		t.Error("by variables: ", r)
	}
	// The flags of grpc_health_probe win: they are this probe's alone.
	if r := rollcall(t, "probe", "-addr", may, "-tls", "-tls-ca-cert", other.File); r.code != probeConnection {
		t.Error(r)
	}
}

// TestServeWithBadTLS: one clear line each, and nothing is begun.
func TestServeWithBadTLS(t *testing.T) {
	ca, other := tlstest.NewCA(t, "ca"), tlstest.NewCA(t, "other")
	n1 := ca.Issue([]string{"n1", "127.0.0.1"})
	with := func(f certs.Files) string { return " --cert " + f.Cert + " --key " + f.Key + " --ca " + f.CA[0] }
	of := func(cert, key, authority string) certs.Files {
		return certs.Files{Cert: cert, Key: key, CA: []string{authority}}
	}
	for flags, says := range map[string]string{
		"--tls on":                          `--tls: "on" is not off, permissive or required`,
		"--tls required":                    "--tls required needs --cert, --key and --ca: this node's certificate, its key, and the CAs that it believes",
		"--tls permissive --cert a --key b": "--tls permissive needs --cert, --key and --ca",
		"--tls required" + with(of(n1.Cert, other.Issue([]string{"n1"}).Key, ca.File)): "does not belong to the certificate",
		"--tls required" + with(of(n1.Cert, n1.Key, other.File)):                       "is signed by no CA that is trusted here",
		"--tls required" + with(of(n1.Cert, n1.Cert, ca.File)):                         n1.Cert,
		"--tls required" + with(of(n1.Cert+".gone", n1.Key, ca.File)):                  n1.Cert + ".gone",
		"--tls required" + with(ca.Issue([]string{"n1"}, tlstest.Expired)):             "expired on",
		"--tls required" + with(ca.Issue([]string{"n2"})):                              "n1",
		with(n1):                                "is given and --tls is not, so that traffic would be plain text; add --tls required, or --tls off if that is meant",
		"--ca " + ca.File:                       "--ca is given and --tls is not",
		"--peer-name {node}.*":                  "--peer-name is given and --tls is not",
		"--tls required --ca system" + with(n1): "--ca system is for clients",
		"--tls required --peer-identity ca --peer-name {node}" + with(n1):                    "with --peer-identity ca nobody looks at names",
		"--tls required --peer-name *.example.org" + with(n1):                                `--peer-name: pattern "*.example.org"`,
		"--tls required --peer-name {node}.example.org" + with(n1):                           "n1",
		"--tls required --peer-identity none" + with(n1):                                     `--peer-identity is "none"; use name or ca`,
		"--tls permissive --api-listen 0.0.0.0:0" + with(n1):                                 "--tls permissive accepts plain text there; --insecure allows it",
		"--tls required --peer-name {node}.* --member n1.b,host=127.0.0.2" + with(n1):        "n1.b",
		"--tls required --insecure --api-listen 0.0.0.0:99999 " + with(n1):                   "99999",
		"--tls required --peer-name spiffe://*/rollcall/{node} --peer-name {node" + with(n1): `--peer-name: pattern "{node"`,
	} {
		data := filepath.Join(t.TempDir(), "data")
		r := rollcall(t, append([]string{"serve", "--node", "n1", "--data", data, "--member", "n1,api=127.0.0.1:1,peer=127.0.0.1:2"}, strings.Fields(flags)...)...)
		_, err := os.Stat(data)
		if r.code != 1 || !strings.Contains(r.stderr, says) || strings.Contains(r.stderr, "x509") || err == nil {
			t.Errorf("%s: exit %d: %s", flags, r.code, r.stderr)
		}
	}
}
