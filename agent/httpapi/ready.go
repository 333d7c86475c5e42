package httpapi

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/internal/duration"
)

// aliveTimeout is how long the agent may be busy before /livez says that it is stuck.
const aliveTimeout = 2 * time.Second

func (h *handler) live(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), aliveTimeout)
	defer cancel()
	probe(w, r, "livez", "loops", h.source.Alive(ctx))
}

func (h *handler) ready(w http.ResponseWriter, r *http.Request) {
	registry := "[+]registry ok" // it does not count
	if silent := h.source.Silent(); silent > 0 {
		registry += ": it has not been heard for " + duration.Age(silent) + ", and what it said last stays"
	}
	probe(w, r, "readyz", "checks", h.source.Ready(), registry)
}

// probe answers a probe of the agent, which has one part that decides. ?verbose has it answer in the words of a node's
// probes, with more lines.
func probe(w http.ResponseWriter, r *http.Request, name, part string, err error, more ...string) {
	code, short, line, end := http.StatusOK, "ok", "[+]"+part+" ok", name+" check passed"
	if err != nil {
		code, short = http.StatusServiceUnavailable, err.Error()
		line, end = "[-]"+part+" failed: "+short, name+" check failed"
	}
	if _, verbose := r.URL.Query()["verbose"]; verbose {
		short = strings.Join(append(append([]string{line}, more...), end), "\n")
	}
	text(w, r, code, short)
}

// readyService answers for one service, as grpc.health.v1 of the agent does, and says why it is not SERVING, and
// what else is not well.
func (h *handler) readyService(w http.ResponseWriter, r *http.Request, name string) {
	s, ok := h.source.Service(name)
	if !ok {
		h.unknown(w, r, name)
		return
	}
	code := http.StatusOK
	if s.Status != client.Serving {
		code = http.StatusServiceUnavailable
	}
	lines := append([]string{s.Status.String()}, s.reasons(time.Now())...)
	text(w, r, code, strings.Join(append(lines, s.warnings()...), "\n"))
}
