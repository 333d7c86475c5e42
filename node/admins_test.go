package node

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rollcallhq/rollcall/api/rollcall/accesstoken"
	"github.com/rollcallhq/rollcall/certs"
	"github.com/rollcallhq/rollcall/tlsport"
)

func TestAdministratorsOfTheConfigurationAreValidated(t *testing.T) {
	secured := TLS{Mode: tlsport.Required, Files: certs.Files{Cert: "c", Key: "k", CA: []string{"a"}}}
	for _, tt := range []struct {
		identities []string
		tls        TLS
		want       string // "": valid
	}{
		{nil, TLS{}, ""},
		{[]string{"cert:ops", "cert:spiffe://example.org/ops"}, secured, ""},
		{[]string{"cert:ops"}, TLS{}, "nobody shows one without --tls"},
		{[]string{"cert:ops", "ops"}, secured, `--admin-identity: "ops" is no identity of a certificate`},
		{[]string{"token:ops"}, secured, "no identity of a certificate"},
		{[]string{"cert:"}, secured, "names nobody"},
	} {
		cfg := DefaultConfig()
		cfg.Name, cfg.DataDir = "n1", "data"
		cfg.Members = []Member{{Name: "n1", APIAddress: "127.0.0.1:7600", PeerAddress: "127.0.0.1:7601"}}
		cfg.AdminIdentities, cfg.TLS = tt.identities, tt.tls
		err := cfg.Validate()
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v: %v, want %q", tt.identities, err, tt.want)
		}
	}
}

func TestAddressesThatOnlyThisMachineReaches(t *testing.T) {
	for _, tt := range []struct {
		listen, member string
		want           bool
	}{
		{"", "127.0.0.1:7600", true},
		{"", "localhost:7600", true},
		{"", "10.0.0.1:7600", false},
		{"", "n1.example:7600", false},
		{"0.0.0.0:7600", "127.0.0.1:7600", false},
		{":7600", "127.0.0.1:7600", false},
		{"[::]:7600", "127.0.0.1:7600", false},
		{"[::1]:7600", "10.0.0.1:7600", true},
	} {
		if got := (Config{APIListen: tt.listen}).loopbackOnly(Member{APIAddress: tt.member}); got != tt.want {
			t.Errorf("listening on %q of %s: %v", tt.listen, tt.member, got)
		}
	}
}

func TestTheAdministratorsTokenIsReadAgain(t *testing.T) {
	var log bytes.Buffer
	file := filepath.Join(t.TempDir(), "token")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	n := &Node{log: slog.New(slog.NewTextHandler(&log, nil))}
	if err := n.openAdmins(); err != nil || n.ReloadAdminToken() || log.Len() > 0 {
		t.Errorf("without a file: %v, %s", err, log.String())
	}
	n.cfg.AdminTokenFile = file
	if err := n.openAdmins(); err == nil || !strings.Contains(err.Error(), "--admin-token-file: "+file+" cannot be read") {
		t.Errorf("a file that is missing: %v", err)
	}
	write(accesstoken.New().Text())
	if err := n.openAdmins(); err != nil {
		t.Fatal(err)
	}
	write("half")
	if !n.ReloadAdminToken() || !strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), "the token that was read before stays") {
		t.Errorf("a file that is wrong: %s", log.String())
	}
	log.Reset()
	write(accesstoken.New().Text())
	if !n.ReloadAdminToken() || !strings.Contains(log.String(), "level=INFO") {
		t.Errorf("another token: %s", log.String())
	}
}
