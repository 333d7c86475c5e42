package rpcerror

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// This file words what the fold refuses. A refusal is replicated, so it holds codes and values only:
// see logv1.Refusal. The words may change from release to release.

// Refused is the outcome of a command that the fold refused: nothing changed.
func Refused(r *logv1.Refusal) *Failure {
	meta := map[string]string{MetaWritten: WrittenNo}
	if key := metaOf[r.GetKind()]; key != "" && r.GetKey() != "" {
		meta[key] = r.GetKey()
	}
	if f := accessRefused(r, meta); f != nil {
		return f
	}
	if f := memberRefused(r, meta); f != nil {
		return f
	}
	switch r.GetReason() {
	case logv1.Refusal_REASON_RULE_BROKEN:
		return rulesBroken(r, meta)
	case logv1.Refusal_REASON_LIMIT:
		f := LimitReached(strings.ReplaceAll(r.GetField(), "_", "-"), "%s", RefusalText(r))
		f.Reason, f.Meta = ReasonTableFull, meta
		return f
	case logv1.Refusal_REASON_LEASE_HELD:
		meta[MetaLease] = r.GetHeld()
		return &Failure{Reason: ReasonLeaseHeld, Message: RefusalText(r), Meta: meta}
	case logv1.Refusal_REASON_ROLE_IN_USE:
		meta[MetaIdentity] = r.GetHeld()
		return &Failure{Reason: ReasonRoleInUse, Message: RefusalText(r), Meta: meta}
	case logv1.Refusal_REASON_STALE:
		return &Failure{Reason: ReasonNotWritten, Message: RefusalText(r), Meta: meta}
	case logv1.Refusal_REASON_NOT_FOUND:
		return &Failure{Reason: ReasonNotFound, Message: RefusalText(r), Meta: meta}
	case logv1.Refusal_REASON_REVISION_MISMATCH:
		meta[MetaCurrentRevision] = strconv.FormatInt(r.GetCurrentRevision(), 10)
		return &Failure{Reason: ReasonRevisionMismatch, Message: RefusalText(r), Meta: meta}
	}
	f := Invalid(Violation{Field: refusedField(r), Description: problemText(r)})
	f.Meta = meta
	if r.GetProblem() == logv1.Refusal_PROBLEM_REUSED {
		f.Reason = ReasonRequestIDReused
	}
	return f
}

// metaOf is the key of ErrorInfo.metadata that names a record of a kind.
var metaOf = map[logv1.Kind]string{
	logv1.Kind_KIND_SERVICE:  MetaService,
	logv1.Kind_KIND_OVERRIDE: MetaPattern,
	logv1.Kind_KIND_RULE:     MetaRule,
	logv1.Kind_KIND_LEASE:    MetaLease,
	logv1.Kind_KIND_TOKEN:    MetaName,
	logv1.Kind_KIND_ROLE:     MetaName,
	logv1.Kind_KIND_GRANTS:   MetaName,
	logv1.Kind_KIND_MEMBER:   MetaMember,
}

// RefusalText says in one sentence why a command was refused.
func RefusalText(r *logv1.Refusal) string {
	if text := cmp.Or(accessText(r), memberText(r)); text != "" {
		return text
	}
	subject := recordText(r)
	current, asked := r.GetCurrentRevision(), r.GetValue()
	switch r.GetReason() {
	case logv1.Refusal_REASON_NOT_FOUND:
		if r.GetField() == "break_glass" {
			return "break_glass names " + subject + ", which does not exist"
		}
		return subject + " does not exist"
	case logv1.Refusal_REASON_RULE_BROKEN:
		return brokenText(r.GetBroken())
	case logv1.Refusal_REASON_LIMIT:
		return fmt.Sprintf("not written: there are %d %s, and there cannot be more; %s",
			r.GetLimit(), strings.ReplaceAll(r.GetField(), "_", " "), cmp.Or(remedy[r.GetField()], "remove some first"))
	case logv1.Refusal_REASON_LEASE_HELD:
		return fmt.Sprintf("not written: lease %s holds the report of %s, and its reporter lives; name a lease, or use \"override set\" to decide over what it reports", r.GetHeld(), subject)
	case logv1.Refusal_REASON_ROLE_IN_USE:
		return "not written: " + roleInUse(r)
	case logv1.Refusal_REASON_STALE:
		return fmt.Sprintf("not written: it was proposed in term %d, which is over", r.GetValue())
	case logv1.Refusal_REASON_REVISION_MISMATCH:
		switch {
		case current == 0:
			return fmt.Sprintf("%s does not exist; if_revision asks for revision %d", subject, asked)
		case asked == 0:
			return fmt.Sprintf("%s exists at revision %d; if_revision 0 asks that it does not", subject, current)
		}
		return fmt.Sprintf("%s is at revision %d; if_revision asks for %d", subject, current, asked)
	}
	return refusedField(r) + " " + problemText(r)
}

// recordText names the record that a refusal is about.
func recordText(r *logv1.Refusal) string {
	kind := "record"
	switch r.GetKind() {
	case logv1.Kind_KIND_SERVICE:
		kind = "service"
	case logv1.Kind_KIND_MEMBER:
		kind = "member"
	case logv1.Kind_KIND_OVERRIDE:
		return fmt.Sprintf("an override of %q", r.GetKey())
	case logv1.Kind_KIND_RULE:
		kind = "rule"
	case logv1.Kind_KIND_LEASE:
		kind = "lease"
	case logv1.Kind_KIND_TOKEN:
		kind = "token"
	case logv1.Kind_KIND_ROLE:
		kind = "role"
	case logv1.Kind_KIND_GRANTS:
		return fmt.Sprintf("the record of the grants of %q", r.GetKey())
	case logv1.Kind_KIND_AUTH:
		return "the access setting"
	}
	return fmt.Sprintf("%s %q", kind, r.GetKey())
}

// refusedField is the path of the field that a refusal is about.
func refusedField(r *logv1.Refusal) string {
	field := r.GetField()
	if field == "" {
		field = "request"
	}
	if n := r.GetChange(); n > 0 {
		return fmt.Sprintf("changes[%d].%s", n-1, field)
	}
	return field
}

// remedy is what can be done when a table is full.
var remedy = map[string]string{
	"overrides":        "clear some first, or set one that covers more services",
	"prefix_overrides": "clear some first, or set one that covers more services",
	"tokens":           "revoke some first",
	"roles":            "delete some first",
	"identities":       "take away all grants of some identity first",
	"voters":           "remove one first, or add the node as a replica (--replica)",
	"replicas":         "remove one first",
}

// lowest is what the lowest value of a field means.
var lowest = map[string]string{
	"if_revision": "it must be a revision, or 0 for a service that must not exist",
}

// problemText says what is wrong with a field, without the field.
func problemText(r *logv1.Refusal) string {
	if text := accessProblem(r); text != "" {
		return text
	}
	value, limit := r.GetValue(), r.GetLimit()
	switch r.GetProblem() {
	case logv1.Refusal_PROBLEM_EMPTY:
		switch r.GetField() {
		case "changes":
			return "is empty; at least one change is needed"
		case "service":
			return (&limits.Error{Problem: limits.Empty}).Error()
		case "grants.patterns":
			return `is empty; at least one pattern is needed, "*" for all services`
		}
		return "is empty"
	case logv1.Refusal_PROBLEM_TOO_LONG:
		return fmt.Sprintf("is %d bytes long; at most %d are allowed", value, limit)
	case logv1.Refusal_PROBLEM_NOT_UTF8:
		return "is not valid UTF-8"
	case logv1.Refusal_PROBLEM_FORBIDDEN_CHARACTER:
		return textProblem(r, limits.BadCharacter)
	case logv1.Refusal_PROBLEM_MISPLACED_MARK:
		return textProblem(r, limits.MisplacedMark)
	case logv1.Refusal_PROBLEM_NOT_NORMALIZED:
		return textProblem(r, limits.NotNormalized)
	case logv1.Refusal_PROBLEM_RESERVED:
		return textProblem(r, limits.Reserved)
	case logv1.Refusal_PROBLEM_TOO_MANY:
		return fmt.Sprintf("holds %d; at most %d are allowed", value, limit)
	case logv1.Refusal_PROBLEM_REPEATED:
		return fmt.Sprintf("%q is also in changes[%d]; one write may change a service once", r.GetKey(), value-1)
	case logv1.Refusal_PROBLEM_UNKNOWN:
		switch r.GetField() {
		case "status":
			return fmt.Sprintf("is %d; UNKNOWN, SERVING, NOT_SERVING or, to delete, SERVICE_UNKNOWN are allowed", value)
		case "command":
			return "is of an unknown kind"
		}
		return fmt.Sprintf("is %d, which is not known", value)
	case logv1.Refusal_PROBLEM_TOO_LOW:
		if r.GetField() == "member.level" {
			return fmt.Sprintf("is %d; the cluster's feature level is %d: start a newer version of rollcall", value, limit)
		}
		if meaning := lowest[r.GetField()]; meaning != "" {
			return fmt.Sprintf("is %d; %s", value, meaning)
		}
		return fmt.Sprintf("is %d; it must be at least %d", value, limit)
	case logv1.Refusal_PROBLEM_TOO_HIGH:
		if r.GetField() == "level" {
			return fmt.Sprintf("is %d; %s allows %d at most", value, recordText(r), limit)
		}
		return fmt.Sprintf("is %d; it can be at most %d", value, limit)
	case logv1.Refusal_PROBLEM_REUSED:
		return fmt.Sprintf("%q was used for another request, in log entry %d; what differs from it needs an id of its own",
			r.GetGiven(), value)
	case logv1.Refusal_PROBLEM_CONFLICT:
		given, held := r.GetGiven(), r.GetHeld()
		if r.GetKind() == logv1.Kind_KIND_MEMBER { // nobody learns a directory's id from being refused
			given, held = shortID(given), shortID(held)
		}
		return fmt.Sprintf("of %s is %q; the cluster knows it with %q", recordText(r), given, held)
	case logv1.Refusal_PROBLEM_NOT_A_PATTERN:
		return (&limits.Error{Problem: limits.NotPattern, Text: r.GetGiven()}).Error()
	case logv1.Refusal_PROBLEM_NOT_AN_IDENTITY:
		return (&limits.Error{Problem: limits.NotIdentity, Text: r.GetGiven()}).Error()
	case logv1.Refusal_PROBLEM_BUILT_IN:
		return fmt.Sprintf("%q is a role of rollcall itself, which nobody changes; give yours another name", r.GetGiven())
	case logv1.Refusal_PROBLEM_REQUIRED:
		switch r.GetField() {
		case "reason":
			return "is required with break_glass"
		case "min_serving", "min_percent":
			return "is required, if the other of min_serving and min_percent is not given"
		}
		return "is required"
	}
	// A reason or problem that only a newer leader knows is still a refusal of this request.
	return "was refused"
}

func textProblem(r *logv1.Refusal, problem limits.Problem) string {
	return (&limits.Error{Problem: problem, Text: r.GetGiven(), Rune: rune(r.GetValue()), Offset: int(r.GetOffset())}).Error()
}
