package main

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rollcallhq/rollcall/certs"
)

// made runs commands that must work.
func made(t *testing.T, args ...string) result {
	t.Helper()
	r := rollcall(t, args...)
	if r.code != exitDone || r.stderr != "" {
		t.Fatalf("rollcall %q: %+v", args, r)
	}
	return r
}

// The three commands make what a node and a client can use at once, and say what to do next.
func TestCert(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	r := made(t, "cert", "ca", "--dir", dir)
	for _, text := range []string{"CA made: " + at("ca.crt"), "keep " + at("ca.key") + " secret", "rollcall cert node NAME --host HOST --dir " + dir} {
		if !strings.Contains(r.stdout, text) {
			t.Errorf("%s\ndoes not hold %q", r.stdout, text)
		}
	}
	r = made(t, "cert", "node", "n1", "--dir", dir, "--host", "127.0.0.1,n1.example.org", "--host", "localhost")
	for _, text := range []string{"certificate of member n1 made", "for n1, n1.example.org, localhost, 127.0.0.1", "--cert n1.crt --key n1.key --ca ca.crt"} {
		if !strings.Contains(r.stdout, text) {
			t.Errorf("%s\ndoes not hold %q", r.stdout, text)
		}
	}
	r = made(t, "cert", "client", "spiffe://example.org/shop/cart", "--dir", dir, "--days", "3", "-o", "json")
	var report certReport
	if err := json.Unmarshal([]byte(r.stdout), &report); err != nil {
		t.Fatal(err)
	}
	until, err := time.Parse(time.RFC3339, report.NotAfter)
	if err != nil || report.Identity != "cert:spiffe://example.org/shop/cart" || report.Certificate != at("example.org_shop_cart.crt") || time.Until(until) > 73*time.Hour || time.Until(until) < 71*time.Hour {
		t.Errorf("%+v, %v", report, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 6 {
		t.Errorf("%d files, want 6: %v", len(entries), err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", e.Name(), info.Mode(), err)
		}
	}
	if _, err := certs.Open(certs.Files{Cert: at("n1.crt"), Key: at("n1.key"), CA: []string{at("ca.crt")}}, certs.Options{Use: certs.ForNode}); err != nil {
		t.Error(err)
	}
	if _, err := certs.Open(certs.Files{Cert: report.Certificate, Key: report.Key, CA: []string{at("ca.crt")}}, certs.Options{}); err != nil {
		t.Error(err)
	}
}

func TestCertRefuses(t *testing.T) {
	dir := t.TempDir()
	made(t, "cert", "ca", "--dir", dir, "--days", "30")
	made(t, "cert", "node", "n1", "--dir", dir, "--days", "10")
	if err := os.Symlink("nowhere", filepath.Join(dir, "n5.key")); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "n1.crt")
	before := contentsOf(t, dir)
	for line, want := range map[string]string{
		"cert ca --dir " + dir:                          "ca.crt is there already, and is not replaced; move it away first",
		"cert node n1 --dir " + dir:                     "n1.crt is there already",
		"cert node n5 --dir " + dir:                     "n5.key is there already",
		"cert client n1 --dir " + dir:                   "n1.crt is there already",
		"cert node n2 --days 31 --dir " + dir:           "days at most",
		"cert node n2 --days 0 --dir " + dir:            "--days is 0; use 1 to 36500",
		"cert node n2 --days 36501 --dir " + dir:        "--days is 36501; use 1 to 36500",
		"cert node N2 --days 9 --dir " + dir:            `member name "N2" is not allowed`,
		"cert node ../n2 --days 9 --dir " + dir:         `member name "../n2" is not allowed`,
		"cert node n2 --days 9 --host a:1 --dir " + dir: `host "a:1" has a port`,
		"cert client https://x --days 9 --dir " + dir:   "looks like a URI",
		"cert node n2 --dir " + t.TempDir():             `"rollcall cert ca" makes a CA`,
		"cert node n2 --dir " + nowhere:                 "does not exist; make it first",
		"cert ca --dir " + file:                         "is not a directory",
		"cert node n2 --dir= ":                          "--dir is empty",
	} {
		r := rollcall(t, strings.Fields(line)...)
		checkWords(t, strings.Fields(line), r)
		if r.code != exitNotDone || r.stdout != "" || !strings.Contains(r.stderr, want) {
			t.Errorf("%s: %+v, want %q", line, r, want)
		}
	}
	if got := contentsOf(t, dir); got != before {
		t.Errorf("something was changed:\n%s\nbefore:\n%s", got, before)
	}
}

// contentsOf lists names, modes and contents of a directory's files.
func contentsOf(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		data, _ := os.ReadFile(filepath.Join(dir, e.Name()))
		b.WriteString(e.Name() + " " + e.Type().String() + " " + string(data) + "\n")
	}
	return b.String()
}

func TestCertWithABrokenOutput(t *testing.T) {
	dir := t.TempDir()
	r := printsTo(t, syscall.ENOSPC, "cert", "ca", "--dir", dir)
	if r.code != exitNotPrinted || !strings.Contains(r.stderr, "CA made") || strings.Count(r.stderr, "\n") != 1 {
		t.Errorf("%+v", r)
	}
	if _, err := os.Stat(filepath.Join(dir, "ca.key")); err != nil {
		t.Error(err)
	}
}

// curl and OpenSSL's own client accept a node's certificate, and show a client's.
func TestCertWithCurl(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("curl is not on the PATH")
	}
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	made(t, "cert", "ca", "--dir", dir)
	made(t, "cert", "node", "n1", "--dir", dir, "--host", "127.0.0.1,localhost")
	made(t, "cert", "node", "n2", "--dir", dir)
	made(t, "cert", "client", "ops", "--dir", dir)
	serve := func(name string) (port string) {
		source, err := certs.Open(certs.Files{Cert: at(name + ".crt"), Key: at(name + ".key"), CA: []string{at("ca.crt")}}, certs.Options{Use: certs.ForNode})
		if err != nil {
			t.Fatal(err)
		}
		lis, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{ErrorLog: log.New(io.Discard, "", 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			identity, err := certs.Identity(r.TLS.PeerCertificates[0])
			if err != nil {
				t.Error(err)
			}
			io.WriteString(w, identity)
		})}
		done := make(chan struct{})
		go func() { defer close(done); server.Serve(tls.NewListener(lis, source.Server(certs.Accept{}))) }()
		t.Cleanup(func() { server.Close(); <-done })
		_, port, _ = net.SplitHostPort(lis.Addr().String())
		return port
	}
	one, two := serve("n1"), serve("n2")
	for _, c := range []struct{ url, holds string }{
		{"https://127.0.0.1:" + one, "cert:ops"},
		{"https://localhost:" + one, "cert:ops"},
		{"https://127.0.0.1:" + two, ""}, // n2's is for no address
	} {
		out, err := exec.Command(curl, "-sS", "--noproxy", "*", "--cacert", at("ca.crt"), "--cert", at("ops.crt"), "--key", at("ops.key"), c.url).CombinedOutput()
		if c.holds == "" && err == nil || c.holds != "" && string(out) != c.holds {
			t.Errorf("curl %s: %s %v", c.url, out, err)
		}
	}
	if out, err := exec.Command(curl, "-sS", "--noproxy", "*", "--cacert", at("ca.crt"), "https://127.0.0.1:"+one).CombinedOutput(); err == nil {
		t.Errorf("let in without a certificate: %s", out)
	}
}
