package logv1

import (
	"fmt"
	"slices"
	"time"
)

// EventQuery says which of the retained events to read.
type EventQuery struct {
	// From and To are revisions, inclusive. From is at least 1; To 0: as far as there are any.
	From, To int64
	// Kind and Key are of the record whose events to read, by their index; KIND_UNSPECIFIED: all events.
	Kind       Kind
	Key        string
	Also       []RecordName // further records whose events to read; only with Kind
	Descending bool         // newest first
	// PageBytes ends a page when its events have about so many bytes; 0: never. History only.
	PageBytes int
}

// RecordName names a record of any kind.
type RecordName struct {
	Kind Kind
	Key  string
}

// Wants says whether an event is of a record that q asks for.
func (q *EventQuery) Wants(e *Event) bool {
	switch name := (RecordName{e.GetKind(), e.GetKey()}); {
	case q.Kind == Kind_KIND_UNSPECIFIED:
		return true
	case name == RecordName{q.Kind, q.Key}:
		return true
	default:
		return slices.Contains(q.Also, name)
	}
}

// ServiceName is the name of the service that e is about; "": it is about none.
func (x *Event) ServiceName() string {
	if x.GetKind() != Kind_KIND_SERVICE {
		return ""
	}
	return x.GetKey()
}

// AttachedTo is the id of the lease that the report of a service is attached to after e; "": to none.
func (x *Event) AttachedTo() string {
	if x.GetDetached() {
		return ""
	}
	return x.GetLeaseId()
}

// EventSpan says which events a registry file held when it was read: all from Oldest to Newest, and
// some below Oldest, see Compact.
type EventSpan struct {
	Oldest, Newest int64 // Newest+1 == Oldest: none
}

// CompactedError means that events from a revision on were asked for which are not all kept any more.
type CompactedError struct {
	Asked  int64
	Oldest int64 // from here on there are all
}

func (e *CompactedError) Error() string {
	return fmt.Sprintf("events from revision %d on are not kept any more; the oldest is %d", e.Asked, e.Oldest)
}

// EventPage is a part of what an EventQuery asks for.
type EventPage struct {
	Events []*Event
	// Next is the revision to go on with, as From, or as To if Descending; 0: there is nothing more.
	Next int64
	Span EventSpan
}

// First is the revision at which q begins.
func (q EventQuery) First() int64 {
	if q.Descending {
		return q.To
	}
	return q.From
}

// LeaseFilter says which leases a reader is shown: those that Lease says, and those to which a report of a service is
// attached that Service says. A lease that is shown counts such services alone.
type LeaseFilter struct {
	Service func(name string) bool
	Lease   func(l *Lease) bool
}

// Following is how a follower reads.
type Following struct {
	// Quiet is after how long without a page the follower is told where it is.
	Quiet time.Duration
	// Room is asked before each reading about how many bytes the next page may have; a page always has
	// room for one event or record. nil: pages have the default size.
	Room func() int
	// Idle is called when a reading found nothing: there is no page to make room for until Room is asked
	// again. nil: nobody wants to know.
	Idle func()
	// Keep says which services FollowServices is about, by name; nil: all that have one of the prefixes. It always
	// says the same of a name.
	Keep func(service string) bool
	// StatusOnly: of a service FollowServices and FollowNames send only its status, and since when it is.
	StatusOnly bool
	// Resume is the revision at which who reads holds the whole state, with the same StatusOnly and Keep: FollowServices
	// sends what changed since, if it can. 0: it begins anew.
	Resume int64
}

// Is says whether x is the actor of a name, or acted on its behalf.
func (x *Actor) Is(name string) bool { return x.GetName() == name || x.GetOnBehalfOf() == name }
