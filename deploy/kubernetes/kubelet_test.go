package kubernetes_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// faster is how many times faster than the manifests say this kubelet probes.
const faster = 10

// kubelet plays Kubernetes' kubelet for one pod: it starts containers in order, probes them, restarts those that end or
// whose liveness fails, tells the API server whether the pod is ready, and ends the containers in order.
type kubelet struct {
	t    *testing.T
	api  *apiServer
	spec corev1.PodSpec
	port map[int32]int // which port of this machine a port of the manifests is

	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu         sync.Mutex
	containers map[string]*container
	ready      []bool // what the pod was, in order
	changed    chan struct{}
}

// runner starts a container. What it returns ends it: with SIGTERM, or with SIGKILL. exited is closed when it has ended.
type runner func() (end func(syscall.Signal), exited <-chan struct{}, err error)

// container is a container of the pod. kubelet.mu guards it.
type container struct {
	spec     corev1.Container
	run      runner
	end      func(syscall.Signal)
	exited   <-chan struct{}
	runs     bool
	started  bool // its startup probe has passed
	ready    bool
	restarts int
	failed   []string // probes that failed, by kind
}

func newKubelet(t *testing.T, api *apiServer, spec corev1.PodSpec, ports map[int32]int) *kubelet {
	k := &kubelet{t: t, api: api, spec: spec, port: ports, containers: map[string]*container{}, changed: make(chan struct{})}
	k.ctx, k.cancel = context.WithCancel(context.Background())
	t.Cleanup(func() {
		k.cancel()
		k.running.Wait()
		for _, c := range k.containers {
			if c.runs {
				c.end(syscall.SIGKILL)
				<-c.exited
			}
		}
	})
	k.running.Go(k.sync)
	return k
}

// tell tells that a container changed. k.mu is held.
func (k *kubelet) tell() {
	close(k.changed)
	k.changed = make(chan struct{})
}

// start starts a container, and keeps it running until stop.
func (k *kubelet) start(spec corev1.Container, run runner) {
	k.t.Helper()
	c := &container{spec: spec, run: run}
	k.mu.Lock()
	k.containers[spec.Name] = c
	k.mu.Unlock()
	if err := k.launch(c); err != nil {
		k.t.Fatalf("container %s: %v", spec.Name, err)
	}
	k.running.Go(func() { k.keep(c) })
	for kind, p := range map[string]*corev1.Probe{"startup": spec.StartupProbe, "liveness": spec.LivenessProbe, "readiness": spec.ReadinessProbe} {
		if p != nil {
			k.running.Go(func() { k.probe(c, kind, *p) })
		}
	}
}

func (k *kubelet) launch(c *container) error {
	end, exited, err := c.run()
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	c.end, c.exited, c.runs = end, exited, true
	c.started = c.spec.StartupProbe == nil
	c.ready = c.started && c.spec.ReadinessProbe == nil
	k.tell()
	return nil
}

// keep starts a container again when it has ended by itself.
func (k *kubelet) keep(c *container) {
	for {
		k.mu.Lock()
		exited := c.exited
		k.mu.Unlock()
		select {
		case <-k.ctx.Done():
			return
		case <-exited:
		}
		k.mu.Lock()
		stopped := !c.runs
		c.runs, c.started, c.ready = false, false, false
		c.restarts++
		k.tell()
		k.mu.Unlock()
		if stopped {
			return
		}
		if err := k.launch(c); err != nil {
			k.t.Errorf("container %s is not started again: %v", c.spec.Name, err)
			return
		}
	}
}

// probe probes as the kubelet's prober does. Until the startup probe has passed, the others wait.
func (k *kubelet) probe(c *container, kind string, p corev1.Probe) {
	period := max(p.PeriodSeconds, 1)
	ticker := time.NewTicker(time.Duration(period) * time.Second / faster)
	defer ticker.Stop()
	failures := int32(0)
	for {
		select {
		case <-k.ctx.Done():
			return
		case <-ticker.C:
		}
		k.mu.Lock()
		due := c.runs && c.started == (kind != "startup")
		end := c.end
		k.mu.Unlock()
		if !due {
			failures = 0
			continue
		}
		err := k.ask(c.spec, p)
		k.mu.Lock()
		if err == nil {
			failures = 0
			switch kind {
			case "startup":
				c.started = true
				c.ready = c.spec.ReadinessProbe == nil
				k.tell()
			case "readiness":
				k.setReady(c, true)
			}
			k.mu.Unlock()
			continue
		}
		failures++
		over := failures >= max(p.FailureThreshold, 1)
		if over {
			c.failed = append(c.failed, kind+": "+err.Error())
			failures = 0
			if kind == "readiness" {
				k.setReady(c, false)
			}
		}
		k.mu.Unlock()
		if over && kind != "readiness" {
			end(syscall.SIGKILL)
		}
	}
}

// setReady takes the word of a readiness probe. k.mu is held.
func (k *kubelet) setReady(c *container, ready bool) {
	if c.runs && c.ready != ready {
		c.ready = ready
		k.tell()
	}
}

// ask asks once, as the manifest says, at the pod's address.
func (k *kubelet) ask(c corev1.Container, p corev1.Probe) error {
	ctx, cancel := context.WithTimeout(k.ctx, time.Duration(max(p.TimeoutSeconds, 1))*time.Second)
	defer cancel()
	at := p.HTTPGet.Port.IntVal
	for _, q := range c.Ports {
		if q.Name == p.HTTPGet.Port.StrVal {
			at = q.ContainerPort
		}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort("127.0.0.1", fmt.Sprint(k.port[at]))+p.HTTPGet.Path, nil)
	if err != nil {
		return err
	}
	r.Header.Set("User-Agent", "kube-probe/1.34")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode < 200 || answer.StatusCode >= 400 {
		return fmt.Errorf("status %d", answer.StatusCode)
	}
	return nil
}

// sync tells the API server whether the pod is ready, by the kubelet's rule: all containers are, sidecars too, and every
// condition that a readiness gate names is True.
func (k *kubelet) sync() {
	for {
		pod, podChanged := k.api.get()
		k.mu.Lock()
		containersReady, changed := true, k.changed
		for _, c := range append(slices.Clone(k.spec.InitContainers), k.spec.Containers...) {
			one := k.containers[c.Name]
			containersReady = containersReady && one != nil && one.ready
		}
		k.mu.Unlock()
		if pod != nil {
			ready := containersReady
			for _, g := range k.spec.ReadinessGates {
				ready = ready && conditionOf(pod, g.ConditionType).Status == corev1.ConditionTrue
			}
			k.say(pod, corev1.ContainersReady, containersReady)
			if k.say(pod, corev1.PodReady, ready) {
				k.mu.Lock()
				k.ready = append(k.ready, ready)
				k.mu.Unlock()
			}
		}
		select {
		case <-k.ctx.Done():
			return
		case <-podChanged:
		case <-changed:
		}
	}
}

// say has the pod have a condition, and reports whether it had another.
func (k *kubelet) say(pod *corev1.Pod, conditionType corev1.PodConditionType, holds bool) bool {
	want := corev1.ConditionFalse
	if holds {
		want = corev1.ConditionTrue
	}
	if conditionOf(pod, conditionType).Status == want {
		return false
	}
	k.api.status(func(s *corev1.PodStatus) {
		s.Conditions = slices.DeleteFunc(s.Conditions, func(c corev1.PodCondition) bool { return c.Type == conditionType })
		s.Conditions = append(s.Conditions, corev1.PodCondition{Type: conditionType, Status: want})
	})
	return true
}

// stop ends a container as the kubelet does: preStop, SIGTERM, and SIGKILL when the grace period is over.
func (k *kubelet) stop(name string, grace time.Duration) error {
	k.t.Helper()
	k.mu.Lock()
	c := k.containers[name]
	end, exited := c.end, c.exited
	c.runs = false // it is not started again
	k.mu.Unlock()
	if l := c.spec.Lifecycle; l != nil && l.PreStop != nil && l.PreStop.Sleep != nil {
		over := time.NewTimer(time.Duration(l.PreStop.Sleep.Seconds) * time.Second / faster)
		defer over.Stop()
		<-over.C
	}
	end(syscall.SIGTERM)
	over := time.NewTimer(grace)
	defer over.Stop()
	select {
	case <-exited:
		return nil
	case <-over.C:
		end(syscall.SIGKILL)
		<-exited
		return fmt.Errorf("container %s did not end within %v", name, grace)
	}
}

// look returns what is known of a container.
func (k *kubelet) look(name string) container {
	k.mu.Lock()
	defer k.mu.Unlock()
	if c := k.containers[name]; c != nil {
		return *c
	}
	return container{}
}

// history is what the pod was, in order: ready, or not.
func (k *kubelet) history() []bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.ready)
}

func conditionOf(pod *corev1.Pod, conditionType corev1.PodConditionType) corev1.PodCondition {
	for _, c := range pod.Status.Conditions {
		if c.Type == conditionType {
			return c
		}
	}
	return corev1.PodCondition{}
}

// process is a runner of a command. Its output goes to out.
func process(program string, args, env []string, out *output) runner {
	return func() (func(syscall.Signal), <-chan struct{}, error) {
		cmd := exec.Command(program, args...)
		cmd.Env, cmd.Stdout, cmd.Stderr = env, out, out
		if err := cmd.Start(); err != nil {
			return nil, nil, err
		}
		exited := make(chan struct{})
		go func() {
			defer close(exited)
			fmt.Fprintf(out, "ended: %v\n", cmd.Wait())
		}()
		return func(s syscall.Signal) { _ = cmd.Process.Signal(s) }, exited, nil
	}
}

// output is what processes write.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// lines are those that have a text.
func (o *output) lines(with string) (found []string) {
	for line := range strings.Lines(o.String()) {
		if strings.Contains(line, with) {
			found = append(found, line)
		}
	}
	return found
}
