package agent

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/rollcallhq/rollcall/agent/config"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/checks"
	"github.com/rollcallhq/rollcall/client/view"
)

// services is what each service says of itself: the worse of what its checks say and of what was pushed.
type services struct {
	// tell is called, with mu held, when a service says something new, also if only the reason is.
	tell func(s *service)

	mu     sync.Mutex // guards what follows. It is taken before the locks of board, reports and the runner
	all    map[string]*service
	told   map[string]client.Status // what the runner has told last, also of services that are gone
	untold chan struct{}            // closed when a service leaves told; nil: nobody waits
	ended  bool                     // nothing is taken any more
}

// service is one service that the agent watches.
type service struct {
	config  config.Service
	checked said        // by its checks; UNKNOWN until they have run
	pushed  *said       // nil: nothing was pushed, or it was taken back
	ttl     *checks.TTL // its ttl check; nil: it has none

	own      said                      // what it says; what tell was told last
	spoke    bool                      // it has said something: a result of a check, or a push
	instance view.Instance             // decides whether the registry has switched SERVICE/INSTANCE off
	off      *view.Opinion             // by which it has; nil: it has not
	rival    *rollcallv1.ServiceRecord // of another reporter that has taken SERVICE/INSTANCE over; nil: none has
	switched bool                      // the registry had switched it off, when that was told last
}

// said is a status with its reason.
type said struct {
	status client.Status
	reason string
	at     time.Time // since when the status is this one; of a push, when it came
}

func newServices(tell func(*service)) *services {
	return &services{tell: tell, all: map[string]*service{}, told: map[string]client.Status{}}
}

// add returns the service of a name, a new one if there is none. s.mu is held.
func (s *services) add(name string) *service {
	one := s.all[name]
	if one == nil {
		now := time.Now()
		one = &service{
			checked:  said{status: client.Unknown, at: now},
			own:      said{status: client.Unknown, at: now},
			instance: view.Instance{Reports: true},
		}
		s.all[name] = one
	}
	return one
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
	if st == client.ServiceUnknown {
		delete(s.told, name)
		if s.untold != nil {
			close(s.untold)
			s.untold = nil
		}
		return nil
	}
	s.told[name] = st
	one := s.all[name]
	if one == nil || s.ended || len(one.config.Checks) == 0 || st == client.Unknown {
		return nil
	}
	one.checked.set(st, reason)
	one.spoke = true
	s.derive(one)
	return nil
}

// set changes a status and its reason.
func (w *said) set(st client.Status, reason string) {
	if w.status != st {
		w.at = time.Now()
	}
	w.status, w.reason = st, reason
}

// forgotten waits until the runner has told the end of a service that had checks before, or ctx ends. Then all that it
// will tell is of the checks that come.
func (s *services) forgotten(ctx context.Context, name string) error {
	for {
		s.mu.Lock()
		if _, told := s.told[name]; !told {
			s.mu.Unlock()
			return nil
		}
		if s.untold == nil {
			s.untold = make(chan struct{})
		}
		untold := s.untold
		s.mu.Unlock()
		select {
		case <-untold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// derive makes anew what a service says. s.mu is held.
func (s *services) derive(one *service) {
	st, reason := client.Unknown, "nothing was pushed yet"
	if len(one.config.Checks) > 0 {
		st, reason = one.checked.status, one.checked.reason
		if st == client.Unknown && reason == "" {
			reason = "its checks have not run yet"
		}
	} else if one.pushed != nil {
		st, reason = one.pushed.status, one.pushed.reason
	}
	if p := one.pushed; p != nil && (worse(p.status, st) || p.status == st && st != client.Serving && len(one.config.Checks) > 0) {
		// Of the same status the push has the better reason: it is no name of a check.
		st, reason = p.status, p.reason
		if reason == "" {
			reason = st.String() + " was pushed"
		}
	}
	if st != one.own.status || reason != one.own.reason {
		one.own.set(st, reason)
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
	errEnded       = errors.New("the agent is stopping")
)

// push takes a pushed status, and feeds the ttl check of the service.
func (s *services) push(name string, st client.Status, reason string) error {
	ttl, err := s.setPushed(name, &said{st, reason, time.Now()})
	if ttl != nil { // without the lock: the runner is told
		feed(ttl, st, reason)
	}
	return err
}

// release takes back what was pushed: the checks alone decide.
func (s *services) release(name string) error {
	_, err := s.setPushed(name, nil)
	return err
}

func (s *services) setPushed(name string, p *said) (*checks.TTL, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.all[name]
	switch {
	case one == nil:
		return nil, errNotWatched
	case s.ended:
		return nil, errEnded
	case !one.config.Pushable():
		return nil, errNotPushable
	}
	one.pushed = p
	one.spoke = one.spoke || p != nil && (len(one.config.Checks) == 0 || p.status == client.NotServing)
	s.derive(one)
	return one.ttl, nil
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

// end has nothing be taken any more.
func (s *services) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
}

// names returns the names of the registry that concern services.
func names(of []config.Service) []string {
	all := make([]string, 0, 2*len(of))
	for i := range of {
		all = append(all, of[i].Name, of[i].Reported())
	}
	return all
}
