package main

import (
	"errors"
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/rollcallhq/rollcall/client"
)

// Where to look for what does not exist.
const (
	tokenAdvice = `"rollcall token list" shows the tokens`
	roleAdvice  = `"rollcall role list" shows the roles`
)

// accessAdvice says what to do about a refusal for a reason that has to do with who the caller is; "" if the node's
// message says it, or it is another reason.
func accessAdvice(reason, message string) string {
	const another = `an administrator makes another one with "rollcall token create"`
	switch reason {
	case client.ReasonNoCredentials:
		if strings.Contains(message, "--"+tokenFlagName) {
			return ""
		}
		return "say who you are with --token-file, or with --cert and --key"
	case client.ReasonTokenUnknown:
		return `it was revoked, or is of another cluster; "rollcall token list" shows the tokens of this one to administrators`
	case client.ReasonTokenRevoked, client.ReasonTokenExpired:
		return another
	case client.ReasonTokenDamaged:
		return "get the token again from who made it: it is one line that begins with rct_"
	case client.ReasonTokenOverPlainText:
		return plainTextAdvice
	case client.ReasonEscalation:
		return `"rollcall whoami" shows what you may do; ask somebody who may do more`
	case client.ReasonTLSRequired:
		return `start the nodes with --tls: see "rollcall serve --help"`
	case client.ReasonAccessChanged:
		return "run it again"
	}
	return ""
}

const plainTextAdvice = "connect with TLS: name the file of the CA of the nodes with --ca"

// tokenFailure is the failure of a command that makes no client, most likely because of --token-file; nil for nil.
func (a *app) tokenFailure(err error) error {
	if err == nil || a.tokenFile == "" {
		return err
	}
	f := invalid("--%s: %s", tokenFlagName, strings.TrimPrefix(err.Error(), "client: "))
	if errors.Is(err, client.ErrTokenOverPlainText) {
		f.code, f.reason, f.next = codes.Unauthenticated, client.ReasonTokenOverPlainText, plainTextAdvice
		f.err = errors.New(strings.TrimSuffix(f.err.Error(), "; connect with TLS"))
	}
	return f
}
