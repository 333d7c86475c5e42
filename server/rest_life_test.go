package server

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/test/bufconn"

	"github.com/rollcallhq/rollcall/api/rollcall/accesstoken"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/certs"
	"github.com/rollcallhq/rollcall/internal/tlstest"
	"github.com/rollcallhq/rollcall/tlsport"
)

// TestRESTChangesGoTheWayOfAllChanges: to the leader, with who made them and from where, into the audit log, and once for
// a request id.
func TestRESTChangesGoTheWayOfAllChanges(t *testing.T) {
	audit := openAudit(t)
	c := newTestCluster(t, 2, webWrites, audit.use)
	c.elect("n2")
	n := web(t, c.nodes["n1"])
	token := accesstoken.New()
	for _, node := range c.nodes {
		node.addToken("ci", token, 0)
	}
	got := n.ask("PUT", "/api/v1/services/shop/cart", `{"status":"SERVING","reason":"deploy 42","actor":"ann","request_id":"r-1"}`, "Authorization: Bearer "+token.Text())
	if got.status != http.StatusOK {
		t.Fatal(got)
	}
	leader := c.nodes["n2"].agreement
	leader.mu.Lock()
	cmd := leader.proposed[len(leader.proposed)-1]
	leader.mu.Unlock()
	if a := cmd.GetActor(); a.GetName() != "token:ci" || !a.GetVerified() || a.GetOnBehalfOf() != "ann" || !strings.HasPrefix(a.GetPeer(), "127.0.0.1:") || cmd.GetRequestId() != "r-1" || cmd.GetReason() != "deploy 42" {
		t.Errorf("the leader was given %v", cmd)
	}
	if got := n.ask("DELETE", "/api/v1/services/nothing?reason=x&request_id=r-2", ""); got.status != http.StatusOK && got.status != http.StatusNotFound {
		t.Error(got)
	}
	var found bool
	for _, l := range audit.lines(t) {
		found = found || l.Method == "rollcall.v1.Admin/SetServingStatus" && l.Identity == "token:ci" && l.OnBehalfOf == "ann" && l.RequestID == "r-1" && l.Outcome == "done" && fmt.Sprint(l.Names) == "[shop/cart]"
	}
	if !found {
		t.Error("the audit log has no line of the change")
	}
	counts := map[string]int64{}
	for _, c := range n.HTTPRequests() {
		counts[fmt.Sprint(c.Route, " ", c.Code)] = c.Count
	}
	if counts["PUT /api/v1/services/{service} 200"] != 1 || len(counts) != 2 {
		t.Errorf("counted: %v", counts)
	}
}

// TestRESTOfANodeThatDoesNotServe: the answers are those of gRPC.
func TestRESTOfANodeThatDoesNotServe(t *testing.T) {
	for _, tc := range []struct {
		what               string
		do                 func(n *testNode)
		get, put           int
		getReason, putSays string // the second with written
	}{
		{"it differs", func(n *testNode) { n.Diverged(5) }, 503, 503, "DIVERGED", "DIVERGED no"},
		{"it belongs to no cluster", func(n *testNode) { n.registry.unformed = true }, 503, 503, "NO_CLUSTER", ""},
		{"it is told to stop", func(n *testNode) { n.BeginDrain() }, 200, 503, "", "NOT_WRITTEN no"},
	} {
		n := web(t, single(t, webWrites, func(cfg *Config) { cfg.WriteTimeout = 200 * time.Millisecond }))
		n.registry.set("a", serving)
		tc.do(n.testNode)
		if got := n.ask("GET", "/api/v1/services/a", ""); got.status != tc.get || got.at("reason") != tc.getReason {
			t.Errorf("%s: GET: %v", tc.what, got)
		}
		if tc.putSays == "" {
			continue
		}
		if got := n.ask("PUT", "/api/v1/services/a", anyBody); got.status != tc.put || got.at("reason")+" "+got.at("written") != tc.putSays {
			t.Errorf("%s: PUT: %v", tc.what, got)
		}
	}
}

// TestRESTCallsEndBeforeStopReturns: those that go on may finish, and are ended when the time is over.
func TestRESTCallsEndBeforeStopReturns(t *testing.T) {
	for _, patience := range []bool{true, false} {
		n := web(t, single(t, webWrites))
		proposed, release, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
		n.agreement.onPropose(func(ctx context.Context, cmd *logv1.Command) (*logv1.Result, error) {
			defer close(ended)
			close(proposed)
			select {
			case <-release:
				return n.agreement.apply(cmd), nil
			case <-ctx.Done():
				return nil, unknownErr{ctx.Err()}
			}
		})
		answers := make(chan reply, 1)
		go func() { answers <- n.ask("PUT", "/api/v1/services/a", anyBody) }()
		<-proposed
		within := time.Minute
		if !patience {
			within = 50 * time.Millisecond
		}
		ctx, cancel := context.WithTimeout(context.Background(), within)
		defer cancel()
		stopped := make(chan error, 1)
		go func() {
			if patience {
				stopped <- n.Stop(ctx)
			} else {
				stopped <- n.rest.Stop(ctx)
			}
		}()
		for {
			got := n.ask("GET", "/api/v1/services/a", "")
			if got.status == http.StatusServiceUnavailable && got.at("reason") == "STOPPING" {
				break
			}
		}
		if patience {
			select {
			case err := <-stopped:
				t.Errorf("Stop returned %v while a change was under way", err)
			case <-time.After(20 * time.Millisecond):
			}
			close(release)
		}
		err := <-stopped
		select {
		case <-ended:
		default:
			t.Error("Stop returned while a change was under way")
		}
		if patience != (err == nil) {
			t.Errorf("Stop: %v", err)
		}
		got := <-answers
		if patience && got.status != http.StatusOK || !patience && (got.status != http.StatusServiceUnavailable || got.at("written") != "unknown" || got.at("details", "request_id") == "") {
			t.Errorf("the change that was under way: %v", got)
		}
		n.client.CloseIdleConnections()
	}
}

// TestRESTCallsEndWithTheirClient: nobody works for a client that has left.
func TestRESTCallsEndWithTheirClient(t *testing.T) {
	n := web(t, single(t, webWrites))
	proposed, ended := make(chan struct{}), make(chan error, 1)
	n.agreement.onPropose(func(ctx context.Context, _ *logv1.Command) (*logv1.Result, error) {
		close(proposed)
		<-ctx.Done()
		ended <- ctx.Err()
		return nil, unknownErr{ctx.Err()}
	})
	ctx, cancel := context.WithCancel(patient(t))
	req, err := http.NewRequestWithContext(ctx, "PUT", n.url+"/api/v1/services/a", strings.NewReader(anyBody))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	go func() {
		<-proposed
		cancel()
	}()
	if _, err := n.client.Do(req); !errors.Is(err, context.Canceled) {
		t.Errorf("the client got %v", err)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the call ended with %v", err)
	}
}

// TestRESTAnswersSoManyAtATime: the others of the port's connections are for probes.
func TestRESTAnswersSoManyAtATime(t *testing.T) {
	n := web(t, single(t, webWrites, func(cfg *Config) { cfg.MaxHTTPCalls = 1 }))
	proposed, release := make(chan struct{}), make(chan struct{})
	n.agreement.onPropose(func(_ context.Context, cmd *logv1.Command) (*logv1.Result, error) {
		close(proposed)
		<-release
		return n.agreement.apply(cmd), nil
	})
	answers := make(chan reply, 1)
	go func() { answers <- n.ask("PUT", "/api/v1/services/a", anyBody) }()
	<-proposed
	if got := n.ask("GET", "/api/v1/services/a", ""); got.status != http.StatusTooManyRequests || got.at("details", "limit") != "http-calls" || got.header.Get("Retry-After") == "" {
		t.Errorf("the second request: %v", got)
	}
	close(release)
	if got := <-answers; got.status != http.StatusOK {
		t.Errorf("the first request: %v", got)
	}
}

// largeRegistry has as many services as fit on the largest page.
func largeRegistry(n *testNode) {
	n.registry.mu.Lock()
	n.registry.reason = strings.Repeat("why ", 50)
	n.registry.mu.Unlock()
	for i := range 10_000 {
		n.registry.set(fmt.Sprintf("team-%02d/service-%05d", i%50, i), serving)
	}
}

const largePage = "/api/v1/services?page_size=10000"

// TestRESTWaitsForSlowReadersOnly: a page arrives however slowly it is read, and who does not read at all is cut off.
func TestRESTWaitsForSlowReadersOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := single(t)
		largeRegistry(n)
		l := bufconn.Listen(16 << 10)
		serveWeb(t, n, l)
		client := &http.Client{Transport: &http.Transport{DisableCompression: true, ReadBufferSize: 4 << 10, DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return l.DialContext(ctx) }}}
		defer client.CloseIdleConnections()
		res, err := client.Get("http://127.0.0.1" + largePage)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		var page bytes.Buffer
		for {
			time.Sleep(time.Second)
			if used, _, _ := n.budgets.answers.Use(); used < 1<<20 && page.Len() < 1<<20 {
				t.Fatalf("%d bytes are counted while a page of megabytes is read", used)
			}
			if _, err = io.CopyN(&page, res.Body, 128<<10); err != nil {
				break
			}
		}
		res.Body.Close()
		var read struct{ Services []json.RawMessage }
		if !errors.Is(err, io.EOF) || json.Unmarshal(page.Bytes(), &read) != nil || len(read.Services) < 1000 {
			t.Errorf("%d bytes with %d services after %v: %v", page.Len(), len(read.Services), time.Since(began), err)
		}
		if took := time.Since(began); took < 20*time.Second {
			t.Fatalf("the page was read in %v: the test does not show that a timeout of 10 s is extended", took)
		}
		synctest.Wait()
		if used, _, _ := n.budgets.answers.Use(); used != 0 {
			t.Errorf("%d bytes stay counted", used)
		}

		res, err = client.Get("http://127.0.0.1" + largePage)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(9 * time.Second)
		if used, _, _ := n.budgets.answers.Use(); used < 1<<20 {
			t.Errorf("after 9 s %d bytes are counted", used)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if used, _, _ := n.budgets.answers.Use(); used != 0 {
			t.Errorf("%d bytes stay counted of an answer that nobody reads", used)
		}
		if _, err := io.Copy(io.Discard, res.Body); err == nil {
			t.Error("who read nothing for 11 s got the whole page")
		}
		res.Body.Close()
	})
}

// TestRESTReadersThatHoldTheMostAreCutOff: when all unread answers together are too much, as over gRPC.
func TestRESTReadersThatHoldTheMostAreCutOff(t *testing.T) {
	n := web(t, single(t))
	largeRegistry(n.testNode)
	conn, err := net.Dial("tcp", strings.TrimPrefix(n.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", largePage)
	await := func(what string, is func(used int64) bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
			used, _, _ := n.budgets.answers.Use()
			if is(used) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: %d bytes are counted", what, used)
			}
		}
	}
	await("unread", func(used int64) bool { return used > 1<<20 })
	held, limit, _ := n.budgets.answers.Use()
	others := limit - held
	n.budgets.answers.Take(nil, others)
	if got := n.ask("GET", "/api/v1/services?page_size=1000", ""); got.status != http.StatusOK {
		t.Errorf("another reader: %v", got)
	}
	await("after it was cut off", func(used int64) bool { return used <= others })
	n.budgets.answers.Give(nil, others)
	await("in the end", func(used int64) bool { return used == 0 })
}

func TestRESTCompressesLargeAnswers(t *testing.T) {
	n := web(t, single(t))
	for i := range 100 {
		n.registry.set(fmt.Sprintf("service-%d", i), serving)
	}
	plain := n.ask("GET", "/api/v1/services", "")
	for _, tc := range []struct {
		path, accept, want string
	}{
		{"/api/v1/services", "gzip", "gzip"},
		{"/api/v1/services", "deflate, gzip;q=0.5, br", "gzip"},
		{"/api/v1/services", "gzip;q=0", ""},
		{"/api/v1/services", "br", ""},
		{"/api/v1/services", "", ""},
		{"/api/v1/services/service-1", "gzip", ""},
	} {
		got := n.ask("GET", tc.path, "", "Accept-Encoding: "+tc.accept)
		if is := got.header.Get("Content-Encoding"); is != tc.want || got.header.Get("Vary") != "Accept-Encoding" {
			t.Errorf("%s, %q: Content-Encoding is %q, Vary %q", tc.path, tc.accept, is, got.header.Get("Vary"))
		}
		if tc.want == "" {
			continue
		}
		z, err := gzip.NewReader(strings.NewReader(got.body))
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(z); err != nil || string(b) != plain.body {
			t.Errorf("%q: %d bytes, %v; want %d", tc.accept, len(b), err, len(plain.body))
		}
		if len(got.body) > len(plain.body)/3 {
			t.Errorf("%d bytes of %d", len(got.body), len(plain.body))
		}
	}
}

// TestRESTByCertificate: the certificate of the connection names the caller, and changes need no token then.
func TestRESTByCertificate(t *testing.T) {
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
	serveWeb(t, n, port.Listen(l))
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca.PEM())
	for _, tc := range []struct {
		name, identity string
		status         int
	}{{"ann", "cert:ann", http.StatusOK}, {"", "anonymous", http.StatusForbidden}} {
		cfg := &tls.Config{RootCAs: pool}
		if tc.name != "" {
			files := ca.Issue([]string{tc.name})
			pair, err := tls.LoadX509KeyPair(files.Cert, files.Key)
			if err != nil {
				t.Fatal(err)
			}
			cfg.Certificates = []tls.Certificate{pair}
		}
		w := &webNode{n, t, "https://" + l.Addr().String(), &http.Client{Transport: &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true}}}
		if got := w.ask("GET", "/api/v1/whoami", ""); got.at("identity") != tc.identity {
			t.Errorf("%q: whoami: %v", tc.name, got)
		}
		if got := w.ask("PUT", "/api/v1/services/a", anyBody); got.status != tc.status {
			t.Errorf("%q: a change: %v", tc.name, got)
		}
	}
}

// TestRESTTokensInPlainText: a token that others may have read is refused, as over gRPC.
func TestRESTTokensInPlainText(t *testing.T) {
	n := single(t)
	token := accesstoken.New()
	n.addToken("ci", token, 0)
	for address, want := range map[string]int{"192.0.2.7:1234": http.StatusUnauthorized, "127.0.0.1:1234": http.StatusOK} {
		r := httptest.NewRequest("GET", "/api/v1/whoami", nil)
		r.RemoteAddr, r.Host = address, "127.0.0.1"
		r.Header.Set("Authorization", "Bearer "+token.Text())
		w := httptest.NewRecorder()
		n.APIHandler().ServeHTTP(w, r)
		if w.Code != want || want != http.StatusOK && !strings.Contains(w.Body.String(), "TOKEN_OVER_PLAIN_TEXT") {
			t.Errorf("from %s: %d %s", address, w.Code, w.Body)
		}
	}
}

func TestRESTDescribesItself(t *testing.T) {
	n := web(t, single(t))
	got := n.ask("GET", "/api/v1/openapi.json", "")
	tag := got.header.Get("ETag")
	if got.status != http.StatusOK || got.at("openapi") == "" || tag == "" {
		t.Fatalf("%d, ETag %q", got.status, tag)
	}
	if again := n.ask("GET", "/api/v1/openapi.json", "", `If-None-Match: "other", `+tag); again.status != http.StatusNotModified || again.body != "" {
		t.Errorf("asked again: %v", again)
	}
	if other := n.ask("GET", "/api/v1/openapi.json", "", `If-None-Match: "other"`); other.status != http.StatusOK {
		t.Errorf("another tag: %d", other.status)
	}
	// One tag stands for the plain and the compressed document, which have other bytes: it is a weak one (RFC 9110, 8.8.1).
	plain, weak := strings.CutPrefix(tag, "W/")
	if !weak {
		t.Errorf("the ETag %s is a strong one", tag)
	}
	for _, given := range []string{plain, "W/" + plain, `"other",W/` + plain, "*"} {
		if again := n.ask("GET", "/api/v1/openapi.json", "", "If-None-Match: "+given); again.status != http.StatusNotModified {
			t.Errorf("asked again with %s: %d", given, again.status)
		}
	}
	for path, allow := range map[string]string{
		"/api/v1/services":         "GET, HEAD, OPTIONS",
		"/api/v1/services/a/b":     "GET, HEAD, PUT, DELETE, OPTIONS",
		"/api/v1/services:batch":   "POST, OPTIONS",
		"/api/v1/leases/l:renew":   "POST, DELETE, OPTIONS",
		"/api/v1/nothing":          "",
		"/api/v1/services/x:watch": "GET, HEAD, PUT, DELETE, OPTIONS",
	} {
		got := n.ask("OPTIONS", path, "", "Origin: http://evil.example", "Access-Control-Request-Method: PUT")
		if got.header.Get("Allow") != allow || got.header.Get("Access-Control-Allow-Origin") != "" || (got.status == http.StatusNoContent) != (allow != "") {
			t.Errorf("OPTIONS %s: %v %v", path, got, got.header)
		}
	}
}
