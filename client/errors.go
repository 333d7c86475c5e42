package client

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// Written says what became of a write that failed.
type Written int

const (
	// WrittenNo: nothing was and will be changed by this call. Also of calls that are no writes.
	WrittenNo Written = iota
	// WrittenUnknown: it may have been done, or may still be.
	WrittenUnknown
)

func (w Written) String() string {
	if w == WrittenUnknown {
		return "unknown"
	}
	return "no"
}

// Reasons that the client itself gives. All others are a node's.
const (
	// ReasonNoEndpoint: a whole round found no endpoint that could be connected to.
	ReasonNoEndpoint = "NO_NODE_ANSWERS"
)

// Reasons that a node gives, for callers who do something about it.
const (
	// ReasonRequestIDReused: WriteOptions.RequestID was used for another request.
	ReasonRequestIDReused = "REQUEST_ID_REUSED"
	// ReasonCompacted: events, or a point in time, are asked for that are older than what the cluster retains.
	ReasonCompacted = "COMPACTED"
	// ReasonAhead: a point in time is asked for by a revision that no node that answered has reached.
	ReasonAhead = "REVISION_AHEAD"
	// ReasonTimeAhead: a point in time is asked for that has not come yet.
	ReasonTimeAhead = "TIME_AHEAD"
	// ReasonUpgradeIncomplete: the change needs a feature level that not all members of the cluster have
	// yet. Nothing was written.
	ReasonUpgradeIncomplete = "UPGRADE_INCOMPLETE"
	// ReasonRuleBroken: the change would break safety rules, which BrokenRules returns. Nothing was written.
	ReasonRuleBroken = "RULE_BROKEN"
	// ReasonLeaseHeld: a live lease holds the report, and the change names no lease. Error.LeaseID is that lease.
	// Nothing was written.
	ReasonLeaseHeld = "LEASE_HELD"
	// ReasonTableFull: the cluster has as many overrides, rules or leases as it can. Nothing was written.
	ReasonTableFull = "TABLE_FULL"
	// ReasonNoCredentials: the call needs an identity, and proves none; or Config.Token returned no token.
	ReasonNoCredentials = "NO_CREDENTIALS"
	// ReasonTokenUnknown, ReasonTokenExpired, ReasonTokenRevoked: the cluster has no such token, or not any more.
	ReasonTokenUnknown = "TOKEN_UNKNOWN"
	ReasonTokenExpired = "TOKEN_EXPIRED"
	ReasonTokenRevoked = "TOKEN_REVOKED"
	// ReasonTokenDamaged: what was given as a token is none, or was not copied exactly.
	ReasonTokenDamaged = "TOKEN_DAMAGED"
	// ReasonTokenOverPlainText: the connection is plain text to another machine. The client itself sends no token
	// there.
	ReasonTokenOverPlainText = "TOKEN_OVER_PLAIN_TEXT"
	// ReasonDenied: the caller's identity may not do this; Error.Identity and Error.Verb say who may not do what.
	ReasonDenied = "DENIED"
	// ReasonEscalation: the change would give, or take away, what the caller may not do itself.
	ReasonEscalation = "ESCALATION"
	// ReasonAuthLockout: after the change the caller could not undo it.
	ReasonAuthLockout = "AUTH_LOCKOUT"
	// ReasonMemberExists: the cluster has a member of that name already.
	ReasonMemberExists = "MEMBER_EXISTS"
	// ReasonDirectoryRemoved: the node's data directory was removed from the cluster, and is never a member again.
	ReasonDirectoryRemoved = "DIRECTORY_REMOVED"
	// ReasonLastVoter: nobody would be left to vote.
	ReasonLastVoter = "LAST_VOTER"
	// ReasonWouldLoseQuorum: the members that are left would not be a quorum that answers; MemberChange.Force goes on
	// all the same.
	ReasonWouldLoseQuorum = "WOULD_LOSE_QUORUM"
	// ReasonChangeInProgress: another member that votes is still being removed. Wait, or MemberChange.Force.
	ReasonChangeInProgress = "CHANGE_IN_PROGRESS"
	// ReasonMemberNotEmpty: the node belongs to a cluster already, to this one or to another.
	ReasonMemberNotEmpty = "MEMBER_NOT_EMPTY"
	// ReasonMemberNotWaiting: the node is about to found a cluster, and does not wait to be added to one.
	ReasonMemberNotWaiting = "MEMBER_NOT_WAITING"
	// ReasonMemberUnreachable: no node answers at the address.
	ReasonMemberUnreachable = "MEMBER_UNREACHABLE"
	// ReasonMemberMismatch: who answers at the address has another name, or the certificate of another one.
	ReasonMemberMismatch = "MEMBER_MISMATCH"
	// ReasonMemberAnswers: the member that would be replaced lives; MemberChange.Force goes on all the same if another
	// node of its name waits.
	ReasonMemberAnswers = "MEMBER_ANSWERS"
	// ReasonNotTransferred: leadership stays where it is.
	ReasonNotTransferred = "NOT_TRANSFERRED"
	// ReasonRoleInUse: an identity, or anonymous callers, have the role that was to be deleted.
	ReasonRoleInUse = "ROLE_IN_USE"
	// ReasonTLSRequired: access is only enforced where tokens are safe on their way.
	ReasonTLSRequired = "TLS_REQUIRED"
	// ReasonAccessChanged: what the caller may read has changed while a stream was open. Watches begin anew by
	// themselves.
	ReasonAccessChanged = "ACCESS_CHANGED"
	// ReasonRateLimited: the caller's identity makes more changes than it may.
	ReasonRateLimited = "RATE_LIMITED"
	// ReasonClusterChanged: the endpoints serve another cluster; see ErrClusterChanged.
	ReasonClusterChanged = "CLUSTER_CHANGED"
)

// What a node says in ErrorInfo.
const (
	errorDomain            = "rollcall"
	reasonNotWritten       = "NOT_WRITTEN"
	reasonUnknown          = "OUTCOME_UNKNOWN"
	reasonRevisionMismatch = "REVISION_MISMATCH"
	currentRevisionKey     = "current_revision"
	oldestRevisionKey      = "oldest_revision"
	reasonNotFound         = "NOT_FOUND"
	clusterIDKey           = "cluster_id"
	identityKey            = "identity"
	verbKey                = "verb"
	leaseKey               = "lease"
	writtenKey             = "written" // "no", "unknown"
)

// Error is every error of this package's calls. It wraps the context's error if that ended the call
// (also when a node noticed first), ErrClosed, and the status that came from gRPC.
type Error struct {
	Op string // "set", "set batch", "delete", "check", "get", "list", "watch", "wait", "watch events", "watch services",
	// "watch names", "list events", "status", "verify", "export a snapshot", "set override", "clear override",
	// "list overrides", "set rule", "remove rule", "list rules", "grant lease", "revoke lease", "list leases",
	// "release lease guard", "keep alive", "keep lease", "ask who this is", "check access", "get auth", "set auth",
	// "create token", "revoke token", "list tokens", "put role", "delete role", "list roles", "put grants",
	// "list grants", "add member", "remove member", "replace member", "promote member", "transfer leadership"
	Service   string     // whose; "" for calls that are not about one
	Pattern   string     // of the override; "" for calls that are not about one
	Rule      string     // its name; "" for calls that are not about one
	LeaseID   string     // of the lease that the error is about; "" if it is about none
	Member    string     // that a call is about; "" for calls that are not about one
	Access    string     // the token, the role or the identity that a call of Access is about; "" for other calls
	Code      codes.Code // never OK
	Reason    string     // ErrorInfo.reason of a node, or one of this package's; may be empty
	Message   string
	Written   Written
	RequestID string // of a write: what its event carries
	Endpoint  string // that the error came from; "" if from none or several
	// CurrentRevision is that of the service, override or rule, with reason REVISION_MISMATCH; 0: it does not
	// exist.
	CurrentRevision int64
	// OldestRevision is that from which on all events are retained, with ReasonCompacted.
	OldestRevision int64
	// ClusterID is the cluster that the endpoints serve now, with ReasonClusterChanged.
	ClusterID string
	// Identity is who was refused, and Verb what that identity may not do, with ReasonDenied and ReasonEscalation, as
	// far as the node says.
	Identity, Verb string

	subject      string // Service as shown
	leaseRefused bool   // a node says so of the lease, not of the service
	err          error
}

// Error is one line.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if subject := e.shown(); subject != "" {
		b.WriteString(" " + subject)
	}
	b.WriteString(": ")
	if e.Endpoint != "" && e.doubtful() {
		b.WriteString(e.Endpoint + ": ")
	}
	if e.Message != "" {
		b.WriteString(oneLine(e.Message))
	} else {
		b.WriteString(e.Code.String())
	}
	switch {
	case e.RequestID == "":
	case e.Reason == reasonNotWritten: // a node's message says so itself
	case e.Written == WrittenUnknown && e.Reason == reasonUnknown:
		b.WriteString("; request id " + e.RequestID)
	case e.Written == WrittenUnknown:
		fmt.Fprintf(&b, "; outcome unknown, request id %s", e.RequestID)
	case e.doubtful():
		b.WriteString("; not written")
	}
	return b.String()
}

// doubtful reports trouble on the way, as opposed to an answer of a node.
func (e *Error) doubtful() bool {
	switch e.Code {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Unknown, codes.Internal:
		return true
	}
	return e.Written == WrittenUnknown
}

func (e *Error) shown() string {
	return cmp.Or(e.subject, e.Service, e.Pattern, e.Rule, e.LeaseID, e.Access, e.Member)
}

func (e *Error) Unwrap() error { return e.err }

// Is makes errors.Is recognize ErrClusterChanged.
func (e *Error) Is(target error) bool {
	return target == ErrClusterChanged && e.Reason == ReasonClusterChanged
}

// GRPCStatus is for passing the error on: its code and line, and the details that the node gave.
func (e *Error) GRPCStatus() *status.Status {
	p := &spb.Status{Code: int32(e.Code), Message: e.Error()}
	var from interface{ GRPCStatus() *status.Status }
	if errors.As(e.err, &from) {
		p.Details = from.GRPCStatus().Proto().GetDetails()
	}
	return status.FromProto(p)
}

// BrokenRules returns the safety rules that a change would have broken, by name, if err says that it was
// refused for them; nil for any other error. The message of err counts those that found no room in it.
func BrokenRules(err error) []*rollcallv1.BrokenRule {
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Reason != ReasonRuleBroken {
		return nil
	}
	for _, d := range e.GRPCStatus().Details() {
		if broken, ok := d.(*rollcallv1.BrokenRules); ok {
			return broken.GetRules()
		}
	}
	return nil
}

// IsLeaseHeld reports whether err says that a live lease holds the report, and that the change, which named none,
// was refused for it. Error.LeaseID is that lease.
func IsLeaseHeld(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Reason == ReasonLeaseHeld
}

// IsLeaseLost reports whether err says that the lease which a call named has ended, or never was. Nothing was
// written. Error.LeaseID is that lease.
func IsLeaseLost(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Reason == reasonNotFound && e.leaseRefused
}

func errorInfo(st *status.Status) *errdetails.ErrorInfo {
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.GetDomain() == errorDomain {
			return info
		}
	}
	return nil
}

// oneLine returns s on one line that a terminal shows as it is: line breaks and other control characters
// are spaces, other characters that do not show are escaped.
func oneLine(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case unicode.IsControl(r):
			b.WriteByte(' ')
		case r == ' ' || limits.Shows(r):
			b.WriteRune(r)
		default:
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		}
	}
	return b.String()
}
