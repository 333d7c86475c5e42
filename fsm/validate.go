package fsm

import (
	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// problem is what is wrong with a field of a command.
type problem = logv1.Refusal_Problem

func invalid(field string, what problem) *logv1.Refusal {
	return &logv1.Refusal{Reason: logv1.Refusal_REASON_INVALID, Field: field, Problem: what}
}

// beyond refuses a number that is on the wrong side of a limit.
func beyond[N int | int64](field string, what problem, value, limit N) *logv1.Refusal {
	r := invalid(field, what)
	r.Value, r.Limit = int64(value), int64(limit)
	return r
}

// of adds to a refusal which record it is about.
func of(kind logv1.Kind, key string, r *logv1.Refusal) *logv1.Refusal {
	if r != nil {
		r.Kind, r.Key = kind, key
	}
	return r
}

// textRefusal refuses a field whose text is bad; it returns nil if bad is nil. A text that is too long, or
// not UTF-8, is not repeated in the refusal: it may be of any size, or not fit into a message. Nor is a
// reason.
func textRefusal(field string, bad *limits.Error) *logv1.Refusal {
	if bad == nil {
		return nil
	}
	switch bad.Problem {
	case limits.TooLong:
		return beyond(field, logv1.Refusal_PROBLEM_TOO_LONG, len(bad.Text), bad.Limit)
	case limits.NotUTF8:
		return invalid(field, logv1.Refusal_PROBLEM_NOT_UTF8)
	}
	r := invalid(field, textProblems[bad.Problem])
	r.Value, r.Offset = int64(bad.Rune), uint32(bad.Offset)
	if field != "reason" {
		r.Given = bad.Text
	}
	return r
}

var textProblems = map[limits.Problem]problem{
	limits.Empty:         logv1.Refusal_PROBLEM_EMPTY,
	limits.BadCharacter:  logv1.Refusal_PROBLEM_FORBIDDEN_CHARACTER,
	limits.MisplacedMark: logv1.Refusal_PROBLEM_MISPLACED_MARK,
	limits.NotNormalized: logv1.Refusal_PROBLEM_NOT_NORMALIZED,
	limits.Reserved:      logv1.Refusal_PROBLEM_RESERVED,
	limits.NotPattern:    logv1.Refusal_PROBLEM_NOT_A_PATTERN,
	limits.NotIdentity:   logv1.Refusal_PROBLEM_NOT_AN_IDENTITY,
}

// checkCaller checks the fields of a command that tell of its caller.
func checkCaller(cmd *logv1.Command) *logv1.Refusal {
	if bad := limits.Reason(cmd.GetReason()); bad != nil {
		return textRefusal("reason", bad)
	}
	if bad := limits.Actor(cmd.GetActor().GetName()); bad != nil {
		return textRefusal("actor", bad)
	}
	if bad := limits.Peer(cmd.GetActor().GetPeer()); bad != nil {
		return textRefusal("actor.peer", bad)
	}
	if bad := limits.Actor(cmd.GetActor().GetOnBehalfOf()); bad != nil {
		return textRefusal("actor.on_behalf_of", bad)
	}
	if bad := limits.Actor(cmd.GetActor().GetCredential()); bad != nil {
		return textRefusal("actor.credential", bad)
	}
	return textRefusal("request_id", limits.RequestID(cmd.GetRequestId()))
}

// checkWrite checks a write without looking at the registry. All changes are checked before any is compared
// with the registry, so that a malformed request is always refused as malformed.
func checkWrite(w *logv1.Write) *logv1.Refusal {
	changes := w.GetChanges()
	switch n := len(changes); {
	case n == 0:
		return invalid("changes", logv1.Refusal_PROBLEM_EMPTY)
	case n > limits.MaxChanges:
		return beyond("changes", logv1.Refusal_PROBLEM_TOO_MANY, n, limits.MaxChanges)
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
	if bad := limits.Name(service); bad != nil {
		return textRefusal("service", bad)
	}
	var refusal *logv1.Refusal
	if st := c.GetStatus(); !isReport(st) && st != logv1.Status_STATUS_SERVICE_UNKNOWN {
		refusal = invalid("status", logv1.Refusal_PROBLEM_UNKNOWN)
		refusal.Value = int64(st)
	} else if refusal = textRefusal("lease_id", limits.LeaseID(c.GetLeaseId())); refusal == nil && c.IfRevision != nil && c.GetIfRevision() < 0 {
		refusal = beyond("if_revision", logv1.Refusal_PROBLEM_TOO_LOW, c.GetIfRevision(), 0)
	}
	return of(logv1.Kind_KIND_SERVICE, service, refusal)
}

// changedTwice returns the places of two changes of one service.
func changedTwice(changes []*logv1.Change) (first, second int, ok bool) {
	inOrder := 1 // so many changes, from the first on, are in order of their names: among them no name can be there twice
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
