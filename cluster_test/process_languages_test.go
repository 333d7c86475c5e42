package cluster_test

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// This file runs the programs of docs/languages.md as they stand there, but for the address.

// pageProgram returns the block of that language in docs/languages.md, for the node at address.
func pageProgram(t *testing.T, language, address string) string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "docs", "languages.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	if len(blocks) != 1 {
		t.Fatalf("docs/languages.md has %d blocks of %s, want 1", len(blocks), language)
	}
	host, port, _ := strings.Cut(address, ":")
	program := strings.NewReplacer("127.0.0.1:7600", address, `"127.0.0.1", 7600`, `"`+host+`", `+port).Replace(blocks[0][1])
	if !strings.Contains(program, port) {
		t.Fatalf("the %s of docs/languages.md asks no node at 127.0.0.1:7600", language)
	}
	return program
}

func writeFiles(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// runInDir runs a program that shall end well.
func runInDir(ctx context.Context, t *testing.T, dir, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// watchedBy starts a program of the page, which prints what Check says and then what Watch says, and changes the status
// of payments while it watches.
func watchedBy(ctx context.Context, t *testing.T, c *processes, dir, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	var faults strings.Builder
	cmd.Stderr = &faults
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	says := func(want string) {
		if !lines.Scan() || lines.Text() != want {
			rest, _ := io.ReadAll(out)
			t.Errorf("%s says %q, want %q; then %q; on stderr: %s", name, lines.Text(), want, rest, faults.String())
		}
	}
	says("SERVING") // Check
	says("SERVING") // Watch
	for _, s := range []healthpb.HealthCheckResponse_ServingStatus{notServing, serving} {
		c.set("payments", s)
		says(s.String())
	}
	cancel()
	_, _ = io.Copy(io.Discard, out)
	_ = cmd.Wait() // it was killed
}

// TestProcessPagePython runs the Python of docs/languages.md. Where there is no grpcio-health-checking, the same stub is
// generated from the proto of this repository.
func TestProcessPagePython(t *testing.T) {
	needProcesses(t)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	python := ""
	for _, candidate := range []string{"/usr/bin/python3", "python3"} {
		if exec.CommandContext(ctx, candidate, "-c", "import grpc, grpc_tools").Run() == nil {
			python = candidate
			break
		}
	}
	if python == "" {
		t.Skip("no python3 here has grpcio and grpcio-tools")
	}
	dir := t.TempDir()
	proto, err := os.ReadFile(filepath.Join("..", "api", "grpc", "health", "v1", "health.proto"))
	if err != nil {
		t.Fatal(err)
	}
	writeFiles(t, dir, map[string]string{"grpc_health/v1/health.proto": string(proto)})
	runInDir(ctx, t, dir, python, "-m", "grpc_tools.protoc", "-I.", "--python_out=.", "--grpc_python_out=.", "grpc_health/v1/health.proto")

	c := startProcesses(t, processOptions{nodes: 1})
	c.set("payments", serving)
	c.nodes[0].waitStatus("payments", serving)
	writeFiles(t, dir, map[string]string{"page.py": pageProgram(t, "python", c.nodes[0].api)})
	watchedBy(ctx, t, c, dir, python, "-u", "page.py")
}

// TestProcessPageJava runs the Java of docs/languages.md: make stock-clients. It takes grpc-java as Debian has it, and
// generates from the proto of this repository the stub that grpc-services holds.
func TestProcessPageJava(t *testing.T) {
	needProcesses(t)
	if os.Getenv("ROLLCALL_NPM") == "" {
		t.Skip("ROLLCALL_NPM is not set; make stock-clients sets it")
	}
	for _, need := range []string{"javac", "java", "protoc", "grpc_java_plugin"} {
		if _, err := exec.LookPath(need); err != nil {
			t.Skipf("%v; Debian has it in default-jdk-headless, protobuf-compiler and protobuf-compiler-grpc-java-plugin", err)
		}
	}
	for _, need := range []string{"grpc-netty.jar", "netty-all.jar", "perfmark-api.jar", "protobuf.jar"} {
		if _, err := os.Stat(filepath.Join("/usr/share/java", need)); err != nil {
			t.Skipf("%v; Debian has it in libgrpc-java, libnetty-java, libperfmark-java and libprotobuf-java", err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	dir := t.TempDir()
	api, err := filepath.Abs(filepath.Join("..", "api"))
	if err != nil {
		t.Fatal(err)
	}
	plugin, err := exec.LookPath("grpc_java_plugin")
	if err != nil {
		t.Fatal(err)
	}
	runInDir(ctx, t, dir, "protoc", "-I"+api, "--java_out=.", "--plugin=protoc-gen-grpc-java="+plugin, "--grpc-java_out=.", "grpc/health/v1/health.proto")

	c := startProcesses(t, processOptions{nodes: 1})
	c.set("payments", serving)
	c.nodes[0].waitStatus("payments", serving)
	writeFiles(t, dir, map[string]string{"Page.java": "import io.grpc.*;\nimport io.grpc.health.v1.*;\nimport java.util.*;\nimport java.util.concurrent.*;\n" +
		"class Page { public static void main(String[] args) {\n" + pageProgram(t, "java", c.nodes[0].api) + "}}\n"})
	classes := ".:/usr/share/java/*"
	sources, err := filepath.Glob(filepath.Join(dir, "io/grpc/health/v1/*.java"))
	if err != nil {
		t.Fatal(err)
	}
	runInDir(ctx, t, dir, "javac", append([]string{"-cp", classes, "Page.java"}, sources...)...)
	watchedBy(ctx, t, c, dir, "java", "-cp", classes, "Page")
}

// TestProcessPageJavaScript runs the program for Node of docs/languages.md: make stock-clients. It installs from npm.
func TestProcessPageJavaScript(t *testing.T) {
	needProcesses(t)
	if os.Getenv("ROLLCALL_NPM") == "" {
		t.Skip("ROLLCALL_NPM is not set; make stock-clients sets it")
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "grpc-js"))); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(dir, "api"), os.DirFS(filepath.Join("..", "api"))); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	runInDir(ctx, t, dir, "npm", "install", "--no-audit", "--no-fund", "--ignore-scripts")
	c := startProcesses(t, processOptions{nodes: 1})
	c.set("payments", serving)
	c.nodes[0].waitStatus("payments", serving)
	writeFiles(t, dir, map[string]string{"page.js": pageProgram(t, "js", c.nodes[0].api)})

	cmd := exec.CommandContext(ctx, "node", "page.js")
	cmd.Dir = dir
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// The three calls are under way at once, so Check and the first of Watch may say the status before or after the write.
	var said []string
	written, watched := false, false
	for lines := bufio.NewScanner(out); !(written && watched) && lines.Scan(); {
		said = append(said, lines.Text())
		if _, err := strconv.ParseUint(lines.Text(), 10, 64); err == nil {
			written = true
		}
		watched = watched || lines.Text() == "NOT_SERVING"
	}
	_ = cmd.Process.Kill()
	_, _ = io.Copy(io.Discard, out)
	_ = cmd.Wait() // it was killed
	if !written || !watched {
		t.Errorf("node says %q; want a revision and NOT_SERVING", said)
	}
	c.nodes[0].waitStatus("payments", notServing)
}
