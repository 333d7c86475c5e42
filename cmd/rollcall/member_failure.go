package main

import (
	"fmt"

	"google.golang.org/grpc/codes"

	"github.com/rollcallhq/rollcall/client"
)

const (
	memberListAdvice = `"rollcall member list" shows the members`
	replaceAdvice    = `a member that has lost its data directory is replaced with "rollcall member replace"`
)

// memberAdvice returns what says what to do about a change of a member that was refused; "": the message says it, or the
// usual advice does.
func memberAdvice(change memberChange) func(*client.Error) string {
	return func(e *client.Error) string {
		switch e.Reason {
		case client.ReasonMemberExists:
			return memberListAdvice + "; " + replaceAdvice
		case client.ReasonDirectoryRemoved:
			return fmt.Sprintf("start %s again with an empty --data directory", change.name)
		case client.ReasonLastVoter:
			return `add another voter first: "rollcall member add"`
		case client.ReasonWouldLoseQuorum:
			return `"rollcall status" shows which members do not answer: bring them back, or replace them, first; --force does it all the same`
		case client.ReasonChangeInProgress:
			return `"rollcall member list" shows how far it is; run this again afterwards`
		case client.ReasonMemberNotEmpty:
			return fmt.Sprintf("start %s with an empty --data directory", change.name)
		case client.ReasonMemberNotWaiting:
			return fmt.Sprintf(`start %s with "rollcall serve --join", without --member`, change.name)
		case client.ReasonMemberUnreachable:
			return fmt.Sprintf(`is %s running, with "rollcall serve --join", and is its peer address right?`, change.name)
		case client.ReasonMemberMismatch:
			return fmt.Sprintf("give the peer address of %s, and its name as --node has it", change.name)
		case client.ReasonMemberAnswers:
			return `a member that is well is not replaced; --force replaces it all the same`
		}
		if e.Code == codes.NotFound {
			return memberListAdvice
		}
		return ""
	}
}
