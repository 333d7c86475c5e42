package checks

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rollcallhq/rollcall/client"
)

// Handler returns a page that shows every service, its status and why, and the result of each check. It may be served
// under any path.
//
//	GET /checks                       all services; the HTTP status is 200
//	GET /checks?service=shop/cart     one service, for probes and load balancers: 200 if it is SERVING, 503 if it
//	                                  is NOT_SERVING or UNKNOWN, 404 if it has no check. ?service= is the process
//	                                  itself, ""
//	GET /checks?format=json           JSON; so does the header Accept: application/json. Otherwise plain text
//
// HEAD gives the same without a body, other methods get 405. The status is that of the Runner's checks alone: the page
// does not know what an operator has switched off in the registry. Before [Runner.Run] it is UNKNOWN, or SERVING
// without critical checks, and after Run it stays what it was.
//
// The page shows what the checks return: measured values, addresses, and secrets that a library puts into its errors.
// Serve it on a port that only those reach who may read them.
//
// # JSON
//
// Fields and rules are those of docs/json.md: times are RFC 3339 in UTC, durations are numbers of seconds. New fields
// may be added.
//
//	{
//	  "time": "…",              when the page was made
//	  "running": true,          Run has been called, and has not been told to stop
//	  "services": [{
//	    "service": "shop/cart", "" is the process itself
//	    "status": "NOT_SERVING",
//	    "since": "…",           when it became so
//	    "reasons": ["database"],  the critical checks that made it NOT_SERVING or UNKNOWN
//	    "warnings": ["disk"],     checks that are not well and do not change the status
//	    "checks": [{
//	      "check": "database",
//	      "critical": true,
//	      "status": "NOT_SERVING",    damped by rise and fall
//	      "since": "…",
//	      "error": "dial tcp …",      of the last run; "" if it passed
//	      "degraded": false,          the error is a warning, and the run counts as a success
//	      "last_run": "…",            left out before the first run is over
//	      "took_seconds": 0.0021,     left out before the first run is over
//	      "next_run": "…",            left out while the check is stuck; in the past while it waits
//	      "successes": 0,             in a row
//	      "failures": 4,              in a row
//	      "running": false,
//	      "stuck": false,             it has not returned at its timeout
//	      "interval_seconds": 10,
//	      "timeout_seconds": 5,
//	      "rise": 1,
//	      "fall": 3
//	    }]
//	  }]
//	}
func (r *Runner) Handler() http.Handler { return http.HandlerFunc(r.servePage) }

type page struct {
	Time     time.Time     `json:"time"`
	Running  bool          `json:"running"`
	Services []pageService `json:"services"`
}

type pageService struct {
	Service  string    `json:"service"`
	Status   string    `json:"status"`
	Since    time.Time `json:"since"`
	Reasons  []string  `json:"reasons"`
	Warnings []string  `json:"warnings"`
	Checks   []Result  `json:"checks"`

	status client.Status
}

func (r *Runner) servePage(w http.ResponseWriter, req *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Vary", "Accept")
	h.Set("Content-Type", "text/plain; charset=utf-8")
	answer := func(code int, body []byte) {
		h.Set("Content-Length", strconv.Itoa(len(body)))
		w.WriteHeader(code)
		if req.Method != http.MethodHead {
			_, _ = w.Write(body) // the caller may have gone
		}
	}
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		answer(http.StatusMethodNotAllowed, []byte("use GET or HEAD\n"))
		return
	}
	query := req.URL.Query()
	asJSON := prefersJSON(req.Header.Values("Accept"))
	switch format := query.Get("format"); format {
	case "":
	case "json", "text":
		asJSON = format == "json"
	default:
		answer(http.StatusBadRequest, []byte("the format is json or text\n"))
		return
	}
	names, one := query["service"]
	if len(names) > 1 {
		answer(http.StatusBadRequest, []byte("name one service, or none for all\n"))
		return
	}
	var p page
	code := http.StatusOK
	if one {
		p = r.page(names[0], true)
		switch {
		case len(p.Services) == 0:
			code = http.StatusNotFound
		case p.Services[0].status != client.Serving:
			code = http.StatusServiceUnavailable
		}
	} else {
		p = r.page("", false)
	}
	if !asJSON {
		answer(code, p.text())
		return
	}
	h.Set("Content-Type", "application/json")
	body, err := json.MarshalIndent(&p, "", "  ")
	if err != nil { // a time beyond the year 9999
		h.Set("Content-Type", "text/plain; charset=utf-8")
		answer(http.StatusInternalServerError, []byte("the page cannot be made\n"))
		return
	}
	answer(code, append(body, '\n'))
}

// page is what is known at one moment of all services, or of one.
func (r *Runner) page(only string, one bool) page {
	p := page{Services: []pageService{}}
	r.mu.Lock()
	now := time.Now()
	p.Time, p.Running = now.UTC(), !r.stopping(now)
	if one {
		if s := r.services[only]; s != nil {
			p.Services = append(p.Services, s.page())
		}
	} else {
		for _, s := range r.services {
			p.Services = append(p.Services, s.page())
		}
	}
	r.mu.Unlock()
	slices.SortFunc(p.Services, func(a, b pageService) int { return strings.Compare(a.Service, b.Service) })
	for i := range p.Services {
		slices.SortFunc(p.Services[i].Checks, compareResults)
	}
	return p
}

func (s *service) page() pageService {
	p := pageService{
		Service: s.name, Status: s.status.String(), Since: s.since.UTC(), status: s.status,
		Reasons: notNil(s.reasons()), Warnings: notNil(s.warnings()),
		Checks: make([]Result, 0, len(s.checks)),
	}
	for _, e := range s.checks {
		p.Checks = append(p.Checks, e.result())
	}
	return p
}

func notNil(names []string) []string {
	if names == nil {
		return []string{}
	}
	return names
}

// prefersJSON reports whether the caller names JSON and likes plain text no better (RFC 9110, section 12.5.1).
func prefersJSON(accept []string) bool {
	var asJSON, asText float64
	textIs := 0 // how exactly asText was named
	for part := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		kind, params, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		q := 1.0
		if value, ok := params["q"]; ok {
			if q, err = strconv.ParseFloat(value, 64); err != nil {
				continue
			}
		}
		exact := map[string]int{"*/*": 1, "text/*": 2, "text/plain": 3}[kind]
		switch {
		case kind == "application/json":
			asJSON = q
		case exact > textIs:
			textIs, asText = exact, q
		}
	}
	return asJSON > 0 && asJSON >= asText
}

// text is the page for people.
func (p *page) text() []byte {
	var b strings.Builder
	if !p.Running {
		b.WriteString("The checks do not run.\n\n")
	}
	if len(p.Services) == 0 {
		b.WriteString("There are no checks.\n")
	}
	for i, s := range p.Services {
		if i > 0 {
			b.WriteString("\n")
		}
		name := s.Service
		if name == "" {
			name = `"" (this process)`
		}
		fmt.Fprintf(&b, "%s: %s since %s", name, s.Status, stampAge(s.Since, p.Time))
		if len(s.Reasons) > 0 {
			fmt.Fprintf(&b, ", %s", reasonText(s.status, s.Reasons))
		}
		b.WriteString("\n")
		for _, r := range s.Checks {
			for _, line := range r.Lines(p.Time) {
				b.WriteString("  " + line + "\n")
			}
		}
	}
	return []byte(b.String())
}
