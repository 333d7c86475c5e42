package rpcerror

import (
	"fmt"
	"strconv"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// Reasons for which a change of members is refused, or a transfer of leadership. All say that nothing was written.
const (
	ReasonMemberExists      = "MEMBER_EXISTS"      // the cluster has a member of that name, or with that data directory
	ReasonDirectoryRemoved  = "DIRECTORY_REMOVED"  // the data directory was removed, and is never a member again
	ReasonLastVoter         = "LAST_VOTER"         // nobody would be left to vote
	ReasonWouldLoseQuorum   = "WOULD_LOSE_QUORUM"  // those that are left would not be a quorum that answers
	ReasonChangeInProgress  = "CHANGE_IN_PROGRESS" // another voter is still being removed
	ReasonMemberNotEmpty    = "MEMBER_NOT_EMPTY"   // the node belongs to a cluster already
	ReasonMemberNotWaiting  = "MEMBER_NOT_WAITING" // the node is about to found a cluster, and does not wait to be added to one
	ReasonMemberUnreachable = "MEMBER_UNREACHABLE" // no node answers at the address
	ReasonMemberMismatch    = "MEMBER_MISMATCH"    // another node answers at the address
	ReasonMemberAnswers     = "MEMBER_ANSWERS"     // the member that would be replaced lives
	ReasonNotTransferred    = "NOT_TRANSFERRED"    // leadership stays where it is
)

// MetaMember is the key of ErrorInfo.metadata that names the member that a refusal is about.
const MetaMember = "member"

// MemberRefused refuses a change of a member, of which surely nothing was written. The message says what to do instead.
func MemberRefused(reason, member, format string, a ...any) *Failure {
	return &Failure{
		Reason:  reason,
		Message: prefixed("not written: ", fmt.Errorf(format, a...)),
		Meta:    map[string]string{MetaWritten: WrittenNo, MetaMember: member},
	}
}

// MemberOutdated refuses to make a node a member whose binary cannot read what the cluster writes.
func MemberOutdated(member, version string, level, needed uint32) *Failure {
	if version == "" {
		version = "a version"
	}
	f := MemberRefused(ReasonUpgradeIncomplete, member, "%s runs %s, which can read feature level %d at most, and the cluster needs %d: start a newer version of rollcall there",
		member, version, level, needed)
	f.Meta[MetaLevel], f.Meta[MetaNeededLevel], f.Meta[MetaMembers] = strconv.FormatUint(uint64(level), 10), strconv.FormatUint(uint64(needed), 10), member
	return f
}

// NotTransferred says that leadership stays where it is.
func NotTransferred(format string, a ...any) *Failure {
	return &Failure{Reason: ReasonNotTransferred, Message: fmt.Sprintf(format, a...), Meta: map[string]string{MetaWritten: WrittenNo}}
}

// memberRefused returns the outcome of a command about a member that the fold refused for a reason that only members
// have; nil if it was refused for another one.
func memberRefused(r *logv1.Refusal, meta map[string]string) *Failure {
	f := &Failure{Message: memberText(r), Meta: meta}
	switch r.GetReason() {
	case logv1.Refusal_REASON_MEMBER_EXISTS:
		f.Reason = ReasonMemberExists
	case logv1.Refusal_REASON_DIRECTORY_REMOVED:
		f.Reason = ReasonDirectoryRemoved
	case logv1.Refusal_REASON_LAST_VOTER:
		f.Reason = ReasonLastVoter
	default:
		return nil
	}
	return f
}

// memberText words a refusal about a member; "" for others, and for reasons that others have too.
func memberText(r *logv1.Refusal) string {
	name := r.GetKey()
	switch r.GetReason() {
	case logv1.Refusal_REASON_MEMBER_EXISTS:
		if r.GetGiven() == r.GetHeld() {
			return fmt.Sprintf("not written: %s is a member already, with this data directory (%s)", name, shortID(r.GetHeld()))
		}
		return fmt.Sprintf("not written: %s is a member already, with another data directory (%s); if that is lost, replace it: rollcall member replace %s; else give the new node another name",
			name, shortID(r.GetHeld()), name)
	case logv1.Refusal_REASON_DIRECTORY_REMOVED:
		return fmt.Sprintf("not written: the data directory of %s (%s) was removed from the cluster at revision %d, when it was that of %s, and is never a member again; start the node with an empty data directory",
			name, shortID(r.GetGiven()), r.GetValue(), r.GetHeld())
	case logv1.Refusal_REASON_LAST_VOTER:
		return fmt.Sprintf("not written: %s is the only member that votes; add another one first, or promote a replica", name)
	case logv1.Refusal_REASON_NOT_FOUND:
		if r.GetKind() == logv1.Kind_KIND_MEMBER && r.GetValue() > 0 {
			return fmt.Sprintf("member %q does not exist: it was removed at revision %d", name, r.GetValue())
		}
	}
	return ""
}

// shortID is how people see the id of a data directory.
func shortID(directory string) string {
	if directory == "" {
		return "not known"
	}
	return directory[:min(8, len(directory))]
}
