package httpapi

import (
	"context"
	"errors"
	"time"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/checks"
	"github.com/rollcallhq/rollcall/client/view"
)

// Errors of Source.Push and Source.Release.
var (
	ErrUnknown     = errors.New("the agent does not watch this service")
	ErrNotPushable = errors.New("the agent takes no push for this service")
	ErrStopping    = errors.New("the agent is stopping")
)

// Source is the agent. Its methods are called by many goroutines at once.
type Source interface {
	// Alive returns an error if the agent is stuck until ctx ends.
	Alive(ctx context.Context) error
	// Ready returns nil when each check has run once, else what the agent waits for.
	Ready() error
	// Service returns what is known of one service; false if the agent does not watch it.
	Service(name string) (Service, bool)
	// Services returns all services, in any order.
	Services() []Service
	// Silent returns for how long no node of the registry was heard; 0 while one is.
	Silent() time.Duration
	// SilentWhy returns why no node is heard; nil if that is not known, or if one is.
	SilentWhy() error
	// Refused returns why the registry takes none of the agent's reports, because of who the agent is or what it may
	// do; nil: it takes them, or cannot be reached.
	Refused() *Refusal
	// Push takes what a service says of itself. Its errors are ErrUnknown, ErrNotPushable, ErrStopping or wrap them.
	Push(name string, s client.Status, reason string) error
	// Release takes back what was pushed: the checks alone decide. Its errors are those of Push.
	Release(name string) error
}

// Service is what is known of one service at one moment.
type Service struct {
	Name     string
	Instance string // it is reported as Name/Instance

	Status client.Status // what local clients are told
	Since  time.Time     // when it became so; zero: not known

	Own     Word  // what the service says of itself: the worse of its checks and of what was pushed
	Pushed  *Word // what was pushed last; nil: nothing
	Waiting bool  // the registry was not heard yet, and the agent still waits for it

	Whole    view.Opinion  // what the registry says of Name
	Reported view.Opinion  // and of Name/Instance
	Off      *view.Opinion // of Name/Instance, by which this instance is switched off; nil: it is not

	// Rival is what the registry has of Name/Instance if another reporter, whose lease lives, has taken it over: a second
	// agent with the same instance. Nil: none has.
	Rival *rollcallv1.ServiceRecord

	// Refused says why the registry does not take the newest report of Name/Instance; nil: it has it, or the report is on
	// its way.
	Refused *Refusal

	Checks []checks.Result // sorted by name
}

// Refusal is what the registry says to reports that it does not take. They are tried again, once in a minute at most.
type Refusal struct {
	Reason  string    // for programs: TOKEN_REVOKED, DENIED or RULE_BROKEN, for example
	Message string    // for people
	Since   time.Time // when the first of them came
}

// Word is a status, and why.
type Word struct {
	Status client.Status
	Reason string    // "": none was given
	Since  time.Time // of Pushed: when it was pushed; zero: not known
}
