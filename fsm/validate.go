package fsm

import (
	"unicode/utf8"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// Limits of one command. They are part of the fold: another value on another node would make the
// replicas differ, so they change only together with the entry format.
const (
	maxChanges        = 10_000
	maxReasonBytes    = 1 << 10
	maxActorBytes     = 256
	maxRequestIDBytes = 64
	maxLeaseIDBytes   = 64
	maxMemberBytes    = 256 // each field of a member
)

// problem is what is wrong with a field of a command.
type problem = logv1.Refusal_Problem

func invalid(field string, what problem) *logv1.Refusal {
	return &logv1.Refusal{Reason: logv1.Refusal_REASON_INVALID, Field: field, Problem: what}
}

// beyond is invalid for a number that is on the wrong side of a limit.
func beyond[N int | int64](field string, what problem, value, limit N) *logv1.Refusal {
	r := invalid(field, what)
	r.Value, r.Limit = int64(value), int64(limit)
	return r
}

// of says which record a refusal is about.
func of(kind logv1.Kind, key string, r *logv1.Refusal) *logv1.Refusal {
	if r != nil {
		r.Kind, r.Key = kind, key
	}
	return r
}

// checkText refuses what is too long, and what could be previewed but never be written: the log is
// protobuf, its strings are UTF-8.
func checkText(field, text string, limit int) *logv1.Refusal {
	if len(text) > limit {
		return beyond(field, logv1.Refusal_PROBLEM_TOO_LONG, len(text), limit)
	}
	if !utf8.ValidString(text) {
		return invalid(field, logv1.Refusal_PROBLEM_NOT_UTF8)
	}
	return nil
}

// checkCaller checks what every command says of its caller.
func checkCaller(cmd *logv1.Command) *logv1.Refusal {
	for _, f := range [...]struct {
		field, text string
		limit       int
	}{
		{"reason", cmd.GetReason(), maxReasonBytes},
		{"actor", cmd.GetActor().GetName(), maxActorBytes},
		{"actor.peer", cmd.GetActor().GetPeer(), maxActorBytes},
		{"request_id", cmd.GetRequestId(), maxRequestIDBytes},
	} {
		if refusal := checkText(f.field, f.text, f.limit); refusal != nil {
			return refusal
		}
	}
	return nil
}

// checkWrite finds what is wrong with a write whatever the registry holds. All changes are checked
// before any is compared with the registry, so a malformed request is always told so.
func checkWrite(w *logv1.Write) *logv1.Refusal {
	changes := w.GetChanges()
	switch n := len(changes); {
	case n == 0:
		return invalid("changes", logv1.Refusal_PROBLEM_EMPTY)
	case n > maxChanges:
		return beyond("changes", logv1.Refusal_PROBLEM_TOO_MANY, n, maxChanges)
	case n == 1:
		return checkChange(changes[0])
	}
	for i, c := range changes {
		if refusal := checkChange(c); refusal != nil {
			refusal.Change = uint32(i + 1)
			return refusal
		}
	}
	if first, i, ok := changedTwice(changes); ok {
		refusal := of(logv1.Kind_KIND_SERVICE, changes[i].GetService(), invalid("service", logv1.Refusal_PROBLEM_REPEATED))
		refusal.Change, refusal.Value = uint32(i+1), int64(first+1)
		return refusal
	}
	return nil
}

func checkChange(c *logv1.Change) *logv1.Refusal {
	service := c.GetService()
	if refusal := checkName(service); refusal != nil {
		return refusal
	}
	var refusal *logv1.Refusal
	if st := c.GetStatus(); !isReport(st) && st != logv1.Status_STATUS_SERVICE_UNKNOWN {
		refusal = invalid("status", logv1.Refusal_PROBLEM_UNKNOWN)
		refusal.Value = int64(st)
	} else if refusal = checkText("lease_id", c.GetLeaseId(), maxLeaseIDBytes); refusal == nil && c.IfRevision != nil && c.GetIfRevision() < 0 {
		refusal = beyond("if_revision", logv1.Refusal_PROBLEM_TOO_LOW, c.GetIfRevision(), 0)
	}
	return of(logv1.Kind_KIND_SERVICE, service, refusal)
}

// checkName refuses what cannot be the name of a service. A name that is only too long for a name, or
// no UTF-8, is not repeated in the refusal: it may be of any size, or not fit into a message.
func checkName(name string) *logv1.Refusal {
	bad := rollcallv1.NameToWrite(name)
	if bad == nil {
		return nil
	}
	r := invalid("service", logv1.Refusal_PROBLEM_UNSPECIFIED)
	switch bad.Problem {
	case rollcallv1.NameEmpty:
		r.Problem = logv1.Refusal_PROBLEM_EMPTY
	case rollcallv1.NameTooLong:
		r.Problem, r.Value, r.Limit = logv1.Refusal_PROBLEM_TOO_LONG, int64(len(name)), rollcallv1.MaxNameBytes
	case rollcallv1.NameNotUTF8:
		r.Problem = logv1.Refusal_PROBLEM_NOT_UTF8
	case rollcallv1.NameControlCharacter:
		r.Problem, r.Value, r.Given = logv1.Refusal_PROBLEM_CONTROL_CHARACTER, int64(bad.Rune), name
	case rollcallv1.NameForbiddenCharacter:
		r.Problem, r.Value, r.Given = logv1.Refusal_PROBLEM_FORBIDDEN_CHARACTER, int64(bad.Rune), name
	case rollcallv1.NameReserved:
		r.Problem, r.Given = logv1.Refusal_PROBLEM_RESERVED, name
	}
	return r
}

// changedTwice returns the places of two changes of one service.
func changedTwice(changes []*logv1.Change) (first, second int, ok bool) {
	inOrder := 1 // so many from the first on; among them none can be there twice
	for inOrder < len(changes) && changes[inOrder-1].GetService() < changes[inOrder].GetService() {
		inOrder++
	}
	if inOrder == len(changes) {
		return 0, 0, false
	}
	seen := make(map[string]int, len(changes))
	for i, c := range changes {
		if first, ok := seen[c.GetService()]; ok {
			return first, i, true
		}
		seen[c.GetService()] = i
	}
	return 0, 0, false
}

func checkMember(m *logv1.Member) *logv1.Refusal {
	if m.GetName() == "" {
		return invalid("member.name", logv1.Refusal_PROBLEM_EMPTY)
	}
	for _, f := range [...]struct{ field, text string }{
		{"member.name", m.GetName()},
		{"member.api_address", m.GetApiAddress()},
		{"member.peer_address", m.GetPeerAddress()},
		{"member.directory_id", m.GetDirectoryId()},
		{"member.version", m.GetVersion()},
	} {
		if refusal := checkText(f.field, f.text, maxMemberBytes); refusal != nil {
			return refusal
		}
	}
	return nil
}
