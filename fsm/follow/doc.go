// Package follow tells followers what changes in the registry: every event (events.go), the newest state of
// every service (services.go), or that of some by their names (names.go).
//
// A follower has a goroutine, a cursor and nothing else. It subscribes to changes, reads on from its
// cursor in the history, and waits. A send that blocks holds up only its own follower and keeps only its
// page. A restore forgets the events in memory and wakes the followers; they go on from the events that
// came with the snapshot.
//
// A follower of services can go on from a state that its client holds: its cursor then begins there, and all names
// count as scanned (resume.go).
//
// An event of an override says of no service what becomes of it: a follower of services reads again what the
// override covers (spans.go).
//
// A follower of names reads no events, and is not woken by changes of other names. It has a member in the topic of
// each of its names (topics.go). The members are marked when the name may have changed (marks.go), in rounds, each of
// which moves a cut: what is marked is all that changed up to it.
//
// What a page of events holds and where it is read belongs to fsm/history, waking to fsm/watch, messages
// of the API and their streams to server.
package follow

import (
	"context"
	"iter"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/fsm/history"
)

// Events is the history that followers read.
type Events interface {
	// EventsAfter returns the page of events after a revision and up to another, which must be the end of
	// an atomic write (0: all there are); none if there are none yet. It holds whole atomic writes, or a
	// part of one that is larger than limits.
	EventsAfter(ctx context.Context, after, upTo int64, limits history.PageLimits) ([]*logv1.Event, error)
}

// Registry is what this node shows now.
type Registry interface {
	// Horizon is the oldest revision whose event is retained, and all after it.
	Horizon() int64
	// Newest is the newest consistent cut.
	Newest() Cut
}

// Cut is the registry as of one revision. It never changes.
type Cut interface {
	Revision() int64
	// ServiceCount is how many services there are.
	ServiceCount() int
	// RightsSince is a revision from which on every identity may read what it may read now.
	RightsSince() int64
	// Service returns the service of a name and the revision of its report; nil if there is none. It makes only
	// what is needed of the record.
	Service(name string, statusOnly bool) (r *rollcallv1.ServiceRecord, reported int64)
	// Ascend visits the services by name, those named from or later.
	Ascend(from string, statusOnly bool, visit func(*rollcallv1.ServiceRecord) (more bool))
}

// Config is what Followers are made of. All of it is required.
type Config struct {
	Events   Events
	Registry Registry
	// Subscribe has changed signaled, soon, when there is something new.
	Subscribe func() (changed <-chan struct{}, leave func())
	Page      history.PageLimits
}

// Followers are all that follow the registry of one node.
type Followers struct {
	cfg   Config
	marks *marks
}

// page returns the limits of a follower's next page.
func (f *Followers) page(how logv1.Following) history.PageLimits {
	if how.Room == nil {
		return f.cfg.Page
	}
	return f.cfg.Page.Within(how.Room())
}

// idle says that a reading found nothing.
func idle(how logv1.Following) {
	if how.Idle != nil {
		how.Idle()
	}
}

// New returns Followers of cfg. Close them.
func New(cfg Config) *Followers { return &Followers{cfg: cfg, marks: newMarks(cfg.Registry.Newest())} }

// Close ends the goroutine that marks what changes, and waits for it. Followers of names are told nothing more.
func (f *Followers) Close() { f.marks.close() }

// Publish says which names changed, and which patterns' overrides, between the newest cut and the one that was the
// newest when it was called before. It is called after each change of the newest cut, by one goroutine, and waits for
// no follower.
func (f *Followers) Publish(names iter.Seq[string], patterns []string) {
	f.marks.publish(f.cfg.Registry.Newest(), names, patterns)
}

// Topics is how many names are followed.
func (f *Followers) Topics() int { return f.marks.topics.len() }
