package cluster_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Pods on one machine: each is a process in network and mount namespaces of its own, with an address of its own on a bridge,
// and finds others by a DNS server that plays Kubernetes'. All of it is in namespaces that the test makes, and ends
// with them.

const (
	podGateway = "10.77.0.1"
	podDomain  = "default.svc.cluster.local"
)

// inNamespaces runs the calling test once more, in namespaces, and reports whether this is that run.
func inNamespaces(t *testing.T) bool {
	t.Helper()
	if os.Getenv(podsEnv) != "" {
		return true
	}
	needProcesses(t)
	if os.Getuid() != 0 {
		t.Skip("needs root, for namespaces")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("needs ip, of iproute2")
	}
	resolv := filepath.Join(t.TempDir(), "resolv.conf")
	text := "nameserver " + podGateway + "\nsearch " + podDomain + " svc.cluster.local cluster.local\noptions ndots:5\n"
	if err := os.WriteFile(resolv, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	setUp := `mount --bind "$1" /etc/resolv.conf && ip link set lo up && ip link add br0 type bridge &&
ip addr add ` + podGateway + `/16 dev br0 && ip link set br0 up || exit 77
shift; exec "$@"`
	ctx, cancel := context.WithTimeout(context.Background(), 10*patience)
	defer cancel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, "sh", "-c", setUp, "sh", resolv, self, "-test.run=^"+t.Name()+"$", "-test.v", "-log-store="+*logStore)
	cmd.Env = append(os.Environ(), podsEnv+"="+binary)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	switch {
	case cmd.ProcessState == nil || cmd.ProcessState.ExitCode() == 77:
		t.Skipf("no namespaces here: %v\n%s", err, out)
	case err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()):
		t.Errorf("in namespaces: %v\n%s", err, out)
	default:
		t.Logf("%s", out)
	}
	return false
}

// dns answers for the names that it was told, and says that no other exists.
type dns struct {
	mu    sync.Mutex
	names map[string]string
	asked map[string]int
}

func newDNS(t *testing.T) *dns {
	t.Helper()
	conn, err := net.ListenPacket("udp4", podGateway+":53")
	if err != nil {
		t.Fatal(err)
	}
	d := &dns{names: map[string]string{}, asked: map[string]int{}}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			if answer := d.answer(buf[:n]); answer != nil {
				conn.WriteTo(answer, from)
			}
		}
	}()
	t.Cleanup(func() { conn.Close(); <-ended })
	return d
}

func (d *dns) answer(request []byte) []byte {
	var q dnsmessage.Message
	if q.Unpack(request) != nil || len(q.Questions) != 1 {
		return nil
	}
	name := strings.TrimSuffix(q.Questions[0].Name.String(), ".")
	d.mu.Lock()
	ip, known := d.names[name]
	d.asked[name]++
	d.mu.Unlock()
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: q.ID, Response: true, Authoritative: true, RecursionDesired: q.RecursionDesired},
		Questions: q.Questions,
	}
	if !known {
		m.RCode = dnsmessage.RCodeNameError
	} else if q.Questions[0].Type == dnsmessage.TypeA {
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Questions[0].Name, Class: dnsmessage.ClassINET, TTL: 5},
			Body:   &dnsmessage.AResource{A: [4]byte(net.ParseIP(ip).To4())},
		}}
	}
	answer, err := m.Pack()
	if err != nil {
		return nil
	}
	return answer
}

// point has a pod's name lead to an address; "" takes the name away.
func (d *dns) point(pod, ip string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	name := pod + ".rollcall-nodes." + podDomain
	if ip == "" {
		delete(d.names, name)
		return
	}
	d.names[name] = ip
}

func (d *dns) wasAsked(pod string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asked[pod+".rollcall-nodes."+podDomain]
}

// pod is a node in namespaces of its own. Its volume outlives it, its address does not.
type pod struct {
	t            *testing.T
	name, volume string
	args         []string
	log          *syncBuffer
	ip           string
	cmd          *exec.Cmd
	exited       chan struct{}
	kubelet      *kubelet
}

// manifestArguments are the arguments of the container in the StatefulSet.
func manifestArguments(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "deploy", "kubernetes", "statefulset.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	_, after, ok := strings.Cut(string(b), "          args:\n")
	before, _, ok2 := strings.Cut(after, "          env:\n")
	var args []string
	for line := range strings.Lines(before) {
		if a, is := strings.CutPrefix(strings.TrimSpace(line), "- "); is {
			args = append(args, a)
		}
	}
	if !ok || !ok2 || len(args) < 10 || args[0] != "serve" {
		t.Fatalf("the arguments in the manifest: %v", args)
	}
	return args
}

// start runs the pod at an address: first its namespaces and its network, then the node.
func (p *pod) start(ip string) {
	p.t.Helper()
	args := []string{"-c", `read go && exec "$@"`, "sh", binary}
	for _, a := range p.args {
		a = strings.ReplaceAll(a, "$(POD_NAME)", p.name)
		args = append(args, strings.ReplaceAll(a, "/var/lib/rollcall", p.volume))
	}
	cmd := exec.Command("sh", append(args, "--log-store="+*logStore)...)
	cmd.Stdout, cmd.Stderr = p.log, p.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.ip, p.cmd, p.exited = ip, cmd, make(chan struct{})
	go func(exited chan struct{}) {
		cmd.Wait()
		close(exited)
	}(p.exited)
	pid := strconv.Itoa(cmd.Process.Pid)
	veth := "v" + pid
	for _, line := range []string{
		"ip link add " + veth + " type veth peer name eth0 netns " + pid,
		"ip link set " + veth + " master br0 up",
		"nsenter -t " + pid + " -n ip link set lo up",
		"nsenter -t " + pid + " -n ip addr add " + ip + "/16 dev eth0",
		"nsenter -t " + pid + " -n ip link set eth0 up",
	} {
		words := strings.Fields(line)
		if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
			p.t.Fatalf("%s: %v\n%s", line, err, out)
		}
	}
	if _, err := io.WriteString(stdin, "go\n"); err != nil {
		p.t.Fatal(err)
	}
	p.kubelet = newKubelet(ip)
}

// terminate does what happens to a pod that is deleted, and returns its exit status.
func (p *pod) terminate() int {
	p.t.Helper()
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(30 * time.Second): // terminationGracePeriodSeconds
		p.cmd.Process.Kill()
		<-p.exited
		p.t.Errorf("%s did not end within its grace period", p.name)
	}
	p.kubelet.close()
	return p.cmd.ProcessState.ExitCode()
}

// end is for the end of the test.
func (p *pod) end() {
	if p.cmd != nil {
		p.cmd.Process.Kill()
		<-p.exited
		p.kubelet.close()
	}
}

// kubelet probes a pod as its manifest says, only more often.
type kubelet struct {
	cancel context.CancelFunc
	done   chan struct{}

	mu       sync.Mutex // guards what follows
	started  bool
	ready    bool
	failures int      // of the liveness probe, in a row
	restart  bool     // whether the liveness probe failed as often as the manifest allows
	life     []string // what happened to the pod, in order
}

const livenessFailures = 6 // failureThreshold of the manifest

func newKubelet(ip string) *kubelet {
	ctx, cancel := context.WithCancel(context.Background())
	k := &kubelet{cancel: cancel, done: make(chan struct{}), life: []string{"not ready"}}
	go func() {
		defer close(k.done)
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			k.probe(ctx, ip+":7600")
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	return k
}

func (k *kubelet) probe(ctx context.Context, address string) {
	live := kubeProbe(ctx, address, "rollcall.live")
	reads := live && kubeProbe(ctx, address, "rollcall.reads")
	if ctx.Err() != nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.started {
		if !live {
			return // the startup probe holds the others back
		}
		k.started = true
		k.life = append(k.life, "started")
	}
	if k.failures++; live {
		k.failures = 0
	}
	k.restart = k.restart || k.failures >= livenessFailures
	if reads != k.ready {
		k.ready = reads
		k.life = append(k.life, map[bool]string{true: "ready", false: "not ready"}[reads])
	}
}

func (k *kubelet) is(what func() bool) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return what()
}

func (k *kubelet) isStarted() bool { return k.is(func() bool { return k.started }) }
func (k *kubelet) isReady() bool   { return k.is(func() bool { return k.ready }) }

func (k *kubelet) lived() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return strings.Join(k.life, ", ")
}

func (k *kubelet) close() {
	k.cancel()
	<-k.done
}

func (p *pod) String() string { return fmt.Sprintf("%s at %s", p.name, p.ip) }
