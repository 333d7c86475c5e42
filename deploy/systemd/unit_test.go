// Package systemd_test checks the unit with systemd's own tools.
package systemd_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// unit writes the unit into a directory of its own, with a program that is there.
func unit(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("systemd-analyze is not on this machine")
	}
	b, err := os.ReadFile("rollcall.service")
	if err != nil {
		t.Fatal(err)
	}
	const program = "ExecStart=/usr/bin/rollcall serve"
	if !bytes.Contains(b, []byte(program)) {
		t.Fatalf("the unit does not have %q", program)
	}
	path := filepath.Join(t.TempDir(), "rollcall.service")
	if err := os.WriteFile(path, bytes.ReplaceAll(b, []byte(program), []byte("ExecStart=/bin/true serve")), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSystemdTakesTheUnit(t *testing.T) {
	path := unit(t)
	out, err := exec.Command("systemd-analyze", "verify", path).CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "rollcall.service") { // not of the machine's own units
			t.Errorf("systemd says: %s", line)
		}
	}
	if err != nil && len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}

// The exposure level goes from 0 to 10, here from 0 to 100; that of a service without any protection is 96.
func TestTheUnitIsHardened(t *testing.T) {
	path := unit(t)
	if out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--threshold=20", path).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
