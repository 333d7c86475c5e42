package cluster_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	restv1 "github.com/rollcallhq/rollcall/api/rollcall/rest/v1"
)

// TestProcessRESTClient has stock tools check the OpenAPI document that a node serves, generates two clients of it, and
// has them read, write and watch: make rest-client. It installs from npm, so it runs only where ROLLCALL_NPM says so.
func TestProcessRESTClient(t *testing.T) {
	needProcesses(t)
	if os.Getenv("ROLLCALL_NPM") == "" {
		t.Skip("ROLLCALL_NPM is not set; make rest-client sets it")
	}
	if _, err := exec.LookPath("npm"); err != nil {
		t.Skip("npm is not here; install Node.js 20 or later")
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "rest-client"))); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	output := func(name string, args ...string) (string, error) {
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "REDOCLY_TELEMETRY=off", "REDOCLY_SUPPRESS_UPDATE_NOTICE=true", "NO_COLOR=1", "NODE_NO_WARNINGS=1")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	run := func(name string, args ...string) string {
		t.Helper()
		begun := time.Now()
		out, err := output(name, args...)
		if err != nil {
			t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
		}
		t.Logf("%s %s: %s", name, strings.Join(args, " "), time.Since(begun).Round(100*time.Millisecond))
		return out
	}
	if out, err := output("npm", "ping", "--fetch-retries", "1"); err != nil {
		t.Skipf("npm does not reach its registry: %v\n%s", err, out)
	}

	c := startProcesses(t, processOptions{nodes: 1, args: []string{"--web-writes"}})
	node := "http://" + c.nodes[0].http
	document := get(t, node+"/api/v1/openapi.json")
	if !bytes.Equal(document, restv1.Document) {
		t.Errorf("the node serves another document than the committed one")
	}
	if err := os.WriteFile(filepath.Join(dir, "openapi.json"), document, 0o644); err != nil {
		t.Fatal(err)
	}

	run("npm", "install", "--no-audit", "--no-fund", "--ignore-scripts")
	run("npx", "--no-install", "redocly", "lint", "--extends", "recommended-strict", "openapi.json") // a warning is an error, too
	if out := run("npx", "--no-install", "validate-api", "openapi.json"); !strings.Contains(out, `"valid": true`) {
		t.Errorf("validate-api: %s", out)
	}
	run("npx", "--no-install", "openapi-ts", "-i", "openapi.json", "-o", "generated")
	run("npx", "--no-install", "openapi-typescript", "openapi.json", "-o", "schema.d.ts")
	run("npx", "--no-install", "tsc", "-p", ".")
	out := run("node", "out/client.js", node)
	for _, want := range []string{
		"status n1", "set shop/cart SERVING", "get SERVING", "names", "list 12", "override", "rule RULE_BROKEN", "missing NOT_FOUND", "lease", "events",
		"watch NOT_SERVING",
	} {
		if !strings.Contains(out, want+"\n") {
			t.Errorf("client.ts: no %q in\n%s", want, out)
		}
	}
	if out := run("node", "out/fetch.js", node); out != "fetch SERVING\n" {
		t.Errorf("fetch.ts: %s", out)
	}
}

// get returns what is at a URL.
func get(t *testing.T, url string) []byte {
	t.Helper()
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v\n%s", url, res.Status, err, body)
	}
	return body
}
