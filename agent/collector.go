package agent

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/rollcallhq/rollcall/client"
)

// collector shows what the agent serves. The views of a reload are new ones, so their numbers stand here and not in
// client/metrics.
type collector struct {
	a                     *Agent
	services, silent, off *prometheus.Desc
}

func newCollector(a *Agent) *collector {
	return &collector{
		a:        a,
		services: prometheus.NewDesc("rollcall_agent_services", "How many services the agent serves with each status, as grpc.health.v1 shows it.", []string{"status"}, nil),
		silent:   prometheus.NewDesc("rollcall_agent_registry_silent_seconds", "For how long no node of the registry was heard; 0 while one is.", nil, nil),
		off:      prometheus.NewDesc("rollcall_agent_switched_off", "How many services the registry has switched off.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.services
	ch <- c.silent
	ch <- c.off
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	counts, off := c.a.board.statuses()
	for _, s := range []client.Status{client.Serving, client.NotServing, client.Unknown} {
		ch <- prometheus.MustNewConstMetric(c.services, prometheus.GaugeValue, float64(counts[s]), s.String())
	}
	ch <- prometheus.MustNewConstMetric(c.silent, prometheus.GaugeValue, c.a.opinions.silent().Seconds())
	ch <- prometheus.MustNewConstMetric(c.off, prometheus.GaugeValue, float64(off))
}
