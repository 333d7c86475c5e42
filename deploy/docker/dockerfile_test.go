// Package docker_test checks the Dockerfile, and does by hand what it says: docker itself needs a daemon and a network.
package docker_test

import (
	"bytes"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// instruction is one line of a Dockerfile.
type instruction struct {
	stage    int // counted from 1
	name     string
	flags    []string // --from=build
	argument string
}

func parse(dockerfile string) []instruction {
	var all []instruction
	stage := 0
	for line := range strings.Lines(dockerfile) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, rest, _ := strings.Cut(line, " ")
		if name == "FROM" {
			stage++
		}
		i := instruction{stage: stage, name: name}
		for strings.HasPrefix(rest, "--") {
			var f string
			f, rest, _ = strings.Cut(rest, " ")
			i.flags = append(i.flags, f)
		}
		i.argument = rest
		all = append(all, i)
	}
	return all
}

var (
	known = []string{"FROM", "ARG", "WORKDIR", "COPY", "RUN", "ENV", "USER", "VOLUME", "EXPOSE", "ENTRYPOINT", "CMD"}
	user  = regexp.MustCompile(`^[1-9][0-9]*:[1-9][0-9]*$`)
)

// check returns what is wrong with a Dockerfile of this kind: a stage that builds, and one that ships.
func check(dockerfile string) error {
	var wrong []error
	add := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }
	all := parse(dockerfile)
	last := map[string]instruction{} // of the stage that ships
	var froms []instruction
	for _, i := range all {
		if !slices.Contains(known, i.name) {
			add("%s is no instruction that is used here", i.name)
		}
		if i.name == "FROM" {
			froms = append(froms, i)
		}
		if i.stage == 2 {
			if i.name == "RUN" {
				add("RUN in the stage that ships: there is no shell")
			}
			last[i.name] = i
		}
		for _, f := range i.flags {
			if from, ok := strings.CutPrefix(f, "--from="); ok && (i.stage != 2 || from != "build") {
				add("%s copies from no stage", i.argument)
			}
		}
		if i.name == "COPY" && len(i.flags) == 0 {
			words := strings.Fields(i.argument)
			for _, source := range words[:len(words)-1] {
				if _, err := os.Stat(filepath.Join("..", "..", source)); err != nil {
					add("COPY %s: %v", source, err)
				}
			}
		}
	}
	if len(froms) != 2 || !strings.HasSuffix(froms[0].argument, " AS build") || froms[1].argument != "scratch" {
		add("the stages are not build and scratch")
	}
	if !user.MatchString(last["USER"].argument) {
		add("USER %q: a number that is not 0, and a group, so that runAsNonRoot can be checked", last["USER"].argument)
	}
	var entry []string
	if err := json.Unmarshal([]byte(last["ENTRYPOINT"].argument), &entry); err != nil || !slices.Equal(entry, []string{"/usr/bin/rollcall"}) {
		add("ENTRYPOINT %s: it must be the program alone, in exec form, or signals do not reach it", last["ENTRYPOINT"].argument)
	}
	var args []string
	if err := json.Unmarshal([]byte(last["CMD"].argument), &args); err != nil {
		add("CMD %s: it must be in exec form", last["CMD"].argument)
	}
	if last["EXPOSE"].argument != "7600 7601 7602" {
		add("EXPOSE %s: the ports are 7600, 7601 and 7602", last["EXPOSE"].argument)
	}
	build := build(all).argument
	release, err := os.ReadFile("../package/build.sh")
	if err != nil {
		return err
	}
	for _, flag := range []string{"-trimpath", "-buildvcs=false", "-mod=readonly", "CGO_ENABLED=0"} {
		if !strings.Contains(build, flag) || !bytes.Contains(release, []byte(flag)) {
			add("the program is built without %s, or the packages are", flag)
		}
	}
	if !strings.Contains(build, `-ldflags "-s -w -X main.version=$VERSION"`) || !bytes.Contains(release, []byte(`-ldflags "-s -w -X main.version=$version"`)) {
		add("the program and that of the packages are linked with other flags")
	}
	gomod, err := os.ReadFile("../../go.mod")
	if err != nil {
		return err
	}
	if m := regexp.MustCompile(`golang:(\d+\.\d+) `).FindStringSubmatch(froms[0].argument); m == nil || !bytes.Contains(gomod, []byte("\ngo "+m[1])) {
		add("%s is not the Go of go.mod", froms[0].argument)
	}
	return errors.Join(wrong...)
}

// build is the instruction that makes the program.
func build(all []instruction) instruction {
	k := slices.IndexFunc(all, func(i instruction) bool { return i.name == "RUN" && strings.Contains(i.argument, "go build") })
	if k < 0 {
		return instruction{}
	}
	return all[k]
}

func read(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestDockerfile(t *testing.T) {
	if err := check(read(t)); err != nil {
		t.Error(err)
	}
}

func TestDockerfileRules(t *testing.T) {
	for _, tc := range []struct{ old, new, want string }{
		{"USER 65532:65532", "USER 0:0", "USER"},
		{"USER 65532:65532", "USER nonroot", "USER"},
		{"USER 65532:65532\n", "", "USER"},
		{"FROM scratch", "FROM debian:12", "the stages"},
		{`ENTRYPOINT ["/usr/bin/rollcall"]`, "ENTRYPOINT /usr/bin/rollcall", "ENTRYPOINT"},
		{`ENTRYPOINT ["/usr/bin/rollcall"]`, `ENTRYPOINT ["sh", "-c", "rollcall"]`, "ENTRYPOINT"},
		{`CMD ["--help"]`, "CMD --help", "CMD"},
		{"USER 65532", "RUN id\nUSER 65532", "no shell"},
		{"--from=build /image/usr", "--from=builder /image/usr", "copies from no stage"},
		{"COPY LICENSE", "COPY LICENCE", "COPY LICENCE"},
		{"CGO_ENABLED=0", "CGO_ENABLED=1", "CGO_ENABLED=0"},
		{" -trimpath", "", "-trimpath"},
		{"-s -w ", "-w ", "other flags"},
		{"golang:1.26", "golang:1.20", "go.mod"},
		{"EXPOSE 7600", "EXPOSE 76000", "EXPOSE"},
		{"VOLUME", "VOLUMES", "no instruction"},
	} {
		text := strings.Replace(read(t), tc.old, tc.new, 1)
		if text == read(t) {
			t.Errorf("the Dockerfile has no %q", tc.old)
		} else if err := check(text); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s → %s: want %q, got: %v", tc.old, tc.new, tc.want, err)
		}
	}
}

// TestDockerignoreKeepsWhatIsBuilt: every directory of ours that the program is made of is in what docker is sent.
func TestDockerignoreKeepsWhatIsBuilt(t *testing.T) {
	b, err := os.ReadFile("Dockerfile.dockerignore")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", "./cmd/rollcall")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for name := range strings.Lines(string(out)) {
		rest, ours := strings.CutPrefix(strings.TrimSpace(name), "github.com/rollcallhq/rollcall/")
		if !ours {
			continue
		}
		found++
		if top, _, _ := strings.Cut(rest, "/"); !strings.Contains(string(b), "\n!"+top+"\n") {
			t.Errorf("%s is left out", rest)
		}
	}
	if found < 20 {
		t.Errorf("only %d packages were looked at", found)
	}
}

// TestImage does what the Dockerfile says with the tools of this machine, and runs the outcome as a container runtime
// does: with nothing else in its file system, as its user.
func TestImage(t *testing.T) {
	if os.Getenv("ROLLCALL_IMAGE") == "" {
		t.Skip("compiles all there is once more, without cgo: see make image")
	}
	if runtime.GOOS != "linux" || os.Getuid() != 0 {
		t.Skip("needs root on Linux, for chroot")
	}
	all := parse(read(t))
	work, root := t.TempDir(), t.TempDir()
	for _, dir := range []string{work, root, filepath.Dir(root), filepath.Dir(work)} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var uid, gid uint32
	for _, i := range all {
		switch {
		case i.stage == 1 && i.name == "RUN" && i.argument != "go mod download":
			cmd := exec.Command("sh", "-ec", strings.ReplaceAll(i.argument, "/image", filepath.Join(work, "image")))
			cmd.Dir = "../.."
			cmd.Env = append(os.Environ(), "TARGETOS=linux", "TARGETARCH="+runtime.GOARCH, "VERSION=v1.2.3")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("RUN %s: %v\n%s", i.argument, err, out)
			}
		case i.stage == 2 && i.name == "COPY":
			words := strings.Fields(i.argument)
			to := words[len(words)-1]
			for _, source := range words[:len(words)-1] {
				from := filepath.Join("..", "..", source)
				if slices.Contains(i.flags, "--from=build") {
					from = filepath.Join(work, source)
				}
				if err := os.MkdirAll(filepath.Join(root, path.Dir(to)), 0o755); err != nil {
					t.Fatal(err)
				}
				if out, err := exec.Command("cp", "-rdT", from, filepath.Join(root, to)).CombinedOutput(); err != nil {
					t.Fatalf("COPY: %v\n%s", err, out)
				}
				if slices.Contains(i.flags, "--chown=65532:65532") {
					if err := os.Chown(filepath.Join(root, to), 65532, 65532); err != nil {
						t.Fatal(err)
					}
				}
			}
		case i.stage == 2 && i.name == "USER":
			if _, err := fmt.Sscanf(i.argument, "%d:%d", &uid, &gid); err != nil {
				t.Fatal(err)
			}
		}
	}
	program, err := elf.Open(filepath.Join(root, "usr/bin/rollcall"))
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	if libraries, err := program.ImportedLibraries(); err != nil || len(libraries) > 0 || program.Section(".interp") != nil {
		t.Errorf("the program is not static: %v %v", libraries, err)
	}
	run := func(name string, args ...string) (string, int) {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir, cmd.Env = "/", []string{"PATH=/usr/bin"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: uid, Gid: gid}}
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil {
			t.Fatalf("%s: %v", name, err)
		}
		return string(out), cmd.ProcessState.ExitCode()
	}
	if out, code := run("/usr/bin/rollcall", "--version"); code != 0 || !strings.Contains(out, "v1.2.3") {
		t.Errorf("--version: exit status %d: %s", code, out)
	}
	// The link is grpc_health_probe: its flags have one dash, and without a server its exit status is 2.
	if out, code := run("/usr/bin/grpc_health_probe", "-addr=127.0.0.1:1", "-connect-timeout=250ms"); code != 2 || !strings.Contains(out, "127.0.0.1:1") {
		t.Errorf("grpc_health_probe: exit status %d: %s", code, out)
	}
	if link, err := os.Readlink(filepath.Join(root, "usr/bin/grpc_health_probe")); err != nil || link != "rollcall" {
		t.Errorf("grpc_health_probe is no link to the program: %q %v", link, err)
	}
	// A named volume takes over who owns the directory.
	if info, err := os.Stat(filepath.Join(root, "var/lib/rollcall")); err != nil || info.Sys().(*syscall.Stat_t).Uid != uid {
		t.Errorf("/var/lib/rollcall is not the user's: %v", err)
	}
	for _, other := range []string{"bin", "etc", "usr/bin/sh", "lib"} {
		if _, err := os.Lstat(filepath.Join(root, other)); err == nil {
			t.Errorf("/%s is in the image", other)
		}
	}
}
