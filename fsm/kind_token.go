package fsm

import (
	"crypto/sha256"
	"errors"

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
// refused, because its holders would lose theirs.
func (tx *Tx) createToken(c *logv1.CreateToken) *logv1.Refusal {
	if refusal := checkCreateToken(c); refusal != nil {
		return refusal
	}
	identity := limits.TokenIdentity + c.GetName()
	given, refusal := tx.readGrants(c.GetGrants())
	if refusal != nil {
		return refusal
	}
	if refusal := tx.mayGive(identity, given); refusal != nil {
		return refusal
	}
	s, p := tx.s, tx.p
	before := s.token(c.GetName())
	switch {
	case before != nil && string(before.GetSecretSha256()) == string(c.GetSecretSha256()):
		s.change(p, tokenKind, c.GetName(), before, logv1.EventType_EVENT_TYPE_ACCESS_CHANGED)
		return nil
	case before != nil:
		r := invalid("name", logv1.Refusal_PROBLEM_CONFLICT)
		r.Given, r.Held = TokenID(c.GetSecretSha256()), TokenID(before.GetSecretSha256())
		return of(logv1.Kind_KIND_TOKEN, c.GetName(), r)
	case s.tables.find(tokenKind).records.Len() >= limits.MaxTokens:
		return tooMany("tokens", limits.MaxTokens)
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
	s.change(p, tokenKind, c.GetName(), t, logv1.EventType_EVENT_TYPE_ACCESS_CHANGED)
	return tx.putGrants(identity, c.GetGrants(), false)
}

// revokeToken deletes a token and its grants.
func (tx *Tx) revokeToken(c *logv1.RevokeToken) *logv1.Refusal {
	name := c.GetName()
	if refusal := textRefusal("name", limits.TokenName(name)); refusal != nil {
		return refusal
	}
	identity := limits.TokenIdentity + name
	if refusal := tx.mayGive(identity, nil); refusal != nil {
		return refusal
	}
	if tx.s.token(name) == nil {
		if c.GetAllowMissing() {
			return nil
		}
		return of(logv1.Kind_KIND_TOKEN, name, &logv1.Refusal{Reason: logv1.Refusal_REASON_NOT_FOUND})
	}
	tx.s.change(tx.p, tokenKind, name, nil, logv1.EventType_EVENT_TYPE_ACCESS_CHANGED)
	return tx.putGrants(identity, nil, false)
}

// token returns nil if there is none of the name.
func (s *state) token(name string) *logv1.Token {
	t, _ := s.record(tokenKind, name).(*logv1.Token)
	return t
}
