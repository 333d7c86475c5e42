package server

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rollcallhq/rollcall/api/rollcall/accesstoken"
	"github.com/rollcallhq/rollcall/fsm/access"
)

const anyBody = `{"status":"SERVING"}`

// TestRESTIsClosedToPagesOfOthers: what a browser sends that nobody at it wants.
func TestRESTIsClosedToPagesOfOthers(t *testing.T) {
	own := func(name string) bool { return name == "rollcall.example.com" }
	audit := openAudit(t)
	n := web(t, single(t, webWrites, audit.use, func(cfg *Config) { cfg.KnownHost = own }))
	token := accesstoken.New()
	n.addToken("ci", token, 0)
	bearer := "Authorization: Bearer " + token.Text()
	host := strings.TrimPrefix(n.url, "http://")
	put, get := [2]string{"PUT", "/api/v1/services/a"}, [2]string{"GET", "/api/v1/services"}
	for _, tc := range []struct {
		what    string
		request [2]string
		headers []string
		status  int
		reason  string
	}{
		{"a program", put, nil, 200, ""},
		{"the page itself", put, []string{"Sec-Fetch-Site: same-origin", "Origin: http://" + host}, 200, ""},
		{"an old browser, the page itself", put, []string{"Origin: http://" + host}, 200, ""},
		{"another site", put, []string{"Sec-Fetch-Site: cross-site", "Origin: http://evil.example"}, 403, "CROSS_ORIGIN"},
		{"a neighbour of the site", put, []string{"Sec-Fetch-Site: same-site"}, 403, "CROSS_ORIGIN"},
		{"another site, an old browser", put, []string{"Origin: http://evil.example"}, 403, "CROSS_ORIGIN"},
		{"a page of a file", put, []string{"Origin: null"}, 403, "CROSS_ORIGIN"},
		{"another site that knows a token", put, []string{"Sec-Fetch-Site: cross-site", bearer}, 403, "CROSS_ORIGIN"},
		{"another site deletes", [2]string{"DELETE", "/api/v1/services/a"}, []string{"Sec-Fetch-Site: cross-site"}, 403, "CROSS_ORIGIN"},
		{"another site reads, and its page learns nothing", get, []string{"Sec-Fetch-Site: cross-site", "Origin: http://evil.example"}, 200, ""},
		{"a form of a page", put, []string{"Content-Type: text/plain"}, 415, "CONTENT_TYPE"},
		{"a form", put, []string{"Content-Type: application/x-www-form-urlencoded"}, 415, "CONTENT_TYPE"},
		{"undeclared", put, []string{"Content-Type: "}, 415, "CONTENT_TYPE"},
		{"JSON of another charset", put, []string{"Content-Type: application/json; charset=utf-16"}, 415, "CONTENT_TYPE"},
		{"compressed JSON", put, []string{"Content-Encoding: gzip"}, 415, "CONTENT_ENCODING"},
		{"JSON that says that it is not compressed", put, []string{"Content-Encoding: identity"}, 200, ""},
		{"JSON", put, []string{"Content-Type: application/JSON; charset=UTF-8"}, 200, ""},
		{"a stranger's name", get, []string{"Host: evil.example"}, 421, "HOST_UNKNOWN"},
		{"a stranger's name, and the port", put, []string{"Host: evil.example:7602"}, 421, "HOST_UNKNOWN"},
		{"a name that only begins as its own", get, []string{"Host: rollcall.example.com.evil.example"}, 421, "HOST_UNKNOWN"},
		{"a name that only ends as localhost", get, []string{"Host: evillocalhost"}, 421, "HOST_UNKNOWN"},
		{"an address with a name behind it", get, []string{"Host: 127.0.0.1.evil.example"}, 421, "HOST_UNKNOWN"},
		{"its own name", get, []string{"Host: Rollcall.Example.com.:80"}, 200, ""},
		{"localhost", put, []string{"Host: localhost:7602"}, 200, ""},
		{"a name below localhost", get, []string{"Host: rollcall.localhost"}, 200, ""},
		{"an address of IPv6", get, []string{"Host: [::1]:7602"}, 200, ""},
		{"an address of IPv6 without a port", get, []string{"Host: [fd00::1]"}, 200, ""},
		{"a stranger's name with a token", put, []string{"Host: evil.example", bearer}, 200, ""},
		{"a token that proves nothing", get, []string{"Authorization: Bearer " + accesstoken.New().Text()}, 401, "TOKEN_UNKNOWN"},
		{"no token", get, []string{"Authorization: Basic dXNlcjpwYXNz"}, 401, "TOKEN_DAMAGED"},
	} {
		body := ""
		if tc.request[0] == "PUT" {
			body = anyBody
		}
		got := n.ask(tc.request[0], tc.request[1], body, tc.headers...)
		if got.status != tc.status || got.at("reason") != tc.reason && tc.reason != "" {
			t.Errorf("%s: %v, want %d %s", tc.what, got, tc.status, tc.reason)
		}
		if tc.reason != "" && got.at("written") != "no" {
			t.Errorf("%s: written is %q", tc.what, got.at("written"))
		}
		if (got.status == 401) != (got.header.Get("WWW-Authenticate") != "") {
			t.Errorf("%s: WWW-Authenticate is %q", tc.what, got.header.Get("WWW-Authenticate"))
		}
		for name := range got.header {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("%s: the answer has %s", tc.what, name)
			}
		}
		if got.header.Get("X-Content-Type-Options") != "nosniff" || got.header.Get("Cache-Control") != "no-store" || got.header.Get("Cross-Origin-Resource-Policy") != "same-origin" {
			t.Errorf("%s: the headers are %v", tc.what, got.header)
		}
	}
	refusals, who := map[string]int{}, map[string]int{}
	for _, line := range audit.lines(t) {
		if strings.HasPrefix(line.Method, "PUT /api/") || strings.HasPrefix(line.Method, "GET /api/") || strings.HasPrefix(line.Method, "DELETE /api/") {
			refusals[line.Refusal]++
			who[line.Outcome+" "+line.Identity]++
		}
	}
	if want := "map[CROSS_ORIGIN:6 HOST_UNKNOWN:5 TOKEN_DAMAGED:1 TOKEN_UNKNOWN:1]"; fmt.Sprint(refusals) != want {
		t.Errorf("the audit log has %v, want %s", refusals, want)
	}
	if want := "map[denied anonymous:10 denied token:ci:1 unauthenticated :2]"; fmt.Sprint(who) != want {
		t.Errorf("the audit log says who was refused as %v, want %s", who, want)
	}
}

// TestRESTWritesNeedAnIdentity: without --web-writes only who proves who it is changes anything.
func TestRESTWritesNeedAnIdentity(t *testing.T) {
	n := web(t, single(t))
	token := accesstoken.New()
	n.addToken("ci", token, 0)
	bearer := "Authorization: Bearer " + token.Text()
	for _, request := range [][3]string{
		{"PUT", "/api/v1/services/a", anyBody}, {"DELETE", "/api/v1/services/a", ""}, {"POST", "/api/v1/services:batch", `{}`},
		{"POST", "/api/v1/overrides", `{}`}, {"POST", "/api/v1/leases", `{}`}, {"POST", "/api/v1/leases/x:renew", ""}, {"POST", "/api/v1/members", `{}`},
		{"POST", "/api/v1/cluster:transfer", `{}`}, {"PUT", "/api/v1/auth", `{}`}, {"POST", "/api/v1/tokens", `{}`},
	} {
		got := n.ask(request[0], request[1], request[2])
		if got.status != http.StatusForbidden || got.at("reason") != "WEB_WRITES_OFF" || got.at("code") != "PERMISSION_DENIED" {
			t.Errorf("%v without a token: %v", request, got)
		}
		if got := n.ask(request[0], request[1], request[2], bearer); got.at("reason") == "WEB_WRITES_OFF" {
			t.Errorf("%v with a token: %v", request, got)
		}
	}
	if got := n.ask("PUT", "/api/v1/services/a", `{"status":"SERVING","actor":"ann"}`, bearer); got.at("service", "report", "actor", "name") != "token:ci" || got.at("service", "report", "actor", "on_behalf_of") != "ann" {
		t.Errorf("with a token: %v", got)
	}
	if got := n.ask("GET", "/api/v1/services/a", ""); got.status != http.StatusOK {
		t.Errorf("reading: %v", got)
	}
	for _, tc := range []struct {
		headers []string
		want    string
	}{{nil, "off"}, {[]string{bearer}, ""}} {
		if got := n.ask("GET", "/api/v1/whoami", "", tc.headers...); got.header.Get("Rollcall-Writes") != tc.want {
			t.Errorf("whoami: Rollcall-Writes is %q, want %q", got.header.Get("Rollcall-Writes"), tc.want)
		}
	}
	n.access.change(func(r *fakeRights) {
		r.enforced = true
		r.grants["token:ci"] = access.New(access.Grant{Verbs: access.Read, Pattern: "*"})
	})
	if got := n.ask("PUT", "/api/v1/services/a", anyBody, bearer); got.status != http.StatusOK && got.at("reason") != "DENIED" {
		t.Errorf("who may only read: %v", got)
	}
	if got := n.ask("GET", "/api/v1/services/a", ""); got.status != http.StatusUnauthorized || got.at("reason") != "NO_CREDENTIALS" || got.at("details", "verb") == "" ||
		!strings.HasSuffix(got.at("message"), `; send "Authorization: Bearer" and a token, or show a certificate`) {
		t.Errorf("nobody, while access is enforced: %v", got)
	}
	if got := n.ask("GET", "/api/v1/services/a", "", bearer, bearer); got.status != http.StatusUnauthorized || got.at("message") != "the call has 2 values of authorization; one is allowed" {
		t.Errorf("two tokens: %v", got)
	}
}

// TestRESTTakesNoMetadataThatIsNotItsOwn: no header but those of Rollcall gets into a call, and those as over gRPC.
func TestRESTTakesNoMetadataThatIsNotItsOwn(t *testing.T) {
	n := web(t, single(t, webWrites))
	n.registry.set("a", serving)
	token := accesstoken.New()
	n.addToken("ci", token, 0)
	for _, tc := range []struct {
		what    string
		headers []string
		status  int
		field   string // that is refused
	}{
		{"metadata by the way of grpc-gateway", []string{"Grpc-Metadata-Rollcall-Min-Revision: 99999", "Grpc-Metadata-Authorization: Bearer " + token.Text()}, 200, ""},
		{"a damaged deadline of gRPC", []string{"Grpc-Timeout: x"}, 200, ""},
		{"a deadline of gRPC that has passed", []string{"Grpc-Timeout: 1n"}, 200, ""},
		{"binary metadata", []string{"X-Data-Bin: %%%", "Grpc-Metadata-X-Bin: %%%"}, 200, ""},
		{"another method", []string{"X-Http-Method-Override: DELETE", "X-Method-Override: DELETE"}, 200, ""},
		{"trailers", []string{"Te: trailers"}, 200, ""},
		{"an unknown key", []string{"Rollcall-Consistancy: linearizable"}, 400, "rollcall-consistancy"},
		{"an unknown binary key", []string{"Rollcall-X-Bin: AAAA"}, 400, "rollcall-x-bin"},
		{"a key given twice", []string{"Rollcall-Min-Revision: 1", "Rollcall-Min-Revision: 2"}, 400, "rollcall-min-revision"},
		{"a value that gRPC cannot carry", []string{"Rollcall-Cluster: ä"}, 400, "rollcall-cluster"},
		{"a time that is none", []string{"Rollcall-Timeout: 5"}, 400, "rollcall-timeout"},
		{"a time that has passed", []string{"Rollcall-Timeout: -1s"}, 400, "rollcall-timeout"},
		{"a time without end", []string{"Rollcall-Timeout: 9000h"}, 400, "rollcall-timeout"},
		{"two times", []string{"Rollcall-Timeout: 1s", "Rollcall-Timeout: 2s"}, 400, "rollcall-timeout"},
		{"a time", []string{"Rollcall-Timeout: 30s"}, 200, ""},
	} {
		got := n.ask("GET", "/api/v1/services/a", "", tc.headers...)
		if got.status != tc.status || !strings.Contains(got.at("details", "fields"), tc.field) {
			t.Errorf("%s: %v, want %d %s", tc.what, got, tc.status, tc.field)
		}
	}
	if got := n.ask("GET", "/api/v1/whoami", "", "Grpc-Metadata-Authorization: Bearer "+token.Text()); got.at("identity") != "anonymous" {
		t.Errorf("a token by the way of grpc-gateway: %v", got)
	}
	if got := n.ask("POST", "/api/v1/services/a", "validate_only=true", "Content-Type: application/x-www-form-urlencoded", "X-Http-Method-Override: GET"); got.status != http.StatusMethodNotAllowed {
		t.Errorf("POST in place of GET: %v", got)
	}
	if _, there := n.registry.Status("a"); !there {
		t.Error("the service was deleted")
	}
	if got := n.ask("PUT", "/api/v1/services/a", anyBody, "Rollcall-Min-Revision: 1"); got.status != http.StatusBadRequest || got.at("written") != "no" {
		t.Errorf("a change with metadata of reads: %v", got)
	}
}

// TestRESTReadsAsFreshAsAsked: the headers are those of gRPC, in both directions.
func TestRESTReadsAsFreshAsAsked(t *testing.T) {
	n := web(t, single(t, webWrites))
	n.registry.set("a", serving)
	got := n.ask("GET", "/api/v1/services/a", "", "Rollcall-Consistency: linearizable", "Rollcall-Cluster: 3f9a")
	if got.status != http.StatusOK || got.header.Get("Rollcall-Revision") != "1" || got.header.Get("Rollcall-Node") != "n1" || got.header.Get("Rollcall-Cluster") != "3f9a" || got.header.Get("Rollcall-Age-Ms") == "" {
		t.Errorf("a linearizable read: %v %v", got, got.header)
	}
	began := time.Now()
	got = n.ask("GET", "/api/v1/services/a", "", "Rollcall-Min-Revision: 50", "Rollcall-Timeout: 200ms")
	if got.status != http.StatusServiceUnavailable || got.at("reason") != "REVISION_NOT_REACHED" || got.at("details", "current_revision") != "1" || got.header.Get("Rollcall-Node") != "n1" {
		t.Errorf("a revision that is not reached: %v %v", got, got.header)
	}
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("it waited for %v", took)
	}
	for _, method := range []string{"GET", "PUT"} {
		body := ""
		if method == "PUT" {
			body = anyBody
		}
		if got := n.ask(method, "/api/v1/services/a", body, "Rollcall-Cluster: 1111"); got.status != http.StatusConflict || got.at("reason") != "CLUSTER_CHANGED" || got.at("details", "cluster_id") != "3f9a" || got.at("written") != "no" {
			t.Errorf("%s to another cluster: %v", method, got)
		}
	}
}
