package cluster_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rollcallhq/rollcall/client"
)

// TestProcessPods plays Kubernetes to three nodes with the arguments of deploy/kubernetes: pods whose DNS names appear late and
// lead to other addresses after each rescheduling, a kubelet that probes them, an update of one pod after the other,
// and a machine room where all pods come back with each other's addresses.
func TestProcessPods(t *testing.T) {
	beside(t, ofProcesses)
	if !inNamespaces(t) {
		return
	}
	names := newDNS(t)
	var pods []*pod
	var endpoints []string
	for i := range 3 {
		p := &pod{t: t, name: fmt.Sprintf("rollcall-%d", i), volume: filepath.Join(t.TempDir(), "volume"), args: manifestArguments(t), log: &syncBuffer{}}
		pods = append(pods, p)
		endpoints = append(endpoints, p.name+".rollcall-nodes:7600")
	}
	t.Cleanup(func() {
		for _, p := range pods {
			p.end()
			if t.Failed() {
				t.Logf("--- %s: %s\n%s", p, p.kubelet.lived(), tail(p.log.String(), 6000))
			}
		}
	})
	until := func(what string, holds func() bool) {
		t.Helper()
		eventually(t, what, func(context.Context) bool { return holds() })
	}
	allReady := func() {
		t.Helper()
		for _, p := range pods {
			until(p.String()+" to be ready", p.kubelet.isReady)
			eventually(t, `"" at `+p.String(), func(ctx context.Context) bool { return kubeProbe(ctx, p.ip+":7600", "") })
		}
	}

	// The pods start together, and nobody has a name yet. They live, so nothing restarts them.
	for i, p := range pods {
		p.start(fmt.Sprintf("10.77.1.%d", i+1))
	}
	for _, p := range pods {
		until(p.String()+" to start", p.kubelet.isStarted)
		until(p.name+" to be looked for", func() bool { return names.wasAsked(p.name) > 2 })
	}
	// Two names come, and it is no cluster yet; the third comes.
	names.point(pods[2].name, pods[2].ip)
	names.point(pods[0].name, pods[0].ip)
	asked := names.wasAsked(pods[1].name)
	until("the last name to be looked for", func() bool { return names.wasAsked(pods[1].name) > asked+4 })
	for _, p := range pods {
		if strings.Contains(p.log.String(), "leads and takes changes") {
			t.Errorf("%s leads before all members have a name", p)
		}
	}
	names.point(pods[1].name, pods[1].ip)
	allReady()

	// A service in another pod uses the same names.
	config := client.DefaultConfig()
	config.Endpoints = endpoints
	c, err := client.New(config)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	set := func(s client.Status) {
		t.Helper()
		eventually(t, "a change to "+s.String(), func(ctx context.Context) bool {
			_, err := c.Set(ctx, "payments", s, client.WriteOptions{})
			return err == nil
		})
	}
	set(serving)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	seen := make(chan client.Status, 100) // more than there are changes
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for u, err := range c.Watch(ctx, "payments") {
			if err != nil {
				return
			}
			seen <- u.Status
		}
	}()
	sees := func(want client.Status) {
		t.Helper()
		timeout := time.After(patience)
		for {
			select {
			case got := <-seen:
				if got == want {
					return
				}
			case <-timeout:
				t.Fatalf("the watch does not show %s", want)
			}
		}
	}
	sees(serving)

	// An update, as a StatefulSet does it: the last pod first, the next one when it is ready. Each comes back at another
	// address, and its name with it, late.
	statuses := []client.Status{notServing, serving, notServing}
	for n, i := range []int{2, 1, 0} {
		p := pods[i]
		if code := p.terminate(); code != 0 {
			t.Errorf("%s ended with %d", p, code)
		}
		if lived := p.kubelet.lived(); !strings.HasSuffix(lived, "started, ready, not ready") && !strings.HasSuffix(lived, "started, not ready, ready, not ready") {
			t.Errorf("the life of %s: %s", p, lived)
		}
		names.point(p.name, "") // its name goes with it
		set(statuses[n])
		sees(statuses[n])
		p.start(fmt.Sprintf("10.77.2.%d", i+1))
		until(p.String()+" to start", p.kubelet.isStarted)
		names.point(p.name, p.ip)
		allReady()
	}

	// All machines lose power. The pods come back with each other's addresses, while the names still lead to the old ones:
	// each finds another member than it asked for.
	for _, p := range pods {
		p.end()
		p.cmd = nil
	}
	for i, p := range pods {
		p.start(fmt.Sprintf("10.77.2.%d", (i+1)%3+1))
	}
	for _, p := range pods {
		until(p.String()+" to start", p.kubelet.isStarted)
		eventually(t, "reads at "+p.String(), func(ctx context.Context) bool { return kubeProbe(ctx, p.ip+":7600", "rollcall.reads") })
	}
	for _, p := range pods {
		names.point(p.name, p.ip)
	}
	allReady()
	set(serving)
	sees(serving)
	for _, p := range pods {
		if p.kubelet.is(func() bool { return p.kubelet.restart }) {
			t.Errorf("the liveness probe would have restarted %s: %s", p, p.kubelet.lived())
		}
		t.Logf("%s: %s", p, p.kubelet.lived())
	}
	cancel()
	<-watched
}
