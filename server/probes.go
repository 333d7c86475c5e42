package server

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// HTTPHandler answers /livez, /readyz and /healthz for probes that speak no gRPC. The answers are those of
// Kubernetes' own components (k8s.io/apiserver/pkg/server/healthz): "ok", or one line for each check when a
// check fails or ?verbose is given; ?exclude=CHECK leaves a check out; /readyz/CHECK asks one check alone.
// The code of a failure is 503, where Kubernetes has 500.
//
// /readyz is rollcall.reads, which needs no quorum. If it asked for a leader, an orchestrator would take all
// nodes away at once when the quorum is lost, and with them the reads that still work. Who wants a leader
// asks /readyz/leader, which is "": rollcall.reads and a leader confirmed lately.
func (s *Server) HTTPHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /livez", probe("livez", livenessChecks))
	mux.Handle("GET /livez/{check}", probeOne("livez", livenessChecks))
	// Kubernetes deprecated /healthz. Who still uses it means liveness, which must not depend on a quorum.
	mux.Handle("GET /healthz", probe("healthz", livenessChecks))
	mux.Handle("GET /healthz/{check}", probeOne("healthz", livenessChecks))
	mux.Handle("GET /readyz", probe("readyz", s.readinessChecks))
	mux.Handle("GET /readyz/{check}", probeOne("readyz", s.readinessChecks))
	return mux
}

// probeCheck is one part of a probe.
type probeCheck struct {
	name     string
	why      string // the reason of a failure; "": the check passed
	separate bool   // the check counts only when it is asked alone
}

func livenessChecks() []probeCheck { return []probeCheck{{name: "ping"}} }

func (s *Server) readinessChecks() []probeCheck {
	v := s.readiness.verdict()
	leader := v.readsWhy
	if leader == "" {
		leader = v.heardWhy
	}
	return []probeCheck{
		{name: "reads", why: v.readsWhy},
		{name: "leader", why: leader, separate: true},
	}
}

// probe answers for all checks that are not separate.
func probe(probe string, checks func() []probeCheck) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		excluded := r.URL.Query()["exclude"]
		unknown := slices.Clone(excluded)
		failed := false
		var b strings.Builder
		for _, c := range checks() {
			unknown = slices.DeleteFunc(unknown, func(name string) bool { return name == c.name })
			switch {
			case slices.Contains(excluded, c.name):
				fmt.Fprintf(&b, "[+]%s excluded: ok\n", c.name)
			case c.separate && c.why != "":
				fmt.Fprintf(&b, "[i]%s: %s; counts in /%s/%s only\n", c.name, c.why, probe, c.name)
			default:
				failed = failed || c.why != ""
				b.WriteString(c.line())
			}
		}
		if len(unknown) > 0 {
			slices.Sort(unknown)
			fmt.Fprintf(&b, "warn: some health checks cannot be excluded: no matches for %s\n", quoted(slices.Compact(unknown)))
		}
		answerProbe(w, r, probe, !failed, b.String())
	})
}

// probeOne answers for one check alone.
func probeOne(probe string, checks func() []probeCheck) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, c := range checks() {
			if c.name == r.PathValue("check") {
				answerProbe(w, r, probe+"/"+c.name, c.why == "", c.line())
				return
			}
		}
		http.NotFound(w, r)
	})
}

func quoted(names []string) string {
	all := make([]string, len(names))
	for i, name := range names {
		all[i] = strconv.Quote(name)
	}
	return strings.Join(all, ",")
}

func (c probeCheck) line() string {
	if c.why == "" {
		return "[+]" + c.name + " ok\n"
	}
	return fmt.Sprintf("[-]%s failed: %s\n", c.name, c.why)
}

// answerProbe writes lines only if the probe failed, or if ?verbose asks for them.
func answerProbe(w http.ResponseWriter, r *http.Request, probe string, ok bool, lines string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	body := "ok\n"
	switch _, verbose := r.URL.Query()["verbose"]; {
	case !ok:
		w.WriteHeader(http.StatusServiceUnavailable)
		body = lines + probe + " check failed\n"
	case verbose:
		body = lines + probe + " check passed\n"
	}
	_, _ = w.Write([]byte(body))
}
