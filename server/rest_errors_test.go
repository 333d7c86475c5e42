package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// TestRESTErrors: what is wrong, what to do, whether it was written, and a status for programs that look at nothing else.
func TestRESTErrors(t *testing.T) {
	refuse := func(r *logv1.Refusal) func(context.Context, *logv1.Command) (*logv1.Result, error) {
		return func(context.Context, *logv1.Command) (*logv1.Result, error) { return &logv1.Result{Refusal: r}, nil }
	}
	fail := func(err error) func(context.Context, *logv1.Command) (*logv1.Result, error) {
		return func(context.Context, *logv1.Command) (*logv1.Result, error) { return nil, err }
	}
	put := func(body string) [3]string { return [3]string{"PUT", "/api/v1/services/a", body} }
	for _, tc := range []struct {
		what    string
		propose func(context.Context, *logv1.Command) (*logv1.Result, error) // nil: nothing is to be proposed
		request [3]string
		status  int
		says    string // CODE REASON written
		details map[string]string
		header  map[string]string
	}{
		{"no route", nil, [3]string{"GET", "/api/v1/nothing", ""}, 404, "NOT_FOUND NO_ROUTE no", nil, nil},
		{"no version", nil, [3]string{"GET", "/api/", ""}, 404, "NOT_FOUND NO_ROUTE no", nil, nil},
		{"behind a route", nil, [3]string{"GET", "/api/v1/rules:x", ""}, 404, "NOT_FOUND NO_ROUTE no", nil, nil},
		{"another method", nil, [3]string{"POST", "/api/v1/services", "{}"}, 405, "UNIMPLEMENTED METHOD_NOT_ALLOWED no", nil, map[string]string{"Allow": "GET, HEAD, OPTIONS"}},
		{"a method of nobody", nil, [3]string{"BREW", "/api/v1/services/a", ""}, 405, "UNIMPLEMENTED METHOD_NOT_ALLOWED no", nil, map[string]string{"Allow": "GET, HEAD, PUT, DELETE, OPTIONS"}},
		{"not JSON", nil, put(`{"status":`), 400, "INVALID_ARGUMENT INVALID_ARGUMENT no", nil, nil},
		{"no object", nil, put(`[]`), 400, "INVALID_ARGUMENT INVALID_ARGUMENT no", nil, nil},
		{"an unknown field", nil, put(`{"status":"SERVING","valdate_only":true}`), 400, "INVALID_ARGUMENT INVALID_ARGUMENT no", map[string]string{"fields": "valdate_only"}, nil},
		{"a field of an entry", nil, [3]string{"POST", "/api/v1/services:batch", `{"changes":[{"service":"a","status":"SERVING"},{"service":"b","status":"GOOD"}]}`}, 400, "INVALID_ARGUMENT INVALID_ARGUMENT no", map[string]string{"fields": "changes[1].status"}, nil},
		{"another name in the body", nil, put(`{"service":"b","status":"SERVING"}`), 400, "INVALID_ARGUMENT INVALID_ARGUMENT no", map[string]string{"fields": "service"}, nil},
		{"a field of the body in the query", nil, [3]string{"PUT", "/api/v1/services/a?validate_only=true", anyBody}, 400, "INVALID_ARGUMENT INVALID_ARGUMENT no", map[string]string{"fields": "validate_only"}, nil},
		{"a field of the query in the body", nil, [3]string{"DELETE", "/api/v1/services/a", `{"validate_only":true}`}, 400, "INVALID_ARGUMENT INVALID_ARGUMENT no", map[string]string{"fields": "body"}, nil},
		{"a body of a GET", nil, [3]string{"GET", "/api/v1/services", `{}`}, 400, "INVALID_ARGUMENT INVALID_ARGUMENT no", map[string]string{"fields": "body"}, nil},
		{"an unknown parameter", nil, [3]string{"DELETE", "/api/v1/services/a?validateonly=true", ""}, 400, "INVALID_ARGUMENT INVALID_ARGUMENT no", map[string]string{"fields": "validateonly"}, nil},
		{"a parameter where there is none", nil, [3]string{"GET", "/api/v1/whoami?identity=ann", ""}, 400, "INVALID_ARGUMENT INVALID_ARGUMENT no", map[string]string{"fields": "identity"}, nil},
		{"a parameter that the path has", nil, [3]string{"GET", "/api/v1/services/a?service=b", ""}, 400, "INVALID_ARGUMENT INVALID_ARGUMENT no", map[string]string{"fields": "service"}, nil},
		{"a query that is none", nil, [3]string{"GET", "/api/v1/services?prefix=a;b", ""}, 400, "INVALID_ARGUMENT INVALID_ARGUMENT no", map[string]string{"fields": "query"}, nil},
		{"a name that cannot be", nil, [3]string{"PUT", "/api/v1/services/a%00b", anyBody}, 400, "INVALID_ARGUMENT INVALID_ARGUMENT no", map[string]string{"fields": "service"}, nil},
		{"a name that is no text", nil, [3]string{"GET", "/api/v1/services/a%FFb", ""}, 400, "INVALID_ARGUMENT INVALID_ARGUMENT no", map[string]string{"fields": "service"}, nil},
		{"no name", nil, [3]string{"PUT", "/api/v1/services/", anyBody}, 400, "INVALID_ARGUMENT INVALID_ARGUMENT no", map[string]string{"fields": "service"}, nil},
		{"the node's own name", nil, [3]string{"PUT", "/api/v1/services/rollcall.reads", anyBody}, 400, "INVALID_ARGUMENT INVALID_ARGUMENT no", map[string]string{"fields": "service"}, nil},
		{"the node's own name, read", nil, [3]string{"GET", "/api/v1/services/rollcall.reads", ""}, 404, "NOT_FOUND NOT_FOUND no", map[string]string{"service": "rollcall.reads"}, nil},
		{"the empty name, read", nil, [3]string{"GET", "/api/v1/services/", ""}, 404, "NOT_FOUND NOT_FOUND no", map[string]string{"service": ""}, nil},
		{"no body", nil, [3]string{"PUT", "/api/v1/services/a", ""}, 400, "INVALID_ARGUMENT INVALID_ARGUMENT no", map[string]string{"fields": "status"}, nil},
		{"a page of another list", nil, [3]string{"GET", "/api/v1/services?page_token=xx", ""}, 400, "INVALID_ARGUMENT INVALID_ARGUMENT no", map[string]string{"fields": "page_token"}, nil},
		{"a lease that is lost", nil, [3]string{"POST", "/api/v1/leases/lost-1:renew", ""}, 404, "NOT_FOUND NOT_FOUND no", map[string]string{"lease_id": "lost-1"}, nil},
		{"broken rules", refuse(&logv1.Refusal{Reason: logv1.Refusal_REASON_RULE_BROKEN, Broken: []*logv1.BrokenRule{{Rule: "pay-min", Pattern: "pay/*", Needed: 2, Serving: 1, Total: 3}}}), put(anyBody),
			409, "FAILED_PRECONDITION RULE_BROKEN no", map[string]string{"broken_rules": "[map[needed:2 pattern:pay/* rule:pay-min serving:1 total:3]]", "more_broken_rules": "0"}, nil},
		{"another revision", refuse(&logv1.Refusal{Reason: logv1.Refusal_REASON_REVISION_MISMATCH, Kind: logv1.Kind_KIND_SERVICE, Key: "a", Value: 7}), put(`{"status":"SERVING","if_revision":5}`),
			409, "FAILED_PRECONDITION REVISION_MISMATCH no", map[string]string{"service": "a"}, nil},
		{"surely not written", fail(notWrittenErr{errors.New("not the leader any more")}), [3]string{"PUT", "/api/v1/services/a", anyBody},
			503, "UNAVAILABLE NOT_WRITTEN no", map[string]string{"retry_after_seconds": "0.25"}, map[string]string{"Retry-After": "1"}},
		{"unknown", fail(unknownErr{errors.New("the leader died")}), put(`{"status":"SERVING","request_id":"r-1"}`),
			503, "UNKNOWN OUTCOME_UNKNOWN unknown", map[string]string{"request_id": "r-1"}, nil},
		{"unknown, in time no answer", fail(unknownErr{context.DeadlineExceeded}), put(`{"status":"SERVING","request_id":"r-2"}`),
			504, "DEADLINE_EXCEEDED OUTCOME_UNKNOWN unknown", map[string]string{"request_id": "r-2"}, nil},
		{"a full leader", fail(overloaded{"pending-changes"}), put(anyBody), 429, "RESOURCE_EXHAUSTED LIMIT_REACHED no", map[string]string{"limit": "pending-changes"}, map[string]string{"Retry-After": "1"}},
		{"a panic", func(context.Context, *logv1.Command) (*logv1.Result, error) { panic("boom") }, put(anyBody), 500, "INTERNAL INTERNAL unknown", nil, nil},
	} {
		t.Run(tc.what, func(t *testing.T) {
			n := web(t, single(t, webWrites, func(cfg *Config) { cfg.WriteTimeout = 300 * time.Millisecond }))
			if tc.propose != nil {
				n.agreement.onPropose(tc.propose)
			}
			got := n.ask(tc.request[0], tc.request[1], tc.request[2])
			if says := got.at("code") + " " + got.at("reason") + " " + got.at("written"); got.status != tc.status || says != tc.says {
				t.Errorf("%v\nwant %d %s", got, tc.status, tc.says)
			}
			if got.at("message") == "" || got.at("details", "node") != "n1" || got.header.Get("Content-Type") != "application/json" || !strings.HasSuffix(got.body, "}\n") {
				t.Errorf("%v %v", got, got.header)
			}
			for name, want := range tc.details {
				is := got.at("details", name)
				if name == "fields" {
					if !strings.Contains(is, "field:"+want+" ") && !strings.HasPrefix(is, "[map[field:"+want+" ") {
						t.Errorf("the fields are %s, want %s", is, want)
					}
				} else if is != want {
					t.Errorf("%s is %q, want %q", name, is, want)
				}
			}
			for name, want := range tc.header {
				if is := got.header.Get(name); is != want {
					t.Errorf("the header %s is %q, want %q", name, is, want)
				}
			}
			if tc.propose == nil && n.agreement.count() != 0 {
				t.Errorf("%d commands were proposed", n.agreement.count())
			}
		})
	}
}

// TestRESTNamesAPathAsItWasSent: a colon of a route that was sent as %3A makes another path. What is said of it shows that.
func TestRESTNamesAPathAsItWasSent(t *testing.T) {
	n := web(t, single(t, webWrites))
	for _, tc := range []struct{ method, path, reason string }{
		{"GET", "/api/v1/services%3Awatch", "NO_ROUTE"},
		{"POST", "/api/v1/members/n1%3Apromote", "METHOD_NOT_ALLOWED"},
	} {
		got := n.ask(tc.method, tc.path, "")
		if got.at("reason") != tc.reason || !strings.Contains(got.at("message"), `"`+tc.path+`"`) {
			t.Errorf("%s %s: %v", tc.method, tc.path, got)
		}
	}
}

// TestRESTGivesEachChangeARequestID: who is told that the outcome is unknown can repeat the change with it.
func TestRESTGivesEachChangeARequestID(t *testing.T) {
	n := web(t, single(t, webWrites))
	n.agreement.onPropose(func(context.Context, *logv1.Command) (*logv1.Result, error) {
		return nil, unknownErr{errors.New("the leader died")}
	})
	got := n.ask("PUT", "/api/v1/services/a", anyBody)
	n.agreement.mu.Lock()
	id := n.agreement.proposed[0].GetRequestId()
	n.agreement.mu.Unlock()
	if id == "" || got.at("details", "request_id") != id {
		t.Errorf("the command had the request id %q: %v", id, got)
	}
	again := n.ask("PUT", "/api/v1/services/a", anyBody)
	if other := again.at("details", "request_id"); other == "" || other == id {
		t.Errorf("another change has the request id %q", other)
	}
}

// TestRESTBodies: bodies are bounded, and what has come of them counts until the answer.
func TestRESTBodies(t *testing.T) {
	n := web(t, single(t, webWrites))
	large := `{"status":"SERVING","reason":"` + strings.Repeat("x", 5<<20) + `"}`
	for what, send := range map[string]func(*http.Request){
		"announced": func(r *http.Request) { r.ContentLength = int64(len(large)) },
		"in chunks": func(r *http.Request) { r.ContentLength = -1 },
	} {
		req, err := http.NewRequestWithContext(patient(t), "PUT", n.url+"/api/v1/services/a", io.NopCloser(strings.NewReader(large)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		send(req)
		res, err := n.client.Do(req)
		if err != nil {
			continue // the connection is closed while the body is still sent
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != http.StatusRequestEntityTooLarge || !strings.Contains(string(body), "REQUEST_TOO_LARGE") {
			t.Errorf("%s: %d %s", what, res.StatusCode, body)
		}
	}
	// One byte of the body is missing.
	c, err := net.Dial("tcp", strings.TrimPrefix(n.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	half := strings.Repeat(" ", 300<<10)
	fmt.Fprintf(c, "PUT /api/v1/services/a HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(half)+len(anyBody), half)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if used, _, _ := n.budgets.changes.Use(); used >= int64(len(half)) && used <= 2*int64(len(half))+8<<10 {
			break
		}
		if time.Now().After(deadline) {
			used, _, _ := n.budgets.changes.Use()
			t.Fatalf("%d bytes are counted of a body of which %d have come", used, len(half))
		}
	}
	io.WriteString(c, anyBody)
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("the whole body: %v, %v", res, err)
	}
	res.Body.Close()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		used, _, _ := n.budgets.changes.Use()
		if used == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes stay counted", used)
		}
	}
	// Bodies that do not fit into memory together are refused before they are read.
	n.budgets.changes.Take(nil, DefaultConfig().ClientMemory/clientMemoryParts)
	if got := n.ask("PUT", "/api/v1/services/a", anyBody); got.status != http.StatusTooManyRequests || got.at("details", "limit") != "change-bytes" || got.at("written") != "no" {
		t.Errorf("without memory: %v", got)
	}
	if got := n.ask("GET", "/api/v1/services/a", ""); got.status != http.StatusOK {
		t.Errorf("reading without memory for changes: %v", got)
	}
}
