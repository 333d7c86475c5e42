package agent

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	grpchealth "google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcallhq/rollcall/agent/config"
	"github.com/rollcallhq/rollcall/api/rollcall/accesstoken"
	"github.com/rollcallhq/rollcall/certs"
	"github.com/rollcallhq/rollcall/internal/tlstest"
)

// TestSecure calls a server that wants a certificate of its own CA.
func TestSecure(t *testing.T) {
	ca, other := tlstest.NewCA(t, "ca"), tlstest.NewCA(t, "other")
	source := tlstest.Open(t, ca.Issue([]string{"127.0.0.1"}))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.Creds(credentials.NewTLS(source.Server(certs.Accept{NextProtos: []string{"h2"}}))))
	healthpb.RegisterHealthServer(s, grpchealth.NewServer())
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	defer func() { s.Stop(); <-served }()

	good, bad := ca.Issue([]string{"agent"}), other.Issue([]string{"agent"})
	for name, c := range map[string]struct {
		tls  config.TLS
		want string // "": the call is answered
	}{
		"both sides of one CA":     {config.TLS{CA: good.CA, Cert: good.Cert, Key: good.Key}, ""},
		"the server of another CA": {config.TLS{CA: bad.CA}, "Unavailable"},
		"the agent of another CA":  {config.TLS{CA: bad.CA, Cert: bad.Cert, Key: bad.Key}, "Unavailable"},
		"no certificate":           {config.TLS{CA: good.CA}, "Unavailable"},
		"the system's CAs":         {config.TLS{CA: []string{config.SystemCAs}, Cert: good.Cert, Key: good.Key}, "Unavailable"},
	} {
		t.Run(name, func(t *testing.T) {
			o, err := secure(c.tls, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			conn, err := grpc.NewClient(l.Addr().String(), o...)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_, err = healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{})
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

func TestSecureRefusesFiles(t *testing.T) {
	ca := tlstest.NewCA(t, "ca")
	one, two := ca.Issue([]string{"a"}), ca.Issue([]string{"b"})
	for want, c := range map[string]config.TLS{
		"nothing.pem": {CA: []string{filepath.Join(t.TempDir(), "nothing.pem")}},
		one.Key:       {CA: one.CA, Cert: two.Cert, Key: one.Key},
	} {
		cfg := &config.Config{Endpoints: []string{"127.0.0.1:1"}, TLS: c}
		a, err := New(cfg, Options{})
		if checked := CheckFiles(cfg); err == nil || checked == nil || checked.Error() != err.Error() {
			t.Errorf("CheckFiles says %v, New %v", checked, err)
		}
		if err == nil {
			_ = a.Close()
		}
		if err == nil || !strings.HasPrefix(err.Error(), "cluster.ca, cert and key: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	token := filepath.Join(t.TempDir(), "token")
	for want, text := range map[string]string{"no such file": "", "mode 0644": accesstoken.New().Text(), "64 characters": "rct_1"} {
		cfg := &config.Config{Endpoints: []string{"127.0.0.1:1"}, TokenFile: token}
		_ = os.Remove(token)
		if text != "" {
			mode := os.FileMode(0o600)
			if want == "mode 0644" {
				mode = 0o644
			}
			if err := errors.Join(os.WriteFile(token, []byte(text), mode), os.Chmod(token, mode)); err != nil {
				t.Fatal(err)
			}
		}
		_, err := New(cfg, Options{})
		if checked := CheckFiles(cfg); err == nil || checked == nil || checked.Error() != err.Error() {
			t.Errorf("CheckFiles says %v, New %v", checked, err)
		}
		if err == nil || !strings.HasPrefix(err.Error(), "cluster.token_file: the token file "+token) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if err := CheckFiles(&config.Config{}); err != nil {
		t.Error(err)
	}
	if o, err := secure(config.TLS{}, nil); o != nil || err != nil {
		t.Errorf("plain text: %v %v", o, err)
	}
}
