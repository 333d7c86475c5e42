package rpcerror

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	"github.com/rollcallhq/rollcall/fsm/access"
)

// This file words what has to do with access: who may do what. What only the entry node knows of a caller's credentials
// is worded there.

// Denied returns the outcome of a call whose caller lacks verbs over a service or a pattern; over is "" if any would do.
// It is the same whether what was asked for exists.
func Denied(identity string, verbs access.Verbs, over string) *Failure {
	return (&Denial{Identity: identity, Verbs: verbs, Over: over}).Failure()
}

// Denial says why a caller may not do what it asked.
type Denial struct {
	Identity string
	Verbs    access.Verbs // that it lacks
	// Over is the service or the pattern over which; "" if any would do.
	Over string
	// Everything says that the identity is denied everything, whatever it was granted.
	Everything bool
	// Lease is a lease that the identity did not grant; "": it is not about one.
	Lease string
}

// Failure returns the outcome of a call that is denied.
func (d *Denial) Failure() *Failure {
	return &Failure{Reason: ReasonDenied, Message: d.text(), Meta: d.meta()}
}

func (d *Denial) meta() map[string]string {
	return map[string]string{
		MetaWritten:  WrittenNo,
		MetaIdentity: d.Identity,
		MetaVerb:     strings.Join(d.Verbs.Names(), ","),
		MetaName:     d.Over,
	}
}

func (d *Denial) text() string {
	if d.Everything {
		return fmt.Sprintf("denied: %s is denied everything; an administrator can end that with: rollcall grant allow %s", d.Identity, shellQuote(d.Identity))
	}
	if d.Lease != "" && d.Identity != limits.AnonymousIdentity {
		return fmt.Sprintf("denied: %s did not grant lease %s, and lacks %s; let it be granted a lease of its own", d.Identity, QuoteShort(d.Lease), d.lacks())
	}
	return fmt.Sprintf("denied: %s lacks %s; %s", d.Identity, d.lacks(), d.remedy())
}

// lacks says which verbs are lacking, and over what.
func (d *Denial) lacks() string {
	names := d.Verbs.Names()
	noun := "the verb "
	if len(names) > 1 {
		noun = "the verbs "
	}
	over := "over " + QuoteShort(d.Over)
	switch d.Over {
	case "":
		over = "over any service"
	case "*", "**":
		over = "over everything"
	}
	return noun + strings.Join(names, ", ") + " " + over
}

// remedy says what to run.
func (d *Denial) remedy() string {
	if d.Identity == limits.AnonymousIdentity {
		return "show a token (--token-file) or a certificate (--cert and --key)"
	}
	return fmt.Sprintf("an administrator can allow it with: rollcall grant add %s --role %s --on %s",
		shellQuote(d.Identity), roleWith(d.Verbs), shellQuote(cmp.Or(d.Over, "PATTERN")))
}

// roleWith returns the least built-in role that has all of verbs.
func roleWith(verbs access.Verbs) string {
	for _, role := range access.BuiltInRoles() {
		if has, _ := access.BuiltIn(role); has&verbs == verbs {
			return role
		}
	}
	return access.Admin
}

// shellQuote returns a word as one types it into a shell.
func shellQuote(word string) string {
	if !strings.ContainsFunc(word, func(r rune) bool { return !strings.ContainsRune(plain, r) }) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// plain characters mean nothing to a shell.
const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_./:@%+"

func deniedOf(r *logv1.Refusal) *Denial {
	d := &Denial{Identity: r.GetGiven(), Verbs: access.Verbs(r.GetLimit()), Over: r.GetHeld(), Everything: r.GetValue() == 1}
	if r.GetKind() == logv1.Kind_KIND_LEASE && d.Over != "" {
		d.Lease = r.GetKey()
	}
	return d
}

// accessRefused returns the outcome of a command that the fold refused because of who its caller is; nil if it was
// refused for another reason.
func accessRefused(r *logv1.Refusal, meta map[string]string) *Failure {
	f := &Failure{Message: accessText(r), Meta: meta}
	switch r.GetReason() {
	case logv1.Refusal_REASON_DENIED:
		f.Reason = ReasonDenied
	case logv1.Refusal_REASON_ESCALATION:
		f.Reason = ReasonEscalation
	case logv1.Refusal_REASON_AUTH_LOCKOUT:
		f.Reason = ReasonAuthLockout
	case logv1.Refusal_REASON_TOKEN_REVOKED:
		f.Reason = ReasonTokenRevoked
	case logv1.Refusal_REASON_TOKEN_EXPIRED:
		f.Reason = ReasonTokenExpired
	default:
		return nil
	}
	if f.Reason == ReasonDenied || f.Reason == ReasonEscalation {
		for key, value := range deniedOf(r).meta() {
			meta[key] = value
		}
	}
	meta[MetaIdentity] = r.GetGiven()
	return f
}

// accessText words a refusal because of who the caller is; "" for others.
func accessText(r *logv1.Refusal) string {
	who := r.GetGiven()
	switch r.GetReason() {
	case logv1.Refusal_REASON_DENIED:
		return deniedOf(r).text()
	case logv1.Refusal_REASON_ESCALATION:
		return fmt.Sprintf("not written: %s lacks %s, and nobody gives or takes away what he may not do himself", who, deniedOf(r).lacks())
	case logv1.Refusal_REASON_AUTH_LOCKOUT:
		if who == limits.AnonymousIdentity {
			return "not written: the caller showed no token and no certificate, so it could not undo this; " +
				"make a token with the role admin first, and show it (--token-file)"
		}
		lacking := &Denial{Verbs: access.Verbs(r.GetLimit()), Over: pattern.All}
		return fmt.Sprintf("not written: afterwards %s would lack %s, and could not undo it; grant it the role admin over everything first, or let another administrator do it", who, lacking.lacks())
	case logv1.Refusal_REASON_TOKEN_REVOKED:
		return "the token of " + who + " was revoked"
	case logv1.Refusal_REASON_TOKEN_EXPIRED:
		return fmt.Sprintf("the token of %s expired at %s", who, time.Unix(0, r.GetValue()).UTC().Format(time.RFC3339))
	}
	return ""
}

// roleInUse says who has the role of a refusal.
func roleInUse(r *logv1.Refusal) string {
	who, others := r.GetHeld(), r.GetValue()-1
	if who == limits.AnonymousIdentity {
		who = "anonymous callers"
	}
	switch {
	case others == 1:
		who += " and 1 other identity have"
	case others > 1:
		who += fmt.Sprintf(" and %d other identities have", others)
	case r.GetHeld() == limits.AnonymousIdentity:
		who += " have"
	default:
		who += " has"
	}
	return fmt.Sprintf("%s the role %q, and would have the next one of that name; take it from whoever has it first", who, r.GetKey())
}

// accessProblem says what is wrong with a field of a command about access; "" if it has no words of its own.
func accessProblem(r *logv1.Refusal) string {
	value, limit := r.GetValue(), r.GetLimit()
	switch r.GetField() {
	case "secret_sha256":
		if r.GetProblem() == logv1.Refusal_PROBLEM_CONFLICT {
			return fmt.Sprintf("has the id %s, which another token has; make a new secret", r.GetGiven())
		}
		return fmt.Sprintf("is %d bytes long; a SHA-256 is 32", value)
	case "id":
		return "is no id of a token, which is 16 hexadecimal digits"
	case "verbs":
		if r.GetProblem() == logv1.Refusal_PROBLEM_UNKNOWN {
			return fmt.Sprintf("holds bits that are no verbs: %#x", value)
		}
		return "is empty; a role allows one verb at least: " + strings.Join(access.All.Names(), ", ")
	case "ttl":
		if r.GetProblem() != logv1.Refusal_PROBLEM_TOO_LOW && r.GetProblem() != logv1.Refusal_PROBLEM_TOO_HIGH {
			return ""
		}
		return fmt.Sprintf("is %v; %s", time.Duration(value), ttlLimit(r.GetProblem(), time.Duration(limit)))
	case "name":
		if r.GetKind() == logv1.Kind_KIND_TOKEN && r.GetProblem() == logv1.Refusal_PROBLEM_CONFLICT {
			return fmt.Sprintf("%s is the name of another token, with the id %s; revoke that one first, or choose another name", strconv.Quote(r.GetKey()), r.GetHeld())
		}
	}
	return ""
}

func ttlLimit(problem logv1.Refusal_Problem, limit time.Duration) string {
	if problem == logv1.Refusal_PROBLEM_TOO_HIGH {
		return fmt.Sprintf("it can be at most %v", limit)
	}
	return fmt.Sprintf("it must be at least %v", limit)
}
