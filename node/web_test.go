package node

import (
	"net/http"
	"strings"
	"testing"
)

func TestWritesOverHTTPAreValidated(t *testing.T) {
	for _, tt := range []struct {
		what, http string
		writes     bool
		hosts      []string
		want       string // "": valid
	}{
		{"of this machine", "127.0.0.1:7602", true, nil, ""},
		{"of this machine, by name", "localhost:7602", true, nil, ""},
		{"of this machine, by IPv6", "[::1]:7602", true, nil, ""},
		{"of all", ":7602", true, nil, "--web-writes lets everybody who reaches the HTTP port change everything"},
		{"of the network", "10.0.0.1:7602", true, nil, "--web-writes"},
		{"of no port", "", true, nil, "--web-writes"},
		{"off", "10.0.0.1:7602", false, nil, ""},
		{"a name", "10.0.0.1:7602", false, []string{"rollcall.example.com"}, ""},
		{"a name without a port", "", false, []string{"rollcall.example.com"}, "--http-host is a name of the HTTP port, and there is none"},
		{"a name with a port", "10.0.0.1:7602", false, []string{"rollcall.example.com:80"}, `--http-host is "rollcall.example.com:80"; it must be the name of a host`},
		{"a URL", "10.0.0.1:7602", false, []string{"https://rollcall.example.com"}, "--http-host"},
		{"all names", "10.0.0.1:7602", false, []string{"*"}, "--http-host"},
		{"no name", "10.0.0.1:7602", false, []string{""}, "--http-host"},
	} {
		cfg := DefaultConfig()
		cfg.Name, cfg.DataDir, cfg.Insecure = "n1", "data", true
		cfg.Members = []Member{{Name: "n1", APIAddress: "127.0.0.1:7600", PeerAddress: "127.0.0.1:7601"}}
		cfg.HTTPListen, cfg.WebWrites, cfg.HTTPHosts = tt.http, tt.writes, tt.hosts
		err := cfg.Validate()
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.what, err, tt.want)
		}
	}
}

// TestTheAPIHasItsPathsAsTheyCome: a name with "//" or "/../" leads to that name, and not to another path.
func TestTheAPIHasItsPathsAsTheyCome(t *testing.T) {
	n, get := alone(t, func(cfg *Config) { cfg.HTTPHosts = []string{"Rollcall.Example.com"} })
	for _, name := range []string{"a//b", "a/../b", "/a", "a%2F%2Fb"} {
		code, body := get("/api/v1/services/" + name)
		want := strings.ReplaceAll(name, "%2F", "/")
		if code != http.StatusNotFound || !strings.Contains(body, `"service":"`+want+`"`) {
			t.Errorf("%s: %d %s", name, code, body)
		}
	}
	if code, body := get("/api/v1/cluster"); code != http.StatusOK || !strings.Contains(body, `"name":"n1"`) {
		t.Errorf("the cluster: %d %s", code, body)
	}
	if code, _ := get("/livez"); code != http.StatusOK {
		t.Errorf("/livez: %d", code)
	}
	if _, body := get("/metrics"); sample(body, `rollcall_http_requests_total{code="200",route="GET /api/v1/cluster"}`) != 1 {
		t.Errorf("the request is not counted")
	}
	for name, want := range map[string]bool{"rollcall.example.com": true, "evil.example": false, "": false, "127.0.0.1": true} {
		if got := n.knownHost(name); got != want {
			t.Errorf("%q is known: %v", name, got)
		}
	}
}
