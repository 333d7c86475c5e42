package agent

import (
	"log/slog"
	"time"

	"github.com/rollcallhq/rollcall/client"
)

// repeatFailure is how long the same failure of a lease is not told again: a lease tries every two seconds, for as long
// as the registry is away. Of maxFailures services at most it is told one by one that they are refused.
const (
	repeatFailure = 10 * time.Minute
	maxFailures   = 20
)

// leaseEvents tells of what happens to one lease. Its methods are called one after the other.
type leaseEvents struct {
	a    *Agent
	told map[string]time.Time // when a failure was told last, by service; "" is the lease's own
}

// leaseEvents returns what takes the events of a lease.
func (a *Agent) leaseEvents() func(client.LeaseEvent) {
	l := &leaseEvents{a: a, told: map[string]time.Time{}}
	return l.take
}

func (l *leaseEvents) take(e client.LeaseEvent) {
	a := l.a
	attrs := []any{slog.String("lease", e.LeaseID)}
	if e.Err != nil {
		attrs = append(attrs, slog.Any("error", e.Err))
	}
	switch e.Type {
	case client.LeaseGranted:
		a.refusals.ended(l)
		a.logger.Info("reporting", attrs...)
	case client.LeaseReported:
		a.refusals.ended(l)
		a.metrics.Published(nil)
		a.judgeSoon()
		if len(l.told) > 0 {
			clear(l.told)
			a.logger.Info("all reports are written again", attrs...)
		}
	case client.LeaseFailed:
		a.metrics.Published(e.Err)
		a.refusals.failed(l, e.Service, e.Err)
		l.failed(e)
	case client.LeaseWasLost:
		a.metrics.LeaseLost()
		a.logger.Warn("the registry took this agent for dead; all is reported anew", attrs...)
	case client.LeaseBecameOverdue:
		a.logger.Warn("the registry has not been reached for a whole ttl, and may take this agent for dead", attrs...)
	case client.LeaseRenewedAgain:
		a.refusals.ended(l)
		delete(l.told, "")
		a.logger.Info("the registry renews the lease again", attrs...)
	}
}

// failed tells of a failure, if it was not told of late.
func (l *leaseEvents) failed(e client.LeaseEvent) {
	last, told := l.told[e.Service]
	now := time.Now()
	if told && now.Sub(last) < repeatFailure || !told && len(l.told) >= maxFailures {
		return
	}
	l.told[e.Service] = now
	var attrs []any
	if e.Service != "" {
		attrs = append(attrs, slog.String("service", e.Service))
	}
	l.a.logger.Warn("reporting failed; it is tried again", append(attrs, slog.Any("error", e.Err))...)
}
