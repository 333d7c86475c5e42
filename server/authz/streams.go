package authz

import (
	"context"
	"sync"
	"time"

	"github.com/rollcallhq/rollcall/server/authn"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// Owner is who holds a stream open.
type Owner interface {
	// Context is that of the call.
	Context() context.Context
	// Judge returns why the stream must end, now that its caller may read what now says; nil: it goes on. It must not
	// block, nor call a method of Streams.
	Judge(now *Reader) *rpcerror.Failure
	// EndFor ends the stream. It must not block for long. It may be called after the stream has ended.
	EndFor(why *rpcerror.Failure)
}

// Stream is an open stream, as Streams knows it. Its fields are guarded by Streams.mu. It is a part of its owner.
type Stream struct {
	owner      Owner
	group      *group // nil: it is in none
	left       bool   // it must not join any more
	prev, next *Stream
}

// Streams are the open streams of a node. While nothing changes they cost nothing but their memory. When access
// changes, or a token expires, the streams of the identities for which something is another are judged anew.
type Streams struct {
	authorizer *Authorizer
	clock      func() time.Time // by which tokens expire

	poke chan struct{} // capacity 1: one signal tells of any number of reasons to look again

	mu     sync.Mutex // guards what follows, and all streams and groups
	groups map[groupKey]*group
	// unseen are streams whose caller was not looked at, because everybody could read everything.
	unseen group
	next   time.Time // when a token expires next, of those that were known at the last check; zero: none does
}

// groupKey is an identity and its credential: a token of a name can be replaced by another.
type groupKey struct{ identity, credential string }

// group are the streams of one caller.
type group struct {
	key    groupKey
	caller *authn.Caller
	reader *Reader // that all streams were judged by
	mixed  bool    // not all were: some began with a newer one
	first  *Stream
}

// NewStreams returns Streams. Run must run. clock is the time by which tokens expire.
func NewStreams(authorizer *Authorizer, clock func() time.Time) *Streams {
	return &Streams{authorizer: authorizer, clock: clock, poke: make(chan struct{}, 1), groups: make(map[groupKey]*group)}
}

// JoinUnseen adds a stream whose caller was not looked at, because everybody may read everything.
func (s *Streams) JoinUnseen(one *Stream, owner Owner) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one.owner = owner
	if one.left {
		return
	}
	s.unseen.add(one)
	if !s.authorizer.Open() { // since a moment ago, and that may have been checked already
		s.look()
	}
}

// Join adds a stream of a caller that began with what reader says. It returns why the stream must end at once, because
// the caller's rights have changed meanwhile; nil: it goes on.
func (s *Streams) Join(one *Stream, owner Owner, caller *authn.Caller, reader *Reader) *rpcerror.Failure {
	s.mu.Lock()
	defer s.mu.Unlock()
	one.owner = owner
	if one.left {
		return nil
	}
	return s.join(one, caller, reader)
}

// join is called with mu held.
func (s *Streams) join(one *Stream, caller *authn.Caller, reader *Reader) *rpcerror.Failure {
	key := groupKey{caller.Identity, caller.Credential}
	g := s.groups[key]
	if g == nil {
		g = &group{key: key, caller: caller, reader: reader}
		s.groups[key] = g
	}
	g.add(one)
	if g.reader.generation > reader.generation && !g.reader.same(reader) {
		if why := one.owner.Judge(g.reader); why != nil {
			s.remove(one)
			return why
		}
	} else if g.reader.generation < reader.generation && !g.reader.same(reader) {
		g.mixed = true
	}
	if g.reader != s.authorizer.Of(caller) || s.expiresSooner(caller) {
		s.look()
	}
	return nil
}

func (s *Streams) expiresSooner(caller *authn.Caller) bool {
	return caller.Credential != "" && !caller.Expires.IsZero() && (s.next.IsZero() || caller.Expires.Before(s.next))
}

// Leave takes a stream out, if it has joined, and keeps it from joining.
func (s *Streams) Leave(one *Stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one.left = true
	s.remove(one)
}

// remove is called with mu held.
func (s *Streams) remove(one *Stream) {
	g := one.group
	if g == nil {
		return
	}
	if one.prev != nil {
		one.prev.next = one.next
	} else {
		g.first = one.next
	}
	if one.next != nil {
		one.next.prev = one.prev
	}
	one.group, one.prev, one.next = nil, nil, nil
	if g.first == nil && g != &s.unseen {
		delete(s.groups, g.key)
	}
}

func (g *group) add(one *Stream) {
	one.group = g
	if one.next = g.first; one.next != nil {
		one.next.prev = one
	}
	g.first = one
}

// look has Run look again soon.
func (s *Streams) look() {
	select {
	case s.poke <- struct{}{}:
	default:
	}
}

// pause is between two checks: changes that come in a burst are one check. An answer within a second is promised.
const pause = 100 * time.Millisecond

// Run ends the streams of callers who may not go on, until ctx ends.
func (s *Streams) Run(ctx context.Context) {
	for {
		changed := s.authorizer.source.AccessChanged() // before the check, which then sees what changed before
		ended, next := s.check()
		for _, e := range ended {
			e.owner.EndFor(e.why)
		}
		s.await(ctx, changed, next)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// await waits until there is a reason to look again. next is when a token expires; zero: none does.
func (s *Streams) await(ctx context.Context, changed <-chan struct{}, next time.Time) {
	var expired <-chan time.Time
	if !next.IsZero() {
		timer := time.NewTimer(max(0, next.Sub(s.clock())))
		defer timer.Stop()
		expired = timer.C
	}
	select {
	case <-changed:
	case <-s.poke:
	case <-expired:
	case <-ctx.Done():
	}
}

// ending is a stream that is to end.
type ending struct {
	owner Owner
	why   *rpcerror.Failure
}

// check judges the streams of callers of whom something has changed. It returns those that are to end, and when a
// token expires next.
func (s *Streams) check() (ended []ending, next time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	end := func(one *Stream, why *rpcerror.Failure) {
		ended = append(ended, ending{one.owner, why})
		s.remove(one)
	}
	if !s.authorizer.Open() {
		s.lookAtUnseen(end)
	}
	for _, g := range s.groups {
		if why := s.authorizer.Still(g.caller); why != nil {
			for g.first != nil {
				end(g.first, why)
			}
			continue
		}
		if at := g.caller.Expires; g.caller.Credential != "" && !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
		reader := s.authorizer.Of(g.caller)
		if !g.mixed && reader.same(g.reader) {
			g.reader = reader
			continue
		}
		g.reader, g.mixed = reader, false
		for one := g.first; one != nil; {
			following := one.next
			if why := one.owner.Judge(reader); why != nil {
				end(one, why)
			}
			one = following
		}
	}
	s.next = next
	return ended, next
}

// lookAtUnseen finds out who the callers are who were not looked at, and judges them. It is called with mu held.
func (s *Streams) lookAtUnseen(end func(*Stream, *rpcerror.Failure)) {
	for one := s.unseen.first; one != nil; one = s.unseen.first {
		caller, why := s.authorizer.Identify(one.owner.Context())
		if why != nil {
			end(one, why)
			continue
		}
		reader := s.authorizer.Of(caller)
		if why := one.owner.Judge(reader); why != nil {
			end(one, why)
			continue
		}
		s.remove(one)
		_ = s.join(one, caller, reader) // it was judged by the newest reader; a newer one leads to another check
	}
}
