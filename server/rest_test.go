package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	restv1 "github.com/rollcallhq/rollcall/api/rollcall/rest/v1"
	"github.com/rollcallhq/rollcall/internal/openapitest"
	"github.com/rollcallhq/rollcall/server/httpserver"
)

// webNode is a node with its HTTP port.
type webNode struct {
	*testNode
	t      testing.TB
	url    string
	client *http.Client
}

// webWrites lets everybody change something over HTTP.
func webWrites(cfg *Config) { cfg.WebWrites = true }

// serveWeb serves a node's API over HTTP on l, and ends it before the node.
func serveWeb(t testing.TB, n *testNode, l net.Listener) {
	t.Helper()
	s := httpserver.New(n.APIHandler(), 64, slog.New(slog.DiscardHandler))
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

// web serves a node's API over HTTP to this machine.
func web(t testing.TB, n *testNode) *webNode {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveWeb(t, n, l)
	transport := &http.Transport{DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &webNode{n, t, "http://" + l.Addr().String(), &http.Client{Transport: transport}}
}

// reply is an answer of the API.
type reply struct {
	status int
	header http.Header
	body   string
	json   map[string]any // nil: the body is no JSON object
}

// ask sends a request. headers are "Name: value"; a body is declared as JSON unless they say otherwise.
func (n *webNode) ask(method, path, body string, headers ...string) reply {
	n.t.Helper()
	req, err := http.NewRequestWithContext(patient(n.t), method, n.url+path, nil)
	if err != nil {
		n.t.Fatal(err)
	}
	if body != "" {
		req.Body, req.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		req.Header.Set("Content-Type", "application/json")
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		switch {
		case name == "Host":
			req.Host = value
		case value == "":
			req.Header.Del(name)
		case name == "Content-Type":
			req.Header.Set(name, value)
		default:
			req.Header.Add(name, value)
		}
	}
	res, err := n.client.Do(req)
	if err != nil {
		n.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		n.t.Fatal(err)
	}
	described(n.t, method, path, res, b)
	r := reply{status: res.StatusCode, header: res.Header, body: string(b)}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	_ = d.Decode(&r.json)
	if below, ok := strings.CutPrefix(path, "/api/v1"); ok && !strings.HasSuffix(path, "/") && res.StatusCode != http.StatusMethodNotAllowed && r.at("reason") != "NO_ROUTE" && method != "HEAD" && method != "OPTIONS" && res.Header.Get("Content-Encoding") == "" {
		below, _, _ = strings.Cut(below, "?")
		if err := apiDocument().Response(method, below, res.StatusCode, res.Header.Get("Content-Type"), b); err != nil && len(b) > 0 {
			n.t.Errorf("the OpenAPI document describes another answer: %v", err)
		}
	}
	return r
}

// apiDocument is the OpenAPI document: every answer is compared with it.
var apiDocument = sync.OnceValue(func() *openapitest.Document {
	d, err := openapitest.New(restv1.Document)
	if err != nil {
		panic(err)
	}
	return d
})

// at returns what stands in an answer: at("service", "status").
func (r reply) at(path ...string) string {
	var v any = r.json
	for _, name := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return ""
		}
		v = m[name]
	}
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

func (r reply) String() string { return fmt.Sprintf("%d %s", r.status, strings.TrimSpace(r.body)) }

// TestRESTReadsAndWrites goes through what is done most.
func TestRESTReadsAndWrites(t *testing.T) {
	n := web(t, single(t, webWrites))
	for _, tc := range []struct {
		method, path, body string
		want               map[string]string // what stands where, "a.b": value
	}{
		{"PUT", "/api/v1/services/shop/cart", `{"status":"serving","reason":"deploy 42","actor":"ann"}`, map[string]string{
			"service.service": "shop/cart", "service.status": "SERVING", "service.report.reason": "deploy 42", "service.report.actor.name": "ann", "changed": "true",
		}},
		{"GET", "/api/v1/services/shop/cart", "", map[string]string{"service.status": "SERVING", "cluster_id": "3f9a"}},
		{"POST", "/api/v1/services:batch", `{"changes":[{"service":"pay","status":"NOT_SERVING"},{"service":"mail","status":"SERVING"}]}`, map[string]string{"changed_count": "2"}},
		{"PUT", "/api/v1/services/pay", `{"status":"SERVING","validate_only":true}`, map[string]string{"service.status": "SERVING"}},
		{"GET", "/api/v1/services/pay", "", map[string]string{"service.status": "NOT_SERVING"}},
		{"DELETE", "/api/v1/services/pay?reason=retired&validate_only=true", "", map[string]string{"cluster_id": "3f9a"}},
		{"GET", "/api/v1/services/pay", "", map[string]string{"service.status": "NOT_SERVING"}},
		{"DELETE", "/api/v1/services/pay?reason=retired", "", map[string]string{"cluster_id": "3f9a"}},
		{"GET", "/api/v1/services?prefix=shop/&statuses=serving", "", map[string]string{"next_page_token": ""}},
		{"GET", "/api/v1/whoami", "", map[string]string{"identity": "anonymous"}},
		{"GET", "/api/v1/cluster", "", map[string]string{"cluster_id": "3f9a"}},
	} {
		got := n.ask(tc.method, tc.path, tc.body)
		if got.status != http.StatusOK || got.json == nil || got.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %s: %v", tc.method, tc.path, got)
		}
		for where, want := range tc.want {
			if is := got.at(strings.Split(where, ".")...); is != want {
				t.Errorf("%s %s: %s is %q, want %q: %v", tc.method, tc.path, where, is, want, got)
			}
		}
	}
	if got := n.ask("GET", "/api/v1/services/pay", ""); got.status != http.StatusNotFound || got.at("reason") != "NOT_FOUND" || got.at("written") != "no" || got.at("details", "service") != "pay" {
		t.Errorf("after it was deleted: %v", got)
	}
}

// hardNames are names, and what a path, a URL or a route could make of them.
var hardNames = []string{
	"a", "a/b", "a//b", "/", "//", "/a", "a/", "a/./b", "a/../b", "../a", "./a", "a/..", "...", "a:b", "a:watch", "x:batch", ":watch", ":", "a:", "services:batch",
	"a%b", "a%2Fb", "a%2fb", "%", "%%", "%2F", "%252F", "a+b", "a b", "a?b", "a#b", "a&b=c", "a;b", "a,b", "{service}", "{service=**}", "*", "**", "a*", "~a", "a@b", `a\b`, `a"b`, "a'b", "<a>",
	"ä", "日本/語", "a\u0301", "🙂", strings.Repeat("n", 200), "watch", "openapi.json",
}

// TestRESTTakesEveryName: whatever a valid name holds, an escaped path leads to it and to nothing else.
func TestRESTTakesEveryName(t *testing.T) {
	n := web(t, single(t, webWrites))
	for _, name := range hardNames {
		for how, escaped := range map[string]string{
			"as one part":   url.PathEscape(name),
			"slashes stand": strings.ReplaceAll(url.PathEscape(name), "%2F", "/"),
		} {
			path := "/api/v1/services/" + escaped
			set := n.ask("PUT", path, `{"status":"SERVING"}`)
			if set.status == http.StatusBadRequest && set.at("reason") == "INVALID_ARGUMENT" && set.at("details", "fields") != "" {
				if _, err := n.admin().SetServingStatus(patient(t), setRequest(name, serving)); err == nil {
					t.Errorf("%q %s: gRPC takes the name, HTTP does not: %v", name, how, set)
				}
				continue
			}
			if set.at("service", "service") != name {
				t.Errorf("%q %s: PUT: %v", name, how, set)
				continue
			}
			if got := n.ask("GET", path, ""); got.at("service", "service") != name {
				t.Errorf("%q %s: GET: %v", name, how, got)
			}
			if got := n.ask("HEAD", path, ""); got.status != http.StatusOK || got.body != "" || got.header.Get("Content-Length") == "0" {
				t.Errorf("%q %s: HEAD: %v", name, how, got)
			}
			if _, there := n.registry.Status(name); !there {
				t.Errorf("%q %s is not there", name, how)
			}
			if got := n.ask("DELETE", path, ""); got.status != http.StatusOK {
				t.Errorf("%q %s: DELETE: %v", name, how, got)
			}
			if _, there := n.registry.Status(name); there {
				t.Errorf("%q %s is still there", name, how)
			}
		}
	}
}
