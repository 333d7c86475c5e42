package server

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rollcallhq/rollcall/api/rollcall/accesstoken"
	"github.com/rollcallhq/rollcall/fsm/access"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// sseStream is a stream of events over HTTP.
type sseStream struct {
	t     *testing.T
	res   *http.Response
	lines *bufio.Reader
}

func (n *webNode) stream(t *testing.T, path string, headers ...string) *sseStream {
	t.Helper()
	ctx, cancel := context.WithCancel(patient(t))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.url+"/api/v1/"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	res, err := n.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		res.Body.Close()
	})
	return &sseStream{t, res, bufio.NewReader(res.Body)}
}

// next returns the lines of the next event.
func (s *sseStream) next() string {
	s.t.Helper()
	event := ""
	for {
		line, err := s.lines.ReadString('\n')
		if err != nil {
			s.t.Fatalf("%s: %s%v", s.res.Status, event, err)
		}
		if line == "\n" && event != "" {
			return event
		}
		if line != "\n" && line != ":\n" {
			event += line
		}
	}
}

// wants reads events until one has all parts.
func (s *sseStream) wants(parts ...string) {
	s.t.Helper()
	for {
		event := s.next()
		missing := 0
		for _, p := range parts {
			if !strings.Contains(event, p) {
				missing++
			}
		}
		if missing == 0 {
			return
		}
		if strings.Contains(event, "event: error") {
			s.t.Fatalf("%s; want %q", event, parts)
		}
	}
}

// The two watches are those of gRPC: what is sent, what is left out, what is counted, and why they end.
func TestStreamsOverHTTP(t *testing.T) {
	both := map[string]string{"services:watch?prefixes=shop/": "event: services", "events:watch?prefixes=shop/&from_revision=1": "event: events"}
	ends := func(t *testing.T, n *webNode, path, name string, what func(), reason string, headers ...string) {
		t.Helper()
		s := n.stream(t, path, headers...)
		s.wants(name, `"shop/cart"`)
		if open := n.OpenWatches(); open != 1 {
			t.Errorf("%d watches are counted", open)
		}
		what()
		s.wants("event: error", `"reason":"`+reason+`"`)
		if _, err := s.lines.ReadByte(); err == nil {
			t.Error("more comes after the error")
		}
	}
	for path, name := range both {
		start := func(t *testing.T) *webNode {
			n := web(t, single(t))
			n.registry.set("shop/cart", serving)
			n.registry.set("other", serving)
			return n
		}
		t.Run(name, func(t *testing.T) {
			t.Run("node stops", func(t *testing.T) {
				n := start(t)
				ends(t, n, path, name, func() {
					go func() { _ = n.Stop(patient(t)) }()
				}, rpcerror.ReasonStopping)
			})
			t.Run("node diverges", func(t *testing.T) {
				n := start(t)
				ends(t, n, path, name, func() { n.Diverged(42) }, rpcerror.ReasonDiverged)
				if r := n.ask("GET", "/api/v1/"+path, ""); r.status != http.StatusServiceUnavailable || r.at("reason") != rpcerror.ReasonDiverged {
					t.Error(r)
				}
			})
			t.Run("access", func(t *testing.T) {
				n := start(t)
				token := accesstoken.New()
				n.addToken("ci", token, 0)
				n.access.change(func(r *fakeRights) {
					r.enforced = true
					r.grants["token:ci"] = access.New(access.Grant{Verbs: access.Read, Pattern: "shop/*"})
				})
				if r := n.ask("GET", "/api/v1/"+path, ""); r.status != http.StatusUnauthorized {
					t.Error(r)
				}
				bearer := "Authorization: Bearer " + token.Text()
				s := n.stream(t, path, bearer)
				if got := s.res.Header.Get("Rollcall-Filtered"); got != "true" {
					t.Errorf("filtered: %q", got)
				}
				s.wants(name, `"shop/cart"`)
				s.res.Body.Close()
				for n.OpenWatches() > 0 {
					time.Sleep(time.Millisecond)
				}
				ends(t, n, path, name, func() { n.removeToken(token) }, rpcerror.ReasonTokenRevoked, bearer)
				if r := n.ask("GET", "/api/v1/"+path, "", bearer); r.status != http.StatusUnauthorized {
					t.Error(r)
				}
			})
			t.Run("limit of watches", func(t *testing.T) {
				n := web(t, single(t, func(c *Config) { c.MaxWatches = 1 }))
				n.registry.set("shop/cart", serving)
				n.stream(t, path).wants(name)
				if r := n.ask("GET", "/api/v1/"+path, ""); r.status != http.StatusTooManyRequests || r.at("details", "limit") != quotaWatches {
					t.Error(r)
				}
			})
			t.Run("limit of streams", func(t *testing.T) {
				n := web(t, single(t, func(c *Config) { c.MaxHTTPStreams = 1 }))
				n.registry.set("shop/cart", serving)
				n.stream(t, path).wants(name)
				if r := n.ask("GET", "/api/v1/"+path, ""); r.status != http.StatusTooManyRequests || r.at("details", "limit") != "sse-streams" {
					t.Error(r)
				}
				if c := n.HTTPStreams(); c.Services+c.Events != 1 || c.RefusedAll != 1 {
					t.Errorf("%+v", c)
				}
			})
		})
	}
}

// Where a stream goes on, it is told by the id of its last event, which is of its caller.
func TestStreamsOverHTTPGoOn(t *testing.T) {
	n := web(t, single(t))
	n.registry.set("a", serving)
	n.registry.set("b", serving)
	token := accesstoken.New()
	n.addToken("ci", token, 0)
	idOf := func(s *sseStream) string {
		t.Helper()
		for {
			event := s.next()
			if id, ok := strings.CutPrefix(event, "id: 2@"); ok {
				id, _, _ = strings.Cut(id, "\n")
				return "2@" + id
			}
		}
	}
	id := idOf(n.stream(t, "services:watch"))
	n.stream(t, "services:watch", "Last-Event-ID: "+id).wants("event: open", `"resumed":true`)
	n.stream(t, "services:watch?last_event_id="+id).wants("event: open", `"resumed":true`)
	n.stream(t, "services:watch", "Last-Event-ID: "+id, "Authorization: Bearer "+token.Text()).wants("event: open", `"resumed":false`)
	n.stream(t, "services:watch?view=status", "Last-Event-ID: "+id).wants("event: open", `"resumed":false`)

	id = idOf(n.stream(t, "events:watch?from_revision=1"))
	n.registry.set("c", serving)
	s := n.stream(t, "events:watch?from_revision=1", "Last-Event-ID: "+id)
	s.wants("event: open", `"revision":2`, `"resumed":true`)
	s.wants("event: events", `"service":"c"`)
	n.registry.mu.Lock()
	n.registry.oldest = 3
	n.registry.mu.Unlock()
	r := n.ask("GET", "/api/v1/events:watch?last_event_id="+strings.Replace(id, "2", "1", 1), "")
	if r.status != http.StatusGone || r.at("reason") != rpcerror.ReasonCompacted || r.at("details", "oldest_revision") != "3" {
		t.Error(r)
	}
	r = n.ask("GET", "/api/v1/events:watch", "", "Last-Event-ID: 2@other")
	if r.status != http.StatusConflict || r.at("reason") != rpcerror.ReasonClusterChanged {
		t.Error(r)
	}
	r = n.ask("GET", "/api/v1/services:watch", "", "Rollcall-Cluster: other")
	if r.status != http.StatusConflict || r.at("reason") != rpcerror.ReasonClusterChanged {
		t.Error(r)
	}
	n.registry.mu.Lock()
	n.registry.oldest = 0
	n.registry.mu.Unlock()
	if s = n.stream(t, "services:watch", "Rollcall-Consistency: linearizable"); s.res.Header.Get("Rollcall-Revision") != "3" || s.res.Header.Get("Rollcall-Node") == "" {
		t.Error(fmt.Sprint(s.res.Header))
	}
}
