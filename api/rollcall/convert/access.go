package convert

import (
	"encoding/hex"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/fsm/access"
)

// TokenID returns the id of the token with this SHA-256 of its secret: 16 hexadecimal digits. It tells a token from
// another one that had its name before. It is "" if there are not so many bytes.
func TokenID(secretSHA256 []byte) string {
	if len(secretSHA256) < 8 {
		return ""
	}
	return hex.EncodeToString(secretSHA256[:8])
}

// Token returns the token of a name, with what its identity was granted; nil for nil. Nothing of its secret is shown but
// the id.
func Token(name string, t *logv1.Token, granted *logv1.Grants) *rollcallv1.Token {
	if t == nil {
		return nil
	}
	return &rollcallv1.Token{
		Name:        name,
		Id:          TokenID(t.GetSecretSha256()),
		Description: t.GetDescription(),
		ExpireTime:  Timestamp(t.GetExpireTime()),
		Grants:      Grants(granted.GetGrants()),
		Reason:      t.GetReason(),
		Actor:       actorOf(t.GetActor()),
		Time:        Timestamp(t.GetTime()),
		Revision:    t.GetRevision(),
	}
}

// Role returns the role of a name that people made; nil for nil.
func Role(name string, r *logv1.Role) *rollcallv1.AccessRole {
	if r == nil {
		return nil
	}
	return &rollcallv1.AccessRole{
		Name:     name,
		Verbs:    access.Verbs(r.GetVerbs()).Names(),
		Reason:   r.GetReason(),
		Actor:    actorOf(r.GetActor()),
		Time:     Timestamp(r.GetTime()),
		Revision: r.GetRevision(),
	}
}

// BuiltInRoles returns the roles that always are.
func BuiltInRoles() []*rollcallv1.AccessRole {
	var all []*rollcallv1.AccessRole
	for _, name := range access.BuiltInRoles() {
		verbs, _ := access.BuiltIn(name)
		all = append(all, &rollcallv1.AccessRole{Name: name, Verbs: verbs.Names(), BuiltIn: true})
	}
	return all
}

// IdentityGrants returns what an identity was granted; nil for nil.
func IdentityGrants(identity string, g *logv1.Grants) *rollcallv1.IdentityGrants {
	if g == nil {
		return nil
	}
	return &rollcallv1.IdentityGrants{
		Identity: identity,
		Grants:   Grants(g.GetGrants()),
		Denied:   g.GetDenied(),
		Reason:   g.GetReason(),
		Actor:    actorOf(g.GetActor()),
		Time:     Timestamp(g.GetTime()),
		Revision: g.GetRevision(),
	}
}

// Grants returns grants as the API shows them.
func Grants(grants []*logv1.Grant) []*rollcallv1.Grant {
	var all []*rollcallv1.Grant
	for _, g := range grants {
		all = append(all, &rollcallv1.Grant{Role: g.GetRole(), Patterns: g.GetPatterns()})
	}
	return all
}

// LogGrants returns grants as the log holds them.
func LogGrants(grants []*rollcallv1.Grant) []*logv1.Grant {
	var all []*logv1.Grant
	for _, g := range grants {
		all = append(all, &logv1.Grant{Role: g.GetRole(), Patterns: g.GetPatterns()})
	}
	return all
}

// Auth returns the setting of the cluster. nil is the setting that was never made: access is not enforced.
func Auth(a *logv1.Auth) *rollcallv1.Auth {
	return &rollcallv1.Auth{
		Enforced:  a.GetEnforced(),
		Anonymous: a.GetAnonymous(),
		Reason:    a.GetReason(),
		Actor:     actorOf(a.GetActor()),
		Time:      Timestamp(a.GetTime()),
		Revision:  a.GetRevision(),
	}
}

// accessChange returns what an event says of who may do what. What was deleted has only its name.
func accessChange(e *logv1.Event) *rollcallv1.AccessChange {
	key, after := e.GetKey(), e.GetAfter()
	c := &rollcallv1.AccessChange{Deleted: e.GetDeletes()}
	if c.Deleted {
		after = nil
	}
	switch e.GetKind() {
	case logv1.Kind_KIND_TOKEN:
		var t logv1.Token
		if t.UnmarshalVT(after) != nil {
			t.Reset() // a newer binary's; its name is known all the same
		}
		c.Token = Token(key, &t, nil)
	case logv1.Kind_KIND_ROLE:
		var r logv1.Role
		if r.UnmarshalVT(after) != nil {
			r.Reset()
		}
		c.Role = Role(key, &r)
	case logv1.Kind_KIND_GRANTS:
		var g logv1.Grants
		if g.UnmarshalVT(after) != nil {
			g.Reset()
		}
		c.Grants = IdentityGrants(key, &g)
	case logv1.Kind_KIND_AUTH:
		var a logv1.Auth
		if a.UnmarshalVT(after) != nil {
			a.Reset()
		}
		c.Auth = Auth(&a)
	}
	return c
}
