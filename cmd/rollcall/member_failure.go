package main

import (
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/rollcallhq/rollcall/client"
)

const memberListAdvice = `"rollcall member list" shows the members`

// memberAdvice says what to do about a change of a member that was refused. Nodes say it themselves, with the names and
// addresses of the case, but for a name that nobody has.
func memberAdvice(e *client.Error) (next string, decided bool) {
	switch {
	case e.Code == codes.NotFound && strings.Contains(e.Message, "rollcall member"):
		return "", true
	case e.Code == codes.NotFound:
		return memberListAdvice, true
	case e.Reason == client.ReasonUpgradeIncomplete && strings.Contains(e.Message, "start a newer version"):
		return "", true
	}
	return "", false
}
