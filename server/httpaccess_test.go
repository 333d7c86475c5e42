package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/test/bufconn"

	"github.com/rollcallhq/rollcall/api/rollcall/accesstoken"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/certs"
	"github.com/rollcallhq/rollcall/fsm/access"
	"github.com/rollcallhq/rollcall/internal/tlstest"
	"github.com/rollcallhq/rollcall/server/httpserver"
	"github.com/rollcallhq/rollcall/tlsport"
)

// statusPage serves a page on l that only callers with the verb status may see.
func statusPage(t *testing.T, n *testNode, l net.Listener) {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle("/", n.HTTPHandler())
	mux.Handle("GET /metrics", n.StatusOnly(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "numbers") })))
	mux.Handle("GET /profiles", n.StatusOnly(n.ByOwnName(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "profiles") }))))
	s := httpserver.New(mux, 10, slog.New(slog.DiscardHandler))
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		s.Close()
		serving.Wait()
	})
}

// page returns the code and the text of an answer.
func page(t *testing.T, c *http.Client, url string, authorization ...string) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(patient(t), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(authorization) > 0 {
		req.Header["Authorization"] = authorization
	}
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body), res.Header
}

func TestMetricsNeedTheVerbStatus(t *testing.T) { synctest.Test(t, testMetricsNeedTheVerbStatus) }

func testMetricsNeedTheVerbStatus(t *testing.T) {
	audit := openAudit(t)
	n := single(t, audit.use)
	l := bufconn.Listen(bufSize)
	statusPage(t, n, l)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return l.DialContext(ctx) }}}
	seen, blind, partly, stranger := accesstoken.New(), accesstoken.New(), accesstoken.New(), accesstoken.New()
	bearer := func(t accesstoken.Token) string { return "Bearer " + t.Text() }
	metrics := func(authorization ...string) (int, string, http.Header) {
		return page(t, client, "http://n1"+"/metrics", authorization...)
	}
	open := func(what string, authorization ...string) {
		t.Helper()
		if code, body, _ := metrics(authorization...); code != http.StatusOK || body != "numbers" {
			t.Errorf("%s: %d %q", what, code, body)
		}
	}
	refused := func(what string, want int, says string, authorization ...string) {
		t.Helper()
		code, body, header := metrics(authorization...)
		if code != want || !strings.Contains(body, says) || strings.Count(body, "\n") != 1 || !strings.HasSuffix(body, "\n") {
			t.Errorf("%s: %d %q; want %d and %q in one line", what, code, body, want, says)
		}
		if challenged := header.Get("WWW-Authenticate") != ""; challenged != (want == http.StatusUnauthorized) {
			t.Errorf("%s: WWW-Authenticate is %q", what, header.Get("WWW-Authenticate"))
		}
		for _, token := range []accesstoken.Token{seen, blind, stranger} {
			if strings.Contains(body, token.Text()[21:]) {
				t.Errorf("%s: the answer holds a secret", what)
			}
		}
	}
	grant := func(r *fakeRights, token accesstoken.Token, name string, grants ...access.Grant) {
		sum := token.SHA256()
		r.tokens[token.ID()] = fakeToken{name, &logv1.Token{SecretSha256: sum[:]}}
		r.grants["token:"+name] = access.New(grants...)
	}

	open("access is off", "Basic dXNlcjpwYXNz")
	refused("access is off, an unknown token", http.StatusUnauthorized, "is not one that this node knows", bearer(stranger))
	refused("access is off, no token", http.StatusUnauthorized, "", "bearer eyJhbGciOiJIUzI1NiJ9.e30.x")
	n.access.change(func(r *fakeRights) {
		grant(r, seen, "prometheus", access.Grant{Verbs: access.Status, Pattern: "*"})
		grant(r, blind, "ci", access.Grant{Verbs: access.Report | access.Read, Pattern: "*"})
		grant(r, partly, "part", access.Grant{Verbs: access.Status, Pattern: "shop/*"})
		r.enforced, r.anonymous = true, access.New(access.Grant{Verbs: access.Read | access.Status, Pattern: "*"})
	})
	open("everybody has the verb")
	open("everybody has the verb, and this one shows who it is", bearer(seen))
	refused("everybody has the verb, an unknown token", http.StatusUnauthorized, "is not one that this node knows", bearer(stranger))
	refused("everybody has the verb, a password", http.StatusUnauthorized, "must be \"Bearer\" and a token", "Basic dXNlcjpwYXNz")
	n.access.change(func(r *fakeRights) { delete(r.tokens, seen.ID()) })
	refused("everybody has the verb, a revoked token", http.StatusUnauthorized, "was revoked", bearer(seen))
	n.access.change(func(r *fakeRights) {
		grant(r, seen, "prometheus", access.Grant{Verbs: access.Status, Pattern: "*"})
		r.enforced = false
	})
	open("access is off, and this one shows who it is", bearer(blind))
	n.access.change(func(r *fakeRights) { r.enforced = true })
	if got := n.Callers().Failures(); got["token_unknown"] != 2 || got["token_damaged"] != 2 || got["token_revoked"] != 1 {
		t.Errorf("failed logins are %v", got)
	}
	n.access.change(func(r *fakeRights) { r.anonymous = access.New(access.Grant{Verbs: access.Read, Pattern: "*"}) })

	open("a token with the verb", bearer(seen))
	refused("nothing", http.StatusUnauthorized, "/metrics needs the verb status")
	refused("a token without the verb", http.StatusForbidden, "token:ci lacks the verb status over everything", bearer(blind))
	refused("a token with the verb over a part", http.StatusForbidden, "token:part lacks the verb status", bearer(partly))
	refused("an unknown token", http.StatusUnauthorized, "is not one that this node knows", bearer(stranger))
	refused("a password", http.StatusUnauthorized, "must be \"Bearer\" and a token", "Basic dXNlcjpwYXNz")
	refused("two tokens", http.StatusUnauthorized, "one is allowed", bearer(seen), bearer(seen))
	refused("an empty token", http.StatusUnauthorized, "", "")
	for _, probe := range []string{"/livez", "/readyz?verbose", "/healthz"} {
		if code, body, _ := page(t, client, "http://n1"+probe, "Bearer nonsense"); code != http.StatusOK && code != http.StatusServiceUnavailable {
			t.Errorf("%s: %d %q", probe, code, body)
		}
	}
	if got := n.Denials()["status"]; got != 3 {
		t.Errorf("%d denials of the verb are counted, want 3", got)
	}
	lines := audit.lines(t)
	if len(lines) != 5+7 {
		t.Errorf("%d lines, want one for each refusal: %+v", len(lines), lines)
	}
	checkLines(t, lines[:7],
		auditLine{Method: "GET /metrics", Outcome: "unauthenticated", Refusal: "TOKEN_UNKNOWN"},
		auditLine{Method: "GET /metrics", Outcome: "unauthenticated", Refusal: "TOKEN_DAMAGED"},
		auditLine{Method: "GET /metrics", Outcome: "unauthenticated", Refusal: "TOKEN_UNKNOWN"},
		auditLine{Method: "GET /metrics", Outcome: "unauthenticated", Refusal: "TOKEN_DAMAGED"},
		auditLine{Identity: "token:prometheus", Method: "GET /metrics", Outcome: "unauthenticated", Refusal: "TOKEN_REVOKED"},
		auditLine{Method: "GET /metrics", Outcome: "unauthenticated", Refusal: "NO_CREDENTIALS"},
		auditLine{Identity: "token:ci", Method: "GET /metrics", Names: []string{"*"}, Outcome: "denied", Refusal: "DENIED", Verb: "status"},
	)
}

// TestMetricsByCertificate: the certificate of the connection names the caller, as it does on the API port.
func TestMetricsByCertificate(t *testing.T) {
	ca := tlstest.NewCA(t, "ca")
	source := tlstest.Open(t, ca.Issue([]string{"n1", "127.0.0.1"}))
	port := tlsport.New(tlsport.Config{
		Name: "http", Mode: tlsport.Required, Source: source, ClientCertificate: certs.Optional, Handshakes: tlsport.NewHandshakes(10), Logger: slog.New(slog.DiscardHandler),
	})
	n := single(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	statusPage(t, n, port.Listen(l))
	n.access.change(func(r *fakeRights) {
		r.enforced, r.anonymous = true, access.Permissions{}
		r.grants["cert:prometheus"] = access.New(access.Grant{Verbs: access.Status, Pattern: "*"})
	})
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca.PEM())
	for name, want := range map[string]int{"prometheus": http.StatusOK, "another": http.StatusForbidden, "": http.StatusUnauthorized} {
		cfg := &tls.Config{RootCAs: pool}
		if name != "" {
			files := ca.Issue([]string{name})
			pair, err := tls.LoadX509KeyPair(files.Cert, files.Key)
			if err != nil {
				t.Fatal(err)
			}
			cfg.Certificates = []tls.Certificate{pair}
		}
		client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true}}
		if code, body, _ := page(t, client, "https://"+l.Addr().String()+"/metrics"); code != want {
			t.Errorf("%q: %d %q, want %d", name, code, body, want)
		}
	}
}

// TestProfilesAreClosedToPagesOfOthers: a page whose site has a name that leads to this node (DNS rebinding) reads no
// profiles. The metrics stay open to every name, since Prometheus calls nodes by names that they need not know.
func TestProfilesAreClosedToPagesOfOthers(t *testing.T) {
	audit := openAudit(t)
	n := single(t, audit.use, func(cfg *Config) {
		cfg.KnownHost = func(name string) bool { return name == "rollcall.example.com" }
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	statusPage(t, n, l)
	token := accesstoken.New()
	n.addToken("ci", token, 0)
	for _, tc := range []struct {
		host, path, authorization string
		code                      int
		body                      string
	}{
		{"", "/profiles", "", 200, "profiles"}, // by its address
		{"localhost:7602", "/profiles", "", 200, "profiles"},
		{"Rollcall.example.com", "/profiles", "", 200, "profiles"},
		{"evil.example:7602", "/profiles", "", 421, "this node does not know \"evil.example:7602\" as a name of its own, so a page of a stranger may have sent the request; " +
			"use an address, show a token, or start the node with --http-host evil.example\n"},
		{"evil.example", "/profiles", "Bearer " + token.Text(), 200, "profiles"},
		{"evil.example", "/metrics", "", 200, "numbers"},
		{"prometheus-calls-it.so", "/metrics", "", 200, "numbers"},
	} {
		req, err := http.NewRequestWithContext(patient(t), "GET", "http://"+l.Addr().String()+tc.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = tc.host
		if tc.authorization != "" {
			req.Header.Set("Authorization", tc.authorization)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != tc.code || string(body) != tc.body {
			t.Errorf("%s by %q: %d %s %v, want %d %s", tc.path, tc.host, res.StatusCode, body, err, tc.code, tc.body)
		}
	}
}
