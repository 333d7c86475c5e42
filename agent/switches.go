package agent

import (
	"cmp"
	"log/slog"
	"slices"
)

// maxSwitches bounds how many services that the registry has switched at once are told one by one.
const maxSwitches = 20

// switches are services that the registry has switched off, or on again, at one moment.
type switches struct{ off, on []*service }

// add takes what the registry says of a service now.
func (w *switches) add(s *service, off bool) {
	if off == s.switched {
		return
	}
	s.switched = off
	if off {
		w.off = append(w.off, s)
	} else {
		w.on = append(w.on, s)
	}
}

// logSwitches tells of services that the registry has switched. services.mu is held.
func (a *Agent) logSwitches(w *switches) {
	for _, one := range []struct {
		of        []*service
		one, many string
	}{
		{w.off, "the registry has switched a service off", "the registry has switched many services off"},
		{w.on, "the registry has switched a service on again", "the registry has switched many services on again"},
	} {
		if len(one.of) > maxSwitches {
			a.logger.Info(one.many, "services", len(one.of))
			continue
		}
		slices.SortFunc(one.of, func(a, b *service) int { return cmp.Compare(a.config.Name, b.config.Name) })
		opinion := a.opinions.reader()
		for _, s := range one.of {
			attrs := []any{slog.String("service", s.config.Name)}
			if reasons := a.snapshot(s, opinion).off; len(reasons) > 0 {
				attrs = append(attrs, slog.String("reason", reasons[0]))
			}
			a.logger.Info(one.one, attrs...)
		}
	}
}
