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
	}
	var seen map[string]int
	if len(changes) > 1 {
		seen = make(map[string]int, len(changes))
	}
	for i, c := range changes {
		// The API has one field of each kind for a single change, a list for several.
		field := func(name string) string {
			if len(changes) == 1 {
				return name
			}
			return fmt.Sprintf("changes[%d].%s", i, name)
		}
		service := c.GetService()
		if err := rollcallv1.CheckName(service); err != nil {
			return invalid("", field("service"), "%v", err)
		}
		if st := c.GetStatus(); !isReport(st) && st != logv1.Status_STATUS_SERVICE_UNKNOWN {
			return invalid(service, field("status"),
				"is %d; UNKNOWN, SERVING, NOT_SERVING or, to delete, SERVICE_UNKNOWN are allowed", st)
		}
		if seen != nil {
			if first, ok := seen[service]; ok {
				return invalid(service, field("service"),
					"%q is also in changes[%d]; one write may change a service once", service, first)
			}
			seen[service] = i
		}
		if refusal := checkText(service, field("lease_id"), c.GetLeaseId(), maxLeaseIDBytes); refusal != nil {
			return refusal
		}
		if c.IfRevision != nil && c.GetIfRevision() < 0 {
			return invalid(service, field("if_revision"),
				"is %d; it must be a revision, or 0 for a service that must not exist", c.GetIfRevision())
		}
	}
	return nil
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
