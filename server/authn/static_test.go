package authn

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/rollcallhq/rollcall/api/rollcall/accesstoken"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

func write(t *testing.T, path, text string, mode os.FileMode) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTheFileOfAnAdministratorsToken(t *testing.T) {
	token := accesstoken.New()
	sum := token.SHA256()
	hash := hex.EncodeToString(sum[:])
	for _, tt := range []struct {
		name, text string
		mode       os.FileMode
		want       string // in the error; "": it is taken
	}{
		{"a token", token.Text(), 0o600, ""},
		{"a token and a line break", token.Text() + "\n", 0o400, ""},
		{"a token that a group may read", token.Text(), 0o640, ""},
		{"a hash", hash + "\n", 0o600, ""},
		{"a hash in upper case", " " + strings.ToUpper(hash) + "\r\n", 0o600, ""},
		{"a hash that everybody may read", hash, 0o644, ""},
		{"a token that everybody may read", token.Text(), 0o644, "can be read by everybody (mode 0644)"},
		{"a token that a group may write", token.Text(), 0o660, "can be written by others than its owner (mode 0660)"},
		{"a hash that everybody may write", hash, 0o646, "can be written by others"},
		{"nothing", "", 0o600, "is empty"},
		{"spaces", " \n\t\n", 0o600, "is empty"},
		{"a damaged token", token.Text()[:63], 0o600, "does not have 64 characters"},
		{"two tokens", token.Text() + "\n" + token.Text(), 0o600, "does not have 64 characters"},
		{"half a hash", hash[:32], 0o600, "neither a token nor 64 hexadecimal digits"},
		{"much", strings.Repeat("x", 2000), 0o600, "larger than 1 KiB"},
		{"a file of a key", "-----BEGIN PRIVATE KEY-----\n", 0o600, "neither a token nor"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := write(t, filepath.Join(t.TempDir(), "token"), tt.text, tt.mode)
			s, err := NewStatic(nil, path)
			if tt.want == "" {
				if err != nil || !s.hasToken(sum) {
					t.Errorf("NewStatic: %v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), token.Text()[30:60]) {
				t.Errorf("NewStatic: %v, want %q", err, tt.want)
			}
		})
	}
}

func TestWhatIsNoFileOfAToken(t *testing.T) {
	dir := t.TempDir()
	if _, err := NewStatic(nil, filepath.Join(dir, "none")); err == nil || !strings.Contains(err.Error(), "cannot be read") {
		t.Errorf("no file: %v", err)
	}
	if _, err := NewStatic(nil, dir); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("a directory: %v", err)
	}
	if runtime.GOOS == "windows" {
		return
	}
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := NewStatic(nil, pipe); err == nil || !strings.Contains(err.Error(), "is not a regular file") {
		t.Errorf("a named pipe: %v", err)
	}
}

func TestTheFileIsReadAgain(t *testing.T) {
	first, second := accesstoken.New(), accesstoken.New()
	path := write(t, filepath.Join(t.TempDir(), "token"), first.Text(), 0o600)
	s, err := NewStatic(nil, path)
	if err != nil || !s.HasFile() {
		t.Fatal(err)
	}
	d := newDoor(s)
	c, f := d.Caller(call(remote, overTLS, "Bearer "+first.Text()))
	if f != nil || !c.StaticAdmin {
		t.Fatalf("%v, %v", c, f)
	}
	write(t, path, "half", 0o600)
	if err := s.Reload(); err == nil || !s.hasToken(first.SHA256()) {
		t.Errorf("a bad file: %v; the old token stays: %v", err, s.hasToken(first.SHA256()))
	}
	if f := d.Still(c); f != nil {
		t.Errorf("Still after a bad file: %v", f)
	}
	write(t, path, second.Text(), 0o600)
	if err := s.Reload(); err != nil || s.hasToken(first.SHA256()) || !s.hasToken(second.SHA256()) {
		t.Errorf("another token: %v", err)
	}
	if f := d.Still(c); f == nil || f.Reason != rpcerror.ReasonTokenRevoked {
		t.Errorf("Still of who had the old one: %v", f)
	}
}

func TestIdentitiesOfAdministrators(t *testing.T) {
	for identity, want := range map[string]string{
		"cert:ops.example":                      "",
		"cert:spiffe://example.org/ops":         "",
		"cert:Alice Smith":                      "",
		"cert:" + strings.Repeat("x", 249):      "",
		"":                                      "must begin with",
		"ops.example":                           "must begin with",
		"token:ops":                             "must begin with",
		"Cert:ops":                              "must begin with",
		"static:ops":                            "must begin with",
		"anonymous":                             "must begin with",
		"cert:":                                 "names nobody",
		"cert:a\nb":                             "cannot be an identity",
		"cert:\xff":                             "cannot be an identity",
		"cert:" + strings.Repeat("x", 250):      "cannot be an identity",
		"cert:" + strings.Repeat("x", 1_000_00): "cannot be an identity",
	} {
		s, err := NewStatic([]string{identity}, "")
		if want == "" {
			if err != nil || !s.hasIdentity(identity) || s.hasIdentity(identity+"x") || s.HasFile() || s.Reload() != nil {
				t.Errorf("%.40q: %v", identity, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 600 {
			t.Errorf("%.40q: %v, want %q", identity, err, want)
		}
	}
	var none *Static
	if none.HasFile() || none.Reload() != nil || none.hasIdentity("cert:x") || none.hasToken([32]byte{}) {
		t.Error("no administrators have something")
	}
}
