// Package package_test builds the packages, and installs and removes them in a directory of their own.
package package_test

import (
	"bytes"
	"debug/elf"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

var packages = flag.Bool("packages", false, "build the packages, twice, and install them: some minutes on two cores")

func need(t *testing.T, programs ...string) {
	t.Helper()
	if !*packages {
		t.Skip("make packages runs it")
	}
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not on this machine", p)
		}
	}
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// build builds for this machine's architecture alone.
func build(t *testing.T, version string) string {
	t.Helper()
	dir := t.TempDir()
	run(t, "./build.sh", version, dir, strings.TrimSpace(run(t, "go", "env", "GOARCH")))
	return dir
}

func TestTheSameSourceGivesTheSameBytes(t *testing.T) {
	need(t, "dpkg-deb", "git")
	first, second := build(t, "v1.2.3"), build(t, "v1.2.3")
	a, err := os.ReadFile(filepath.Join(first, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(second, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) || bytes.Count(a, []byte("\n")) != 2 {
		t.Errorf("two builds:\n%s\n%s", a, b)
	}
	out, err := exec.Command("sh", "-c", "cd "+first+" && sha256sum --check SHA256SUMS").CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestThePackageIsInstalledAndRemoved into a directory that dpkg takes for the root of a system, in which no service
// manager runs.
func TestThePackageIsInstalledAndRemoved(t *testing.T) {
	need(t, "dpkg", "dpkg-deb", "git", "systemd-sysusers")
	if os.Getuid() != 0 {
		t.Skip("dpkg installs as root only")
	}
	root := t.TempDir()
	for _, dir := range []string{"var/lib/dpkg/info", "var/lib/dpkg/updates", "etc"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "var/lib/dpkg/status"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	dpkg := func(args ...string) string {
		return run(t, "dpkg", append([]string{"--root=" + root, "--force-not-root", "--force-script-chrootless", "--force-depends", "--log=/dev/null"}, args...)...)
	}
	exists := func(path string) bool {
		_, err := os.Lstat(filepath.Join(root, path))
		return err == nil
	}
	deb := func(version string) string {
		found, err := filepath.Glob(filepath.Join(build(t, version), "*.deb"))
		if err != nil || len(found) != 1 {
			t.Fatalf("%v, %v", found, err)
		}
		return found[0]
	}

	dpkg("--install", deb("v1.2.3-rc1"))
	program := filepath.Join(root, "usr/bin/rollcall")
	if out := run(t, program, "version"); !strings.Contains(out, "v1.2.3-rc1") {
		t.Errorf("it says: %s", out)
	}
	passwd, err := os.ReadFile(filepath.Join(root, "etc/passwd"))
	if err != nil || !strings.Contains(string(passwd), "rollcall:x:") {
		t.Errorf("no user rollcall: %v\n%s", err, passwd)
	}
	group, err := os.ReadFile(filepath.Join(root, "etc/group"))
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(root, "etc/rollcall/agent.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if gid := info.Sys().(*syscall.Stat_t).Gid; info.Mode() != 0o640 || !strings.Contains(string(group), fmt.Sprintf("rollcall-agent:x:%d:", gid)) {
		t.Errorf("the agent's file has mode %v and group %d:\n%s", info.Mode(), gid, group)
	}
	if exists("etc/systemd/system") {
		t.Error("the installation enables a unit")
	}
	for _, path := range []string{
		"lib/systemd/system/rollcall.service", "lib/systemd/system/rollcall-agent.service", "usr/share/man/man1/rollcall-agent.1.gz", "usr/lib/sysusers.d/rollcall.conf", "usr/share/man/man1/rollcall-set.1.gz",
		"usr/share/bash-completion/completions/rollcall", "usr/share/doc/rollcall/licences/MODULES", "usr/share/doc/rollcall/licences/go.txt",
	} {
		if !exists(path) {
			t.Errorf("%s is missing", path)
		}
	}
	if _, err := exec.LookPath("systemd-analyze"); err == nil {
		out, _ := exec.Command("systemd-analyze", "verify", "--root="+root, "rollcall.service", "rollcall-agent.service").CombinedOutput()
		for line := range strings.Lines(string(out)) {
			if strings.HasPrefix(line, "rollcall") && !strings.Contains(line, "sysinit.target not found") { // there is no system
				t.Errorf("systemd says: %s", line)
			}
		}
	}
	binary, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer binary.Close()
	if binary.Section(".interp") != nil {
		t.Error("the program is not static")
	}

	// An operator's settings and the node's data outlive an upgrade and a removal.
	settings := filepath.Join(root, "etc/rollcall/rollcall.env")
	if err := os.WriteFile(settings, []byte("ROLLCALL_NODE=n7\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(root, "var/lib/rollcall/wal"), 0o700); err != nil {
		t.Fatal(err)
	}
	agent := filepath.Join(root, "etc/rollcall/agent.yaml")
	if err := os.WriteFile(agent, []byte("services: []\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	dpkg("--force-confold", "--install", deb("v1.2.3"))
	if out := run(t, program, "version"); !strings.Contains(out, "v1.2.3 ") {
		t.Errorf("after an upgrade it says: %s", out)
	}
	dpkg("--remove", "rollcall")
	if exists("usr/bin/rollcall") || exists("lib/systemd/system/rollcall.service") || exists("lib/systemd/system/rollcall-agent.service") || exists("usr/share/doc/rollcall") {
		t.Error("something is left after the removal")
	}
	if b, err := os.ReadFile(settings); err != nil || string(b) != "ROLLCALL_NODE=n7\n" {
		t.Errorf("the settings after the removal: %q, %v", b, err)
	}
	if b, err := os.ReadFile(agent); err != nil || string(b) != "services: []\n" {
		t.Errorf("the agent's file after the removal: %q, %v", b, err)
	}
	out := dpkg("--purge", "rollcall")
	if exists("etc/rollcall") || !exists("var/lib/rollcall/wal") {
		t.Error("a purge removes the settings and keeps the data")
	}
	if !strings.Contains(out, "is kept") {
		t.Errorf("a purge says: %s", out)
	}
}
