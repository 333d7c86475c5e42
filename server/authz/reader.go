package authz

import (
	"slices"
	"strings"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/fsm/access"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// Reader is what one identity may read, as of one generation of the access records. It never changes.
type Reader struct {
	identity   string
	generation int64
	read       pattern.Spans // whose names it may read
	over       access.Verbs  // what it may do over everything
	some       access.Verbs  // what it may do over anything
	denied     bool          // it may do nothing, whatever it was granted
}

// NewReader returns the reader of an identity with these permissions, which are none if it is denied.
func NewReader(identity string, generation int64, may access.Permissions, denied bool) *Reader {
	r := &Reader{denied: denied, identity: identity, generation: generation, read: pattern.Cover(may.Patterns(access.Read)...)}
	for verb := access.Verbs(1); verb <= access.All; verb <<= 1 {
		if may.Some(verb) {
			r.some |= verb
		}
		if may.Whole(verb) {
			r.over |= verb
		}
	}
	return r
}

// Whole says that the reader may read every service.
func (r *Reader) Whole() bool { return r.read.Whole() }

// Allows says that the reader may read a service. Who may read any may read the nodes' own names.
func (r *Reader) Allows(name string) bool {
	if rollcallv1.IsOwn(name) {
		return len(r.read) > 0
	}
	return r.read.Has(name)
}

// Meets says that the reader may read something of what a pattern covers.
func (r *Reader) Meets(p string) bool { return r.read.Meets(p) }

// Covers says that the reader may read all that a pattern covers.
func (r *Reader) Covers(p string) bool { return r.read.Contains(p) }

// May says that the reader may do something over everything.
func (r *Reader) May(verb access.Verbs) bool { return r.over&verb == verb }

// Nothing says that the identity may do nothing at all.
func (r *Reader) Nothing() bool { return r.some == 0 }

// Within returns the services that the reader may read of those whose names begin with one of prefixes; without
// prefixes of all.
func (r *Reader) Within(prefixes ...string) pattern.Spans {
	if len(prefixes) == 0 {
		return r.read
	}
	return r.read.And(pattern.Beginnings(prefixes...))
}

// Leases says which leases the reader is shown: those that it granted, and those to which a report of a service that it may
// read is attached, because the record of such a service shows the lease, too. nil: all.
func (r *Reader) Leases() *logv1.LeaseFilter {
	if r.Whole() {
		return nil
	}
	return &logv1.LeaseFilter{Service: r.Allows, Lease: func(l *logv1.Lease) bool { return r.did(l.GetActor()) }}
}

// did says that the reader is who did something.
func (r *Reader) did(a *logv1.Actor) bool { return a.GetVerified() && a.GetName() == r.identity }

// DeniedRead refuses to let the reader read something of a name; nil if it may read it.
func (r *Reader) DeniedRead(name string) *rpcerror.Failure {
	if r.Allows(name) {
		return nil
	}
	return r.lacks(access.Read, name)
}

// DeniedPrefixes refuses a read of the services whose names begin with one of prefixes (none: of all) if the reader may
// read none that begins with one of them.
func (r *Reader) DeniedPrefixes(prefixes ...string) *rpcerror.Failure {
	if len(prefixes) == 0 && len(r.read) == 0 {
		return r.lacks(access.Read, pattern.All)
	}
	for _, p := range prefixes {
		if len(r.Within(p)) == 0 {
			return r.lacks(access.Read, beginning(p))
		}
	}
	return nil
}

// Denied refuses to let the reader do what needs a verb over everything; nil if it may.
func (r *Reader) Denied(verb access.Verbs) *rpcerror.Failure {
	if r.May(verb) {
		return nil
	}
	return r.lacks(verb, pattern.All)
}

// beginning is a pattern for the names that begin with prefix, or else the name that is next to one.
func beginning(prefix string) string {
	if prefix == "" || strings.HasSuffix(prefix, "/") || strings.HasSuffix(prefix, ".") {
		return prefix + pattern.All
	}
	return prefix
}

// DeniedSome refuses to let the reader do what needs a verb over anything; nil if it may.
func (r *Reader) DeniedSome(verb access.Verbs) *rpcerror.Failure {
	if r.some&verb == verb {
		return nil
	}
	return r.lacks(verb, "")
}

func (r *Reader) lacks(verb access.Verbs, over string) *rpcerror.Failure {
	if r.identity == limits.AnonymousIdentity && r.Nothing() {
		return noCredentials(verb)
	}
	return (&rpcerror.Denial{Identity: r.identity, Verbs: verb, Over: over, Everything: r.denied}).Failure()
}

var everybody = NewReader("", 0, access.Everything(), false)

// Everybody returns the reader of calls whose caller nobody looks at, because everybody may read everything.
func Everybody() *Reader { return everybody }

// Changed ends a stream because what its caller may read is not what it was.
func Changed() *rpcerror.Failure {
	return &rpcerror.Failure{Reason: rpcerror.ReasonAccessChanged, Message: "what this caller may read has changed; begin anew"}
}

// noCredentials refuses who proves no identity where only those who do may do anything.
func noCredentials(verb access.Verbs) *rpcerror.Failure {
	f := rpcerror.Unauthenticated(rpcerror.ReasonNoCredentials,
		"the call proves no identity, and this cluster answers only those who do; show a token (--token-file) or a certificate (--cert and --key)")
	f.Meta[rpcerror.MetaIdentity], f.Meta[rpcerror.MetaVerb] = limits.AnonymousIdentity, verb.Names()[0]
	return f
}

// SameEvents says that both are shown the same events, and the same of them, that are matched by prefixes; without
// prefixes of all there are.
func (r *Reader) SameEvents(o *Reader, prefixes ...string) bool {
	if len(prefixes) == 0 {
		return r.same(o)
	}
	return slices.Equal(r.read, o.read)
}

// same says that both may read and do the same.
func (r *Reader) same(o *Reader) bool {
	return r == o || r.identity == o.identity && r.over == o.over && r.some == o.some && slices.Equal(r.read, o.read)
}
