package agent

import (
	"cmp"
	"errors"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/rollcallhq/rollcall/agent/httpapi"
	"github.com/rollcallhq/rollcall/client"
)

// refusals are what the registry refuses of this agent: all that a lease does, because of who the agent is, or single
// reports. What cannot be reached is no refusal.
type refusals struct {
	mu       sync.Mutex // guards what follows
	leases   map[*leaseEvents]refusal
	services map[string]refusal // by SERVICE/INSTANCE
}

// refusal is why, and since when. The zero value is none.
type refusal struct {
	err   error
	since time.Time
}

func newRefusals() *refusals {
	return &refusals{leases: map[*leaseEvents]refusal{}, services: map[string]refusal{}}
}

// again is the refusal after another one of the same thing.
func (r refusal) again(err error) refusal {
	if r.err == nil {
		r.since = time.Now()
	}
	r.err = err
	return r
}

// failed takes a failure of a lease, or of one report if service is not "".
func (r *refusals) failed(l *leaseEvents, service string, err error) {
	e, ok := errors.AsType[*client.Error](err)
	if !ok {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case client.IsUnauthenticated(e) || service == "" && client.IsDenied(e): // it is not about the service
		r.leases[l] = r.leases[l].again(err)
	case service != "" && slices.Contains(refusing, e.Code):
		r.services[service] = r.services[service].again(err)
	}
}

// refusing are the codes of refusals that time alone does not mend.
var refusing = []codes.Code{codes.PermissionDenied, codes.FailedPrecondition, codes.InvalidArgument, codes.OutOfRange}

// ended notes that the registry takes what a lease does.
func (r *refusals) ended(l *leaseEvents) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.leases, l)
}

// all returns why no report is taken; the oldest refusal if there are several leases.
func (r *refusals) all() (oldest refusal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, one := range r.leases {
		if oldest.err == nil || one.since.Before(oldest.since) {
			oldest = one
		}
	}
	return oldest
}

// of returns why the report of one service is not taken. acknowledged says that it is.
func (r *refusals) of(service string, acknowledged func(service string) bool) refusal {
	r.mu.Lock()
	one := r.services[service]
	r.mu.Unlock()
	if one.err != nil && acknowledged(service) {
		r.forget(service)
		return refusal{}
	}
	return one
}

// forget drops what is known of a service that is not reported any more.
func (r *refusals) forget(service string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.services, service)
}

// shown is the refusal as the HTTP port shows it; nil: there is none.
func (r refusal) shown() *httpapi.Refusal {
	e, ok := errors.AsType[*client.Error](r.err)
	if !ok {
		return nil
	}
	return &httpapi.Refusal{Reason: cmp.Or(e.Reason, e.Code.String()), Message: e.Message, Since: r.since}
}
