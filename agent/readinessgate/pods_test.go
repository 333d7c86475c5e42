package readinessgate

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestAPatchMergesIntoTheConditionsOfOthers(t *testing.T) {
	a := newAPIServer(t)
	p := a.pod()
	c := conditionOf(gateType, 1, "all checks pass")
	c.LastTransitionTime = at
	o, err := p.write(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if got := o.condition(gateType); !got.says(c) || !got.LastTransitionTime.Equal(at.Truncate(time.Second)) || len(o.Status.Conditions) != 3 {
		t.Errorf("the pod has now: %+v", o.Status.Conditions)
	}
	const want = `{"metadata":{"uid":"6f1f0a2e-0000-4000-8000-000000000001"},"status":{"conditions":[{"type":"example.com/rollcall","status":"True","reason":"Serving","message":"all checks pass","lastTransitionTime":"2026-03-01T11:00:00Z"}]}}`
	if a.patches[0] != want {
		t.Errorf("the patch is\n%s, want\n%s", a.patches[0], want)
	}
	if o, err = p.read(t.Context()); err != nil || !o.hasGate(gateType) || o.hasGate("example.com/other") || !o.condition(gateType).says(c) {
		t.Errorf("read: %+v, %v", o, err)
	}
	if got := strings.Join(a.requests, ", "); got != "PATCH "+podPath+"?fieldManager=rollcall-agent, GET "+podPath {
		t.Errorf("requests: %s", got)
	}
}

// TestTheTokenIsReadAnew, and the authorities: Kubernetes replaces both while a pod runs.
func TestTheTokenIsReadAnew(t *testing.T) {
	a := newAPIServer(t)
	p := a.pod()
	if _, err := p.read(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.set(func() { a.tokens = []string{"token-2"} })
	var e *answerError
	if _, err := p.read(t.Context()); !errors.As(err, &e) || e.code != http.StatusUnauthorized || strings.Contains(err.Error(), "token-") {
		t.Errorf("an old token: %v", err)
	}
	a.put("token", "token-2")
	if _, err := p.read(t.Context()); err != nil {
		t.Errorf("a new token: %v", err)
	}
	a.put("token", "to ken")
	if _, err := p.read(t.Context()); err == nil || strings.Contains(err.Error(), "to ken") {
		t.Errorf("a broken token: %v", err)
	}
}

func TestTheAuthoritiesAreReadAnew(t *testing.T) {
	a := newAPIServer(t)
	p := a.pod()
	if _, err := p.read(t.Context()); err != nil {
		t.Fatal(err)
	}
	other := selfSigned(t)
	a.put("ca.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: other.Certificate[0]})))
	requests := len(a.requests)
	var unknown x509.UnknownAuthorityError
	if _, err := p.read(t.Context()); !errors.As(err, &unknown) || len(a.requests) != requests {
		t.Errorf("a server of another authority: %v", err)
	}
	a.put("ca.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.srv.Certificate().Raw})))
	if _, err := p.read(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestAnswers(t *testing.T) {
	for _, tc := range []struct {
		name   string
		answer func(w http.ResponseWriter)
		gone   bool
		code   int
		after  time.Duration
		want   string
	}{
		{name: "the pod is deleted", answer: func(w http.ResponseWriter) { failure(w, 404, "NotFound", "not found") }, gone: true},
		{name: "another pod of the name", answer: func(w http.ResponseWriter) {
			_, _ = w.Write([]byte(`{"kind":"Pod","metadata":{"uid":"another"}}`))
		}, gone: true},
		{name: "404 of a proxy", answer: func(w http.ResponseWriter) { http.Error(w, "no such page", 404) }, code: 404, want: "404"},
		{name: "404 of another kind", answer: func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(404)
			_, _ = w.Write([]byte(`{"kind":"Status","reason":"NotFound","details":{"name":"shop","kind":"namespaces"}}`))
		}, code: 404, want: "404"},
		{name: "conflict", answer: func(w http.ResponseWriter) { failure(w, 409, "Conflict", "Precondition failed") }, code: 409, want: "Precondition failed"},
		{name: "forbidden", answer: func(w http.ResponseWriter) { failure(w, 403, "Forbidden", "cannot patch") }, code: 403, want: "cannot patch"},
		{name: "invalid", answer: func(w http.ResponseWriter) { failure(w, 422, "Invalid", "bad condition") }, code: 422, want: "bad condition"},
		{name: "too many", answer: func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", "7")
			failure(w, 429, "TooManyRequests", "slow down")
		}, code: 429, after: 7 * time.Second, want: "slow down"},
		{name: "a very long Retry-After", answer: func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", "2000000000")
			w.WriteHeader(503)
		}, code: 503, after: maxRetryAfter, want: "503"},
		{name: "no Retry-After", answer: func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", "soon")
			w.WriteHeader(503)
		}, code: 503, want: "503"},
		{name: "a redirect", answer: func(w http.ResponseWriter) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(302)
		}, code: 302, want: "302"},
		{name: "a page", answer: func(w http.ResponseWriter) { _, _ = w.Write([]byte("<html>")) }, want: "does not answer with a pod"},
		{name: "no body", answer: func(http.ResponseWriter) {}, want: "does not answer with a pod"},
		{name: "another object", answer: func(w http.ResponseWriter) { _, _ = w.Write([]byte(`{"kind":"PodList","metadata":{"uid":"x"}}`)) }, want: "does not answer with a pod"},
		{name: "a huge answer", answer: func(w http.ResponseWriter) {
			_, _ = w.Write([]byte(`{"kind":"` + strings.Repeat("x", maxAnswer) + `"}`))
		}, want: "more than"},
		{name: "an unknown code", answer: func(w http.ResponseWriter) { w.WriteHeader(599) }, code: 599, want: "599"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := newAPIServer(t)
			a.answer = func(w http.ResponseWriter, r *http.Request) bool { tc.answer(w); return true }
			_, err := a.pod().write(t.Context(), conditionOf(gateType, 1, ""))
			var e *answerError
			switch {
			case err == nil || errors.Is(err, errGone) != tc.gone || !tc.gone && !strings.Contains(err.Error(), tc.want):
				t.Errorf("%v", err)
			case errors.As(err, &e) != (tc.code > 0) || e != nil && (e.code != tc.code || e.retryAfter != tc.after):
				t.Errorf("%+v", e)
			}
			if len(a.requests) != 1 {
				t.Errorf("requests: %v", a.requests)
			}
		})
	}
}

// TestADeadServerIsGivenUp: a request ends with its context, and the connection is not used again.
func TestADeadServerIsGivenUp(t *testing.T) {
	a := newAPIServer(t)
	release := make(chan struct{})
	defer close(release)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	hangs := true
	var remotes []string
	a.answer = func(w http.ResponseWriter, r *http.Request) bool {
		remotes = append(remotes, r.RemoteAddr)
		if hangs {
			hangs = false
			a.mu.Unlock()
			cancel() // the request has come
			select {
			case <-release:
			case <-r.Context().Done():
			}
			a.mu.Lock()
			return true
		}
		return false
	}
	p := a.pod()
	if _, err := p.read(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a server that does not answer: %v", err)
	}
	if _, err := p.read(t.Context()); err != nil {
		t.Error(err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(remotes) != 2 || remotes[0] == remotes[1] {
		t.Errorf("connections: %v", remotes)
	}
}

func TestFindSaysWhatIsMissing(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(a *apiServer, env map[string]string, p *Places)
		want   string
	}{
		{"no Kubernetes", func(_ *apiServer, env map[string]string, _ *Places) { delete(env, "KUBERNETES_SERVICE_HOST") }, "only in a pod"},
		{"no port", func(_ *apiServer, env map[string]string, _ *Places) { delete(env, "KUBERNETES_SERVICE_PORT") }, "only in a pod"},
		{"a bad port", func(_ *apiServer, env map[string]string, _ *Places) { env["KUBERNETES_SERVICE_PORT"] = "76000" }, "must be a port"},
		{"a bad host", func(_ *apiServer, env map[string]string, _ *Places) { env["KUBERNETES_SERVICE_HOST"] = "a/b" }, "must be an address"},
		{"no name", func(_ *apiServer, env map[string]string, _ *Places) { delete(env, "POD_NAME") }, "metadata.name"},
		{"no uid", func(_ *apiServer, env map[string]string, _ *Places) { delete(env, "POD_UID") }, "metadata.uid"},
		{"a name that is a path", func(_ *apiServer, env map[string]string, _ *Places) { env["POD_NAME"] = "../secrets/x" }, "POD_NAME"},
		{"a name that was not filled in", func(_ *apiServer, env map[string]string, _ *Places) { env["POD_NAME"] = "$(POD_NAME)" }, "POD_NAME"},
		{"a bad uid", func(_ *apiServer, env map[string]string, _ *Places) { env["POD_UID"] = "a b" }, "POD_UID"},
		{"no token", func(a *apiServer, _ map[string]string, _ *Places) { os.Remove(filepath.Join(a.dir, "token")) }, "token"},
		{"an empty token", func(a *apiServer, _ map[string]string, _ *Places) { a.put("token", "\n") }, "token"},
		{"no authorities", func(a *apiServer, _ map[string]string, _ *Places) { os.Remove(filepath.Join(a.dir, "ca.crt")) }, "ca.crt"},
		{"authorities that are none", func(a *apiServer, _ map[string]string, _ *Places) { a.put("ca.crt", "PEM") }, "no certificate"},
		{"no namespace", func(a *apiServer, _ map[string]string, _ *Places) { os.Remove(filepath.Join(a.dir, "namespace")) }, "namespace"},
		{"a directory without the pod", func(a *apiServer, _ map[string]string, p *Places) { p.PodInfo = a.t.TempDir() }, "name: no such file"},
		{"no directory", func(_ *apiServer, _ map[string]string, p *Places) { p.ServiceAccount = "/nowhere" }, "/nowhere"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := newAPIServer(t)
			env := a.getenv()
			p := Places{ServiceAccount: a.dir, Getenv: func(k string) string { return env[k] }}
			tc.change(a, env, &p)
			if _, err := Find(p); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("want %q, got: %v", tc.want, err)
			}
			if len(a.requests) != 0 {
				t.Errorf("requests: %v", a.requests)
			}
		})
	}
}

func TestFindReadsFilesOfTheDownwardAPI(t *testing.T) {
	a := newAPIServer(t)
	info := t.TempDir()
	for name, text := range map[string]string{"name": "orders-0", "uid": podUID} {
		if err := os.WriteFile(filepath.Join(info, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env := a.getenv()
	env["POD_NAME"], env["POD_NAMESPACE"] = "another", "another"
	find := func(place string) string {
		t.Helper()
		p, err := Find(Places{ServiceAccount: a.dir, PodInfo: place, Getenv: func(k string) string { return env[k] }})
		if err != nil {
			t.Fatal(err)
		}
		return p.String()
	}
	if got := find(info); got != "shop/orders-0" {
		t.Errorf("by files, the pod is %s", got)
	}
	if err := os.WriteFile(filepath.Join(info, "namespace"), []byte("warehouse"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := find(info); got != "warehouse/orders-0" {
		t.Errorf("by files, the pod is %s", got)
	}
	if got := find(""); got != "another/another" {
		t.Errorf("by variables, the pod is %s", got)
	}
}

func TestCheckCondition(t *testing.T) {
	for _, good := range []string{"example.com/rollcall", "a/b", "a-b.c/X_y.Z-1", strings.Repeat("a", 253) + "/" + strings.Repeat("b", 63)} {
		if err := CheckCondition(good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", "Ready", "rollcall", "/x", "x/", "A.com/x", "a..b/x", "-a/x", "a/-x", "a/x-", "a/b/c", "a/ä", "a/b c", "a /b", strings.Repeat("a", 254) + "/b", "a/" + strings.Repeat("b", 64), "a/b\n"} {
		if err := CheckCondition(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	if err := CheckCondition("Ready"); !strings.Contains(err.Error(), "writes itself") {
		t.Error(err)
	}
	if _, err := New(nil, "Ready", nil); err == nil {
		t.Error("New takes Ready")
	}
}

func TestShorten(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"short", "short"},
		{"a\xffb", "a?b"},
		{strings.Repeat("x", maxMessage), strings.Repeat("x", maxMessage)},
		{strings.Repeat("x", maxMessage+1), strings.Repeat("x", maxMessage-3) + "…"},
		{strings.Repeat("ä", maxMessage), strings.Repeat("ä", (maxMessage-3)/2) + "…"},
	} {
		if got := shorten(tc.in); got != tc.want || len(got) > maxMessage {
			t.Errorf("%.20q…: %d bytes, %.20q…", tc.in, len(got), got)
		}
	}
}

// TestAGateOverHTTPS: a Gate with a real server, from the first word to the pod's end.
func TestAGateOverHTTPS(t *testing.T) {
	a := newAPIServer(t)
	p := a.pod()
	g, err := New(p, gateType, discard)
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan string, 100)
	a.answer = func(w http.ResponseWriter, r *http.Request) bool { told <- r.Method; return false }
	done := make(chan struct{})
	go func() { defer close(done); g.Run(t.Context()) }()
	g.Set(1, "all checks pass")
	for _, want := range []string{"GET", "PATCH"} {
		if got := <-told; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	a.set(func() {
		a.answer = func(w http.ResponseWriter, r *http.Request) bool { failure(w, 404, "NotFound", ""); return true }
	})
	g.Set(2, "switched off")
	<-done
	if s := g.State(); !s.Gone {
		t.Errorf("state: %+v", s)
	}
}
