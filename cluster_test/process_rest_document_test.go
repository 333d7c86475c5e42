package cluster_test

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	restv1 "github.com/rollcallhq/rollcall/api/rollcall/rest/v1"
	"github.com/rollcallhq/rollcall/internal/openapitest"
)

// TestProcessOpenAPI asks a node for all that the OpenAPI document describes, compares requests and answers with it, and
// leaves out each field that it calls required.
func TestProcessOpenAPI(t *testing.T) {
	beside(t, ofProcesses)
	c := startProcesses(t, processOptions{nodes: 1, args: []string{"--web-writes"}})
	if _, stderr, code := c.rollcall("status", "--wait", patience.String()); code != 0 { // the feature level has risen
		t.Fatal(stderr)
	}
	d, err := openapitest.New(restv1.Document)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	// send sends a request and returns its status and its answer, which the document describes.
	send := func(method, path, body string) (int, string) {
		t.Helper()
		var r io.Reader
		if body != "" {
			r = strings.NewReader(body)
		}
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+c.nodes[0].http+"/api/v1"+path, r)
		if err != nil {
			t.Fatal(err)
		}
		if body != "" {
			req.Header.Set("Content-Type", "application/json")
		}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		below, _, _ := strings.Cut(path, "?")
		if err := d.Response(method, below, res.StatusCode, res.Header.Get("Content-Type"), b); err != nil {
			t.Error(err)
		}
		return res.StatusCode, string(b)
	}
	done := map[string]bool{}
	for _, test := range []struct{ method, path, body string }{
		{"PUT", "/services/shop/cart", `{"status":"SERVING","reason":"deploy"}`},
		{"POST", "/services:batch", `{"changes":[{"service":"shop/pay","status":"SERVING"},{"service":"job","status":"NOT_SERVING"}]}`},
		{"PUT", "/services/shop/cart", `{"status":"NOT_SERVING","validate_only":true}`},
		{"GET", "/services", ""},
		{"GET", "/services?view=status", ""},
		{"GET", "/services?at.revision=1", ""},
		{"GET", "/services/shop/cart", ""},
		{"POST", "/overrides", `{"pattern":"shop/*","status":"NOT_SERVING","validate_only":true}`},
		{"POST", "/overrides", `{"pattern":"shop/*","status":"NOT_SERVING","ttl_seconds":60}`},
		{"GET", "/overrides", ""},
		{"GET", "/services/shop/cart", ""},
		{"DELETE", "/overrides/shop/*?reason=done", ""},
		{"POST", "/rules", `{"name":"shop-min","pattern":"shop/*","min_percent":50}`},
		{"GET", "/rules", ""},
		{"DELETE", "/services/shop/pay?break_glass=*&reason=test", ""},
		{"DELETE", "/rules/shop-min", ""},
		{"POST", "/leases", `{"ttl_seconds":30,"forget_after_seconds":60}`},
		{"GET", "/leases?all=true", ""},
		{"POST", "/leases/LEASE:renew", ""},
		{"PUT", "/services/leased", `{"status":"SERVING","lease_id":"LEASE"}`},
		{"GET", "/services/leased", ""},
		{"DELETE", "/leases/LEASE", ""},
		{"POST", "/leases:release-guard", `{}`},
		{"GET", "/cluster", ""},
		{"POST", "/cluster:verify", `{}`},
		{"GET", "/whoami", ""},
		{"GET", "/access:check?verb=report&service=job", ""},
		{"GET", "/auth", ""},
		{"POST", "/roles", `{"name":"deployer","verbs":["report"]}`},
		{"GET", "/roles", ""},
		{"POST", "/tokens", `{"name":"ci","secret_sha256":"` + strings.Repeat("0a", 32) + `","grants":[{"role":"deployer","patterns":["shop/*"]}],"ttl_seconds":3600}`},
		{"POST", "/tokens", `{"name":"cd","secret_sha256":"` + strings.Repeat("0b", 32) + `"}`},
		{"GET", "/tokens", ""},
		{"POST", "/grants", `{"identity":"cert:shop","grants":[{"role":"viewer","patterns":["*"]}]}`},
		{"GET", "/grants", ""},
		{"DELETE", "/tokens/ci", ""},
		{"DELETE", "/tokens?name=cd", ""},
		{"DELETE", "/roles/deployer", ""},
		{"GET", "/events", ""},
		{"GET", "/openapi.json", ""},
	} {
		lease := func(s string) string {
			if strings.Contains(s, "LEASE") {
				var all struct {
					Leases []struct {
						ID string `json:"lease_id"`
					} `json:"leases"`
				}
				if _, text := send("GET", "/leases", ""); json.Unmarshal([]byte(text), &all) != nil || len(all.Leases) != 1 {
					t.Fatalf("leases: %s", text)
				}
				s = strings.ReplaceAll(s, "LEASE", all.Leases[0].ID)
			}
			return s
		}
		path, body := lease(test.path), lease(test.body)
		below, _, _ := strings.Cut(path, "?")
		o, ok := d.Find(test.method, below)
		if !ok {
			t.Errorf("%s %s: the document has no such operation", test.method, path)
			continue
		}
		if body != "" {
			if err := d.Request(test.method, below, []byte(body)); err != nil {
				t.Error(err)
			}
			for name, without := range withoutEach(t, body) {
				err := d.Request(test.method, below, []byte(without))
				if code, answer := send(test.method, path, without); err != nil && code != http.StatusBadRequest {
					t.Errorf("%s %s without %s, which the document requires: %d %s", test.method, path, name, code, answer)
				} else if err == nil && code == http.StatusBadRequest && !strings.Contains(answer, "min_") {
					t.Errorf("%s %s without %s, which the document does not require: %s", test.method, path, name, answer)
				}
			}
		}
		if code, answer := send(test.method, path, body); code != http.StatusOK {
			t.Errorf("%s %s: %d %s", test.method, path, code, answer)
		}
		done[o.ID] = true
	}
	// These need other members, or would end the test. server/sse has the streams.
	elsewhere := []string{"addMember", "removeMember", "promoteMember", "replaceMember", "transferLeadership", "setAuth", "watchServices", "watchEvents"}
	for _, methods := range d.Paths {
		for _, o := range methods {
			if !done[o.ID] && !slices.Contains(elsewhere, o.ID) {
				t.Errorf("%s was not asked for", o.ID)
			}
		}
	}
}

// withoutEach returns the object without each of its members, by its name. Each says validate_only, so that what is no
// error changes nothing.
func withoutEach(t *testing.T, object string) map[string]string {
	t.Helper()
	all := map[string]string{}
	var members map[string]json.RawMessage
	if err := json.Unmarshal([]byte(object), &members); err != nil {
		t.Fatal(err)
	}
	for name := range members {
		rest := map[string]json.RawMessage{"validate_only": json.RawMessage("true")}
		for other, value := range members {
			if other != name {
				rest[other] = value
			}
		}
		text, err := json.Marshal(rest)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = string(text)
	}
	return all
}
