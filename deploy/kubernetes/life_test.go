package kubernetes_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	patience  = time.Minute
	condition = "example.com/rollcall"
)

// TestPodLife plays Kubernetes to a pod of the manifests of sidecar: the agent is the real program with the arguments, the
// variables and the file of the manifests, the registry is real nodes, and the API server has HTTPS, the Role of the
// manifests and Kubernetes' own patches.
func TestPodLife(t *testing.T) {
	if testing.Short() {
		t.Skip("needs processes")
	}
	p := newPodLife(t)
	agent, program := p.spec.InitContainers[0], p.spec.Containers[0]

	// The agent starts before the program, and says so: the check fails, the gate is closed.
	p.kubelet.start(agent, process(p.binary, p.agentArgs, p.agentEnv, p.log))
	p.wait("the agent has started", func(*corev1.Pod) bool { return p.kubelet.look(agent.Name).started })
	p.condition(corev1.ConditionFalse)
	pod, _ := p.api.get()
	if c := conditionOf(pod, condition); c.Reason != "NotServing" || c.LastTransitionTime.IsZero() {
		t.Errorf("the condition is %+v", c)
	}

	// The program starts, and the pod becomes ready.
	p.kubelet.start(program, p.program.run)
	p.ready(true)

	// One switch takes the pod out of its Services, and another brings it back. Nothing is restarted.
	p.rollcall("override", "set", "orders/*", "not_serving", "--reason", "disk swap", "--forever")
	p.ready(false)
	pod, _ = p.api.get()
	if c := conditionOf(pod, condition); c.Status != corev1.ConditionFalse || !strings.Contains(c.Message, "disk swap") {
		t.Errorf("the condition is %+v", c)
	}
	if conditionOf(pod, corev1.ContainersReady).Status != corev1.ConditionTrue {
		t.Error("the flip reaches a probe of a container")
	}
	if code, body := p.get("/readyz/orders"); code != http.StatusServiceUnavailable || !strings.Contains(body, "disk swap") {
		t.Errorf("a readiness probe of the agent is answered %d, %q", code, body)
	}
	p.rollcall("override", "clear", "orders/*")
	p.ready(true)
	if code, _ := p.get("/readyz/orders"); code != http.StatusOK {
		t.Errorf("a readiness probe of the agent is answered %d", code)
	}
	p.rollcall("set", "orders", "not_serving")
	p.ready(false)
	p.rollcall("set", "orders", "serving")
	p.ready(true)

	// The program fails: its own probe and the gate say so. Then it works again.
	p.program.broken.Store(true)
	p.ready(false)
	p.condition(corev1.ConditionFalse)
	p.program.broken.Store(false)
	p.ready(true)

	// The API server is away: what stands, stands. After it, the last word is written.
	p.api.set(http.StatusServiceUnavailable, 0)
	p.rollcall("set", "orders", "not_serving")
	p.eventually("requests that fail", func() bool { return len(p.api.failures(503)) > 2 })
	if pod, _ := p.api.get(); conditionOf(pod, condition).Status != corev1.ConditionTrue {
		t.Error("the condition changed without the API server")
	}
	p.api.set(0, 0)
	p.ready(false)
	p.rollcall("set", "orders", "serving")
	p.ready(true)

	// The API server asks for a pause.
	p.api.set(http.StatusTooManyRequests, 2)
	before := len(p.api.failures(429))
	begun := time.Now()
	p.rollcall("set", "orders", "not_serving")
	p.eventually("a request that is put off", func() bool { return len(p.api.failures(429)) == before+1 })
	p.api.set(0, 0)
	p.ready(false)
	if took := time.Since(begun); took < 2*time.Second {
		t.Errorf("Retry-After of 2 s: the next request came after %v", took)
	}

	// The token is replaced.
	p.api.rotate("token-2")
	p.rollcall("set", "orders", "serving")
	p.ready(true)
	if n := len(p.api.failures(401)); n != 0 {
		t.Errorf("%d requests had an old token", n)
	}

	// The agent is killed. The condition stands meanwhile, and its time of transition stays.
	pod, _ = p.api.get()
	stood := conditionOf(pod, condition)
	patches := p.api.written()
	p.kubelet.look(agent.Name).end(syscall.SIGKILL)
	p.wait("the agent to be started again", func(*corev1.Pod) bool { c := p.kubelet.look(agent.Name); return c.restarts == 1 && c.started })
	p.ready(true)
	p.eventually("the agent to look at the pod", func() bool { return p.metric("rollcall_agent_readiness_gate_status") == "1" })
	p.eventually("nothing to be left to write", func() bool { return p.metric("rollcall_agent_readiness_gate_pending_seconds") == "0" })
	if pod, _ = p.api.get(); conditionOf(pod, condition) != stood {
		t.Errorf("the restart changed the condition from %+v to %+v", stood, conditionOf(pod, condition))
	}
	if n := p.api.written(); n != patches {
		t.Errorf("the restart wrote %d patches", n-patches)
	}

	// What others wrote into the status is there.
	if c := conditionOf(pod, corev1.PodScheduled); c.Status != corev1.ConditionTrue {
		t.Errorf("the agent's patches have removed PodScheduled: %v", pod.Status.Conditions)
	}

	// The pod ends: preStop, the program, then the agent, which withdraws what it reported and leaves the condition.
	if err := p.kubelet.stop(program.Name, patience); err != nil {
		t.Error(err)
	}
	p.condition(corev1.ConditionFalse) // the agent still runs, and sees it
	patches = p.api.written()
	if err := p.kubelet.stop(agent.Name, agentEnd*time.Second); err != nil {
		t.Errorf("%v\n%s", err, p.log)
	}
	if n := p.api.written(); n != patches {
		t.Errorf("the end of the agent wrote %d patches", n-patches)
	}
	if out, err := exec.Command(p.binary, "get", p.instance, "-e", p.endpoint).CombinedOutput(); err == nil {
		t.Errorf("the instance was not withdrawn: %s", out)
	}
	if lines := p.log.lines("ended: "); !slices.Equal(lines, []string{"ended: signal: killed\n", "ended: <nil>\n"}) {
		t.Errorf("the agent ended with %q", lines)
	}
	if lines := p.log.lines(`"level":"ERROR"`); lines != nil {
		t.Errorf("errors of the agent: %s", lines)
	}
	if failed := p.kubelet.look(agent.Name).failed; failed != nil {
		t.Errorf("probes of the agent failed: %v", failed)
	}
	if c := p.kubelet.look(program.Name); c.restarts != 1 { // its end
		t.Errorf("the program was restarted: %v", c.failed)
	}
	if n := len(p.api.failures(403)) + len(p.api.failures(404)) + len(p.api.failures(409)) + len(p.api.failures(415)) + len(p.api.failures(400)); n > 0 {
		t.Errorf("%d requests were wrong: %v", n, p.api.requests)
	}
}

// TestPodIsGone: the pod is deleted by force while its agent still runs, and perhaps another one has its name. The agent
// goes on without it.
func TestPodIsGone(t *testing.T) {
	if testing.Short() {
		t.Skip("needs processes")
	}
	for _, tc := range []struct {
		name string
		end  func(*apiServer)
	}{
		{"deleted", (*apiServer).delete},
		{"replaced", func(a *apiServer) { a.replace("7c1d4e2f-0000-4000-8000-00000000cafe") }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newPodLife(t)
			agent, program := p.spec.InitContainers[0], p.spec.Containers[0]
			p.kubelet.start(agent, process(p.binary, p.agentArgs, p.agentEnv, p.log))
			p.kubelet.start(program, p.program.run)
			p.ready(true)
			tc.end(p.api)
			p.rollcall("set", "orders", "not_serving")
			p.eventually("the agent to learn it", func() bool { return len(p.log.lines("the pod is deleted")) == 1 })
			requests := p.api.count()
			for _, status := range []string{"serving", "not_serving"} {
				p.rollcall("set", "orders", status)
				want := map[string]string{"serving": "1", "not_serving": "0"}[status]
				p.eventually("the agent to hear "+status, func() bool { return p.metric("rollcall_agent_readiness_gate_status") == want })
			}
			if n := p.api.count(); n != requests {
				t.Errorf("%d requests for a pod that is gone", n-requests)
			}
			if pod, _ := p.api.get(); pod != nil && conditionOf(pod, condition).Status != "" {
				t.Errorf("another pod of the name has the condition %+v", conditionOf(pod, condition))
			}
			for _, level := range []string{`"level":"ERROR"`, `"level":"WARN"`} {
				for _, line := range p.log.lines(level) {
					if strings.Contains(line, "pod") {
						t.Errorf("not quiet: %s", line)
					}
				}
			}
		})
	}
}

// failures are the requests that were answered with a code.
func (a *apiServer) failures(code int) (found []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range a.requests {
		if strings.HasSuffix(r, " "+strconv.Itoa(code)) {
			found = append(found, r)
		}
	}
	return found
}

// written counts the patches.
func (a *apiServer) written() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.patches)
}

// podLife is a pod of the manifests of sidecar, and what is around it.
type podLife struct {
	t         *testing.T
	binary    string
	api       *apiServer
	kubelet   *kubelet
	spec      corev1.PodSpec
	program   *program
	log       *output // of the agent
	agentArgs []string
	agentEnv  []string
	endpoint  string // of the registry
	instance  string // SERVICE/INSTANCE
	http      string // address of the agent
}

func newPodLife(t *testing.T) *podLife {
	t.Helper()
	m, err := decode(readTree(t))
	if err != nil {
		t.Fatal(err)
	}
	k := slices.IndexFunc(m.workloads, func(w workload) bool { return w.name == "orders" })
	w := m.workloads[k]
	rules, err := m.rulesOf(w)
	if err != nil {
		t.Fatal(err)
	}
	p := &podLife{t: t, binary: build(t), log: &output{}, spec: w.template.Spec}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "rollcall", Name: "orders-6d5f7c9b8-x7k2p", UID: "2f6a3b1c-0000-4000-8000-00000000beef", Labels: w.template.Labels}, Spec: p.spec}
	pod.Status = corev1.PodStatus{Phase: corev1.PodPending, PodIP: "127.0.0.1", Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}}}
	p.api = newAPIServer(t, pod, rules)

	ports := freePorts(t, 4)
	agent := p.spec.InitContainers[0]
	at := map[int32]int{7612: ports[0], 7610: ports[1], 8080: ports[2]}
	p.program = &program{address: fmt.Sprintf("127.0.0.1:%d", at[8080])}
	p.http = fmt.Sprintf("127.0.0.1:%d", at[7612])
	p.endpoint = registry(t, p.binary, ports[3])
	p.instance = "orders/" + p.program.address

	// The file of the ConfigMap, with ports and places of this machine.
	text := ""
	for _, c := range m.configs {
		text = c.Data["agent.yaml"]
	}
	for from, to := range at {
		text = strings.ReplaceAll(text, fmt.Sprint(from), fmt.Sprint(to))
	}
	for i, from := range []string{"rollcall-0.rollcall-nodes:7600", "rollcall-1.rollcall-nodes:7600", "rollcall-2.rollcall-nodes:7600"} {
		to := p.endpoint
		if i > 0 {
			from, to = "    - "+from+"\n", "" // the registry of this test has one node
		}
		if !strings.Contains(text, from) {
			t.Fatalf("the file has no %q:\n%s", from, text)
		}
		text = strings.Replace(text, from, to, 1)
	}
	text = strings.ReplaceAll(text, "interval: 2s", fmt.Sprintf("interval: %v", 2*time.Second/faster))
	text += "kubernetes:\n  service_account: " + p.api.dir + "\n"
	path := filepath.Join(t.TempDir(), "agent.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}

	// Variables and arguments as the kubelet makes them.
	fields := map[string]string{"status.podIP": pod.Status.PodIP, "metadata.name": pod.Name, "metadata.uid": string(pod.UID)}
	host, port := p.api.address()
	p.agentEnv = []string{"KUBERNETES_SERVICE_HOST=" + host, "KUBERNETES_SERVICE_PORT=" + port}
	expand := strings.NewReplacer(":8080", fmt.Sprintf(":%d", at[8080]), "/etc/rollcall/agent.yaml", path)
	for _, arg := range agent.Args {
		for _, v := range agent.Env {
			value, ok := fields[v.ValueFrom.FieldRef.FieldPath]
			if !ok {
				t.Fatalf("%s: this kubelet does not know %s", v.Name, v.ValueFrom.FieldRef.FieldPath)
			}
			arg = strings.ReplaceAll(arg, "$("+v.Name+")", value)
		}
		p.agentArgs = append(p.agentArgs, expand.Replace(arg))
	}
	for _, v := range agent.Env {
		p.agentEnv = append(p.agentEnv, v.Name+"="+fields[v.ValueFrom.FieldRef.FieldPath])
	}
	p.kubelet = newKubelet(t, p.api, p.spec, at)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the agent's log:\n%s", p.log)
			t.Logf("patches: %s\nrequests: %v\nready: %v", p.api.patches, p.api.requests, p.kubelet.history())
		}
	})
	return p
}

// freePorts returns ports that nobody listens at, each with the two after it.
func freePorts(t *testing.T, n int) (ports []int) {
	t.Helper()
	for at := 21000 + os.Getpid()%1000*10; len(ports) < n; at += 3 {
		free := at < 65000
		for i := range 3 {
			l, err := net.Listen("tcp", fmt.Sprintf(":%d", at+i))
			if free = free && err == nil; err == nil {
				l.Close()
			}
		}
		if at >= 65000 {
			t.Fatal("no port is free")
		}
		if free {
			ports = append(ports, at)
		}
	}
	return ports
}

// registry runs a registry of one node, at a port and the two after it, until the test ends. It returns its endpoint.
func registry(t *testing.T, binary string, port int) string {
	t.Helper()
	log := &output{}
	end, exited, err := process(binary, []string{"dev", "--nodes=1", "--base-port=" + strconv.Itoa(port), "--data=" + filepath.Join(t.TempDir(), "dev")}, os.Environ(), log)()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end(syscall.SIGINT); <-exited })
	endpoint := fmt.Sprintf("127.0.0.1:%d", port)
	if out, err := exec.Command(binary, "status", "--wait", patience.String(), "-e", endpoint).CombinedOutput(); err != nil {
		t.Fatalf("the registry: %v\n%s\n%s", err, out, log)
	}
	return endpoint
}

// rollcall runs a command against the registry.
func (p *podLife) rollcall(args ...string) {
	p.t.Helper()
	if out, err := exec.Command(p.binary, append(args, "-e", p.endpoint)...).CombinedOutput(); err != nil {
		p.t.Fatalf("rollcall %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// wait waits until the pod, or what the kubelet knows of it, is as said.
func (p *podLife) wait(what string, holds func(*corev1.Pod) bool) {
	p.t.Helper()
	p.eventually(what, func() bool {
		pod, _ := p.api.get()
		return holds(pod)
	})
}

func (p *podLife) ready(want bool) {
	p.t.Helper()
	status := map[bool]corev1.ConditionStatus{true: corev1.ConditionTrue, false: corev1.ConditionFalse}[want]
	p.wait(fmt.Sprintf("the pod to be ready: %v", want), func(pod *corev1.Pod) bool { return conditionOf(pod, corev1.PodReady).Status == status })
}

func (p *podLife) condition(want corev1.ConditionStatus) {
	p.t.Helper()
	p.wait("the condition to be "+string(want), func(pod *corev1.Pod) bool { return conditionOf(pod, condition).Status == want })
}

// eventually asks until it holds. It polls where nothing can be waited on: another process.
func (p *podLife) eventually(what string, holds func() bool) {
	p.t.Helper()
	over := time.NewTimer(patience)
	defer over.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-over.C:
			p.t.Fatalf("waited %v for %s", patience, what)
		case <-tick.C:
		}
	}
}

// get asks the agent's HTTP port.
func (p *podLife) get(path string) (int, string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.http+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, ""
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, ""
	}
	return answer.StatusCode, string(b)
}

// metric is the value of a metric of the agent, "" if it has none.
func (p *podLife) metric(name string) string {
	p.t.Helper()
	_, body := p.get("/metrics")
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, name+"{") {
			fields := strings.Fields(line)
			return fields[len(fields)-1]
		}
	}
	return ""
}

// program is the program of the pod, which serves /healthz.
type program struct {
	address string
	broken  atomic.Bool
}

// run runs it until a signal.
func (s *program) run() (func(syscall.Signal), <-chan struct{}, error) {
	l, err := net.Listen("tcp", s.address)
	if err != nil {
		return nil, nil, err
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.broken.Load() {
			http.Error(w, "the database is away", http.StatusInternalServerError)
		}
	})}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		_ = server.Serve(l)
	}()
	return func(syscall.Signal) { server.Close() }, exited, nil
}
