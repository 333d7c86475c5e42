package agent

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rollcallhq/rollcall/agent/config"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/checks"
)

// Reload goes over to a new configuration. What did not change keeps its state, and nothing is reported of it. A
// service with other checks keeps its status until they have run. One that is gone ends as its OnStop was. If Reload
// returns an error, nothing has changed.
func (a *Agent) Reload(cfg *config.Config) error {
	err := a.tryReload(cfg)
	a.reloads.reloaded(err)
	return err
}

// ReloadRefused counts a reload that did not come to Reload, because its file is wrong.
func (a *Agent) ReloadRefused() { a.reloads.reloaded(errors.New("the file is wrong")) }

func (a *Agent) tryReload(cfg *config.Config) error {
	if !a.running.Load() {
		return errors.New("the agent is starting, or has stopped")
	}
	a.reload.Lock()
	defer a.reload.Unlock()
	if fixed := a.config.NeedsRestart(cfg); len(fixed) > 0 {
		return fmt.Errorf("what has changed needs a restart: %s", strings.Join(fixed, ", "))
	}
	return a.apply(cfg)
}

// apply goes over from the services of a.config to those of cfg: all, or none. a.reload is held, or nothing runs yet.
func (a *Agent) apply(cfg *config.Config) error {
	before := map[string]*config.Service{}
	for i := range a.config.Services {
		before[a.config.Services[i].Name] = &a.config.Services[i]
	}
	// What can fail comes first. It changes nothing.
	if err := try(cfg); err != nil {
		return err
	}
	views, err := a.opinions.prepare(names(cfg.Services))
	if err != nil {
		return err
	}
	for i := range cfg.Services {
		s := &cfg.Services[i]
		if old := before[s.Name]; len(s.Checks) > 0 && (old == nil || len(old.Checks) == 0) {
			if err := a.services.forgotten(a.taking, s.Name); err != nil {
				return errEnded
			}
		}
	}
	if a.taking.Err() != nil {
		return errEnded
	}
	for i := range cfg.Services {
		s := &cfg.Services[i]
		old := before[s.Name]
		delete(before, s.Name)
		if old == nil {
			old = &config.Service{}
		}
		a.change(old, s)
	}
	for _, gone := range before {
		a.drop(gone)
	}
	a.config = cfg
	if views != nil {
		a.opinions.follow(views)
	}
	return nil
}

// try adds all to a runner that does not run, which finds what is wrong with it.
func try(cfg *config.Config) error {
	trial := checks.NewRunner()
	named := map[string]bool{}
	for i := range cfg.Services {
		s := &cfg.Services[i]
		if named[s.Name] {
			return fmt.Errorf("service %q stands there twice", s.Name)
		}
		named[s.Name] = true
		for _, c := range s.Checks {
			if err := trial.Add(s.Name, c.New(), c.Options...); err != nil {
				return err
			}
		}
	}
	return nil
}

// change goes over from a service to a newer one of the same name. A new one has an old one without a name.
func (a *Agent) change(old, next *config.Service) {
	a.board.add(next.Name, next.OnStop == client.StopLeave)
	ttl := a.takeOver(old, next)
	for _, c := range next.Checks {
		if i := find(old.Checks, c.Name); i >= 0 && old.Checks[i].Equal(c) {
			continue
		}
		check := c.New()
		if c.TTL > 0 {
			check = ttl
		}
		if err := a.runner.Replace(next.Name, check, c.Options...); err != nil { // try has found none
			a.logger.Error("a check cannot be run", "service", next.Name, "check", c.Name, "error", err)
		}
	}
	for _, c := range old.Checks { // after those that take their place: else the service would be without any
		if find(next.Checks, c.Name) < 0 {
			a.runner.Remove(old.Name, c.Name)
		}
	}
}

func find(in []config.Check, name string) int {
	return slices.IndexFunc(in, func(c config.Check) bool { return c.Name == name })
}

// takeOver goes over to what a service says from now on, without its checks. It returns the ttl check of the service.
func (a *Agent) takeOver(old, next *config.Service) (ttl *checks.TTL) {
	a.services.mu.Lock()
	defer a.services.mu.Unlock()
	one := a.services.add(next.Name)
	one.config = *next
	switch {
	case len(next.Checks) == 0:
		one.checked = said{status: client.Unknown, at: time.Now()}
	case len(old.Checks) == 0: // until they have run
		one.checked = one.own
	}
	if !next.Pushable() {
		one.pushed = nil
	}
	one.setTTL(old, next)
	reported := old.Name != "" && one.spoke
	if reported && old.Reported() != next.Reported() {
		a.reports.remove(old.Reported())
		a.refusals.forget(old.Reported())
	}
	a.services.derive(one)
	if reported && (old.Reported() != next.Reported() || old.OnStop != next.OnStop) {
		a.report(one)
	}
	return one.ttl
}

// setTTL goes over to the ttl check of next. One that is new goes on from what was pushed last, if that is not stale.
func (s *service) setTTL(old, next *config.Service) {
	ttl := func(c *config.Service) *config.Check {
		for i := range c.Checks {
			if c.Checks[i].TTL > 0 {
				return &c.Checks[i]
			}
		}
		return nil
	}
	was, is := ttl(old), ttl(next)
	switch {
	case is == nil:
		s.ttl = nil
	case was != nil && was.Equal(*is):
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
	a.reports.remove(s.Reported())
	a.refusals.forget(s.Reported())
	a.board.remove(s.Name)
	a.services.mu.Unlock()
	for _, c := range s.Checks {
		a.runner.Remove(s.Name, c.Name)
	}
}
