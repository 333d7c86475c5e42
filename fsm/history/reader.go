package history

import (
	"context"
	"errors"
	"time"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// RegistryFile is the history on disk. A visitor is called within one transaction and only collects. What is
// below the span's Oldest is not whole: the newest event of each record that is not a deletion. A reading
// that the arrival of a snapshot ends fails, and may be tried again at once.
type RegistryFile interface {
	// Events visits the durable events of q.
	Events(ctx context.Context, q logv1.EventQuery, visit func(*logv1.Event) (more bool, err error)) (logv1.EventSpan, error)
	// EventsAt visits, by key, of each record of a kind whose key begins with prefix and comes after the key
	// after its newest event that is not after revision, of at most limit records.
	EventsAt(ctx context.Context, kind logv1.Kind, revision int64, prefix, after string, limit int, visit func(*logv1.Event) (more bool, err error)) (logv1.EventSpan, error)
	// RevisionAt returns the newest revision, 0 if none, whose event is not later than time, or a
	// *logv1.CompactedError.
	RevisionAt(ctx context.Context, time int64) (int64, logv1.EventSpan, error)
	// DurableRevision is the revision up to which the events are stored.
	DurableRevision() int64
	// AwaitDurable waits until DurableRevision is at least revision.
	AwaitDurable(ctx context.Context, revision int64) error
}

// Limits bound what is read at once.
type Limits struct {
	Page    PageLimits // of events for a follower
	Visited int        // events or services that one call looks at
	AtOnce  int        // of them in one transaction: a long one keeps pages of the file from being reused
}

// DefaultLimits are what a node uses.
func DefaultLimits() Limits {
	return Limits{Page: PageLimits{Count: 1000, Bytes: 256 << 10}, Visited: 100_000, AtOnce: 5000}
}

// Config is what a Reader is made of.
type Config struct {
	RegistryFile RegistryFile
	// Revision returns the newest revision that this node shows.
	Revision func() int64
	// Horizon returns the oldest revision whose event is retained, as this node has applied it. The registry
	// file may not have heard of it yet.
	Horizon func() int64
	// Overrides says whether the registry holds any, ended ones that are kept among them. Without one, none has
	// been in force since the horizon.
	Overrides func() bool
	Limits    Limits
	// RingEvents is how many recent events are kept in memory; those after Newest come next.
	RingEvents int
	Newest     int64
}

// Reader reads the history of one node, up to the revision that the node had reached when it was called. What
// the registry file does not hold yet is read in memory, or the reading waits until it is stored. Errors are
// ctx's, the registry file's, or a *logv1.CompactedError.
type Reader struct {
	cfg      Config
	ring     *ring
	throttle *throttle
	layers   layersCache
}

// NewReader returns a Reader. All of cfg is required.
func NewReader(cfg Config) *Reader {
	return &Reader{cfg: cfg, ring: newRing(cfg.RingEvents, cfg.Newest), throttle: newThrottle()}
}

// Append adds the newest events to those in memory.
func (r *Reader) Append(events []*logv1.Event) {
	r.ring.append(events, r.cfg.RegistryFile.DurableRevision())
}

// Reset forgets what is in memory. The next event must have the revision after revision.
func (r *Reader) Reset(revision int64) {
	r.ring.reset(revision)
	r.layers.forget()
}

// Recent returns at most limit events after revision, in order and without gaps. False means that memory
// does not reach back that far: the registry file does, or will after its next flush.
func (r *Reader) Recent(revision int64, limit int) ([]*logv1.Event, bool) {
	return r.ring.after(revision, limit)
}

// NoteChange says that the registry changed at a time: for a while, readings are throttled.
func (r *Reader) NoteChange(at time.Time) { r.throttle.changed.Store(at.UnixNano()) }

// Limits are those of the configuration.
func (r *Reader) Limits() Limits { return r.cfg.Limits }

// span is what the registry file holds.
func (r *Reader) span(ctx context.Context) (logv1.EventSpan, error) {
	none := logv1.EventQuery{From: 1<<63 - 1}
	return r.cfg.RegistryFile.Events(ctx, none, func(*logv1.Event) (bool, error) { return false, nil })
}

// stored reads the registry file, throttled. When a snapshot arrives, a reading fails; it is tried again, and
// then reads the registry file that came with the snapshot.
//
// The span begins at the horizon that was applied, also if the registry file still holds older events: nodes
// that have applied the same answer the same, whatever they have written to disk.
func (r *Reader) stored(ctx context.Context, what reading, read func(context.Context) (span logv1.EventSpan, given int, err error)) (span logv1.EventSpan, err error) {
	err = r.throttle.do(ctx, what, func() (given int, err error) {
		const tries = 3
		for try := 1; ; try++ {
			span, given, err = read(ctx)
			var compacted *logv1.CompactedError
			if err == nil || ctx.Err() != nil || errors.As(err, &compacted) || try == tries {
				return given, err
			}
		}
	})
	span.Oldest = max(span.Oldest, r.cfg.Horizon())
	return span, err
}
