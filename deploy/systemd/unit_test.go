// Package systemd_test checks the units with systemd's own tools.
package systemd_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// units are the files of this directory, and the lowest bound of exposure that each keeps. The exposure goes from 0 to
// 10, here from 0 to 100; that of a service without any protection is 96.
var units = map[string]string{
	"rollcall.service":       "20",
	"rollcall-agent.service": "26", // the commands that it runs may be of any language, and see processes and /tmp
}

// unit writes a unit into a directory of its own, with a program that is there.
func unit(t *testing.T, name string) string {
	t.Helper()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("systemd-analyze is not on this machine")
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	const program = "=/usr/bin/rollcall "
	if !strings.Contains(string(b), "\nExecStart"+program) {
		t.Fatalf("%s does not have ExecStart%s", name, program)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(b), program, "=/bin/true ")), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSystemdTakesTheUnits(t *testing.T) {
	for name := range units {
		path := unit(t, name)
		out, err := exec.Command("systemd-analyze", "verify", path).CombinedOutput()
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, name) { // not of the machine's own units
				t.Errorf("systemd says: %s", line)
			}
		}
		if err != nil && len(out) > 0 {
			t.Errorf("%v\n%s", err, out)
		}
	}
}

func TestTheUnitsAreHardened(t *testing.T) {
	for name, threshold := range units {
		path := unit(t, name)
		if out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--threshold="+threshold, path).CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
}

// TestAStopDoesNotReachTheCommandsOfChecks: if systemd sent SIGTERM to them, too, they would fail, and with
// "on_stop: leave" that could be the agent's last word.
func TestAStopDoesNotReachTheCommandsOfChecks(t *testing.T) {
	b, err := os.ReadFile("rollcall-agent.service")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), "\nKillMode=mixed\n") {
		t.Error("the unit of the agent has no KillMode=mixed")
	}
}
