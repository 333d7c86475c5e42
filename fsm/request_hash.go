package fsm

import (
	"crypto/sha256"
	"encoding/binary"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// requestHash tells two different requests with the same id apart. It is the first 16 bytes of a SHA-256. The
// fold computes it from the command, so that it is the same whichever node proposed the command.
type requestHash [16]byte

// Tags of what is hashed. A hash is compared with those on disk, which outlive a binary: a tag
// is never given another meaning, and a new field has a tag of its own and is left out while it is
// unset.
const (
	tagActor      = 1
	tagVerified   = 2
	tagReason     = 3
	tagChange     = 4 // begins a change, with its service
	tagStatus     = 5
	tagIfRevision = 6
	tagLeaseID    = 7
	tagMustExist  = 8
	tagRecord     = 9 // a RecordCommand's payload, with its kind before
	tagBreakGlass = 10
	tagGrant      = 11 // what a GrantLease asks for, with the kind before
	tagOnBehalfOf = 12
	tagAdd        = 13 // what is asked of a member: its name follows
	tagRemove     = 14
	tagReplace    = 15
	tagPromote    = 16
	tagAddress    = 17
	tagReplica    = 18
	tagForce      = 19
)

// hashRequest hashes all that a caller asks with a command, but neither the caller's address and credential, which
// can change from try to try, nor the id itself. It encodes by hand, because protobuf does not promise the same bytes
// for the same message. It uses the memory of scratch, and returns it for the next call.
func hashRequest(cmd *logv1.Command, scratch []byte) (requestHash, []byte) {
	b := scratch[:0]
	text := func(tag byte, s string) {
		b = append(b, tag)
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	optional := func(tag byte, s string) {
		if s != "" {
			text(tag, s)
		}
	}
	number := func(tag byte, n int64) { b = binary.AppendVarint(append(b, tag), n) }

	optional(tagActor, cmd.GetActor().GetName())
	if cmd.GetActor().GetVerified() {
		b = append(b, tagVerified)
	}
	optional(tagOnBehalfOf, cmd.GetActor().GetOnBehalfOf())
	optional(tagReason, cmd.GetReason())
	for _, c := range cmd.GetWrite().GetChanges() {
		text(tagChange, c.GetService())
		number(tagStatus, int64(c.GetStatus()))
		if c.IfRevision != nil {
			number(tagIfRevision, c.GetIfRevision())
		}
		optional(tagLeaseID, c.GetLeaseId())
		if c.GetMustExist() {
			b = append(b, tagMustExist)
		}
	}
	if r := cmd.GetRecord(); r.GetKind() == logv1.Kind_KIND_LEASE && grant(r) != nil {
		// The node that takes the request picks the lease's id.
		g := grant(r)
		number(tagGrant, int64(r.GetKind()))
		for _, n := range [...]int64{g.GetTtl(), int64(g.GetOnExpiry()), g.GetForgetAfter()} {
			b = binary.AppendVarint(b, n)
		}
	} else if c := aboutMember(r); c != nil {
		// The node that takes the request asks the new member who it is.
		flag := func(tag byte, set bool) {
			if set {
				b = append(b, tag)
			}
		}
		switch c := c.GetCommand().(type) {
		case *logv1.MemberCommand_Add:
			text(tagAdd, c.Add.GetMember().GetName())
			text(tagAddress, c.Add.GetMember().GetPeerAddress())
			flag(tagReplica, c.Add.GetMember().GetReplica())
		case *logv1.MemberCommand_Remove:
			text(tagRemove, c.Remove.GetName())
			flag(tagForce, c.Remove.GetForce())
		case *logv1.MemberCommand_Replace:
			text(tagReplace, c.Replace.GetMember().GetName())
			text(tagAddress, c.Replace.GetMember().GetPeerAddress())
			flag(tagForce, c.Replace.GetForce())
		case *logv1.MemberCommand_Promote:
			text(tagPromote, c.Promote.GetName())
		}
	} else if r != nil {
		number(tagRecord, int64(r.GetKind()))
		b = binary.AppendUvarint(b, uint64(len(r.GetPayload())))
		b = append(b, r.GetPayload()...)
	}
	for _, rule := range cmd.GetBreakGlass() {
		text(tagBreakGlass, rule)
	}
	sum := sha256.Sum256(b)
	return requestHash(sum[:16]), b
}

// aboutMember returns a command of a member; nil: it is another one, or none that this binary knows.
func aboutMember(r *logv1.RecordCommand) *logv1.MemberCommand {
	c := new(logv1.MemberCommand)
	if r.GetKind() != logv1.Kind_KIND_MEMBER || c.UnmarshalVT(r.GetPayload()) != nil || c.GetCommand() == nil {
		return nil
	}
	return c
}

// grant returns what a command of a lease grants; nil: it is another one.
func grant(r *logv1.RecordCommand) *logv1.GrantLease {
	var c logv1.LeaseCommand
	if c.UnmarshalVT(r.GetPayload()) != nil {
		return nil
	}
	return c.GetGrant()
}
