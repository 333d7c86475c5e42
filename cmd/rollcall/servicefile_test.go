package main

import (
	"os"
	"strings"
	"testing"
)

// Every setting of the environment file that systemd reads is one of serve's.
func TestTheEnvironmentFileOfTheUnitIsUnderstood(t *testing.T) {
	b, err := os.ReadFile("../../deploy/systemd/rollcall.env")
	if err != nil {
		t.Fatal(err)
	}
	set := 0
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, value, found := strings.Cut(line, "=")
		flag := strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(name, "ROLLCALL_"), "_", "-"))
		if !found || find(testRoot(), "serve").Flags().Lookup(flag) == nil {
			t.Errorf("%q sets nothing of serve", line)
		}
		t.Setenv(name, strings.Trim(value, `"`))
		set++
	}
	if set < 4 {
		t.Errorf("%d settings", set)
	}
	t.Setenv("ROLLCALL_DATA", t.TempDir())
	t.Setenv("ROLLCALL_API_LISTEN", "192.0.2.1:1") // an address of no machine: the node goes no further
	r := rollcall(t, "serve")
	if r.code != exitNotDone || !strings.Contains(r.stderr, "192.0.2.1") || strings.Contains(r.stderr, "serve needs") {
		t.Errorf("%+v", r)
	}
}

// packagedAgentFile is the file of the agent that the package installs.
const packagedAgentFile = "../../deploy/systemd/agent.yaml"

// The agent's file of the package is good as it is, and the environment of its unit is the command's.
func TestTheAgentsFileOfThePackageIsGood(t *testing.T) {
	rollcall(t, "agent", "--config", packagedAgentFile, "--check-config").
		want(t, exitDone, packagedAgentFile+": no fault: 1 service, 1 check\n", "")
	unit, err := os.ReadFile("../../deploy/systemd/rollcall-agent.service")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(unit), "\nEnvironment=ROLLCALL_CONFIG=/etc/rollcall/agent.yaml\n") {
		t.Error("the unit does not name the file of the package")
	}
	t.Setenv("ROLLCALL_CONFIG", packagedAgentFile)
	rollcall(t, "agent", "--check-config").want(t, exitDone, packagedAgentFile+": no fault: 1 service, 1 check\n", "")
}
