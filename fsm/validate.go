package fsm

import (
	"fmt"
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

func invalid(service, field, format string, args ...any) *logv1.Refusal {
	return &logv1.Refusal{
		Reason:  logv1.Refusal_REASON_INVALID,
		Service: service,
		Field:   field,
		Message: field + " " + fmt.Sprintf(format, args...),
	}
}

// checkText refuses what is too long, and what could be previewed but never be written: the log is
// protobuf, its strings are UTF-8.
func checkText(service, field, text string, limit int) *logv1.Refusal {
	if len(text) > limit {
		return invalid(service, field, "is %d bytes long; at most %d are allowed", len(text), limit)
	}
	if !utf8.ValidString(text) {
		return invalid(service, field, "is not valid UTF-8")
	}
	return nil
}

// checkCaller looks at what every command says of its caller.
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
		if refusal := checkText("", f.field, f.text, f.limit); refusal != nil {
			return refusal
		}
	}
	return nil
}

// checkWrite finds what is wrong with a write whatever the registry holds. All changes are looked
// at before any is compared with the registry, so a malformed request is always told so.
func checkWrite(w *logv1.Write) *logv1.Refusal {
	changes := w.GetChanges()
	switch n := len(changes); {
	case n == 0:
		return invalid("", "changes", "is empty; at least one change is needed")
	case n > maxChanges:
		return invalid("", "changes", "holds %d changes; at most %d are allowed", n, maxChanges)
	case n == 1:
		return checkChange(changes[0])
	}
	for i, c := range changes {
		if refusal := checkChange(c); refusal != nil {
			return ofChange(i, refusal)
		}
	}
	if first, i, ok := changedTwice(changes); ok {
		service := changes[i].GetService()
		return ofChange(i, invalid(service, "service",
			"%q is also in changes[%d]; one write may change a service once", service, first))
	}
	return nil
}

// ofChange says which change of several a refusal is about: the API has one field of each kind for a
// single change, a list for several.
func ofChange(i int, refusal *logv1.Refusal) *logv1.Refusal {
	at := fmt.Sprintf("changes[%d].", i)
	refusal.Field, refusal.Message = at+refusal.Field, at+refusal.Message
	return refusal
}

func checkChange(c *logv1.Change) *logv1.Refusal {
	service := c.GetService()
	if err := rollcallv1.CheckName(service); err != nil {
		return invalid("", "service", "%v", err)
	}
	if st := c.GetStatus(); !isReport(st) && st != logv1.Status_STATUS_SERVICE_UNKNOWN {
		return invalid(service, "status",
			"is %d; UNKNOWN, SERVING, NOT_SERVING or, to delete, SERVICE_UNKNOWN are allowed", st)
	}
	if refusal := checkText(service, "lease_id", c.GetLeaseId(), maxLeaseIDBytes); refusal != nil {
		return refusal
	}
	if c.IfRevision != nil && c.GetIfRevision() < 0 {
		return invalid(service, "if_revision",
			"is %d; it must be a revision, or 0 for a service that must not exist", c.GetIfRevision())
	}
	return nil
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
		return invalid("", "member.name", "is empty")
	}
	for _, f := range [...]struct{ field, text string }{
		{"member.name", m.GetName()},
		{"member.api_address", m.GetApiAddress()},
		{"member.peer_address", m.GetPeerAddress()},
		{"member.directory_id", m.GetDirectoryId()},
		{"member.version", m.GetVersion()},
	} {
		if refusal := checkText("", f.field, f.text, maxMemberBytes); refusal != nil {
			return refusal
		}
	}
	return nil
}
