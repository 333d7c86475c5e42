package logv1

import "strings"

// unknownDirectory begins the key of a removed member whose data directory nobody knew.
const unknownDirectory = "?"

// RemovedKey is the key of the record of a removed member: the id of its data directory or, if that is not known, "?" and
// its name.
func RemovedKey(name, directory string) string {
	if directory == "" {
		return UnknownDirectory(name)
	}
	return directory
}

// UnknownDirectory stands for the id of a founder's data directory that nobody knows, because the cluster was formed by
// force: RemoveMember.directory_id and ReplaceMember.directory_id of a founder that has not announced itself either.
func UnknownDirectory(name string) string { return unknownDirectory + name }

// IsUnknownDirectory says whether a directory id is what UnknownDirectory returns for some name.
func IsUnknownDirectory(id string) bool { return strings.HasPrefix(id, unknownDirectory) }

// AddMemberCommand returns the command that makes m a member. m is as the node itself told it. Reason, actor and request id
// are left to the caller, as in all commands below.
func AddMemberCommand(m *Member) *Command {
	return memberCommand(&MemberCommand{Command: &MemberCommand_Add{Add: &AddMember{Member: m}}})
}

// RemoveMemberCommand returns the command that removes a member. directory is needed for a founder that has not announced
// itself: its data directory, or UnknownDirectory.
func RemoveMemberCommand(name, directory string, force bool) *Command {
	return memberCommand(&MemberCommand{Command: &MemberCommand_Remove{Remove: &RemoveMember{Name: name, DirectoryId: directory, Force: force}}})
}

// ReplaceMemberCommand returns the command that puts m into the place of the member of its name. directory is the one that
// is replaced, as in RemoveMemberCommand.
func ReplaceMemberCommand(m *Member, directory string, force bool) *Command {
	return memberCommand(&MemberCommand{Command: &MemberCommand_Replace{Replace: &ReplaceMember{Member: m, DirectoryId: directory, Force: force}}})
}

// PromoteMemberCommand returns the command that makes a replica a voter.
func PromoteMemberCommand(name string) *Command {
	return memberCommand(&MemberCommand{Command: &MemberCommand_Promote{Promote: &PromoteMember{Name: name}}})
}

func memberCommand(c *MemberCommand) *Command {
	payload, err := AppendValue(nil, c)
	if err != nil {
		panic(err) // generated code: it returns an error for no message
	}
	return &Command{Kind: &Command_Record{Record: &RecordCommand{Kind: Kind_KIND_MEMBER, Payload: payload}}}
}
