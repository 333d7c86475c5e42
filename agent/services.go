package agent

import (
	"errors"
	"sync"
	"time"

	"github.com/rollcallhq/rollcall/agent/config"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/checks"
)

// services is what each service says of itself: the worse of what its checks say and of what was pushed.
type services struct {
	// tell is called, with mu held, when a service says something new.
	tell func(s *service)

	mu  sync.Mutex // guards what follows
	all map[string]*service
}

// service is one service that the agent watches.
type service struct {
	config  config.Service
	checked client.Status // by its checks; UNKNOWN until they have run
	reason  string        // of that
	pushed  *push         // nil: nothing was pushed, or it was taken back
	ttl     *checks.TTL   // its ttl check; nil: it has none

	said client.Status // what tell was told last
	why  string
}

// push is what was pushed.
type push struct {
	status client.Status
	reason string
	at     time.Time
}

func newServices(tell func(*service)) *services {
	return &services{tell: tell, all: map[string]*service{}}
}

// SetServingStatus implements checks.Reporter.
func (s *services) SetServingStatus(name string, st client.Status) { _ = s.Report(name, st, "") }

// Report implements checks.ReasonReporter: it takes what the checks of a service say.
//
// A check that a reload brought, or changed, makes its service UNKNOWN until it has run. What was known stays until
// then, so that a reload is no flap.
func (s *services) Report(name string, st client.Status, reason string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.all[name]
	switch {
	case one == nil || len(one.config.Checks) == 0, st == client.ServiceUnknown:
		return nil
	case st == client.Unknown && one.checked != client.Unknown:
		return nil
	}
	one.checked, one.reason = st, reason
	s.derive(one)
	return nil
}

// derive makes anew what a service says. s.mu is held.
func (s *services) derive(one *service) {
	said, why := client.Unknown, "nothing was pushed yet"
	if len(one.config.Checks) > 0 {
		said, why = one.checked, one.reason
	} else if one.pushed != nil {
		said, why = one.pushed.status, one.pushed.reason
	}
	if p := one.pushed; p != nil && worse(p.status, said) {
		said, why = p.status, p.reason
	}
	if said != one.said {
		one.said, one.why = said, why
		s.tell(one)
	}
}

// worse reports whether a is worse than b: NOT_SERVING, UNKNOWN, SERVING.
func worse(a, b client.Status) bool {
	rank := func(st client.Status) int {
		switch st {
		case client.NotServing:
			return 2
		case client.Unknown:
			return 1
		}
		return 0
	}
	return rank(a) > rank(b)
}

var (
	errNotWatched  = errors.New("the agent does not watch this service")
	errNotPushable = errors.New("the service takes no pushed status: it has checks, none of kind ttl, and no push: true")
)

// push takes a pushed status, and feeds the ttl check of the service.
func (s *services) push(name string, st client.Status, reason string) error {
	s.mu.Lock()
	one := s.all[name]
	if one == nil {
		s.mu.Unlock()
		return errNotWatched
	}
	if !one.config.Pushable() {
		s.mu.Unlock()
		return errNotPushable
	}
	one.pushed = &push{st, reason, time.Now()}
	s.derive(one)
	ttl := one.ttl
	s.mu.Unlock()
	if ttl != nil { // without the lock: the runner is told
		feed(ttl, st, reason)
	}
	return nil
}

func feed(ttl *checks.TTL, st client.Status, reason string) {
	if st != client.NotServing {
		ttl.OK()
		return
	}
	if reason == "" {
		reason = "NOT_SERVING was pushed"
	}
	ttl.Fail(errors.New(reason))
}

// release takes back what was pushed: the checks alone decide.
func (s *services) release(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.all[name]
	if one == nil {
		return errNotWatched
	}
	one.pushed = nil
	s.derive(one)
	return nil
}

// names returns the names of the registry that concern the services.
func (s *services) names() (names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.all {
		names = append(names, one.config.Name, one.config.Reported())
	}
	return names
}
