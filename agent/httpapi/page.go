package httpapi

import (
	"cmp"
	"encoding/json"
	"fmt"
	"html/template"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/internal/duration"
)

// page is what is known at one moment of all services, or of one.
type page struct {
	now      time.Time
	ready    error
	silent   time.Duration
	why      error     // of silent; nil: not known
	refused  *Refusal  // of all reports; nil: they are not
	services []Service // those that need a look first, then by name
}

// page answers with all services, or with one.
func (h *handler) page(w http.ResponseWriter, r *http.Request, name string, named bool, format string) {
	w.Header().Set("Vary", "Accept")
	switch format {
	case "":
		format = preferred(r.Header.Values("Accept"))
	case "html", "json", "text":
	default:
		text(w, r, http.StatusBadRequest, "the format is html, json or text")
		return
	}
	p := page{now: time.Now(), ready: h.source.Ready(), silent: h.source.Silent(), why: h.source.SilentWhy(), refused: h.source.Refused()}
	if named {
		s, ok := h.source.Service(name)
		if !ok {
			h.unknown(w, r, name)
			return
		}
		p.services = []Service{s}
	} else {
		if !h.enter(r) {
			return
		}
		defer h.leave()
		p.services = h.source.Services()
		slices.SortFunc(p.services, func(a, b Service) int {
			return cmp.Or(cmp.Compare(rank(a.Status), rank(b.Status)), strings.Compare(a.Name, b.Name))
		})
	}
	switch format {
	case "json":
		body, err := json.MarshalIndent(p.json(), "", "  ")
		if err != nil { // a time beyond the year 9999
			text(w, r, http.StatusInternalServerError, "the page cannot be made: a time is out of range")
			return
		}
		answer(w, r, http.StatusOK, "application/json", append(body, '\n'))
	case "html":
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		var b strings.Builder
		if err := pageHTML.Execute(&b, p.html()); err != nil {
			text(w, r, http.StatusInternalServerError, "the page cannot be made")
			return
		}
		answer(w, r, http.StatusOK, "text/html; charset=utf-8", []byte(b.String()))
	default:
		answer(w, r, http.StatusOK, "text/plain; charset=utf-8", []byte(p.text()))
	}
}

func rank(s client.Status) int {
	switch s {
	case client.NotServing:
		return 0
	case client.Serving:
		return 2
	}
	return 1
}

// preferred is the format that a caller likes most (RFC 9110, section 12.5.1). One that takes anything, as curl, gets
// plain text.
func preferred(accept []string) string {
	kinds := []string{"text/plain", "text/html", "application/json"}
	q, exact := make([]float64, len(kinds)), make([]int, len(kinds))
	for part := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		kind, params, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		value := 1.0
		if text, ok := params["q"]; ok {
			if value, err = strconv.ParseFloat(text, 64); err != nil {
				continue
			}
		}
		for i, have := range kinds {
			is := 0
			switch kind {
			case have:
				is = 3
			case have[:strings.IndexByte(have, '/')] + "/*":
				is = 2
			case "*/*":
				is = 1
			}
			if is > exact[i] {
				q[i], exact[i] = value, is
			}
		}
	}
	best := 0
	for i := range kinds {
		likes := cmp.Or(cmp.Compare(q[i], q[best]), cmp.Compare(exact[i], exact[best]))
		if q[i] > 0 && (likes > 0 || likes == 0 && exact[i] == 3) {
			best = i
		}
	}
	return []string{"text", "html", "json"}[best]
}

// head is the first line of the page.
func (p *page) head() string {
	counts := map[client.Status]int{}
	for _, s := range p.services {
		counts[s.Status]++
	}
	head := fmt.Sprintf("%s: %d NOT_SERVING, %d UNKNOWN, %d SERVING", stamp(p.now), counts[client.NotServing], counts[client.Unknown], counts[client.Serving])
	if p.silent > 0 {
		head += "; the registry has not been heard for " + duration.Age(p.silent) + ", and what it said last stays"
		if p.why != nil {
			head += " (" + oneLine(p.why.Error()) + ")"
		}
	}
	if p.refused != nil {
		head += "; the registry refuses this agent's reports" + p.refused.text(p.now)
	}
	if p.ready != nil {
		head += "; not ready: " + p.ready.Error()
	}
	return head
}

// text is the page for people in a terminal.
func (p *page) text() string {
	var b strings.Builder
	b.WriteString(p.head() + "\n")
	for i := range p.services {
		s := &p.services[i]
		fmt.Fprintf(&b, "\n%s: %s%s\n", s.Name, s.Status, since(s.Since, p.now))
		for _, line := range s.lines(p.now) {
			b.WriteString("  " + line + "\n")
		}
	}
	return b.String()
}

// lines are what is known of a service, below its name and status.
func (s *Service) lines(now time.Time) []string {
	var all []string
	for _, why := range s.reasons(now) {
		all = append(all, "why: "+why)
	}
	all = append(all, "itself: "+s.Own.text(now))
	if p := s.Pushed; p != nil {
		all = append(all, "pushed: "+p.text(now))
	}
	all = append(all, "registry: "+judgement(s.Name, &s.Whole, now), "registry: "+judgement(s.reportedAs(), &s.Reported, now))
	if s.Refused != nil {
		all = append(all, "warning: the registry does not take what is reported of "+s.reportedAs()+s.Refused.text(now))
	}
	if s.Rival != nil {
		all = append(all, "warning: "+s.rivalText())
	}
	for _, c := range s.Checks {
		for i, line := range c.Lines(now) {
			if i == 0 {
				line = "check " + line
			}
			all = append(all, line)
		}
	}
	return all
}

type htmlPage struct {
	Head     string
	Services []htmlService
}

type htmlService struct {
	Name, Status, Since, Text string
	Open                      bool
}

func (p *page) html() htmlPage {
	out := htmlPage{Head: p.head()}
	for i := range p.services {
		s := &p.services[i]
		out.Services = append(out.Services, htmlService{
			Name: s.Name, Status: s.Status.String(), Since: since(s.Since, p.now), Text: strings.Join(s.lines(p.now), "\n"),
			Open: s.Status != client.Serving || len(p.services) == 1,
		})
	}
	return out
}

var pageHTML = template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Rollcall agent</title>
<style>
body { font: 15px/1.4 system-ui, sans-serif; margin: 1em; color: #111; background: #fff }
pre { margin: .3em 0 1em 1.5em; white-space: pre-wrap; overflow-wrap: anywhere }
summary { cursor: pointer }
b { display: inline-block; min-width: 8em }
.SERVING { color: #176b2c } .NOT_SERVING { color: #b00020 } .UNKNOWN { color: #8a5a00 }
</style>
<h1>Rollcall agent</h1>
<p>{{.Head}}</p>
{{range .Services}}<details{{if .Open}} open{{end}}><summary><b class="{{.Status}}">{{.Status}}</b> {{.Name}}{{.Since}}</summary><pre>{{.Text}}</pre></details>
{{end}}</html>
`))
