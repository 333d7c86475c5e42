package agent

import (
	"context"
	"errors"
	"net"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/rollcallhq/rollcall/agent/config"
	"github.com/rollcallhq/rollcall/agent/httpapi"
	"github.com/rollcallhq/rollcall/client"
)

// newHTTP makes what serves the HTTP port.
func newHTTP(a *Agent, cfg *config.Config) httpServer {
	return httpapi.New(httpSource{a}, httpapi.Options{
		Logger:          a.logger,
		AllowRemotePush: cfg.AllowRemotePush,
		Hosts:           hosts(cfg),
		Collectors: []prometheus.Collector{
			collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), a.metrics, a.reloads, a.gates,
		},
	})
}

// hosts are the names of the HTTP port beside localhost: the one in the file, and this machine's, which some systems
// have point at a loopback address.
func hosts(cfg *config.Config) (names []string) {
	if host, _, err := net.SplitHostPort(cfg.HTTP); err == nil && host != "" {
		names = append(names, host)
	}
	if name, err := os.Hostname(); err == nil {
		names = append(names, name)
	}
	return names
}

// httpSource is what the HTTP port sees of an Agent.
type httpSource struct{ a *Agent }

func (s httpSource) Alive(ctx context.Context) error { return s.a.Alive(ctx) }
func (s httpSource) Ready() error                    { return s.a.ready() }
func (s httpSource) Silent() time.Duration           { return s.a.opinions.silent() }

func (s httpSource) SilentWhy() error          { return s.a.opinions.err() }
func (s httpSource) Refused() *httpapi.Refusal { return s.a.refusals.all().shown() }

func (s httpSource) Service(name string) (httpapi.Service, bool) {
	one, ok := s.a.look(name)
	if !ok {
		return httpapi.Service{}, false
	}
	shown := one.shown()
	shown.Checks = s.a.runner.ResultsOf(name)
	return shown, true
}

func (s httpSource) Services() []httpapi.Service {
	all := s.a.lookAll()
	services := make([]httpapi.Service, len(all))
	at := make(map[string]int, len(all))
	for i := range all {
		services[i] = all[i].shown()
		at[all[i].name] = i
	}
	for _, r := range s.a.runner.Results() { // sorted
		if i, ok := at[r.Service]; ok { // a reload may have come between
			services[i].Checks = append(services[i].Checks, r)
		}
	}
	return services
}

func (s *snapshot) shown() httpapi.Service {
	one := httpapi.Service{
		Name: s.name, Instance: s.instance, Status: s.status, Since: s.since,
		Own: s.own.word(), Waiting: s.waiting, Whole: s.whole, Reported: s.reported, Off: s.instanceOff, Rival: s.rival,
		Refused: s.refused.shown(),
	}
	if s.pushed != nil {
		pushed := s.pushed.word()
		one.Pushed = &pushed
	}
	return one
}

func (s *said) word() httpapi.Word {
	return httpapi.Word{Status: s.status, Reason: s.reason, Since: s.at}
}

func (s httpSource) Push(name string, st client.Status, reason string) error {
	return forHTTP(s.a.push(name, st, reason))
}

func (s httpSource) Release(name string) error { return forHTTP(s.a.release(name)) }

// forHTTP is an error of push as the HTTP port knows it.
func forHTTP(err error) error {
	switch {
	case errors.Is(err, errNotWatched):
		return httpapi.ErrUnknown
	case errors.Is(err, errNotPushable):
		return httpapi.ErrNotPushable
	case errors.Is(err, errEnded):
		return httpapi.ErrStopping
	}
	return err
}
