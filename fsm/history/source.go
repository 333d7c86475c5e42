package history

import (
	"context"
	"time"
)

// shortBudget is what calls of one connection may read before they take the long lane: so much a second, and
// so much at once.
const shortBudget = 10 * time.Millisecond

// source is who reads: a connection.
type source struct {
	read  time.Duration // of calls as of when; it shrinks by shortBudget a second
	when  time.Time
	round int64 // of the long lane: in which the newest of its waiters has its turn

	waiting int // for a turn, in both lanes
}

// lately is what its calls have read.
func (s *source) lately(now time.Time) time.Duration {
	forgiven := time.Duration(float64(shortBudget) * now.Sub(s.when).Seconds())
	return max(s.read-forgiven, 0)
}

// charge adds to what its calls have read. What is forgiven within two seconds is enough to remember.
func (s *source) charge(now time.Time, cost time.Duration) {
	s.read, s.when = min(s.lately(now)+cost, 3*shortBudget), now
}

// nextRound is the round of another waiter of the source, if the present round of the lane is now.
func (s *source) nextRound(now int64) int64 {
	s.round = max(s.round+1, now)
	return s.round
}

// sourceKey is the key of a context's source.
type sourceKey struct{}

// WithSource says who reads with the returned context: a connection, as a comparable value. Readings of one
// source share what one source may read. A context without a source is a source of its own.
func WithSource(ctx context.Context, connection any) context.Context {
	return context.WithValue(ctx, sourceKey{}, connection)
}

// ofCall makes sure that all readings of a call have one source.
func ofCall(ctx context.Context) context.Context {
	if ctx.Value(sourceKey{}) != nil {
		return ctx
	}
	return WithSource(ctx, new(source))
}

// sources are those that have read lately, by connection.
type sources struct {
	known map[any]*source
	sweep int // size of known at which those that are idle are forgotten
}

// of returns the source of a context.
func (all *sources) of(ctx context.Context, now time.Time) *source {
	switch connection := ctx.Value(sourceKey{}).(type) {
	case nil:
		return &source{}
	case *source:
		return connection
	default:
		s := all.known[connection]
		if s == nil {
			s = &source{}
			all.add(connection, s, now)
		}
		return s
	}
}

func (all *sources) add(connection any, s *source, now time.Time) {
	const fewest = 64
	if all.known == nil {
		all.known, all.sweep = map[any]*source{}, fewest
	}
	if len(all.known) >= all.sweep {
		for c, s := range all.known {
			if s.waiting == 0 && s.lately(now) == 0 {
				delete(all.known, c)
			}
		}
		all.sweep = max(fewest, 2*len(all.known))
	}
	all.known[connection] = s
}
