package server

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	"github.com/rollcallhq/rollcall/fsm/access"
	"github.com/rollcallhq/rollcall/server/authz"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// scope is what a stream is about, as far as its caller's rights are concerned.
type scope interface {
	// denied refuses a caller who may read nothing of it; nil: some.
	denied(may *authz.Reader) *rpcerror.Failure
	// filters says that something of it may be left out.
	filters(may *authz.Reader) bool
	// same says that both readers are shown the same of it.
	same(a, b *authz.Reader) bool
}

// openStream is a stream whose caller's rights are looked at again when they may have changed.
type openStream struct {
	ctx     context.Context
	cancel  context.CancelCauseFunc
	scope   scope
	began   *authz.Reader // as the stream began: what it sends is for this one
	recheck authz.Stream
}

// Context implements authz.Owner.
func (o *openStream) Context() context.Context { return o.ctx }

// Judge implements authz.Owner.
func (o *openStream) Judge(now *authz.Reader) *rpcerror.Failure {
	if f := o.scope.denied(now); f != nil {
		return f
	}
	if !o.scope.same(o.began, now) {
		return authz.Changed()
	}
	return nil
}

// EndFor implements authz.Owner.
func (o *openStream) EndFor(why *rpcerror.Failure) { o.cancel(why) }

// nameScope is of a watch of services by their names. All of them must be allowed. It does not keep the names, which
// can be very many, but the parts of what the caller may read that they are in.
type nameScope struct {
	names []string      // nil: the watch has begun
	parts pattern.Spans // each Single, or Beginning of a prefix
}

func (s *nameScope) denied(may *authz.Reader) *rpcerror.Failure {
	if s.names != nil {
		return s.begin(may)
	}
	for _, part := range s.parts {
		if one := (pattern.Spans{part}); part.Single() && !may.Allows(part.From) || len(may.Within().And(one)) == 0 {
			return may.DeniedRead(part.From)
		}
	}
	return nil
}

func (s *nameScope) begin(may *authz.Reader) *rpcerror.Failure {
	if may.Whole() {
		s.names, s.parts = nil, pattern.Everything
		return nil
	}
	parts := map[pattern.Span]bool{}
	for _, name := range s.names {
		if f := may.DeniedRead(name); f != nil {
			return f
		}
		part, _ := may.Within().Find(name)
		parts[part] = true
	}
	s.names, s.parts = nil, slices.SortedFunc(maps.Keys(parts), func(a, b pattern.Span) int { return strings.Compare(a.From, b.From) })
	return nil
}

func (*nameScope) filters(*authz.Reader) bool { return false }

func (s *nameScope) same(_, now *authz.Reader) bool {
	return slices.Equal(now.Within().And(s.parts), s.parts)
}

// prefixScope is of a watch of services by prefixes; without prefixes of all.
type prefixScope struct{ prefixes []string }

func (s *prefixScope) denied(may *authz.Reader) *rpcerror.Failure {
	return may.DeniedPrefixes(s.prefixes...)
}

func (s *prefixScope) filters(may *authz.Reader) bool { return !may.Whole() }

func (s *prefixScope) same(a, b *authz.Reader) bool {
	return slices.Equal(a.Within(s.prefixes...), b.Within(s.prefixes...))
}

// eventScope is of a watch of events by prefixes; without prefixes of all, those of no service included.
type eventScope struct{ prefixes []string }

func (s *eventScope) denied(may *authz.Reader) *rpcerror.Failure {
	if len(s.prefixes) == 0 && may.May(access.Auth) {
		return nil
	}
	return may.DeniedPrefixes(s.prefixes...)
}

func (s *eventScope) filters(may *authz.Reader) bool {
	return !may.Whole() || len(s.prefixes) == 0 && !may.May(access.Auth)
}

func (s *eventScope) same(a, b *authz.Reader) bool { return a.SameEvents(b, s.prefixes...) }

// backupScope is of a backup.
type backupScope struct{}

func (backupScope) denied(may *authz.Reader) *rpcerror.Failure { return may.Denied(access.Backup) }
func (backupScope) filters(*authz.Reader) bool                 { return false }
func (backupScope) same(_, _ *authz.Reader) bool               { return true }

// reportScope is of a stream that writes or renews.
type reportScope struct{}

func (reportScope) denied(may *authz.Reader) *rpcerror.Failure { return may.DeniedSome(access.Report) }
func (reportScope) filters(*authz.Reader) bool                 { return false }
func (reportScope) same(_, _ *authz.Reader) bool               { return true }
