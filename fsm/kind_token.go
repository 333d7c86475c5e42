package fsm

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"strings"
	"time"

	"github.com/rollcallhq/rollcall/api/rollcall/convert"
	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// tokenKind are the tokens, by name. What a token may do stands in the grants of its identity.
var tokenKind = &Kind{
	Number:  logv1.Kind_KIND_TOKEN,
	Name:    "token",
	Level:   logv1.LevelAccess,
	History: true,
	New:     func() Value { return new(logv1.Token) },
	applied: tokenApplied,
	Check: func(key string, v Value) error {
		t := v.(*logv1.Token)
		if bad := limits.TokenName(key); bad != nil {
			return bad
		}
		if len(t.GetSecretSha256()) != sha256.Size || t.GetExpireTime() < 0 || t.GetRevision() < 1 {
			return errors.New("it is damaged")
		}
		return nil
	},
}

func init() { tokenKind.Evaluate = withoutLockout(evaluateToken) } // which refers to the kind

// TokenID returns the id of the token with this SHA-256 of its secret: 16 hexadecimal digits. It tells a token from
// another one that had its name before.
func TokenID(secretSHA256 []byte) string { return convert.TokenID(secretSHA256) }

func evaluateToken(tx *Tx, payload []byte) *logv1.Refusal {
	var c logv1.TokenCommand
	if c.UnmarshalVT(payload) != nil {
		return invalid("command", logv1.Refusal_PROBLEM_UNKNOWN)
	}
	switch c := c.GetCommand().(type) {
	case *logv1.TokenCommand_Create:
		return tx.createToken(c.Create)
	case *logv1.TokenCommand_Revoke:
		return tx.revokeToken(c.Revoke)
	}
	return invalid("command", logv1.Refusal_PROBLEM_UNKNOWN)
}

func checkCreateToken(c *logv1.CreateToken) *logv1.Refusal {
	if refusal := textRefusal("name", limits.TokenName(c.GetName())); refusal != nil {
		return refusal
	}
	if n := len(c.GetSecretSha256()); n != sha256.Size {
		r := invalid("secret_sha256", logv1.Refusal_PROBLEM_UNKNOWN)
		r.Value = int64(n)
		return r
	}
	if refusal := textRefusal("description", limits.Description(c.GetDescription())); refusal != nil {
		return refusal
	}
	switch ttl := c.GetTtl(); {
	case ttl == 0:
	case ttl < int64(limits.MinTokenTTL):
		return beyond("ttl", logv1.Refusal_PROBLEM_TOO_LOW, ttl, int64(limits.MinTokenTTL))
	case ttl > int64(limits.MaxTokenTTL):
		return beyond("ttl", logv1.Refusal_PROBLEM_TOO_HIGH, ttl, int64(limits.MaxTokenTTL))
	}
	return nil
}

// createToken makes a token and its grants. The same token once more changes nothing; another one of its name is
// refused, because its holders would lose theirs, unless that one has expired. An identity that is denied stays denied.
func (tx *Tx) createToken(c *logv1.CreateToken) *logv1.Refusal {
	if refusal := checkCreateToken(c); refusal != nil {
		return refusal
	}
	name, identity := c.GetName(), limits.TokenIdentity+c.GetName()
	given, refusal := tx.readGrants(c.GetGrants())
	if refusal != nil {
		return refusal
	}
	if refusal := tx.mayGive(identity, given); refusal != nil {
		return refusal
	}
	s, p := tx.s, tx.p
	before := s.token(name)
	if before != nil && string(before.GetSecretSha256()) == string(c.GetSecretSha256()) {
		s.change(p, tokenKind, name, before, logv1.EventType_EVENT_TYPE_ACCESS_CHANGED)
		return nil
	}
	if before != nil && !expired(before, p.time) {
		r := invalid("name", logv1.Refusal_PROBLEM_CONFLICT)
		r.Given, r.Held = TokenID(c.GetSecretSha256()), TokenID(before.GetSecretSha256())
		return of(logv1.Kind_KIND_TOKEN, name, r)
	}
	// A token is found by its id. Who could make another one with the same id would take the first one away.
	if id := TokenID(c.GetSecretSha256()); s.tokenNamed(id) != "" {
		r := invalid("secret_sha256", logv1.Refusal_PROBLEM_CONFLICT)
		r.Given = id
		return of(logv1.Kind_KIND_TOKEN, name, r)
	}
	t := &logv1.Token{
		SecretSha256: c.GetSecretSha256(),
		Description:  c.GetDescription(),
		Reason:       tx.cmd.GetReason(),
		Actor:        tx.cmd.GetActor(),
		Time:         p.time,
		Revision:     p.revision + 1,
		RequestId:    tx.cmd.GetRequestId(),
	}
	if c.GetTtl() > 0 {
		t.ExpireTime = p.time + c.GetTtl()
	}
	s.change(p, tokenKind, name, t, logv1.EventType_EVENT_TYPE_ACCESS_CHANGED)
	if refusal := tx.putGrants(identity, c.GetGrants(), s.grants(identity).GetDenied()); refusal != nil {
		return refusal
	}
	if !tx.forgetTokens(name, before == nil) {
		return tooMany("tokens", limits.MaxTokens)
	}
	return nil
}

func expired(t *logv1.Token, now int64) bool {
	return t.GetExpireTime() != 0 && now >= t.GetExpireTime()
}

// How long an expired token is kept, so that its holder is told that it has expired, and how many one command forgets.
const (
	expiredTokensKept  = 7 * 24 * int64(time.Hour)
	maxTokensForgotten = 100
)

// forgetTokens deletes tokens that expired long ago, and so many that there is room for one more if it is needed; it
// says whether there is. It leaves the token of this name. Nobody looks for expired tokens at other times: they may do
// nothing anyway.
func (tx *Tx) forgetTokens(except string, oneMore bool) (room bool) {
	s, p := tx.s, tx.p
	count := s.tables.find(tokenKind).records.Len()
	if oneMore {
		count++
	}
	forgotten, first := 0, len(p.changes)
	s.access.ends.Scan(func(end tokenEnd) bool {
		if p.time < end.time || forgotten == maxTokensForgotten || p.time < end.time+expiredTokensKept && count <= limits.MaxTokens {
			return false
		}
		if end.name != except {
			s.change(p, tokenKind, end.name, nil, logv1.EventType_EVENT_TYPE_ACCESS_CHANGED)
			tx.dropGrants(limits.TokenIdentity + end.name)
			count--
			forgotten++
		}
		return true
	})
	for i := first; i < len(p.changes); i++ {
		p.changes[i].why = &cause{reason: "the token expired"} // and nobody took it away
	}
	return count <= limits.MaxTokens
}

// revokeToken deletes a token and its grants.
func (tx *Tx) revokeToken(c *logv1.RevokeToken) *logv1.Refusal {
	name, id := c.GetName(), c.GetId()
	if name != "" || id == "" {
		if refusal := textRefusal("name", limits.TokenName(name)); refusal != nil {
			return refusal
		}
	}
	if id != "" {
		if !isTokenID(id) {
			return invalid("id", logv1.Refusal_PROBLEM_UNKNOWN)
		}
		if name == "" {
			name = tx.s.tokenNamed(id)
		}
	}
	identity := limits.TokenIdentity + name
	if refusal := tx.mayGive(identity, nil); refusal != nil {
		return refusal
	}
	t := tx.s.token(name)
	if t == nil || id != "" && TokenID(t.GetSecretSha256()) != id {
		if c.GetAllowMissing() {
			return nil
		}
		return of(logv1.Kind_KIND_TOKEN, cmp.Or(c.GetName(), id), &logv1.Refusal{Reason: logv1.Refusal_REASON_NOT_FOUND})
	}
	tx.s.change(tx.p, tokenKind, name, nil, logv1.EventType_EVENT_TYPE_ACCESS_CHANGED)
	tx.dropGrants(identity)
	return nil
}

// isTokenID says whether id can be what TokenID returns.
func isTokenID(id string) bool {
	return len(id) == 16 && strings.Trim(id, "0123456789abcdef") == ""
}

// dropGrants takes all grants from the identity of a token that is deleted. One that is denied stays denied: who makes a
// token of the same name must not end that.
func (tx *Tx) dropGrants(identity string) {
	before := tx.s.grants(identity)
	switch {
	case before == nil || before.GetDenied() && len(before.GetGrants()) == 0:
	case before.GetDenied():
		_ = tx.putGrants(identity, nil, true) // it has a record, so there is room
	default:
		tx.s.change(tx.p, grantsKind, identity, nil, logv1.EventType_EVENT_TYPE_ACCESS_CHANGED)
	}
}

// token returns nil if there is none of the name.
func (s *state) token(name string) *logv1.Token {
	t, _ := s.record(tokenKind, name).(*logv1.Token)
	return t
}
