package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcallhq/rollcall/agent/config"
)

// servers are the two ports of an agent.
type servers struct {
	grpcAt, httpAt net.Listener // nil: not served
	grpc           *grpc.Server
	http           *http.Server
}

// listen begins to listen.
func listen(cfg *config.Config, a *Agent) (*servers, error) {
	s := &servers{grpc: grpc.NewServer()}
	healthpb.RegisterHealthServer(s.grpc, a.board)
	s.http = &http.Server{
		Handler:           a.handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(a.logger.Handler(), slog.LevelDebug),
	}
	for _, one := range []struct {
		key, address string
		to           *net.Listener
	}{{"listen.grpc", cfg.GRPC, &s.grpcAt}, {"listen.http", cfg.HTTP, &s.httpAt}} {
		if one.address == "" {
			continue
		}
		l, err := net.Listen("tcp", one.address)
		if err != nil {
			s.close()
			return nil, fmt.Errorf("%s: cannot listen at %s: %w", one.key, one.address, err)
		}
		*one.to = l
	}
	return s, nil
}

func (s *servers) close() {
	for _, l := range []net.Listener{s.grpcAt, s.httpAt} {
		if l != nil {
			l.Close()
		}
	}
}

func (s *servers) addresses() (grpc, http string) {
	if s.grpcAt != nil {
		grpc = s.grpcAt.Addr().String()
	}
	if s.httpAt != nil {
		http = s.httpAt.Addr().String()
	}
	return grpc, http
}

// serve serves until stop. The channel gets what ended a port before.
func (s *servers) serve() (*sync.WaitGroup, <-chan error) {
	serving := &sync.WaitGroup{}
	failed := make(chan error, 2) // one for each port, and nobody may wait
	if s.grpcAt != nil {
		serving.Go(func() {
			if err := s.grpc.Serve(s.grpcAt); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
				failed <- fmt.Errorf("listen.grpc: %w", err)
			}
		})
	}
	if s.httpAt != nil {
		serving.Go(func() {
			if err := s.http.Serve(s.httpAt); err != nil && !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("listen.http: %w", err)
			}
		})
	}
	return serving, failed
}

// stop ends both ports. Watches end after their clients were told that the server stops.
func (s *servers) stop(b *board) {
	ctx, cancel := context.WithTimeout(context.Background(), serveTimeout)
	defer cancel()
	var stopping sync.WaitGroup
	stopping.Go(func() {
		if err := s.http.Shutdown(ctx); err != nil {
			s.http.Close()
		}
	})
	stopping.Go(s.grpc.GracefulStop)
	stopping.Go(func() {
		<-ctx.Done()
		s.grpc.Stop()
	})
	b.end()
	stopping.Go(func() {
		defer cancel()
		s.grpc.GracefulStop() // returns when the first one does
	})
	stopping.Wait()
	s.close()
}

// handler is the HTTP port.
func (a *Agent) handler() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), a.metrics, newCollector(a))
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
	mux.HandleFunc("/readyz", a.ready)
	mux.HandleFunc(pushPath, a.servePush)
	return http.MaxBytesHandler(mux, maxPush)
}

// ready answers for one service, ?service=NAME, as grpc.health.v1 does: 200 while it is SERVING. Without a name it
// answers for the agent.
func (a *Agent) ready(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		notAllowed(w, "GET, HEAD")
		return
	}
	name := r.URL.Query().Get("service")
	answer, err := a.board.Check(r.Context(), &healthpb.HealthCheckRequest{Service: name})
	switch {
	case err != nil:
		http.Error(w, fmt.Sprintf("the agent does not watch %q", name), http.StatusNotFound)
	case answer.GetStatus() != healthpb.HealthCheckResponse_SERVING:
		http.Error(w, answer.GetStatus().String(), http.StatusServiceUnavailable)
	default:
		fmt.Fprintln(w, answer.GetStatus())
	}
}
