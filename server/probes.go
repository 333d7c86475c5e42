package server

import (
	"fmt"
	"net/http"
	"strings"
)

// HTTPHandler answers /livez and /readyz for probes that speak no gRPC, in the manner of
// Kubernetes: 200 or 503, with ?verbose one line per check.
//
// /readyz is rollcall.reads, which needs no quorum: were it to ask for a leader, an orchestrator
// would take all nodes away at once when the quorum is lost, and with them the reads that still
// work. Who wants a leader asks /readyz/leader (rollcall.reads and a leader confirmed lately, as "").
func (s *Server) HTTPHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		answerProbe(w, true, "ok\n")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		v := s.readiness.verdict()
		s.probe(w, r, v, v.reads)
	})
	mux.HandleFunc("GET /readyz/leader", func(w http.ResponseWriter, r *http.Request) {
		v := s.readiness.verdict()
		s.probe(w, r, v, v.ready)
	})
	return mux
}

func (s *Server) probe(w http.ResponseWriter, r *http.Request, v verdict, ok bool) {
	var b strings.Builder
	if _, verbose := r.URL.Query()["verbose"]; verbose || !ok {
		checkLine(&b, "reads", v.readsWhy)
		checkLine(&b, "leader", v.heardWhy)
		if ok {
			b.WriteString("readyz check passed\n")
		} else {
			b.WriteString("readyz check failed\n")
		}
	} else {
		b.WriteString("ok\n")
	}
	answerProbe(w, ok, b.String())
}

func checkLine(b *strings.Builder, name, why string) {
	if why == "" {
		fmt.Fprintf(b, "[+]%s ok\n", name)
	} else {
		fmt.Fprintf(b, "[-]%s: %s\n", name, why)
	}
}

func answerProbe(w http.ResponseWriter, ok bool, body string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if ok {
		w.WriteHeader(http.StatusOK)
	} else {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_, _ = w.Write([]byte(body))
}
