package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/cmd/rollcall/devcluster"
)

// childMode makes this test binary a node of a dev cluster: see testChild.
const childMode = "ROLLCALL_TEST_CHILD"

// testChild stands for "rollcall serve": it answers GetStatus at its --api-listen until its standard
// input ends or SIGTERM comes.
func testChild() int {
	address, parent := "", false
	for i, arg := range os.Args {
		switch arg {
		case "--api-listen":
			address = os.Args[i+1]
		case "--exit-with-parent":
			parent = true
		}
	}
	if !parent {
		fmt.Fprintln(os.Stderr, "no --exit-with-parent")
		return 3
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Fprintf(os.Stderr, "up at %s\n", address)
	s := grpc.NewServer()
	ready := &rollcallv1.GetStatusResponse{Leader: "n1", Writable: true, Members: []*rollcallv1.MemberStatus{{Member: &rollcallv1.Member{Name: "n1"}, Ready: true}}}
	rollcallv1.RegisterClusterServer(s, &fake{status: ready})
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go func() {
		io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	context.AfterFunc(ctx, s.Stop)
	s.Serve(l)
	return 0
}

// testCommand runs this test binary as a node.
func testCommand(mode string) func([]string) *exec.Cmd {
	return func(args []string) *exec.Cmd {
		cmd := exec.Command(os.Args[0], args...)
		cmd.Env = append(os.Environ(), childMode+"="+mode)
		return cmd
	}
}

// Ports for dev clusters are below those that the system gives to outgoing connections and those of
// cluster_test, whose tests run at the same time.
const (
	devPortsFrom, devPortsTo = 10000, 12000
	devPortBlock             = 100
)

// devPorts has the first port of a block of this process's own, as long as it lives: it holds the last one.
var devPorts = sync.OnceValues(func() (int, error) {
	for _, i := range rand.Perm((devPortsTo - devPortsFrom) / devPortBlock) {
		first := devPortsFrom + i*devPortBlock
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", first+devPortBlock-1)); err == nil {
			devPortsLock = l
			return first, nil
		}
	}
	return 0, errors.New("all blocks of ports are taken")
})

var devPortsLock net.Listener // or it would be closed as garbage

// freeBasePort finds ports for n nodes.
func freeBasePort(t *testing.T, n int) int {
	t.Helper()
	first, err := devPorts()
	if err != nil {
		t.Fatal(err)
	}
	for base := first; base+10*n < first+devPortBlock; base += 10 * n {
		if devcluster.CheckPorts(devcluster.Nodes(n, base)) == nil {
			return base
		}
	}
	t.Fatalf("no free ports from %d", first)
	return 0
}

// lineReader gives the lines that one side writes, as they come.
type lineReader struct {
	t     *testing.T
	lines *bufio.Scanner
	w     *io.PipeWriter
}

func newLineReader(t *testing.T) *lineReader {
	r, w := io.Pipe()
	return &lineReader{t: t, lines: bufio.NewScanner(r), w: w}
}

// event reads on to the next JSON line of this kind.
func (l *lineReader) event(kind string) map[string]any {
	l.t.Helper()
	for l.lines.Scan() {
		var e map[string]any
		if err := json.Unmarshal(l.lines.Bytes(), &e); err != nil {
			l.t.Fatalf("%v: %s", err, l.lines.Bytes())
		}
		if e["event"] == kind {
			return e
		}
	}
	l.t.Fatalf("no %s", kind)
	return nil
}

func TestDevStartsRestartsAndStopsItsNodes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dev")
	base := freeBasePort(t, 3)
	cfg := devConfig{
		nodes: 3, nodesChosen: true, data: dir, basePort: base, logLevel: "warn",
		restart: 20 * time.Millisecond, readyTimeout: time.Minute, stopTimeout: time.Minute, command: testCommand("node"),
	}
	out := newLineReader(t)
	logs := newSyncBuffer()
	a := &app{stdout: out.w, stderr: logs, now: time.Now, output: formatJSON}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan error, 1)
	go func() {
		ended <- a.dev(ctx, cfg)
		out.w.Close()
	}()

	nodes := out.event("nodes")
	if nodes["ready"] != true {
		t.Fatalf("not ready: %v", nodes)
	}
	for i := range 3 { // each of the stand-ins says that all are ready
		logs.await(fmt.Sprintf("n%d | up at 127.0.0.1:%d\n", i+1, base+10*i))
	}
	second := nodes["nodes"].([]any)[1].(map[string]any)
	if got, want := second["api_address"], fmt.Sprintf("127.0.0.1:%d", base+10); got != want {
		t.Errorf("n2 at %s, want %s", got, want)
	}

	// A second one on the same data, and one on the same ports.
	if err := a.dev(ctx, cfg); err == nil || !strings.Contains(err.Error(), fmt.Sprintf(`is in use by another "rollcall dev" at port %d;`, base)) {
		t.Errorf("second on the same data: %v", err)
	}
	other := cfg
	other.data = filepath.Join(t.TempDir(), "other")
	if err := a.dev(ctx, other); err == nil || !strings.Contains(err.Error(), "is in use by another process") {
		t.Errorf("second on the same ports: %v", err)
	}

	pid := int(second["pid"].(float64))
	p, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	if e := out.event("ended"); e["node"] != "n2" || e["reason"] != "signal: killed" || int(e["pid"].(float64)) != pid {
		t.Errorf("ended: %v", e)
	}
	if e := out.event("started"); e["node"] != "n2" || int(e["pid"].(float64)) == pid {
		t.Errorf("started: %v", e)
	}

	stop()
	go io.Copy(io.Discard, readerOf(out))
	if err := <-ended; err != nil {
		t.Errorf("stop: %v", err)
	}
	if err := devcluster.CheckPorts(devcluster.Nodes(3, base)); err != nil {
		t.Errorf("after the end: %v", err)
	}
}

// readerOf lets what is left be read without looking.
func readerOf(l *lineReader) io.Reader {
	return readFunc(func(p []byte) (int, error) {
		if l.lines.Scan() {
			return 0, nil
		}
		return 0, io.EOF
	})
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

func TestDevEndsWhenNoNodeIsLeft(t *testing.T) {
	out := newLineReader(t)
	go io.Copy(io.Discard, readerOf(out))
	cfg := devConfig{
		nodes: 1, data: t.TempDir(), basePort: freeBasePort(t, 1), logLevel: "warn",
		readyTimeout: 100 * time.Millisecond, stopTimeout: time.Second,
		command: func([]string) *exec.Cmd { return exec.Command("/nonexistent/rollcall") },
	}
	a := &app{stdout: out.w, stderr: io.Discard, now: time.Now, output: formatJSON}
	err := a.dev(context.Background(), cfg)
	out.w.Close()
	if err == nil || err.Error() != "all nodes have ended; what they said is above" {
		t.Errorf("%v", err)
	}
}

func TestDevInterruptedBeforeItBegan(t *testing.T) {
	var out strings.Builder
	a := &app{stdout: &out, stderr: io.Discard, now: time.Now}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	cfg := devConfig{
		nodes: 3, data: t.TempDir(), basePort: freeBasePort(t, 3), logLevel: "warn",
		readyTimeout: time.Minute, stopTimeout: time.Minute, command: testCommand("node"),
	}
	if err := a.dev(ctx, cfg); err != nil || !strings.Contains(out.String(), "stopped; the data stay") {
		t.Errorf("%v: %s", err, out.String())
	}
}

func TestDevChildrenGetNothingFromTheEnvironmentByAccident(t *testing.T) {
	nodes := devcluster.Nodes(2, 7600)
	args, err := serveArguments(devConfig{data: "d", logLevel: "info"}, nodes[1], nodes)
	if err != nil {
		t.Fatal(err)
	}
	abs, err := filepath.Abs("d/n2")
	if err != nil {
		t.Fatal(err)
	}
	want := "serve --exit-with-parent --node n2 --data " + abs + " --api-listen 127.0.0.1:7610 --peer-listen 127.0.0.1:7611 --http 127.0.0.1:7612" +
		" --web --web-writes --force-bootstrap=false --log-level info --tls off --member n1,api=127.0.0.1:7600,peer=127.0.0.1:7601 --member n2,api=127.0.0.1:7610,peer=127.0.0.1:7611"
	if got := strings.Join(args, " "); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

func TestDevDirectory(t *testing.T) {
	write := func(t *testing.T, path, content string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	exists := func(path string) bool {
		_, err := os.Stat(path)
		return err == nil
	}

	t.Run("a directory of somebody else is refused and stays", func(t *testing.T) {
		path := t.TempDir()
		write(t, filepath.Join(path, "n1", "thesis.tex"), "x")
		r := rollcall(t, "dev", "--fresh", "--data", path)
		r.want(t, exitNotDone, "", "rollcall: "+path+" holds n1, which \"rollcall dev\" did not put there; choose another directory with --data\n")
		if !exists(filepath.Join(path, "n1", "thesis.tex")) {
			t.Error("it is gone")
		}
	})

	t.Run("a damaged marker is no licence", func(t *testing.T) {
		path := t.TempDir()
		write(t, filepath.Join(path, "rollcall-dev.json"), "{")
		write(t, filepath.Join(path, "n1", "raft.db"), "x")
		if r := rollcall(t, "dev", "--fresh", "--data", path); r.code != exitNotDone || !strings.Contains(r.stderr, "is damaged") {
			t.Errorf("exit status %d, %s", r.code, r.stderr)
		}
		if !exists(filepath.Join(path, "n1", "raft.db")) {
			t.Error("it is gone")
		}
	})

	t.Run("another number of nodes", func(t *testing.T) {
		path := t.TempDir()
		write(t, filepath.Join(path, "rollcall-dev.json"), `{"nodes":5}`)
		rollcall(t, "dev", "--nodes", "3", "--data", path).want(t, exitNotDone, "", "rollcall: "+path+" holds a cluster of 5 nodes; use --nodes 5, or --fresh to begin anew\n")
		rollcall(t, "dev", "--data", path, "--base-port", "65530").want(t, exitNotDone, "", "rollcall: --base-port is 65530; with 5 nodes, use 1 to 65493\n")
	})
}

func TestPortsInUseAreNamed(t *testing.T) {
	base := freeBasePort(t, 3)
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", base+11))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	path := filepath.Join(t.TempDir(), "dev")
	r := rollcall(t, "dev", "--data", path, "--base-port", fmt.Sprint(base))
	r.want(t, exitNotDone, "", fmt.Sprintf("rollcall: the address 127.0.0.1:%d is in use by another process; if another \"rollcall dev\" runs, stop it, or choose other ports with --base-port\n", base+11))
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something was begun: %v", err)
	}
}

func TestDevOutputForPeople(t *testing.T) {
	var out strings.Builder
	o := &devOutput{app: testApp(&out), restart: 5 * time.Second}
	nodes := devcluster.Nodes(3, 7700)
	for i := range nodes {
		nodes[i].PID = 4000 + i
		o.event(devcluster.Event{Event: "started", Node: nodes[i].Name, PID: nodes[i].PID})
	}
	o.nodes(nodes)
	o.ready(nodes, "./rollcall-dev", 1234*time.Millisecond, nil)
	o.event(devcluster.Event{Event: "ended", Node: "n2", PID: 4001, Reason: "signal: killed"})
	o.event(devcluster.Event{Event: "started", Node: "n2", PID: 4005})
	o.stopping()
	o.stopped("./rollcall-dev")
	golden(t, "dev.txt", []byte(out.String()))
}

// syncBuffer is what was written, and lets one wait for it.
type syncBuffer struct {
	mu    sync.Mutex // guards b
	grown *sync.Cond
	b     strings.Builder
}

func newSyncBuffer() *syncBuffer {
	s := &syncBuffer{}
	s.grown = sync.NewCond(&s.mu)
	return s
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.grown.Broadcast()
	return s.b.Write(p)
}

// await returns when text was written.
func (s *syncBuffer) await(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !strings.Contains(s.b.String(), text) {
		s.grown.Wait()
	}
}
