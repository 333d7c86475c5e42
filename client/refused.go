package client

import (
	"errors"

	"google.golang.org/grpc/codes"
)

// IsDenied reports whether err says that who makes the call may not do this: code PERMISSION_DENIED, with ReasonDenied
// or [ReasonEscalation]. Error.Identity is who was refused. It helps to give that identity a grant, not to try again.
func IsDenied(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Code == codes.PermissionDenied
}

// IsUnauthenticated reports whether err says that nobody knows who makes the call: code UNAUTHENTICATED. The token is
// unknown, expired, revoked or damaged, there is none where one is needed, or it would be sent in plain text; Error.Reason
// tells which. It helps to give the client another token, not to try again.
func IsUnauthenticated(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Code == codes.Unauthenticated
}

// isRefusalOfCaller reports whether err is about who calls, whatever is asked for.
func isRefusalOfCaller(err error) bool { return IsDenied(err) || IsUnauthenticated(err) }
