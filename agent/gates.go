package agent

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rollcallhq/rollcall/agent/config"
	"github.com/rollcallhq/rollcall/agent/readinessgate"
	"github.com/rollcallhq/rollcall/client"
)

// How often a service is asked for anew though no change was told.
const (
	gateUnsettled = 200 * time.Millisecond // until there is a word for Kubernetes
	gateReasons   = 15 * time.Second       // for another reason of the same status
)

// gate is a readinessgate.Gate.
type gate interface {
	Run(ctx context.Context)
	Set(s client.Status, why string)
	State() readinessgate.State
}

// gates are the readiness gates of the pod that the agent runs in. A nil *gates has none.
type gates struct {
	all   map[string]gate // by the service
	close func()          // of the connections to Kubernetes

	writes, failures, pending, status *prometheus.Desc
}

// newGates returns the gates of a configuration, nil if no service has one.
func newGates(cfg *config.Config, getenv func(string) string, logger *slog.Logger) (*gates, error) {
	all := map[string]gate{}
	var pod *readinessgate.Pod
	for i := range cfg.Services {
		s := &cfg.Services[i]
		if s.ReadinessGate == "" {
			continue
		}
		if pod == nil {
			var err error
			pod, err = readinessgate.Find(readinessgate.Places{ServiceAccount: cfg.Kubernetes.ServiceAccount, PodInfo: cfg.Kubernetes.PodInfo, Getenv: getenv})
			if err != nil {
				return nil, fmt.Errorf("service %q has a readiness gate: %w", s.Name, err)
			}
		}
		gate, err := readinessgate.New(pod, s.ReadinessGate, logger.With("service", s.Name))
		if err != nil {
			return nil, fmt.Errorf("service %q: readiness_gate: %w", s.Name, err)
		}
		all[s.Name] = gate
	}
	if pod == nil {
		return nil, nil
	}
	return gatesOf(all, pod.Close), nil
}

func gatesOf(all map[string]gate, closePod func()) *gates {
	g := &gates{all: all, close: closePod}
	labels := []string{"service", "condition"}
	g.status = prometheus.NewDesc("rollcall_agent_readiness_gate_status", "1 while the agent says SERVING for the readiness gate of the service, else 0; nothing before the first word.", labels, nil)
	g.pending = prometheus.NewDesc("rollcall_agent_readiness_gate_pending_seconds", "For how long Kubernetes is not known to have what the agent says; 0 while it has.", labels, nil)
	g.writes = prometheus.NewDesc("rollcall_agent_readiness_gate_writes_total", "How often the condition of the pod was written.", labels, nil)
	g.failures = prometheus.NewDesc("rollcall_agent_readiness_gate_failures_total", "How many requests to Kubernetes' API server failed.", labels, nil)
	return g
}

// run keeps the conditions until ctx ends. Then they stay as they are: an agent that ends says nothing of the services.
//
// word returns what is said of a service, and whether there is a word yet; changed returns a channel that is closed when
// that may have changed.
func (g *gates) run(ctx context.Context, word func(name string) (client.Status, string, bool), changed func(name string) <-chan struct{}) {
	if g == nil {
		return
	}
	defer g.close()
	var running sync.WaitGroup
	defer running.Wait()
	for name, gate := range g.all {
		running.Go(func() { gate.Run(ctx) })
		running.Go(func() {
			for {
				news := changed(name)
				pause := gateUnsettled
				if s, why, settled := word(name); settled {
					gate.Set(s, why)
					pause = gateReasons
				}
				timer := time.NewTimer(pause)
				select {
				case <-ctx.Done():
					timer.Stop()
					return
				case <-news:
				case <-timer.C:
				}
				timer.Stop()
			}
		})
	}
}

// Describe implements prometheus.Collector.
func (g *gates) Describe(ch chan<- *prometheus.Desc) {
	if g == nil {
		return
	}
	for _, d := range []*prometheus.Desc{g.status, g.pending, g.writes, g.failures} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (g *gates) Collect(ch chan<- prometheus.Metric) {
	if g == nil {
		return
	}
	for name, gate := range g.all {
		s := gate.State()
		if s.Status != client.ServiceUnknown {
			up := 0.0
			if s.Status == client.Serving {
				up = 1
			}
			ch <- prometheus.MustNewConstMetric(g.status, prometheus.GaugeValue, up, name, s.Condition)
		}
		ch <- prometheus.MustNewConstMetric(g.pending, prometheus.GaugeValue, s.Pending.Seconds(), name, s.Condition)
		ch <- prometheus.MustNewConstMetric(g.writes, prometheus.CounterValue, float64(s.Writes), name, s.Condition)
		ch <- prometheus.MustNewConstMetric(g.failures, prometheus.CounterValue, float64(s.Failures), name, s.Condition)
	}
}

// gateWord returns what a readiness gate is told of a service, and whether there is a word yet: the service has said
// something, and the initial wait for the registry is over.
func (a *Agent) gateWord(name string) (s client.Status, why string, settled bool) {
	a.services.mu.Lock()
	defer a.services.mu.Unlock()
	one := a.services.all[name]
	if one == nil || !one.spoke {
		return client.ServiceUnknown, "", false
	}
	now := a.snapshot(one, a.opinions.reader())
	return now.status, gateMessage(&now), !now.waiting
}

// gateMessage is the message of the condition.
func gateMessage(s *snapshot) string {
	if s.status == client.Serving {
		return s.name + " is SERVING"
	}
	return strings.Join(s.reasons(), "; ")
}
