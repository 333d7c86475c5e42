package agent

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rollcallhq/rollcall/agent/config"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/checks"
)

// Reload goes over to a new configuration. What did not change keeps its state, and nothing is reported of it. A
// service that is gone is withdrawn from the registry, whatever its on_stop. If Reload returns an error, nothing has
// changed.
func (a *Agent) Reload(cfg *config.Config) error {
	a.reload.Lock()
	old := a.config
	a.reload.Unlock()
	for _, fixed := range []struct {
		key  string
		same bool
	}{
		{"cluster.endpoints", slices.Equal(old.Endpoints, cfg.Endpoints)},
		{"ttl", old.TTL == cfg.TTL},
		{"forget_after", old.ForgetAfter == cfg.ForgetAfter},
		{"listen.grpc", old.GRPC == cfg.GRPC},
		{"listen.http", old.HTTP == cfg.HTTP},
	} {
		if !fixed.same {
			return fmt.Errorf("%s has changed, which needs a restart", fixed.key)
		}
	}
	return a.apply(cfg)
}

// apply goes over from the services of a.config to those of cfg.
func (a *Agent) apply(cfg *config.Config) error {
	a.reload.Lock()
	defer a.reload.Unlock()
	if a.life.Err() != nil {
		return errors.New("the agent has stopped")
	}
	before := map[string]*config.Service{}
	for i := range a.config.Services {
		before[a.config.Services[i].Name] = &a.config.Services[i]
	}
	var added []string
	for i := range cfg.Services {
		s := &cfg.Services[i]
		old := before[s.Name]
		delete(before, s.Name)
		if old == nil {
			old = &config.Service{}
			added = append(added, s.Name)
			a.board.add(s.Name)
		}
		if err := a.change(old, s); err != nil {
			return err
		}
	}
	for _, gone := range before {
		a.drop(gone)
	}
	a.config = cfg
	if err := a.opinions.follow(a.services.names()); err != nil {
		return err
	}
	if len(added) > 0 {
		a.waits.Go(func() { a.wait(added) })
	}
	return nil
}

// wait ends the initial wait of services.
func (a *Agent) wait(names []string) {
	timer := time.NewTimer(initialWait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-a.life.Done():
	}
	if n := a.board.endWait(names); n > 0 {
		a.logger.Warn("the registry was not heard of some services within the initial wait; until it is, this agent alone decides", "services", n, "waited", initialWait)
	}
}

// change goes over from a service to a newer one of the same name. A new one has an old one without a name.
func (a *Agent) change(old, next *config.Service) error {
	ttl := a.takeOver(old, next)
	for _, c := range old.Checks {
		if i := slices.IndexFunc(next.Checks, func(n config.Check) bool { return n.Name == c.Name }); i < 0 || next.Checks[i].Spec != c.Spec {
			a.runner.Remove(old.Name, c.Name)
		}
	}
	for _, c := range next.Checks {
		if slices.ContainsFunc(old.Checks, func(o config.Check) bool { return o.Name == c.Name && o.Spec == c.Spec }) {
			continue
		}
		check := c.New()
		if c.TTL > 0 {
			check = ttl
		}
		if err := a.runner.Add(next.Name, check, c.Options...); err != nil {
			return err
		}
	}
	return nil
}

// takeOver goes over to what a service says from now on, without its checks. It returns the ttl check of the service.
func (a *Agent) takeOver(old, next *config.Service) (ttl *checks.TTL) {
	a.services.mu.Lock()
	defer a.services.mu.Unlock()
	one := a.services.all[next.Name]
	if one == nil {
		one = &service{checked: client.Unknown, said: client.ServiceUnknown}
		a.services.all[next.Name] = one
	}
	one.config = *next
	if len(next.Checks) == 0 {
		one.checked, one.reason = client.Unknown, ""
	}
	one.setTTL(old, next)
	if old.Name != "" && old.Reported() != next.Reported() {
		a.withdraw(old)
	}
	moved := old.Name != "" && (old.Reported() != next.Reported() || old.OnStop != next.OnStop)
	said := one.said
	a.services.derive(one)
	if moved && one.said == said {
		a.report(one)
	}
	return one.ttl
}

// setTTL goes over to the ttl check of next. One that is new goes on from what was pushed last, if that is not stale.
func (s *service) setTTL(old, next *config.Service) {
	find := func(c *config.Service) *config.Check {
		for i := range c.Checks {
			if c.Checks[i].TTL > 0 {
				return &c.Checks[i]
			}
		}
		return nil
	}
	was, is := find(old), find(next)
	switch {
	case is == nil:
		s.ttl = nil
	case was != nil && was.Name == is.Name && was.Spec == is.Spec:
	default:
		s.ttl = is.New().(*checks.TTL)
		if p := s.pushed; p != nil && time.Since(p.at) < is.TTL {
			feed(s.ttl, p.status, p.reason)
		}
	}
}

// drop ends a service.
func (a *Agent) drop(s *config.Service) {
	a.services.mu.Lock()
	delete(a.services.all, s.Name)
	a.withdraw(s)
	a.services.mu.Unlock()
	for _, c := range s.Checks {
		a.runner.Remove(s.Name, c.Name)
	}
	a.board.remove(s.Name)
}

func (a *Agent) withdraw(s *config.Service) {
	report := client.Report{Service: s.Reported(), Status: client.ServiceUnknown, Reason: "not in the agent's configuration any more"}
	if err := a.reports.report(s.OnStop, report); err != nil {
		a.logger.Error("a service was not withdrawn", "service", report.Service, "error", err)
	}
}
