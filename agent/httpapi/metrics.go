package httpapi

import (
	"errors"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rollcallhq/rollcall/client"
)

var (
	servicesDesc = prometheus.NewDesc("rollcall_agent_services",
		"How many services the agent watches, by the status that local clients are told.", []string{"status"}, nil)
	servingDesc = prometheus.NewDesc("rollcall_agent_service_serving",
		"1 while local clients are told that service is SERVING, else 0.", []string{"service"}, nil)
	ownDesc = prometheus.NewDesc("rollcall_agent_service_own_serving",
		"1 while service itself, by its checks and pushes, is SERVING, else 0.", []string{"service"}, nil)
	offDesc = prometheus.NewDesc("rollcall_agent_service_off",
		"1 while the registry has switched service, or this instance of it, off, else 0.", []string{"service"}, nil)
	pushTimeDesc = prometheus.NewDesc("rollcall_agent_last_push_timestamp_seconds",
		"When service was pushed last. Services that were not are not shown.", []string{"service"}, nil)
	rivalDesc = prometheus.NewDesc("rollcall_agent_service_rival",
		"1 while another reporter, with a lease of its own, has taken over what the agent reports of service, else 0.", []string{"service"}, nil)
	refusedDesc = prometheus.NewDesc("rollcall_agent_reports_refused",
		"1 while the registry takes none of the agent's reports, because of who the agent is or what it may do; 0 while it does not say so. reason is what it says.", []string{"reason"}, nil)
	serviceRefusedDesc = prometheus.NewDesc("rollcall_agent_service_refused",
		"1 while the registry does not take what the agent reports of service, else 0.", []string{"service"}, nil)
	silentDesc = prometheus.NewDesc("rollcall_agent_registry_silent_seconds",
		"For how long no node of the registry was heard; 0 while one is. What was heard last stays meanwhile.", nil, nil)
	readyDesc = prometheus.NewDesc("rollcall_agent_ready",
		"1 when each check has run once, else 0.", nil, nil)
	connectionsDesc = prometheus.NewDesc("rollcall_agent_http_connections",
		"Connections that are open at the HTTP port.", nil, nil)
	connectionsLimitDesc = prometheus.NewDesc("rollcall_agent_http_connections_limit",
		"Most connections that may be open at the HTTP port.", nil, nil)
)

// metrics is what the port tells Prometheus.
type metrics struct {
	source      Source
	connections *connections
	pushes      *prometheus.CounterVec
}

func newMetrics(source Source, c *connections) *metrics {
	m := &metrics{source: source, connections: c, pushes: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "rollcall_agent_pushes_total",
		Help: "Pushes of services; result is accepted, unknown_service, refused (who or what may not push) or bad (what was sent is wrong).",
	}, []string{"result"})}
	for _, result := range []string{"accepted", "unknown_service", "refused", "bad"} {
		m.pushes.WithLabelValues(result)
	}
	return m
}

// registry is what /metrics shows.
func (m *metrics) registry(more []prometheus.Collector) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(m)
	r.MustRegister(more...)
	return r
}

// pushed counts a push by what became of it.
func (m *metrics) pushed(err error) {
	result := "bad"
	switch {
	case err == nil:
		result = "accepted"
	case errors.Is(err, ErrUnknown):
		result = "unknown_service"
	case errors.Is(err, ErrNotPushable), errors.Is(err, ErrStopping):
		result = "refused"
	}
	m.pushes.WithLabelValues(result).Inc()
}

// refused counts a push that was not looked at.
func (m *metrics) refused(r *http.Request) {
	if r.Method == http.MethodPut {
		m.pushes.WithLabelValues("refused").Inc()
	}
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{servicesDesc, servingDesc, ownDesc, offDesc, rivalDesc, serviceRefusedDesc, pushTimeDesc, refusedDesc, silentDesc, readyDesc, connectionsDesc, connectionsLimitDesc} {
		ch <- d
	}
	m.pushes.Describe(ch)
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	counts := map[client.Status]int{}
	for _, s := range m.source.Services() {
		counts[s.Status]++
		gauge(servingDesc, number(s.Status == client.Serving), s.Name)
		gauge(ownDesc, number(s.Own.Status == client.Serving), s.Name)
		gauge(offDesc, number(s.Whole.Off || s.Off != nil), s.Name)
		gauge(rivalDesc, number(s.Rival != nil), s.Name)
		gauge(serviceRefusedDesc, number(s.Refused != nil), s.Name)
		if s.Pushed != nil {
			gauge(pushTimeDesc, float64(s.Pushed.Since.UnixMilli())/1000, s.Name)
		}
	}
	for _, st := range []client.Status{client.Serving, client.NotServing, client.Unknown} {
		gauge(servicesDesc, float64(counts[st]), st.String())
	}
	refused := m.source.Refused()
	reason := ""
	if refused != nil {
		reason = refused.Reason
	}
	gauge(refusedDesc, number(refused != nil), reason)
	gauge(silentDesc, m.source.Silent().Seconds())
	gauge(readyDesc, number(m.source.Ready() == nil))
	gauge(connectionsDesc, float64(m.connections.count()))
	gauge(connectionsLimitDesc, float64(m.connections.limit))
	m.pushes.Collect(ch)
}

func number(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
