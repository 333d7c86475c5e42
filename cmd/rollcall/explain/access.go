package explain

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

// Actor names who made a change: "ann@laptop", "token:ci for ann@laptop" if the caller proved an identity and said for
// whom it acts; "" if nobody is known.
func Actor(a *rollcallv1.Actor) string {
	name := format.Printable(a.GetName())
	if behalf := a.GetOnBehalfOf(); behalf != "" {
		name += " for " + format.Printable(behalf)
	}
	return name
}

// ActorOrDash is Actor in a cell: "-" if nobody is known.
func ActorOrDash(a *rollcallv1.Actor) string { return cmp.Or(Actor(a), "-") }

// Grants says what grants allow: "reporter on shop/* and pay, viewer on *"; "nothing" if there are none.
func Grants(grants []*rollcallv1.Grant) string {
	if len(grants) == 0 {
		return "nothing"
	}
	parts := make([]string, len(grants))
	for i, g := range grants {
		parts[i] = Grant(g)
	}
	return strings.Join(parts, ", ")
}

// Grant says what one grant allows: "reporter on shop/* and pay".
func Grant(g *rollcallv1.Grant) string {
	patterns := make([]string, len(g.GetPatterns()))
	for i, p := range g.GetPatterns() {
		patterns[i] = format.Printable(p)
	}
	return format.Printable(g.GetRole()) + " on " + strings.Join(patterns, " and ")
}

// Held is Grants of an identity, which may be denied everything.
func Held(g *rollcallv1.IdentityGrants) string {
	switch {
	case !g.GetDenied():
		return Grants(g.GetGrants())
	case len(g.GetGrants()) == 0:
		return "denied everything"
	}
	return "denied everything, would have " + Grants(g.GetGrants())
}

// Expiry says when a token or a certificate ends: "never", "2027-02-27 09:15, in 89d23h"; "expired 2h ago".
func Expiry(now time.Time, t *timestamppb.Timestamp) string {
	switch {
	case t == nil:
		return "never"
	case !t.AsTime().After(now):
		return "expired " + format.Ago(now, t)
	}
	return Clock(now, t) + ", " + in(now, t.AsTime())
}

// Anonymous says what callers may do that prove no identity, given their role.
func Anonymous(role string) string {
	if role == "" {
		return "anonymous callers may do nothing"
	}
	return "anonymous callers have the role " + format.Printable(role)
}

// Enforcement says whether access is enforced, and what anonymous callers may do then.
func Enforcement(a *rollcallv1.Auth) string {
	if !a.GetEnforced() {
		return "access is not enforced: everybody may do everything"
	}
	return "access is enforced; " + Anonymous(a.GetAnonymous())
}

// accessChange says what an event changed of who may do what. What it is about is its Subject.
func accessChange(now time.Time, c *rollcallv1.AccessChange) string {
	switch {
	case c.GetToken() != nil && c.GetDeleted():
		return "token revoked"
	case c.GetToken() != nil:
		text := "token created"
		if t := c.GetToken().GetExpireTime(); t != nil {
			text += ", expires " + Clock(now, t)
		}
		return text
	case c.GetRole() != nil && c.GetDeleted():
		return "role removed"
	case c.GetRole() != nil:
		return "role may " + strings.Join(c.GetRole().GetVerbs(), ", ")
	case c.GetGrants() != nil && c.GetDeleted():
		return "grants removed"
	case c.GetGrants() != nil:
		return fmt.Sprintf("grants: %s", Held(c.GetGrants()))
	case c.GetAuth() != nil:
		return Enforcement(c.GetAuth())
	}
	return "access changed"
}

// accessSubject is what an event of access is about: an identity or a role; "" if it is about the whole cluster.
func accessSubject(c *rollcallv1.AccessChange) string {
	switch {
	case c.GetToken() != nil:
		return tokenIdentity + c.GetToken().GetName()
	case c.GetRole() != nil:
		return c.GetRole().GetName()
	}
	return c.GetGrants().GetIdentity()
}

const tokenIdentity = "token:"
