package main

import (
	"github.com/rollcallhq/rollcall/client"
)

// Where to look for what does not exist.
const (
	tokenAdvice = `"rollcall token list" shows the tokens`
	roleAdvice  = `"rollcall role list" shows the roles`
)

// accessAdvice says what to do about a refusal because of who the caller is; "" if the node's message says it, or it is
// another refusal.
func (a *app) accessAdvice(e *client.Error) string {
	const another = `an administrator makes another one with "rollcall token create"`
	switch e.Reason {
	case client.ReasonNoCredentials:
		return "say who you are with --token-file, or with --cert and --key"
	case client.ReasonTokenUnknown:
		return `is it of another cluster? "rollcall token list" shows the tokens of this one to administrators`
	case client.ReasonTokenRevoked, client.ReasonTokenExpired:
		return another
	case client.ReasonTokenDamaged:
		return "get the token again from who made it: it is one line that begins with rct_"
	case client.ReasonTokenOverPlainText:
		return "connect with TLS: name the file of the CA of the nodes with --ca"
	case client.ReasonEscalation:
		return `"rollcall whoami" shows what you may do; ask somebody who may do more`
	case client.ReasonTLSRequired:
		return `start the nodes with --tls: see "rollcall serve --help"`
	case client.ReasonAccessChanged:
		return "run it again"
	}
	return ""
}
