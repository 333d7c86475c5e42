package server

import (
	"crypto/sha256"
	"fmt"
	"strings"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/fsm/access"
	"github.com/rollcallhq/rollcall/server/authn"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

func validateCreateToken(req *rollcallv1.CreateTokenRequest) error {
	var vs violations
	vs.text("name", limits.TokenName(req.GetName()))
	vs.grants("grants", req.GetGrants())
	if req.Ttl != nil {
		vs.duration("ttl", req.Ttl, limits.MinTokenTTL, limits.MaxTokenTTL, tokenTTLBounds)
	}
	vs.text("description", limits.Description(req.GetDescription()))
	if n := len(req.GetSecretSha256()); n != sha256.Size {
		vs.add("secret_sha256", "has %d bytes; it must be the %d bytes of the SHA-256 of the token's secret", n, sha256.Size)
	}
	vs.common(req)
	return vs.err()
}

var tokenTTLBounds = fmt.Sprintf("%v to %vh (10 years) is allowed; leave it out for a token that is valid until it is revoked",
	limits.MinTokenTTL, limits.MaxTokenTTL.Hours())

func validateRevokeToken(req *rollcallv1.RevokeTokenRequest) error {
	var vs violations
	switch name, id := req.GetName(), req.GetId(); {
	case name == "" && id == "":
		vs.add("name", "and id are both missing; give one of them")
	case name != "" && id != "":
		vs.add("id", "is given together with name; give one of them")
	case name != "":
		vs.text("name", limits.TokenName(name))
	case !isTokenID(id):
		vs.add("id", "is %s; a token's id is 16 hexadecimal digits in lower case: the middle of rct_ID_SECRET", rpcerror.QuoteShort(id))
	}
	vs.common(req)
	return vs.err()
}

func isTokenID(id string) bool {
	return len(id) == 16 && strings.Trim(id, "0123456789abcdef") == ""
}

func validatePutRole(req *rollcallv1.PutRoleRequest) (access.Verbs, error) {
	var vs violations
	vs.role("name", req.GetName())
	var verbs access.Verbs
	if len(req.GetVerbs()) == 0 {
		vs.add("verbs", "is empty; a role needs one verb at least: %s", verbNames())
	}
	if n, most := len(req.GetVerbs()), len(access.All.Names()); n > most {
		vs.add("verbs", "has %d entries; there are %d verbs", n, most)
		return 0, vs.err()
	}
	for i, name := range req.GetVerbs() {
		verbs |= vs.verb(fmt.Sprintf("verbs[%d]", i), name)
	}
	vs.ifRevision("if_revision", req.IfRevision, "a role")
	vs.common(req)
	return verbs, vs.err()
}

// role checks the name of a role that is to be changed.
func (vs *violations) role(field, name string) {
	if _, builtIn := access.BuiltIn(name); builtIn {
		vs.add(field, "is %q, a role of rollcall itself, which nobody changes; give yours another name", name)
		return
	}
	vs.text(field, limits.RoleName(name))
}

func (vs *violations) verb(field, name string) access.Verbs {
	verb, ok := access.Verb(name)
	if !ok {
		vs.add(field, "is %s, which is no verb; the verbs are %s", rpcerror.QuoteShort(name), verbNames())
		return 0
	}
	return verb
}

func verbNames() string { return strings.Join(access.All.Names(), ", ") }

func validateDeleteRole(req *rollcallv1.DeleteRoleRequest) error {
	var vs violations
	vs.role("name", req.GetName())
	vs.ifRevision("if_revision", req.IfRevision, "a role")
	vs.common(req)
	return vs.err()
}

func validatePutGrants(req *rollcallv1.PutGrantsRequest) error {
	var vs violations
	vs.text("identity", limits.Identity(req.GetIdentity()))
	vs.grants("grants", req.GetGrants())
	vs.ifRevision("if_revision", req.IfRevision, "the grants of an identity")
	vs.common(req)
	return vs.err()
}

// grants checks grants, but for whether there are such roles.
func (vs *violations) grants(field string, grants []*rollcallv1.Grant) {
	patterns := 0
	for _, g := range grants {
		patterns += max(len(g.GetPatterns()), 1)
	}
	if patterns > limits.MaxGrantPatterns {
		vs.add(field, "have %d patterns; at most %d are allowed", patterns, limits.MaxGrantPatterns)
		return
	}
	for i, g := range grants {
		at := fmt.Sprintf("%s[%d].", field, i)
		vs.text(at+"role", limits.RoleName(g.GetRole()))
		if len(g.GetPatterns()) == 0 {
			vs.add(at+"patterns", `is empty; at least one pattern is needed, "*" for all services`)
		}
		for j, p := range g.GetPatterns() {
			vs.text(fmt.Sprintf("%spatterns[%d]", at, j), limits.Pattern(p))
		}
	}
}

func validateSetAuth(req *rollcallv1.SetAuthRequest) error {
	var vs violations
	if role := req.GetAnonymous(); role != "" {
		vs.text("anonymous", limits.RoleName(role))
	}
	vs.ifRevision("if_revision", req.IfRevision, "a setting")
	vs.common(req)
	return vs.err()
}

func validateCheckAccess(req *rollcallv1.CheckAccessRequest) (access.Verbs, error) {
	var vs violations
	verb := vs.verb("verb", req.GetVerb())
	if service := req.GetService(); strings.Contains(service, "*") {
		vs.text("service", limits.Pattern(service))
	} else {
		vs.text("service", limits.Lookup(service))
	}
	switch identity := req.GetIdentity(); {
	case identity == "", identity == limits.AnonymousIdentity:
	case strings.HasPrefix(identity, authn.StaticIdentity):
		vs.text("identity", limits.Actor(identity))
	default:
		vs.text("identity", limits.Identity(identity))
	}
	if len(vs) > 0 {
		return 0, rpcerror.Invalid(vs...)
	}
	return verb, nil
}
