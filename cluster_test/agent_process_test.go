package cluster_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

// agentProcess is "rollcall agent". Its file and its addresses outlive it.
type agentProcess struct {
	t          *testing.T
	file       string
	grpc, http string
	head       string   // of the file: all but the services
	env        []string // further variables
	cmd        *exec.Cmd
	log        *syncBuffer
	conn       *grpc.ClientConn
}

// newAgent makes an agent of these endpoints, which does not run yet.
func newAgent(t *testing.T, endpoints []string, instance string, settings ...string) *agentProcess {
	t.Helper()
	needProcesses(t)
	a := &agentProcess{t: t, file: filepath.Join(t.TempDir(), "agent.yaml"), grpc: freePort(t), http: freePort(t), log: &syncBuffer{}}
	var list []string
	for _, e := range endpoints {
		list = append(list, fmt.Sprintf("%q", e))
	}
	a.head = fmt.Sprintf("cluster: { endpoints: [%s] }\ninstance: %s\nlisten: { grpc: \"%s\", http: \"%s\" }\n%s\n",
		strings.Join(list, ", "), instance, a.grpc, a.http, strings.Join(settings, "\n"))
	conn, err := grpc.NewClient(a.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithConnectParams(reconnect))
	if err != nil {
		t.Fatal(err)
	}
	a.conn = conn
	t.Cleanup(func() {
		a.kill()
		conn.Close()
		if t.Failed() {
			t.Logf("--- log of the agent\n%s", tail(a.log.String(), 6000))
		}
	})
	return a
}

// write writes the file.
func (a *agentProcess) write(services string) {
	a.t.Helper()
	must(a.t, os.WriteFile(a.file, []byte(a.head+services), 0o600))
}

func (a *agentProcess) start() {
	a.t.Helper()
	a.cmd = exec.Command(binary, "agent", "--config", a.file)
	a.cmd.Env = append(os.Environ(), a.env...)
	a.cmd.Stdout, a.cmd.Stderr = a.log, a.log
	must(a.t, a.cmd.Start())
}

// kill is SIGKILL.
func (a *agentProcess) kill() {
	if a.cmd != nil {
		a.cmd.Process.Kill()
		a.cmd.Wait()
		a.cmd = nil
	}
}

// stop ends it in order.
func (a *agentProcess) stop() {
	a.t.Helper()
	a.signal(syscall.SIGTERM)
	if err := a.cmd.Wait(); err != nil {
		a.t.Errorf("an agent that was to stop: %v", err)
	}
	a.cmd = nil
}

func (a *agentProcess) signal(s syscall.Signal) {
	a.t.Helper()
	must(a.t, a.cmd.Process.Signal(s))
}

// logged counts the lines of the log with a text.
func (a *agentProcess) logged(text string) int { return strings.Count(a.log.String(), text) }

// hangup has the agent read its file again, and returns when it has.
func (a *agentProcess) hangup(says string) {
	a.t.Helper()
	before := a.logged(says)
	a.signal(syscall.SIGHUP)
	eventually(a.t, fmt.Sprintf("the agent to say %q", says), func(context.Context) bool { return a.logged(says) > before })
}

const (
	readAgain = "the configuration file was read again"
	notTaken  = "the configuration file is not taken"
)

// check asks as stock clients do.
func (a *agentProcess) check(ctx context.Context, service string) (client.Status, error) {
	r, err := healthpb.NewHealthClient(a.conn).Check(ctx, &healthpb.HealthCheckRequest{Service: service}, grpc.WaitForReady(true))
	return r.GetStatus(), err
}

// shows waits until stock clients, and probes, learn a status.
func (a *agentProcess) shows(service string, s client.Status) {
	a.t.Helper()
	eventually(a.t, fmt.Sprintf("the agent to show %s %s", service, s), func(ctx context.Context) bool {
		got, err := a.check(ctx, service)
		return err == nil && got == s
	})
	code, body := a.get("/readyz/" + service)
	if want := map[bool]int{true: http.StatusOK, false: http.StatusServiceUnavailable}[s == serving]; code != want {
		a.t.Errorf("%s is %s, and a readiness probe gets %d: %s", service, s, code, body)
	}
}

func (a *agentProcess) get(path string) (int, string) {
	a.t.Helper()
	return a.request(http.MethodGet, path, "")
}

func (a *agentProcess) request(method, path, body string) (int, string) {
	a.t.Helper()
	r, err := http.NewRequest(method, "http://"+a.http+path, strings.NewReader(body))
	must(a.t, err)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		a.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	must(a.t, err)
	return answer.StatusCode, string(text)
}

// localClient is a stock client of an agent: it asks for a service all the time, and watches it.
type localClient struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
	asked  atomic.Int64

	mu     sync.Mutex // guards the rest
	failed []error
	saw    []client.Status // by Watch
}

func (a *agentProcess) localClient(service string) *localClient {
	a.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := &localClient{cancel: cancel}
	began := make(chan struct{})
	l.wg.Go(func() {
		stream, err := healthpb.NewHealthClient(a.conn).Watch(ctx, &healthpb.HealthCheckRequest{Service: service})
		for err == nil {
			var m *healthpb.HealthCheckResponse
			if m, err = stream.Recv(); err == nil {
				l.mu.Lock()
				if l.saw = append(l.saw, m.GetStatus()); len(l.saw) == 1 {
					close(began)
				}
				l.mu.Unlock()
			}
		}
		if ctx.Err() == nil {
			l.fails(fmt.Errorf("the Watch ended: %w", err))
		}
	})
	l.wg.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			s, err := a.check(ctx, service)
			switch {
			case ctx.Err() != nil:
			case err != nil:
				l.fails(err)
			case s != serving:
				l.fails(fmt.Errorf("Check answered %s", s))
			default:
				l.asked.Add(1)
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	})
	a.t.Cleanup(l.stop)
	select {
	case <-began:
	case <-time.After(patience):
		a.t.Fatal("a Watch of the agent begins with nothing")
	}
	return l
}

func (l *localClient) fails(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = append(l.failed, err)
}

func (l *localClient) stop() {
	l.cancel()
	l.wg.Wait()
}

// unmoved fails the test unless the client never saw anything but SERVING.
func (l *localClient) unmoved(t *testing.T) {
	t.Helper()
	l.stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.failed) > 0 {
		t.Errorf("%d calls failed; the first: %v", len(l.failed), l.failed[0])
	}
	if !slices.Equal(l.saw, []client.Status{serving}) {
		t.Errorf("a Watch saw %v", l.saw)
	}
	if l.asked.Load() == 0 {
		t.Error("no call was made")
	}
}

// program is a service's own HTTP port, with a health page that a test turns.
type program struct {
	*httptest.Server
	sick atomic.Bool
}

func newProgram(t *testing.T) *program {
	p := &program{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if p.sick.Load() {
			http.Error(w, "the database is away", http.StatusInternalServerError)
		}
	}))
	t.Cleanup(p.Close)
	return p
}

// reported waits until the registry has a status of the agent's instance of a service.
func (m *watchedMachine) reported(service string, s client.Status) *rollcallv1.ServiceRecord {
	m.t.Helper()
	return m.registered(service+"/"+agentInstance, s)
}

// registered waits until the registry has a report of a name.
func (m *watchedMachine) registered(name string, s client.Status) (r *rollcallv1.ServiceRecord) {
	m.t.Helper()
	eventually(m.t, fmt.Sprintf("%s to be reported as %s", name, s), func(ctx context.Context) bool {
		got, err := m.cl.Get(ctx, name)
		r = got.GetService()
		return err == nil && r.GetReport().GetStatus() == s
	})
	return r
}

func (m *watchedMachine) withdrawn(service string) {
	m.t.Helper()
	m.gone(service + "/" + agentInstance)
}

// gone waits until the registry has no such name.
func (m *watchedMachine) gone(name string) {
	m.t.Helper()
	eventually(m.t, name+" to be gone", func(ctx context.Context) bool {
		_, err := m.cl.Get(ctx, name)
		return status.Code(err) == codes.NotFound
	})
}

func (m *watchedMachine) override(name, reason string) {
	m.t.Helper()
	acked(m.t, "override "+name, func(ctx context.Context) error {
		_, err := m.cl.SetOverride(ctx, name, notServing, client.WriteOptions{Reason: reason, TTL: time.Hour})
		return err
	})
}

func (m *watchedMachine) resume(name string) {
	m.t.Helper()
	acked(m.t, "clear "+name, func(ctx context.Context) error {
		_, err := m.cl.ClearOverride(ctx, name, client.WriteOptions{AllowMissing: true})
		return err
	})
}

// revision is that of the registry now.
func (m *watchedMachine) revision() (revision int64) {
	m.t.Helper()
	eventually(m.t, "the revision", func(ctx context.Context) bool {
		for e, err := range m.cl.ListEvents(client.WithReadOptions(ctx, client.ReadOptions{Consistency: client.Linearizable}), client.ListEventsOptions{NewestFirst: true, PageSize: 1}) {
			revision = e.GetRevision()
			return err == nil
		}
		return false
	})
	return revision
}

// events are the statuses that were reported after a revision, of a name, or of all that begin with one that ends
// with a slash.
func (m *watchedMachine) events(after int64, name string) (saw []client.Status) {
	m.t.Helper()
	o := client.ListEventsOptions{From: after + 1, Service: name}
	if strings.HasSuffix(name, "/") {
		o.Service, o.Prefixes = "", []string{name}
	}
	eventually(m.t, "the events of "+name, func(ctx context.Context) bool {
		saw = nil
		for e, err := range m.cl.ListEvents(client.WithReadOptions(ctx, client.ReadOptions{Consistency: client.Linearizable}), o) {
			if err != nil {
				return false
			}
			saw = append(saw, e.GetStatus())
		}
		return true
	})
	return saw
}
