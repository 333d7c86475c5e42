package rpcerror

import "fmt"

// Reasons for which access is refused. All say that nothing was written.
const (
	ReasonNoCredentials      = "NO_CREDENTIALS"        // the caller proves no identity, and anonymous callers may not do it
	ReasonTokenUnknown       = "TOKEN_UNKNOWN"         // this node knows no such token
	ReasonTokenExpired       = "TOKEN_EXPIRED"         // its time is over
	ReasonTokenRevoked       = "TOKEN_REVOKED"         // it was one
	ReasonTokenDamaged       = "TOKEN_DAMAGED"         // what was sent is no token
	ReasonTokenOverPlainText = "TOKEN_OVER_PLAIN_TEXT" // it was sent for everybody to read
	ReasonDenied             = "DENIED"                // the caller may not do it
	ReasonEscalation         = "ESCALATION"            // the caller would give, or take, what it may not do itself
	ReasonAuthLockout        = "AUTH_LOCKOUT"          // the caller could not undo it
	ReasonRoleInUse          = "ROLE_IN_USE"           // somebody has the role that was to be deleted
	ReasonTLSRequired        = "TLS_REQUIRED"          // tokens would travel for everybody to read
	ReasonAccessChanged      = "ACCESS_CHANGED"        // a stream ends: what its caller may read is not what it was
	ReasonRateLimited        = "RATE_LIMITED"          // the caller has written too much in too short a time
)

// Keys of ErrorInfo.metadata of refused access.
const (
	MetaIdentity = "identity" // who was refused
	MetaVerb     = "verb"     // what it may not do
	MetaName     = "name"     // over which service or pattern
)

// Unauthenticated refuses a caller whose credential proves nothing.
func Unauthenticated(reason, format string, a ...any) *Failure {
	return &Failure{Reason: reason, Message: fmt.Sprintf(format, a...), Meta: map[string]string{MetaWritten: WrittenNo}}
}
