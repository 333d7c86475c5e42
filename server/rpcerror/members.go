package rpcerror

import (
	"fmt"
	"strconv"
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
