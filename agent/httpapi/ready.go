package httpapi

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/rollcallhq/rollcall/client"
)

// aliveTimeout is how long the agent may be busy before /livez says that it is stuck.
const aliveTimeout = 2 * time.Second

func (h *handler) live(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), aliveTimeout)
	defer cancel()
	if err := h.source.Alive(ctx); err != nil {
		text(w, r, http.StatusServiceUnavailable, err.Error())
		return
	}
	text(w, r, http.StatusOK, "ok")
}

func (h *handler) ready(w http.ResponseWriter, r *http.Request) {
	if err := h.source.Ready(); err != nil {
		text(w, r, http.StatusServiceUnavailable, err.Error())
		return
	}
	text(w, r, http.StatusOK, "ok")
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
