package metrics

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics collects what the packages under client do. Its methods may be called by many goroutines and do not block.
// Make it with New.
type Metrics struct {
	duration  *prometheus.HistogramVec
	published *prometheus.CounterVec
	lost      prometheus.Counter
	refused   *prometheus.CounterVec
	endpoints *prometheus.GaugeVec

	mu       sync.Mutex          // guards the rest
	statuses map[subject]float64 // what is shown of checks and services: 1 or 0
	views    []viewer
}

// checkSeconds reach from a look into memory to the longest usual timeout.
var checkSeconds = []float64{.001, .0025, .01, .025, .1, .25, 1, 2.5, 5, 10}

// New returns a Metrics, which is to be registered (prometheus.Registerer.Register).
func New() *Metrics {
	counter := func(name, help string) prometheus.CounterOpts { return prometheus.CounterOpts{Name: name, Help: help} }
	return &Metrics{
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "grpc_health_check_duration_seconds",
			Help:    "How long the check named service took; status is SERVING if it passed.",
			Buckets: checkSeconds,
		}, []string{"service", "status"}),
		published: prometheus.NewCounterVec(counter("rollcall_publish_total",
			"Reports of this process to the registry; result is ok, refused or failed."), []string{"result"}),
		lost: prometheus.NewCounter(counter("rollcall_lease_lost_total",
			"How often the registry took this process for dead.")),
		refused: prometheus.NewCounterVec(counter("rollcall_refused_calls_total",
			"Calls that were refused because the registry says that service is NOT_SERVING."), []string{"service"}),
		endpoints: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "rollcall_resolver_endpoints",
			Help: "Instances of service that channels know; state is serving, panicked (in use though not SERVING) or skipped (not host:port).",
		}, []string{"service", "state"}),
		statuses: map[subject]float64{},
	}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.collectors() {
		c.Describe(ch)
	}
	for _, d := range []*prometheus.Desc{statusDesc, ageDesc, offDesc, heldDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.collectors() {
		c.Collect(ch)
	}
	m.collectStatuses(ch)
	m.collectViews(ch)
}

func (m *Metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.duration, m.published, m.lost, m.refused, m.endpoints}
}

func gauge(ch chan<- prometheus.Metric, d *prometheus.Desc, value float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}
