package examples

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"github.com/rollcallhq/rollcall/client"
)

// patience bounds every wait. Only a hang reaches it.
const patience = 60 * time.Second

var (
	bin       string // where rollcall and the examples are
	endpoints []string
	registry  *client.Client
)

// TestMain builds rollcall and all examples, and runs "rollcall dev", which all tests share.
func TestMain(m *testing.M) {
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	dir, err := os.MkdirTemp("", "rollcall-examples-")
	if err != nil {
		return fail(err)
	}
	defer os.RemoveAll(dir)
	bin = filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		return fail(err)
	}
	for _, build := range []struct{ in, pkg string }{{"..", "./cmd/rollcall"}, {".", "./..."}} {
		cmd := exec.Command("go", "build", "-o", bin+string(filepath.Separator), build.pkg)
		cmd.Dir = build.in
		if out, err := cmd.CombinedOutput(); err != nil {
			return fail(fmt.Errorf("go build %s in %s: %w\n%s", build.pkg, build.in, err, out))
		}
	}
	base, err := freePorts(30)
	if err != nil {
		return fail(err)
	}
	dev := exec.Command(filepath.Join(bin, "rollcall"), "dev", "--data", filepath.Join(dir, "dev"), "--base-port", strconv.Itoa(base))
	log := &buffer{}
	dev.Stdout, dev.Stderr = log, log
	if err := dev.Start(); err != nil {
		return fail(err)
	}
	defer func() {
		dev.Process.Signal(syscall.SIGINT)
		dev.Wait()
	}()
	config := client.DefaultConfig()
	config.Endpoints = nil
	for node := range 3 {
		config.Endpoints = append(config.Endpoints, address(base+10*node))
	}
	endpoints = config.Endpoints
	if registry, err = client.New(config); err != nil {
		return fail(err)
	}
	defer registry.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		if s, err := registry.ClusterStatus(ctx); err == nil && s.GetWritable() {
			break
		}
		select {
		case <-ctx.Done():
			return fail(fmt.Errorf("rollcall dev is not ready:\n%s", log))
		case <-time.After(50 * time.Millisecond):
		}
	}
	return m.Run()
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// freePorts returns the first of n ports in a row that nobody uses.
func freePorts(n int) (int, error) {
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return 0, err
		}
		first := l.Addr().(*net.TCPAddr).Port
		l.Close()
		if first+n > 65535 {
			continue
		}
		free := true
		for port := first; port < first+n && free; port++ {
			if l, err := net.Listen("tcp", address(port)); err != nil {
				free = false
			} else {
				l.Close()
			}
		}
		if free {
			return first, nil
		}
	}
	return 0, fmt.Errorf("no %d free ports in a row", n)
}

func freeAddress(t *testing.T) string {
	t.Helper()
	port, err := freePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	return address(port)
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// program is an example that runs.
type program struct {
	t    *testing.T
	name string
	cmd  *exec.Cmd
	log  buffer
}

// start runs an example, with the registry's endpoints unless it has none.
func start(t *testing.T, name string, args ...string) *program {
	t.Helper()
	p := &program{t: t, name: name, cmd: exec.Command(filepath.Join(bin, name), args...)}
	p.cmd.Dir = t.TempDir()
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			p.cmd.Process.Kill()
			p.cmd.Wait()
		}
		if t.Failed() {
			t.Logf("--- %s %v\n%s", name, args, p.log.String())
		}
	})
	return p
}

func registryFlag() string { return "-registry=" + strings.Join(endpoints, ",") }

// stop interrupts it, and wants exit status 0.
func (p *program) stop() {
	p.t.Helper()
	p.cmd.Process.Signal(syscall.SIGINT)
	hung := time.AfterFunc(patience, func() { p.cmd.Process.Signal(syscall.SIGQUIT) })
	defer hung.Stop()
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("%s: %v", p.name, err)
	}
}

// lines are those of its log after the first n bytes.
func (p *program) lines(n int) []string {
	var lines []string
	for s := bufio.NewScanner(strings.NewReader(p.log.String()[n:])); s.Scan(); {
		lines = append(lines, s.Text())
	}
	return lines
}

// calls waits until ten calls in a row were answered by exactly these instances; by none: until ten failed.
func (p *program) calls(instances ...string) {
	p.t.Helper()
	from := len(p.log.String())
	var got string
	eventually(p.t, func() bool {
		lines := p.lines(from)
		if len(lines) < 10 {
			return false
		}
		lines = lines[max(0, len(lines)-11) : len(lines)-1] // the last one may not be complete
		got = strings.Join(lines, "\n")
		rest := got
		for _, i := range instances {
			if !strings.Contains(got, i+" has a book") {
				return false
			}
			rest = strings.ReplaceAll(rest, i+" has a book", "")
		}
		if len(instances) == 0 {
			return strings.Count(got, "failed: ") == len(lines)
		}
		return !strings.Contains(rest, "has a book") && !strings.Contains(rest, "failed: ")
	}, func() string { return fmt.Sprintf("%s to call exactly %v; it last did:\n%s", p.name, instances, got) })
}

// neverFailed wants no call that failed.
func (p *program) neverFailed() {
	p.t.Helper()
	if strings.Contains(p.log.String(), "failed: ") {
		p.t.Errorf("calls of %s failed", p.name)
	}
}

func eventually(t *testing.T, holds func() bool, what func() string) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	end := time.NewTimer(patience)
	defer end.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-end.C:
			t.Fatalf("waited %s for %s", patience, what())
		}
	}
}

func set(t *testing.T, service string, s client.Status) {
	t.Helper()
	var err error
	eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err = registry.Set(ctx, service, s, client.WriteOptions{})
		return err == nil
	}, func() string { return fmt.Sprintf("set %s: %v", service, err) })
}

// shows waits until the registry says something of a service.
func shows(t *testing.T, service string, want client.Status) {
	t.Helper()
	var got client.Status
	var err error
	eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		got, err = registry.Check(ctx, service)
		return err == nil && got == want
	}, func() string { return fmt.Sprintf("%s to be %s; it is %s, %v", service, want, got, err) })
}

// startService runs the example service, and waits until the registry has its report.
func startService(t *testing.T, service string) (p *program, instance, database string) {
	t.Helper()
	instance, database = freeAddress(t), filepath.Join(t.TempDir(), "orders.db")
	p = start(t, "service", registryFlag(), "-service="+service, "-instance="+instance, "-database="+database)
	shows(t, service+"/"+instance, client.Serving)
	return p, instance, database
}

// TestServiceAndClient: an operator switches cells; the database of one fails; one stops in order. No call fails.
func TestServiceAndClient(t *testing.T) {
	t.Parallel()
	_, a, database := startService(t, "first-a/checkout")
	stopping, b, _ := startService(t, "first-b/checkout")
	caller := start(t, "client", "-servers="+a+","+b)
	caller.calls(a, b)
	set(t, "first-a/checkout", client.NotServing)
	caller.calls(b)
	set(t, "first-a/checkout", client.Serving)
	caller.calls(a, b)

	// A lock that nobody gives back: the check fails three times, and the instance takes itself out.
	db, err := sql.Open("sqlite", database)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	eventually(t, func() bool {
		_, err = conn.ExecContext(t.Context(), "BEGIN EXCLUSIVE")
		return err == nil
	}, func() string { return fmt.Sprint("the lock: ", err) })
	locked := len(caller.log.String())
	caller.calls(b)
	shows(t, "first-a/checkout/"+a, client.NotServing)
	shows(t, "first-a/checkout", client.Serving) // nobody but operators writes that
	for _, line := range caller.lines(locked) {
		if strings.Contains(line, "failed: ") && !strings.Contains(line, "locked") { // the lock fails orders, too, until the check turns
			t.Error(line)
		}
	}
	if _, err := conn.ExecContext(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	caller.calls(a, b)
	unlocked := len(caller.log.String())
	stopping.stop()
	caller.calls(a)
	shows(t, "first-b/checkout/"+b, client.NotServing)
	for _, line := range caller.lines(unlocked) {
		if strings.Contains(line, "failed: ") {
			t.Error(line)
		}
	}
	caller.stop()
}

func TestManager(t *testing.T) {
	t.Parallel()
	var partnerIll atomic.Bool
	partner := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if partnerIll.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer partner.Close()
	database, page := filepath.Join(t.TempDir(), "orders.db"), freeAddress(t)
	p := start(t, "manager", registryFlag(), "-service=managed", "-listen="+freeAddress(t), "-page="+page, "-database="+database, "-partner="+partner.URL, "-every=100ms")
	shows(t, "managed/orders", client.Serving)
	get := func(path string) string {
		r, err := http.Get("http://" + page + path)
		if err != nil {
			return err.Error()
		}
		defer r.Body.Close()
		b, _ := io.ReadAll(r.Body)
		return string(b)
	}
	contains := func(path string, want ...string) {
		t.Helper()
		var got string
		eventually(t, func() bool {
			got = get(path)
			for _, w := range want {
				if !strings.Contains(got, w) {
					return false
				}
			}
			return true
		}, func() string { return fmt.Sprintf("%q in %s:\n%s", want, path, got) })
	}
	contains("/", "business", "database", "partner", "disk", "memory", "goroutines")
	partnerIll.Store(true)
	contains("/metrics", `grpc_health_check_status{service="partner"} 0`, `grpc_health_check_status{service="orders"} 1`,
		`grpc_health_check_duration_seconds_count{service="database",status="SERVING"}`)

	db, err := sql.Open("sqlite", database)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	put := func(query string) {
		t.Helper()
		eventually(t, func() bool {
			_, err = db.ExecContext(t.Context(), query)
			return err == nil
		}, func() string { return fmt.Sprint(query, ": ", err) })
	}
	const orders = "INSERT INTO orders WITH RECURSIVE n(i) AS (SELECT 1 UNION SELECT i+1 FROM n WHERE i < %d) SELECT 'a book', false FROM n"
	put(fmt.Sprintf(orders, 11))
	contains("/", "11 orders are not paid") // a warning turns nothing
	shows(t, "managed/orders", client.Serving)
	put(fmt.Sprintf(orders, 90))
	shows(t, "managed/orders", client.NotServing)
	contains("/metrics", `grpc_health_check_status{service="orders"} 0`, `grpc_health_check_status{service="business"} 0`, `grpc_health_check_status{service="database"} 1`)
	put("UPDATE orders SET paid = true")
	shows(t, "managed/orders", client.Serving)
	p.stop()
	shows(t, "managed/orders", client.NotServing)
}

func TestResolver(t *testing.T) {
	t.Parallel()
	_, a1, _ := startService(t, "found-a/checkout")
	a2, a2at, _ := startService(t, "found-a/checkout")
	_, b, _ := startService(t, "found-b/checkout")
	caller := start(t, "resolver", registryFlag(), "-first=found-a/checkout", "-second=found-b/checkout")
	caller.calls(a1, a2at)
	set(t, "found-a/checkout", client.NotServing)
	caller.calls(b)
	set(t, "found-a/checkout", client.Serving)
	caller.calls(a1, a2at)
	a2.stop()
	caller.calls(a1)
	caller.neverFailed()
	caller.stop()
}

func TestTiers(t *testing.T) {
	t.Parallel()
	_, near1, _ := startService(t, "tier/near")
	_, near2, _ := startService(t, "tier/near")
	_, far, _ := startService(t, "tier/far")
	caller := start(t, "tiers", "-near="+near1+","+near2, "-far="+far)
	caller.calls(near1, near2)
	set(t, "tier/near", client.NotServing)
	caller.calls(far)
	set(t, "tier/near", client.Serving)
	caller.calls(near1, near2)
	caller.neverFailed()
	caller.stop()
}

func TestAware(t *testing.T) {
	t.Parallel()
	_, server, _ := startService(t, "aware-server") // of which the caller knows only the address
	caller := start(t, "aware", registryFlag(), "-service=aware-checkout", "-server="+server)
	caller.calls(server)
	set(t, "aware-checkout", client.NotServing)
	caller.calls()
	if !strings.Contains(caller.log.String(), "Unavailable") {
		t.Error("calls are not refused with UNAVAILABLE")
	}
	set(t, "aware-checkout", client.Serving)
	caller.calls(server)
	caller.stop()
}

func TestGate(t *testing.T) {
	t.Parallel()
	at := freeAddress(t)
	server := start(t, "gate", registryFlag(), "-service=gated", "-instance="+at)
	// A caller that checks no health: the name that its view knows of is never switched off.
	caller := start(t, "aware", registryFlag(), "-service=nobody", "-server="+at)
	caller.calls(at)
	set(t, "gated", client.NotServing)
	caller.calls()
	set(t, "gated", client.Serving)
	caller.calls(at)
	caller.stop()
	server.stop()
}

func TestNode(t *testing.T) {
	t.Parallel()
	set(t, "noded", client.Serving)
	for _, e := range endpoints { // all of them know
		config := client.DefaultConfig()
		config.Endpoints = []string{e}
		c, err := client.New(config)
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, func() bool {
			s, err := c.Check(t.Context(), "noded")
			return err == nil && s == client.Serving
		}, func() string { return "noded on " + e })
		c.Close()
	}
	p := start(t, "node", registryFlag(), "-service=noded", "-times=30")
	if err := p.cmd.Wait(); err != nil {
		t.Error(err)
	}
	for _, e := range endpoints {
		if !strings.Contains(p.log.String(), e+" says SERVING\n") {
			t.Errorf("%s was not asked:\n%s", e, p.log.String())
		}
	}
}
