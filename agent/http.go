package agent

import (
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// newHTTP makes what serves the HTTP port.
func newHTTP(a *Agent) httpServer {
	return &http.Server{
		Handler:           a.handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(a.logger.Handler(), slog.LevelDebug),
	}
}

// handler is the HTTP port.
func (a *Agent) handler() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), a.metrics, a.reloads, a.gates, newCollector(a))
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.Handle("/{$}", a.runner.Handler())
	mux.HandleFunc("/livez", func(w http.ResponseWriter, r *http.Request) {
		if err := a.Alive(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("/readyz", a.serveReady)
	mux.HandleFunc(pushPath, a.servePush)
	return http.MaxBytesHandler(mux, maxPush)
}

// serveReady answers for one service, ?service=NAME, as grpc.health.v1 does: 200 while it is SERVING. Without a name it
// answers for the agent.
func (a *Agent) serveReady(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		notAllowed(w, "GET, HEAD")
		return
	}
	name := r.URL.Query().Get("service")
	answer, err := health{board: a.board}.Check(r.Context(), &healthpb.HealthCheckRequest{Service: name})
	switch {
	case err != nil:
		http.Error(w, fmt.Sprintf("the agent does not watch %q", name), http.StatusNotFound)
	case answer.GetStatus() != healthpb.HealthCheckResponse_SERVING:
		http.Error(w, answer.GetStatus().String(), http.StatusServiceUnavailable)
	default:
		fmt.Fprintln(w, answer.GetStatus())
	}
}
