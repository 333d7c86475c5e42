package cluster_test

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/node"
)

var (
	soak = flag.Duration("soak", 0, "how long TestProcessRandomKills runs; 0: a few rounds")

	rollingRounds = flag.Int("rolling-rounds", 1, "how often TestProcessRollingRestart restarts all nodes")

	// logStore is what ROLLCALL_LOG_STORE is for "rollcall serve", so that all of these tests run on any.
	logStore = flag.String("log-store", cmp.Or(os.Getenv("ROLLCALL_LOG_STORE"), node.DefaultLogStore), "log store of the nodes under test: boltdb or wal")

	// binary is the rollcall binary under test, built once.
	binary string
)

// podsEnv has the binary, for the part of a test that runs in namespaces: see pods_linux_test.go.
const podsEnv = "ROLLCALL_TEST_PODS"

func TestMain(m *testing.M) {
	if spec := os.Getenv(reporterEnv); spec != "" {
		os.Exit(reporterMain(spec))
	}
	if spec := os.Getenv(instanceEnv); spec != "" {
		os.Exit(instanceMain(spec))
	}
	flag.Parse()
	lanesDecide()
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	binary = os.Getenv(podsEnv) // of the run outside of the namespaces
	if !testing.Short() && binary == "" {
		dir, err := os.MkdirTemp("", "rollcall-cluster-test-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "rollcall")
		build := exec.Command("go", "build", "-o", binary, "../cmd/rollcall")
		if raceEnabled {
			build.Args = []string{"go", "build", "-race", "-o", binary, "../cmd/rollcall"}
		}
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
			return 1
		}
	}
	code := m.Run()
	if dir := memoryDir(); dir != "" {
		os.Remove(dir) // empty, as each test removes what it made
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return code
}

// patience bounds every wait of these tests. It proves nothing about speed: only a hang reaches it.
const patience = 60 * time.Second

func needProcesses(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs processes")
	}
}

// processes is a cluster of rollcall serve processes.
type processes struct {
	t       *testing.T
	options processOptions
	nodes   []*process // members
	all     []*process // also those that are no members yet, or any more
}

// process is one member: its addresses and data outlive the process that runs on them.
type process struct {
	t               *testing.T
	name, data      string
	api, peer, http string
	peerListen      string // differs from peer where a proxy stands between
	args            []string
	wrap            []string // command in front of the binary
	members         []string
	join            []string // peer addresses of members; not empty: it joins, and members are not told
	replica         bool     // of one that joins
	mu              sync.Mutex
	cmd             *exec.Cmd
	exited          chan struct{}
	log             *syncBuffer
	proxy           *proxy
	creds           credentials.TransportCredentials // of clients
	conn            *grpc.ClientConn
}

type processOptions struct {
	nodes   int
	proxies bool // a proxy in front of every peer port, so that links can be cut
	args    []string
	creds   credentials.TransportCredentials // of clients; nil: plain text
}

func newProcesses(t *testing.T, o processOptions) *processes {
	t.Helper()
	needProcesses(t)
	if o.nodes == 0 {
		o.nodes = 3
	}
	if o.creds == nil {
		o.creds = insecure.NewCredentials()
	}
	c := &processes{t: t, options: o}
	var members []string
	for i := range o.nodes {
		p := c.newNode(fmt.Sprintf("n%d", i+1))
		members = append(members, fmt.Sprintf("%s,api=%s,peer=%s", p.name, p.api, p.peer))
		c.nodes = append(c.nodes, p)
	}
	for _, p := range c.nodes {
		p.members = members
	}
	t.Cleanup(func() {
		if t.Failed() {
			c.tell()
		}
		for _, p := range c.all {
			p.kill()
			if p.conn != nil {
				p.conn.Close()
			}
		}
		if t.Failed() {
			for _, p := range c.all {
				t.Logf("--- log of %s\n%s", p.name, tail(p.log.String(), 8000))
			}
		}
	})
	return c
}

// tell logs what the members say of a cluster in which a test has failed.
func (c *processes) tell() {
	for _, p := range c.all {
		if p.running() && p.creds.Info().SecurityProtocol == "insecure" {
			status, errOut, _ := runBinary(c.t, "status", "-e", p.api, "--timeout", "5s")
			members, _, _ := runBinary(c.t, "member", "list", "-e", p.api, "--timeout", "5s")
			c.t.Logf("--- rollcall status on %s\n%s%s\n%s", p.name, status, errOut, members)
		}
	}
}

// newNode returns a node that belongs to no cluster yet, with addresses and a data directory of its own. It ends with
// the test.
func (c *processes) newNode(name string) *process {
	c.t.Helper()
	p := &process{
		t:    c.t,
		name: name,
		data: filepath.Join(c.t.TempDir(), "data"),
		api:  freePort(c.t),
		peer: freePort(c.t),
		http: freePort(c.t),
		args: slices.Clone(c.options.args),
		log:  &syncBuffer{},

		creds: c.options.creds,
	}
	p.peerListen = p.peer
	if c.options.proxies {
		p.proxy = newProxy(c.t, p.peer)
		p.peer = p.proxy.address
	}
	c.all = append(c.all, p)
	return p
}

func tail(s string, n int) string {
	if len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}

// startProcesses starts all nodes and waits until every one is ready.
func startProcesses(t *testing.T, o processOptions) *processes {
	t.Helper()
	c := newProcesses(t, o)
	c.start()
	c.waitReady()
	return c
}

func (c *processes) start() {
	for _, p := range c.nodes {
		p.start()
	}
}

func (c *processes) waitReady() {
	c.t.Helper()
	for _, p := range c.nodes {
		p.waitStatus("", healthpb.HealthCheckResponse_SERVING)
	}
}

func (c *processes) killAll() {
	for _, p := range c.nodes {
		p.signal(syscall.SIGKILL)
	}
	for _, p := range c.nodes {
		p.kill()
	}
}

func (c *processes) endpoints() []string {
	var e []string
	for _, p := range c.nodes {
		e = append(e, p.api)
	}
	return e
}

// client speaks to all nodes, or to those given.
func (c *processes) client(nodes ...*process) *client.Client {
	c.t.Helper()
	cfg := client.DefaultConfig()
	cfg.Endpoints, cfg.KeepOrder = c.endpoints(), true
	if len(nodes) > 0 {
		cfg.Endpoints = nil
		for _, p := range nodes {
			cfg.Endpoints = append(cfg.Endpoints, p.api)
		}
	}
	cfg.DialOptions = []grpc.DialOption{grpc.WithTransportCredentials(c.nodes[0].creds)}
	cl, err := client.New(cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { cl.Close() })
	return cl
}

// set writes until it is acknowledged. On a busy machine a leader may change at any moment, and the
// outcome of a write then be unknown; these writes may be repeated.
func (c *processes) set(service string, s client.Status, nodes ...*process) {
	c.t.Helper()
	cl := c.client(nodes...)
	eventually(c.t, fmt.Sprintf("set %s %s", service, s), func(ctx context.Context) bool {
		_, err := cl.Set(ctx, service, s, client.WriteOptions{})
		return err == nil
	})
}

// leader waits until a node leads and returns it.
func (c *processes) leader() *process {
	c.t.Helper()
	var leader *process
	eventually(c.t, "a leader", func(ctx context.Context) bool {
		for _, p := range c.nodes {
			if p.running() && p.check(ctx, rollcallv1.OwnLeader) == healthpb.HealthCheckResponse_SERVING {
				leader = p
				return true
			}
		}
		return false
	})
	return leader
}

func (c *processes) others(p *process) []*process {
	var o []*process
	for _, q := range c.nodes {
		if q != p {
			o = append(o, q)
		}
	}
	return o
}

func (p *process) command() *exec.Cmd {
	args := []string{"serve", "--node", p.name, "--data", p.data, "--http", p.http, "--api-listen", p.api, "--peer-listen", p.peerListen}
	if len(p.join) > 0 {
		args = append(args, "--join", strings.Join(p.join, ","), "--advertise-api", p.api, "--advertise-peer", p.peer)
		if p.replica {
			args = append(args, "--replica")
		}
	} else {
		for _, m := range p.members {
			args = append(args, "--member", m)
		}
	}
	args = append(args, "--log-store", *logStore)
	args = append(args, p.args...)
	argv := append(append([]string{}, p.wrap...), binary)
	argv = append(argv, args...)
	cmd := exec.Command(argv[0], argv[1:]...)
	// A group of its own, so that a signal reaches what a wrapper started too.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

func (p *process) start() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		p.t.Fatalf("%s runs already", p.name)
	}
	cmd := p.command()
	cmd.Stdout, cmd.Stderr = p.log, p.log
	if err := cmd.Start(); err != nil {
		p.t.Fatalf("start %s: %v", p.name, err)
	}
	fmt.Fprintf(p.log, "=== started, pid %d\n", cmd.Process.Pid)
	p.cmd, p.exited = cmd, make(chan struct{})
	go func(exited chan struct{}) {
		err := cmd.Wait()
		fmt.Fprintf(p.log, "=== ended: %v\n", err)
		close(exited)
	}(p.exited)
}

func (p *process) running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

func (p *process) signal(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		syscall.Kill(-p.cmd.Process.Pid, s)
	}
}

// kill is SIGKILL, and returns when the process is gone.
func (p *process) kill() { p.end(syscall.SIGKILL) }

// stop is SIGTERM, and returns when the process is gone.
func (p *process) stop() { p.end(syscall.SIGTERM) }

func (p *process) end(s syscall.Signal) {
	p.t.Helper()
	p.signal(s)
	p.waitExit()
}

// waitExit returns the exit status of a process that ends by itself.
func (p *process) waitExit() int {
	p.t.Helper()
	p.mu.Lock()
	cmd, exited := p.cmd, p.exited
	p.mu.Unlock()
	if cmd == nil {
		return 0
	}
	select {
	case <-exited:
	case <-time.After(patience):
		log := tail(p.log.String(), 4000)
		syscall.Kill(-cmd.Process.Pid, syscall.SIGQUIT)
		<-exited
		p.t.Fatalf("%s did not end; its log:\n%s\n%s", p.name, log, tail(p.log.String(), 20000))
	}
	p.mu.Lock()
	p.cmd = nil
	p.mu.Unlock()
	return cmd.ProcessState.ExitCode()
}

// redialSoon has a client of a node that is down back soon after its start, and idle meanwhile.
var redialSoon = backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1, MaxDelay: 20 * time.Millisecond}

// dial returns a plain connection to this node alone: a stock client.
func (p *process) dial() *grpc.ClientConn {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn == nil {
		conn, err := grpc.NewClient(p.api,
			grpc.WithTransportCredentials(p.creds),
			grpc.WithConnectParams(grpc.ConnectParams{Backoff: redialSoon, MinConnectTimeout: time.Second}))
		if err != nil {
			p.t.Fatal(err)
		}
		p.conn = conn
	}
	return p.conn
}

// check answers UNKNOWN for any error.
func (p *process) check(ctx context.Context, service string) healthpb.HealthCheckResponse_ServingStatus {
	resp, err := healthpb.NewHealthClient(p.dial()).Check(ctx, &healthpb.HealthCheckRequest{Service: service}, grpc.WaitForReady(true))
	if err != nil {
		return healthpb.HealthCheckResponse_UNKNOWN
	}
	return resp.GetStatus()
}

func (p *process) waitStatus(service string, want healthpb.HealthCheckResponse_ServingStatus) {
	p.t.Helper()
	eventually(p.t, fmt.Sprintf("%q %s on %s", service, want, p.name), func(ctx context.Context) bool {
		if !p.running() {
			p.t.Fatalf("%s is not running; its log:\n%s", p.name, tail(p.log.String(), 4000))
		}
		return p.check(ctx, service) == want
	})
}

// eventually asks again until it holds. It polls where nothing can be waited on: another process. What costs much to
// ask, like a command, is asked more seldom.
func eventually(t *testing.T, what string, holds func(ctx context.Context) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		attempt, done := context.WithTimeout(ctx, 2*time.Second)
		begun := time.Now()
		ok := holds(attempt)
		took := time.Since(begun)
		done()
		if ok {
			return
		}
		select {
		case <-time.After(min(max(20*time.Millisecond, 2*took), 200*time.Millisecond)):
		case <-ctx.Done():
			t.Fatalf("waited %s for %s", patience, what)
		}
	}
}
