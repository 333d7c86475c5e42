package config

import (
	"slices"
	"strings"

	"github.com/rollcallhq/rollcall/agent/readinessgate"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/healthserver"
)

// Service is one service that the agent watches on this machine.
type Service struct {
	Name          string // in the registry, and in grpc.health.v1 of the agent
	Instance      string // where others reach it on this machine, host:port
	OnStop        client.OnStop
	Push          bool    // a status may be pushed though it has checks
	ReadinessGate string  // the condition of the pod that shows its status, as example.com/ready; "": none
	Checks        []Check // in the order of the file; none: its status is pushed
}

// Pushable reports whether a status of the service may be pushed: if Push says so, if it has a ttl check, or if it has
// no checks.
func (s *Service) Pushable() bool {
	return s.Push || len(s.Checks) == 0 || slices.ContainsFunc(s.Checks, func(c Check) bool { return c.TTL > 0 })
}

// Reported is the name under which the agent reports the service: SERVICE/INSTANCE.
func (s *Service) Reported() string { return s.Name + "/" + s.Instance }

// Equal reports whether a service is the same in each respect that the file can change, its checks too.
func (s *Service) Equal(o *Service) bool {
	return s.Name == o.Name && s.Instance == o.Instance && s.OnStop == o.OnStop && s.Push == o.Push &&
		s.ReadinessGate == o.ReadinessGate && slices.EqualFunc(s.Checks, o.Checks, Check.Equal)
}

var stops = []client.OnStop{client.StopWithdraw, client.StopNotServing, client.StopLeave}

// instance looks at the instance of services that name none.
func (b *builder) instance(cfg *Config) {
	at, from := b.file.Instance.place, "instance"
	cfg.Instance = b.file.Instance.value
	if b.options.Instance != "" {
		cfg.Instance, at, from = b.options.Instance, place{}, "--instance"
	}
	if cfg.Instance == "" {
		return
	}
	if _, err := healthserver.New("service", healthserver.WithInstance(cfg.Instance)); err != nil {
		b.at(at, "%s: %s", from, plainText(err))
		cfg.Instance = ""
		b.read = false // it is not missing
	}
}

func (b *builder) services(cfg *Config) {
	all := b.file.Services
	if len(all) == 0 {
		b.missing(b.file.listPlace("services"), "services is missing or empty; an agent needs at least one service")
		return
	}
	if len(all) > MaxServices {
		b.at(all[MaxServices].place, "this is one service too many; an agent has at most %d", MaxServices)
		return
	}
	named, gates := map[string]place{}, map[string]string{}
	for i := range all {
		if b.full() {
			return
		}
		k := &all[i]
		if k.line == 0 {
			continue // it is no mapping, which is a fault already
		}
		s := b.service(cfg, k)
		if first, twice := named[s.Name]; twice && s.Name != "" {
			b.at(k.Name.place, "service %q stands in this file twice; the first one is in line %d", s.Name, first.line)
		} else {
			named[s.Name] = k.Name.place
		}
		if other, twice := gates[s.ReadinessGate]; twice && s.ReadinessGate != "" {
			b.at(k.ReadinessGate.place, "readiness_gate %q is that of service %q already; each service needs its own", s.ReadinessGate, other)
		} else {
			gates[s.ReadinessGate] = s.Name
		}
		cfg.Services = append(cfg.Services, s)
	}
	slices.SortFunc(cfg.Services, func(a, b Service) int { return strings.Compare(a.Name, b.Name) })
}

func (b *builder) service(cfg *Config, k *serviceKeys) Service {
	s := Service{
		Name: k.Name.value, Instance: k.Instance.value, OnStop: client.StopNotServing,
		Push: k.Push.value, ReadinessGate: k.ReadinessGate.value,
	}
	b.names(cfg, k, &s)
	if k.OnStop.ok() {
		s.OnStop = b.onStop(k.OnStop)
	}
	if k.ReadinessGate.ok() {
		if err := readinessgate.CheckCondition(s.ReadinessGate); err != nil {
			b.at(k.ReadinessGate.place, "readiness_gate: %s", err)
		}
	}
	if len(k.Checks) > MaxChecks {
		b.at(k.Checks[MaxChecks].place, "this is one check too many; a service has at most %d", MaxChecks)
		return s
	}
	ttl, named := place{}, map[string]place{}
	for i := range k.Checks {
		keys := &k.Checks[i]
		if keys.line == 0 {
			continue
		}
		c, ok := b.check(keys)
		if !ok {
			continue
		}
		if first, twice := named[c.Name]; twice {
			b.at(keys.nameOrPlace(), "service %q has two checks with the name %q, the first one in line %d; give each a name of its own", s.Name, c.Name, first.line)
			continue
		}
		named[c.Name] = keys.nameOrPlace()
		if c.TTL > 0 && ttl.line > 0 {
			b.at(keys.place, "service %q has two ttl checks, the first one in line %d; one check takes all that is pushed", s.Name, ttl.line)
			continue
		}
		if c.TTL > 0 {
			ttl = keys.place
		}
		s.Checks = append(s.Checks, c)
	}
	b.pushes(cfg, k, &s, ttl)
	return s
}

// names looks at the service's name and instance.
func (b *builder) names(cfg *Config, k *serviceKeys, s *Service) {
	if !k.Name.ok() {
		b.missing(k.place, "a service has no name")
		return
	}
	if _, err := healthserver.New(s.Name); err != nil {
		b.at(k.Name.place, "%s", plainText(err))
		return
	}
	at := k.Instance.place
	if !k.Instance.ok() {
		s.Instance, at = cfg.Instance, k.Name.place
	}
	if s.Instance == "" {
		b.missing(k.Name.place, "service %q has no instance; give it one, or all of them by instance at the top: the address at which others reach it, as 10.0.0.7:8080", s.Name)
		return
	}
	if _, err := healthserver.New(s.Name, healthserver.WithInstance(s.Instance)); err != nil {
		b.at(at, "%s", plainText(err))
	}
}

func (b *builder) onStop(t text) client.OnStop {
	var names []string
	for _, stop := range stops {
		if stop.String() == t.value {
			return stop
		}
		names = append(names, stop.String())
	}
	if meant := nearest(t.value, names); meant != "" {
		b.at(t.place, "on_stop is %q; did you mean %s?", t.value, meant)
	} else {
		b.at(t.place, "on_stop is %q; use %s", t.value, oneOf(names))
	}
	return 0
}

// pushes looks at whether what is to be pushed can be pushed.
func (b *builder) pushes(cfg *Config, k *serviceKeys, s *Service, ttl place) {
	if len(s.Checks) < len(k.Checks) {
		return // a fault that stands already
	}
	switch no := k.Push.ok() && !k.Push.value; {
	case no && len(s.Checks) == 0:
		b.at(k.Push.place, "service %q has no checks, and push is false: nothing could say how it is", s.Name)
	case no && ttl.line > 0:
		b.at(k.Push.place, "service %q has a ttl check, which is fed by pushes, and push is false", s.Name)
	case cfg.HTTP != "" || !s.Pushable():
	case ttl.line > 0:
		b.missing(ttl, "a ttl check is fed by pushes, for which the agent needs listen.http, as 127.0.0.1:7612")
	case s.Push:
		b.missing(k.Push.place, "push needs listen.http, at which the agent takes pushes, as 127.0.0.1:7612")
	default:
		b.missing(k.Name.place, "service %q has no checks, so its status must be pushed, for which the agent needs listen.http, as 127.0.0.1:7612", s.Name)
	}
}
