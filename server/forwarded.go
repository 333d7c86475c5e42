package server

import (
	"fmt"
	"strings"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/server/authn"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// validateForwarded checks what a leader must not take on trust in a command that another member validated. caller is
// that member; "": it is not known.
func validateForwarded(caller string, cmd *logv1.Command) error {
	var problem string
	switch kind := cmd.GetKind().(type) {
	case *logv1.Command_Write:
		switch n := len(kind.Write.GetChanges()); {
		case n == 0:
			problem = "changes nothing"
		case n > limits.MaxChanges:
			problem = fmt.Sprintf("has %d changes; at most %d are allowed", n, limits.MaxChanges)
		}
	case *logv1.Command_AnnounceMember:
		switch name := kind.AnnounceMember.GetMember().GetName(); {
		case name == "":
			problem = "announces a member without a name"
		case caller != "" && name != caller:
			problem = fmt.Sprintf("announces %q, and comes from %s: a member announces itself only", name, caller)
		}
	case *logv1.Command_Record:
		// The fold knows the kinds of records. The leader has it check the command before it proposes it.
	case *logv1.Command_TermStart, *logv1.Command_RaiseLevel, *logv1.Command_Expire, *logv1.Command_HoldLeases:
		problem = "is one that only a leader makes"
	default:
		problem = "is of a kind this node does not know"
	}
	switch cmd.GetKind().(type) {
	case *logv1.Command_Write, *logv1.Command_Record: // of clients
		if problem == "" {
			problem = forgedActor(cmd.GetActor())
		}
	}
	if problem == "" {
		return nil
	}
	f := rpcerror.Invalid(rpcerror.Violation{Field: "command", Description: problem})
	f.Meta = map[string]string{rpcerror.MetaWritten: rpcerror.WrittenNo}
	return f
}

// forgedActor says what no node says of a caller; "": nothing. A leader believes what another member says of the callers
// that it has authenticated: the peer port lets in members only. So this finds a member with a defect, and what was
// made by hand, and not a member that lies.
func forgedActor(a *logv1.Actor) string {
	token := strings.HasPrefix(a.GetName(), limits.TokenIdentity)
	static := strings.HasPrefix(a.GetName(), authn.StaticIdentity)
	switch {
	case !a.GetVerified():
		if a.GetStaticAdmin() || a.GetCredential() != "" || a.GetOnBehalfOf() != "" {
			return "says of a caller that proved no identity what only one that did can have"
		}
	case a.GetStaticAdmin() != static:
		return fmt.Sprintf("comes from %s, and says otherwise of whether that is an administrator of a node's own configuration", rpcerror.QuoteShort(a.GetName()))
	case !token && !static && !strings.HasPrefix(a.GetName(), limits.CertIdentity):
		return fmt.Sprintf("comes from %s, which is no identity that callers prove", rpcerror.QuoteShort(a.GetName()))
	case token && a.GetCredential() == "":
		return fmt.Sprintf("comes from %s, and does not say of which token", rpcerror.QuoteShort(a.GetName()))
	}
	return ""
}
