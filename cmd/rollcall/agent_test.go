package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func agentFile(t *testing.T, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "agent.yaml")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Every fault of a file has a line of its own with its place, and shows the place. JSON is one object.
func TestAgentTellsEveryFaultOfItsFile(t *testing.T) {
	path := agentFile(t,
		`cluster: { endpoints: [10.0.0.1:7600] }`,
		`instance: 10.0.0.7:8080`,
		`colour: red`,
		`services:`,
		`  - name: shop/batch`,
		`    checks: [{ ttl: { after: 30 } }]`)
	r := rollcall(t, "agent", "--config", path, "--check-config")
	if r.code != exitNotDone || r.stdout != "" {
		t.Errorf("%+v", r)
	}
	lines := strings.Split(r.stderr, "\n")
	for _, want := range []string{"rollcall: " + path + ":3:1: ", "rollcall: " + path + ":6:30: "} {
		found := false
		for i, line := range lines {
			if strings.HasPrefix(line, want) {
				found = i+2 < len(lines) && strings.Contains(lines[i+1], " | ") && strings.HasSuffix(lines[i+2], "^")
			}
		}
		if !found {
			t.Errorf("no fault %q with its place in\n%s", want, r.stderr)
		}
	}
	r = rollcall(t, "agent", "--config", path, "--check-config", "-o", "json")
	if strings.Count(r.stderr, "\n") != 1 || !strings.HasPrefix(r.stderr, `{"code":"INVALID_ARGUMENT","reason":"AGENT_FILE","message":"`) || !strings.Contains(r.stderr, ":6:30: ") {
		t.Errorf("as JSON: %s", r.stderr)
	}
}

// --instance, or its variable, takes the place of the file's own.
func TestAgentTakesItsInstanceFromTheCommandLine(t *testing.T) {
	path := agentFile(t, `cluster: { endpoints: [10.0.0.1:7600] }`, `listen: { http: 127.0.0.1:7612 }`, `services: [{ name: shop/batch }]`)
	check := func(args ...string) result {
		return rollcall(t, append([]string{"agent", "--config", path, "--check-config"}, args...)...)
	}
	if r := check(); r.code != exitNotDone || !strings.Contains(r.stderr, "instance") {
		t.Errorf("without an instance: %+v", r)
	}
	good := path + ": no fault: 1 service, 0 checks\n"
	check("--instance", "10.0.0.7:8080").want(t, exitDone, good, "")
	if r := check("--instance", "10.0.0.7"); r.code != exitNotDone || !strings.Contains(r.stderr, "--instance") {
		t.Errorf("without a port: %+v", r)
	}
	t.Setenv("ROLLCALL_INSTANCE", "10.0.0.7:8080")
	check().want(t, exitDone, good, "")
}
