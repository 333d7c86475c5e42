package httpapi

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	statusPath = "/v1/status"
	readyPath  = "/readyz"
)

type handler struct {
	source  Source
	guard   *guard
	crowded func() bool
	metrics *metrics
	scrape  http.Handler
	large   chan struct{} // has a token for each large answer that is made; capacity: so many at a time
}

func newHandler(source Source, o Options, c *connections) *handler {
	h := &handler{source: source, guard: newGuard(o), crowded: c.crowded, metrics: newMetrics(source, c), large: make(chan struct{}, largeAnswers)}
	h.scrape = promhttp.HandlerFor(h.metrics.registry(o.Collectors), promhttp.HandlerOpts{})
	return h
}

// ServeHTTP implements http.Handler. It goes by the path as it is: http.ServeMux would clean it, and names may have
// "//", "." and ".." in them.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h.crowded() {
		w.Header().Set("Connection", "close")
	}
	if code, why := h.guard.refuse(r); code != 0 {
		h.metrics.refused(r)
		text(w, r, code, why)
		return
	}
	path := r.URL.Path
	name, named := "", false
	for _, prefix := range []string{statusPath, readyPath} {
		if rest, ok := strings.CutPrefix(path, prefix+"/"); ok {
			path, name, named = prefix, rest, true
		}
	}
	query, err := queryOf(r, path, named)
	if err != nil {
		h.metrics.refused(r)
		text(w, r, http.StatusBadRequest, err.Error())
		return
	}
	if query.Has("service") {
		name, named = query.Get("service"), true
	}
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch {
	case path == statusPath && (r.Method == http.MethodPut || r.Method == http.MethodDelete):
		h.push(w, r, name)
	case path == statusPath && !reads:
		w.Header().Set("Allow", "DELETE, GET, HEAD, PUT")
		text(w, r, http.StatusMethodNotAllowed, fmt.Sprintf("use PUT to say a status: curl -X PUT -d SERVING http://%s%s/NAME", hostForPeople(r), statusPath))
	case path != "/" && path != statusPath && path != readyPath && path != "/livez" && path != "/metrics":
		text(w, r, http.StatusNotFound, "there is nothing here; try /, /livez, /readyz, /readyz/NAME, /metrics, or PUT /v1/status/NAME")
	case !reads:
		w.Header().Set("Allow", "GET, HEAD")
		text(w, r, http.StatusMethodNotAllowed, "use GET or HEAD")
	case path == "/metrics":
		if h.enter(r) {
			defer h.leave()
			h.scrape.ServeHTTP(w, r)
		}
	case path == "/livez":
		h.live(w, r)
	case path == readyPath && named && name != "":
		h.readyService(w, r, name)
	case path == readyPath:
		h.ready(w, r)
	case path == statusPath && name == "":
		h.unknown(w, r, name)
	default:
		h.page(w, r, name, named, query.Get("format"))
	}
}

// queryOf is the query of a request. Where a name stands in the path, a query is most likely a "?" of the name, which
// had to be written as %3F; only the format of the page is left.
func queryOf(r *http.Request, path string, named bool) (url.Values, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, errors.New("the query cannot be read; write % as %25, ; as %3B and & as %26")
	}
	if len(query["service"]) > 1 {
		return nil, errors.New("the query has service more than once; name one")
	}
	if path != statusPath && path != readyPath && path != "/" {
		return query, nil
	}
	for key := range query {
		switch {
		case key == "format" && path != readyPath && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		case key == "service" && !named:
		case path == readyPath && !named: // /readyz?verbose
		case key == "service":
			return nil, errors.New("the service stands in the path and in the query; name it once")
		case path == statusPath && (key == "status" || key == "reason"):
			return nil, errors.New("the query is not used; send the status as the body: curl -X PUT -d SERVING")
		default:
			return nil, fmt.Errorf("the query has %s, which is not known; a ? in a name is written as %%3F", quote(key))
		}
	}
	return query, nil
}

// hostForPeople is where the caller reached this port, to be shown in a command.
func hostForPeople(r *http.Request) string {
	if r.Host == "" || strings.ContainsAny(r.Host, " '\"$`\\;&|<>()") {
		return "HOST:PORT"
	}
	return r.Host
}

// enter waits for its turn to make a large answer. It returns false if the caller has gone.
func (h *handler) enter(r *http.Request) bool {
	select {
	case h.large <- struct{}{}:
		return true
	case <-r.Context().Done():
		return false
	}
}

func (h *handler) leave() { <-h.large }

// unknown answers that the agent does not watch a service, and what the caller may have meant.
func (h *handler) unknown(w http.ResponseWriter, r *http.Request, name string) {
	if name == "" {
		text(w, r, http.StatusNotFound, "the path names no service; use "+statusPath+"/NAME")
		return
	}
	why := fmt.Sprintf("the agent does not watch %s", quoteName(name))
	if i := strings.LastIndexByte(name, '/'); i > 0 {
		s, ok := h.source.Service(name[:i])
		switch {
		case ok && name[i+1:] == s.Instance:
			why += fmt.Sprintf(", which is what it reports of %q; name the service without its instance", s.Name)
		case ok && i == len(name)-1:
			why += fmt.Sprintf("; it watches %q", s.Name)
		}
	}
	text(w, r, http.StatusNotFound, why)
}

// quoteName shows a name of a caller: longer than names may be it is cut off.
func quoteName(name string) string {
	if len(name) > 256 {
		return quote(name)
	}
	return strconv.Quote(name)
}

// text answers in plain text.
func text(w http.ResponseWriter, r *http.Request, code int, body string) {
	answer(w, r, code, "text/plain; charset=utf-8", []byte(body+"\n"))
}

func answer(w http.ResponseWriter, r *http.Request, code int, kind string, body []byte) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", kind)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // the caller may have gone
	}
}
