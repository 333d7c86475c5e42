package checks

import (
	"slices"
	"time"

	"github.com/rollcallhq/rollcall/client"
)

// damped is the status of a check behind its thresholds. The zero value has not run.
type damped struct {
	status              client.Status // Unknown is the zero value
	successes, failures int           // in a row
}

// record takes the next result. The first one decides; after it, fall failures in a row turn SERVING, and rise
// successes in a row turn NOT_SERVING.
func (d *damped) record(ok bool, rise, fall int) {
	if ok {
		d.successes, d.failures = d.successes+1, 0
	} else {
		d.successes, d.failures = 0, d.failures+1
	}
	switch {
	case ok && (d.status == client.Unknown || d.status == client.NotServing && d.successes >= rise):
		d.status = client.Serving
	case !ok && (d.status == client.Unknown || d.status == client.Serving && d.failures >= fall):
		d.status = client.NotServing
	}
}

// service is a service that has checks. It is guarded by Runner.mu.
type service struct {
	name   string
	checks map[string]*entry
	status client.Status
	since  time.Time

	// Of the critical checks.
	notRun, turned int
}

func newService(name string, now time.Time) *service {
	return &service{name: name, checks: map[string]*entry{}, since: now}
}

// count adds delta to the counter that a critical check with this status is in.
func (s *service) count(e *entry, delta int) {
	switch {
	case !e.o.critical:
	case e.status == client.Unknown:
		s.notRun += delta
	case e.status == client.NotServing:
		s.turned += delta
	}
}

// derived is the status that follows from the checks.
func (s *service) derived() client.Status {
	switch {
	case len(s.checks) == 0:
		return client.ServiceUnknown
	case s.turned > 0:
		return client.NotServing
	case s.notRun > 0:
		return client.Unknown
	}
	return client.Serving
}

// reasons are the names of the critical checks that made the status, sorted; nil if it is SERVING.
func (s *service) reasons() []string {
	if s.status != client.NotServing && s.status != client.Unknown {
		return nil
	}
	return s.names(func(e *entry) bool { return e.o.critical && e.status == s.status })
}

// warnings are the names of the checks that are not well and do not change the status, sorted.
func (s *service) warnings() []string {
	return s.names(func(e *entry) bool { return e.degraded || !e.o.critical && e.status == client.NotServing })
}

func (s *service) names(of func(*entry) bool) []string {
	var names []string
	for name, e := range s.checks {
		if of(e) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
