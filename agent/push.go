package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	"github.com/rollcallhq/rollcall/client"
)

const (
	pushPath = "/v1/status/"
	maxPush  = 8 << 10 // bytes of a body
)

// statuses are what can be pushed.
var statuses = map[string]client.Status{
	"serving":     client.Serving,
	"not_serving": client.NotServing,
	"unknown":     client.Unknown,
}

// pushed is the body of PUT and of the answer to GET.
type pushed struct {
	Status string `json:"status"`
	Reason string `json:"reason,omitempty"`
}

// servePush answers /v1/status/NAME, where NAME may have slashes:
//
//	PUT     pushes a status, in the query (?status=serving&reason=…), as text (the status, and in further words the
//	        reason), or as JSON ({"status": "serving", "reason": "…"}). 204
//	DELETE  takes back what was pushed. 204
//	GET     what the agent serves of NAME. 200
//
// 400: the status or the reason is wrong; 404: the agent does not watch NAME; 405: another method.
func (a *Agent) servePush(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, pushPath)
	if name == "" {
		http.Error(w, "the path has no service; use "+pushPath+"NAME", http.StatusNotFound)
		return
	}
	var err error
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		shown := a.board.look(name)
		if shown == client.ServiceUnknown {
			err = errNotWatched
			break
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(pushed{Status: strings.ToLower(shown.String())})
		return
	case http.MethodPut:
		var st client.Status
		var reason string
		if st, reason, err = readPush(r); err == nil {
			err = a.push(name, st, reason)
		}
	case http.MethodDelete:
		err = a.release(name)
	default:
		notAllowed(w, "DELETE, GET, HEAD, PUT")
		return
	}
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil:
		w.WriteHeader(http.StatusNoContent)
	case errors.Is(err, errNotWatched):
		http.Error(w, fmt.Sprintf("the agent does not watch %q", name), http.StatusNotFound)
	case errors.As(err, &tooLarge):
		http.Error(w, fmt.Sprintf("the body has more than %d bytes", maxPush), http.StatusRequestEntityTooLarge)
	default:
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
}

func notAllowed(w http.ResponseWriter, methods string) {
	w.Header().Set("Allow", methods)
	http.Error(w, "use "+methods, http.StatusMethodNotAllowed)
}

// readPush reads what a PUT pushes.
func readPush(r *http.Request) (client.Status, string, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return 0, "", err
	}
	var p pushed
	query, text := r.URL.Query(), strings.TrimSpace(string(body))
	switch {
	case query.Has("status") && text != "":
		return 0, "", errors.New("a status stands in the query, and there is a body; send one of them")
	case query.Has("status"):
		p = pushed{query.Get("status"), query.Get("reason")}
	case text == "":
		return 0, "", errors.New("there is no status; send serving, not_serving or unknown")
	case isJSON(r, text):
		d := json.NewDecoder(strings.NewReader(text))
		d.DisallowUnknownFields()
		if d.Decode(&p) != nil || d.More() {
			return 0, "", errors.New(`the body is not JSON as {"status": "not_serving", "reason": "…"}`)
		}
	default:
		var rest string
		p.Status, rest, _ = strings.Cut(text, " ")
		p.Reason = strings.TrimSpace(rest)
		if first, more, lines := strings.Cut(text, "\n"); lines && !strings.Contains(first, " ") {
			p.Status, p.Reason = strings.TrimSpace(first), strings.TrimSpace(more)
		}
	}
	st, ok := statuses[strings.ToLower(p.Status)]
	if !ok {
		return 0, "", fmt.Errorf("the status is %q; send serving, not_serving or unknown", p.Status)
	}
	if err := limits.Reason(p.Reason); err != nil {
		return 0, "", fmt.Errorf("the reason %w", err)
	}
	return st, p.Reason, nil
}

func isJSON(r *http.Request, text string) bool {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return kind == "application/json" || strings.HasPrefix(text, "{")
}
