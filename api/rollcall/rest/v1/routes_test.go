package restv1_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"pgregory.net/rapid"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	restv1 "github.com/rollcallhq/rollcall/api/rollcall/rest/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// recorder notes which call came, with which name from the path.
type recorder struct{ call, name string }

func (r *recorder) Invoke(_ context.Context, method string, args, _ any, _ ...grpc.CallOption) error {
	r.call = method[strings.LastIndexByte(method, '/')+1:]
	switch req := args.(type) {
	case interface{ GetService() string }:
		r.name = req.GetService()
	case interface{ GetPattern() string }:
		r.name = req.GetPattern()
	case interface{ GetLeaseId() string }:
		r.name = req.GetLeaseId()
	case interface{ GetName() string }:
		r.name = req.GetName()
	}
	return nil
}

func (r *recorder) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, fmt.Errorf("no route is a stream")
}

// serve answers HTTP by the routes as server/rest mounts them.
func serve(t *testing.T) (*recorder, string) {
	t.Helper()
	seen := &recorder{}
	mux := runtime.NewServeMux(
		runtime.WithUnescapingMode(runtime.UnescapingModeAllCharacters),
		runtime.WithDisableHTTPMethodOverride(),
		runtime.WithDisablePathLengthFallback(),
	)
	for _, err := range []error{
		restv1.RegisterAdminHandlerClient(t.Context(), mux, rollcallv1.NewAdminClient(seen)),
		restv1.RegisterRegistryHandlerClient(t.Context(), mux, rollcallv1.NewRegistryClient(seen)),
		restv1.RegisterClusterHandlerClient(t.Context(), mux, rollcallv1.NewClusterClient(seen)),
		restv1.RegisterAccessHandlerClient(t.Context(), mux, rollcallv1.NewAccessClient(seen)),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	return seen, server.URL
}

// ask sends a request whose path goes over the wire as it is written.
func ask(t interface {
	Helper()
	Fatal(...any)
}, base, method, path string, headers ...string) int {
	t.Helper()
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	u.Opaque = "//" + u.Host + path
	req := &http.Request{Method: method, URL: u, Host: u.Host, Header: http.Header{}}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode
}

// spellings are the ways in which clients write a name into a path.
func spellings(name string) []string {
	segments := strings.Split(name, "/")
	for i := range segments {
		segments[i] = url.PathEscape(segments[i])
	}
	var all strings.Builder
	for i := range len(name) {
		fmt.Fprintf(&all, "%%%02x", name[i])
	}
	// Go's own: what need not be escaped is not.
	asGo := (&url.URL{Path: "/" + name}).EscapedPath()[1:]
	return []string{url.PathEscape(name), strings.Join(segments, "/"), all.String(), asGo}
}

func TestANameSurvivesThePath(t *testing.T) {
	seen, base := serve(t)
	for _, name := range []string{
		"cart", "shop/cart", "/", "//", "/cart", "cart/", "shop//cart", "a///b", "a/.", "./a", "a/../b", "..", ".",
		"a%2Fb", "100%", "%", "%25", "a%zz", "a?b", "a#b", "a&b;c", "a+b", "a:b", ":", ":a", "a:", "cart:watch", "cart:batch", "services:batch",
		":watch", "/:watch", "a/:batch", "x:promote", "x:replace", "x:renew", "é", "日本/語", "\U0001F600", "a\"b", "a'b", "a\\b", "{service}", "<b>",
		"[::1]:80", "http://a/b?c#d", strings.Repeat("a", limits.MaxNameBytes), strings.Repeat("/", limits.MaxNameBytes),
		"a b", "*", "shop/*", "**", "shop.*", // of patterns, and of what may be looked up
	} {
		for _, path := range spellings(name) {
			for call, method := range map[string]string{"GetService": "GET", "SetServingStatus": "PUT", "DeleteService": "DELETE"} {
				*seen = recorder{}
				if code := ask(t, base, method, "/api/v1/services/"+path); code != http.StatusOK || seen.call != call || seen.name != name {
					t.Errorf("%s services/%s: %d, %s of %q, not of %q", method, path, code, seen.call, seen.name, name)
				}
			}
			for call, route := range map[string]string{"ClearOverride": "overrides", "RemoveRule": "rules", "RevokeToken": "tokens", "DeleteRole": "roles"} {
				*seen = recorder{}
				if code := ask(t, base, "DELETE", "/api/v1/"+route+"/"+path); code != http.StatusOK || seen.call != call || seen.name != name {
					t.Errorf("DELETE %s/%s: %d, %s of %q, not of %q", route, path, code, seen.call, seen.name, name)
				}
			}
		}
	}
}

func TestEveryValidNameSurvivesThePath(t *testing.T) {
	seen, base := serve(t)
	usual := rapid.StringOfN(rapid.SampledFrom([]rune("/:%.?#&;+~@!$'()[]{}|\\^`\"<>-_ab09é語")), 1, 40, limits.MaxNameBytes)
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.OneOf(usual, rapid.StringN(1, 40, limits.MaxNameBytes)).Filter(func(s string) bool { return limits.Lookup(s) == nil }).Draw(t, "name")
		path := rapid.SampledFrom(spellings(name)).Draw(t, "path")
		*seen = recorder{}
		if code := ask(t, base, "PUT", "/api/v1/services/"+path); code != http.StatusOK || seen.name != name {
			t.Fatalf("PUT services/%s: %d, %s of %q, not of %q", path, code, seen.call, seen.name, name)
		}
	})
}

func TestRoutes(t *testing.T) {
	seen, base := serve(t)
	for _, test := range []struct {
		method, path string
		code         int
		call, name   string
	}{
		{"GET", "services", 200, "ListServices", ""},
		{"GET", "services/", 200, "GetService", ""}, // the service "", which the handler refuses
		{"PUT", "services", 405, "", ""},
		{"POST", "services", 405, "", ""},
		{"POST", "services:batch", 200, "BatchSetServingStatus", ""},
		{"GET", "services:batch", 405, "", ""},
		{"GET", "services:watch", 404, "", ""}, // server/sse has it
		{"GET", "Services", 404, "", ""},
		{"GET", "servicesx", 404, "", ""},
		{"POST", "overrides", 200, "SetOverride", ""},
		{"DELETE", "overrides", 405, "", ""},
		{"DELETE", "leases/abc", 200, "RevokeLease", "abc"},
		{"DELETE", "leases/a/b", 404, "", ""},
		{"POST", "leases:release-guard", 200, "ReleaseLeaseGuard", ""},
		{"POST", "members/n1:promote", 200, "PromoteMember", "n1"},
		{"POST", "members/n1%3Apromote", 405, "", ""}, // the node "n1:promote", which there never is
		{"POST", "members/n1:replace", 200, "ReplaceMember", "n1"},
		{"POST", "members/:replace", 405, "", ""},
		{"DELETE", "members/n1", 200, "RemoveMember", "n1"},
		{"DELETE", "tokens", 200, "RevokeToken", ""},
		{"DELETE", "tokens/ci/deploy", 200, "RevokeToken", "ci/deploy"},
		{"GET", "access:check", 200, "CheckAccess", ""},
		{"PATCH", "services/cart", 405, "", ""},
		{"GET", "", 404, "", ""},
	} {
		*seen = recorder{}
		code := ask(t, base, test.method, "/api/v1/"+test.path)
		if code == http.StatusNotImplemented { // the mux' own answer to a method that the route lacks
			code = http.StatusMethodNotAllowed
		}
		if code != test.code || seen.call != test.call || seen.name != test.name {
			t.Errorf("%s %s: %d %s %q, not %d %s %q", test.method, test.path, code, seen.call, seen.name, test.code, test.call, test.name)
		}
	}
}

// A form of another site can send a POST and headers of forms, and nothing else.
func TestAPostIsNothingElse(t *testing.T) {
	for name, headers := range map[string][]string{
		"override": {"X-HTTP-Method-Override", "DELETE", "Content-Type", "application/x-www-form-urlencoded"},
		"form":     {"Content-Type", "application/x-www-form-urlencoded"},
	} {
		t.Run(name, func(t *testing.T) {
			seen, base := serve(t)
			if code := ask(t, base, "POST", "/api/v1/services/cart", headers...); code == http.StatusOK || seen.call != "" {
				t.Errorf("%d %s", code, seen.call)
			}
		})
	}
}
