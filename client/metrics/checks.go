package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/checks"
)

var statusDesc = prometheus.NewDesc("grpc_health_check_status",
	"1 while service, which is a check's name or that of a service, is SERVING, else 0.", []string{"service"}, nil)

// subject is a check of a service, or the service itself if check is "".
type subject struct{ service, check string }

func (s subject) label() string {
	if s.check == "" {
		return s.service
	}
	return s.check
}

// CheckDone implements checks.Observer.
func (m *Metrics) CheckDone(r checks.Result) {
	status := client.NotServing
	if r.Error == "" || r.Degraded {
		status = client.Serving
	}
	m.duration.WithLabelValues(r.Check, status.String()).Observe(r.Took.Seconds())
	m.mu.Lock()
	defer m.mu.Unlock()
	m.statuses[subject{r.Service, r.Check}] = number(r.Status == client.Serving)
}

// CheckRemoved implements checks.Observer.
func (m *Metrics) CheckRemoved(service, check string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.statuses, subject{service, check})
}

// StatusChanged implements checks.Observer.
func (m *Metrics) StatusChanged(service string, s client.Status, _ []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s == client.ServiceUnknown { // its last check was removed
		delete(m.statuses, subject{service: service})
		return
	}
	m.statuses[subject{service: service}] = number(s == client.Serving)
}

func (m *Metrics) collectStatuses(ch chan<- prometheus.Metric) {
	shown := map[string]float64{}
	m.mu.Lock()
	for s, value := range m.statuses {
		if other, ok := shown[s.label()]; ok {
			value = min(value, other)
		}
		shown[s.label()] = value
	}
	m.mu.Unlock()
	for label, value := range shown {
		gauge(ch, statusDesc, value, label)
	}
}
