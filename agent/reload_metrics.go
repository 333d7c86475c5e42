package agent

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// reloadMetrics counts reloads.
type reloadMetrics struct {
	total      *prometheus.CounterVec
	successful prometheus.Gauge
	lastTime   prometheus.Gauge
}

func newReloadMetrics() *reloadMetrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	m := &reloadMetrics{
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rollcall_agent_reloads_total", Help: "Reloads of the agent's file; result is ok or refused, which changed nothing.",
		}, []string{"result"}),
		successful: gauge("rollcall_agent_last_reload_successful", "1 if the last reload, or the start, was ok; 0 if it was refused."),
		lastTime:   gauge("rollcall_agent_last_reload_success_timestamp_seconds", "When the file that the agent goes by was taken, in seconds since 1970."),
	}
	m.total.WithLabelValues("ok")
	m.total.WithLabelValues("refused")
	return m
}

// started notes the configuration that the agent began with.
func (m *reloadMetrics) started() {
	m.successful.Set(1)
	m.lastTime.Set(float64(time.Now().UnixMilli()) / 1000)
}

// reloaded notes a reload.
func (m *reloadMetrics) reloaded(err error) {
	if err != nil {
		m.total.WithLabelValues("refused").Inc()
		m.successful.Set(0)
		return
	}
	m.total.WithLabelValues("ok").Inc()
	m.started()
}

// Describe implements prometheus.Collector.
func (m *reloadMetrics) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, ch) }

// Collect implements prometheus.Collector.
func (m *reloadMetrics) Collect(ch chan<- prometheus.Metric) {
	m.total.Collect(ch)
	m.successful.Collect(ch)
	m.lastTime.Collect(ch)
}
