package rpcerror

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Domain is that of every ErrorInfo.
const Domain = "rollcall"

// Reasons of ErrorInfo. Clients match them.
const (
	ReasonInvalidArgument    = "INVALID_ARGUMENT"
	ReasonNotFound           = "NOT_FOUND"
	ReasonRevisionMismatch   = "REVISION_MISMATCH"
	ReasonNotWritten         = "NOT_WRITTEN"
	ReasonOutcomeUnknown     = "OUTCOME_UNKNOWN"
	ReasonRequestIDReused    = "REQUEST_ID_REUSED" // by a request that is not the one it was used for
	ReasonLimitReached       = "LIMIT_REACHED"
	ReasonRevisionNotReached = "REVISION_NOT_REACHED" // this node is behind rollcall-min-revision
	ReasonNotFresh           = "NOT_FRESH"            // this node could not be confirmed to be as fresh as asked
	ReasonNoLeader           = "NO_LEADER"            // rollcall-require-leader, and there is none
	ReasonStopping           = "STOPPING"             // a stream ends because its node does
	ReasonCanceled           = "CANCELED"             // a read whose caller left
	ReasonDeadlineExceeded   = "DEADLINE_EXCEEDED"    // a read whose caller's time ran out
	ReasonInternal           = "INTERNAL"             // a defect of this program
	ReasonCompacted          = "COMPACTED"            // it is older than what is retained
	ReasonAhead              = "REVISION_AHEAD"       // this node has not reached the revision asked for
	ReasonTimeAhead          = "TIME_AHEAD"           // the time asked for is in the future
	ReasonFellBehind         = "FELL_BEHIND"          // a watch of services was too slow; begin it anew
	ReasonDiverged           = "DIVERGED"             // this node's registry is not the cluster's; ask another
	ReasonClusterChanged     = "CLUSTER_CHANGED"      // this node belongs to another cluster than rollcall-cluster, or a page token
	ReasonNoCluster          = "NO_CLUSTER"           // this node belongs to no cluster yet; ask another
	ReasonRuleBroken         = "RULE_BROKEN"          // the change would break safety rules
	ReasonTableFull          = "TABLE_FULL"           // there are as many overrides, or rules, as there can be
	ReasonLeaseHeld          = "LEASE_HELD"           // a live lease holds the report, and the change names none
	ReasonUpgradeIncomplete  = "UPGRADE_INCOMPLETE"   // the change needs a feature level that not all members have
)

// Keys of ErrorInfo.metadata.
const (
	MetaNode            = "node"             // who says so; on every error
	MetaWritten         = "written"          // of a change: "no" or "unknown"
	MetaService         = "service"          // that a refusal is about
	MetaPattern         = "pattern"          // of the override that a refusal is about
	MetaLease           = "lease"            // that a refusal is about
	MetaRule            = "rule"             // that a refusal is about
	MetaCurrentRevision = "current_revision" // of the service, override or rule, 0 if it does not exist; or the node's
	MetaRevision        = "revision"         // the registry's, as of which a service that was read does not exist
	MetaOldestRevision  = "oldest_revision"  // from here on all events are retained
	MetaIndex           = "index"            // of the log entry at which this node diverged
	MetaClusterID       = "cluster_id"       // of the cluster that the node belongs to
	MetaLevel           = "level"            // the cluster's feature level
	MetaNeededLevel     = "needed_level"     // the feature level that a change needs
	MetaMembers         = "members"          // that keep the level down, by name, with commas between
)

// Values of MetaWritten.
const (
	WrittenNo      = "no"
	WrittenUnknown = "unknown"
)

// retryDelay is what RetryInfo advises: an election takes about a second, a hand-over less.
const retryDelay = 250 * time.Millisecond

// ErrStopping ends what waits or follows when the node stops.
var ErrStopping = &Failure{Reason: ReasonStopping, Message: "this node is stopping; ask another"}

// codeOf is the table: the code of every reason. OUTCOME_UNKNOWN of a context that ended keeps that
// context's code instead.
var codeOf = map[string]codes.Code{
	ReasonInvalidArgument:    codes.InvalidArgument,
	ReasonRequestIDReused:    codes.InvalidArgument,
	ReasonNotFound:           codes.NotFound,
	ReasonRevisionMismatch:   codes.FailedPrecondition,
	ReasonNotWritten:         codes.Unavailable,
	ReasonOutcomeUnknown:     codes.Unknown,
	ReasonLimitReached:       codes.ResourceExhausted,
	ReasonRevisionNotReached: codes.Unavailable,
	ReasonNotFresh:           codes.Unavailable,
	ReasonNoLeader:           codes.Unavailable,
	ReasonStopping:           codes.Unavailable,
	ReasonCanceled:           codes.Canceled,
	ReasonDeadlineExceeded:   codes.DeadlineExceeded,
	ReasonInternal:           codes.Internal,
	ReasonCompacted:          codes.OutOfRange,
	ReasonAhead:              codes.OutOfRange,
	ReasonTimeAhead:          codes.OutOfRange,
	ReasonFellBehind:         codes.Unavailable,
	ReasonDiverged:           codes.Unavailable,
	ReasonClusterChanged:     codes.FailedPrecondition,
	ReasonNoCluster:          codes.Unavailable,
	ReasonRuleBroken:         codes.FailedPrecondition,
	ReasonTableFull:          codes.ResourceExhausted,
	ReasonLeaseHeld:          codes.FailedPrecondition,
	ReasonUpgradeIncomplete:  codes.FailedPrecondition,
	ReasonNoCredentials:      codes.Unauthenticated,
	ReasonTokenUnknown:       codes.Unauthenticated,
	ReasonTokenExpired:       codes.Unauthenticated,
	ReasonTokenRevoked:       codes.Unauthenticated,
	ReasonTokenDamaged:       codes.Unauthenticated,
	ReasonTokenOverPlainText: codes.Unauthenticated,
	ReasonDenied:             codes.PermissionDenied,
	ReasonEscalation:         codes.PermissionDenied,
	ReasonAuthLockout:        codes.FailedPrecondition,
	ReasonRoleInUse:          codes.FailedPrecondition,
	ReasonTLSRequired:        codes.FailedPrecondition,
	ReasonRateLimited:        codes.ResourceExhausted,
	ReasonAccessChanged:      codes.Unavailable,
	ReasonMemberExists:       codes.AlreadyExists,
	ReasonDirectoryRemoved:   codes.FailedPrecondition,
	ReasonLastVoter:          codes.FailedPrecondition,
	ReasonWouldLoseQuorum:    codes.FailedPrecondition,
	ReasonChangeInProgress:   codes.FailedPrecondition,
	ReasonMemberNotEmpty:     codes.FailedPrecondition,
	ReasonMemberNotWaiting:   codes.FailedPrecondition,
	ReasonMemberUnreachable:  codes.FailedPrecondition,
	ReasonMemberMismatch:     codes.InvalidArgument,
	ReasonMemberAnswers:      codes.FailedPrecondition,
	ReasonNotTransferred:     codes.FailedPrecondition,
}

// Failure is an outcome on its way to a status. The server's own code returns it; the outermost handler
// turns it, or any other error, into a status.
type Failure struct {
	Reason  string
	Message string
	Meta    map[string]string // of ErrorInfo, besides node
	Details []protoadapt.MessageV1
	Err     error      // what it came from, for the code of OUTCOME_UNKNOWN
	Code    codes.Code // instead of the table's, for a reason that only the leader knows; OK is none
}

func (f *Failure) Error() string { return f.Message }
func (f *Failure) Unwrap() error { return f.Err }

// NotWritten says that the change has surely not been written and may be tried again.
func (f *Failure) NotWritten() bool { return f.Reason == ReasonNotWritten }

// OutcomeUnknown says that the change may have been written.
func (f *Failure) OutcomeUnknown() bool { return f.Reason == ReasonOutcomeUnknown }

// Violation is what is wrong with one field of a request.
type Violation struct{ Field, Description string }

// MaxViolations keeps the status of a batch that is wrong all over within what clients accept as
// headers (8 KiB in some languages).
const MaxViolations = 5

// Invalid refuses a request whose fields break the rules.
func Invalid(vs ...Violation) *Failure {
	br := &errdetails.BadRequest{}
	for _, v := range vs[:min(len(vs), MaxViolations)] {
		br.FieldViolations = append(br.FieldViolations, &errdetails.BadRequest_FieldViolation{
			Field: v.Field, Description: v.Description,
		})
	}
	msg := vs[0].Field + " " + vs[0].Description
	if n := len(vs) - 1; n > 0 {
		msg += fmt.Sprintf(" (and %d more)", n)
	}
	return &Failure{Reason: ReasonInvalidArgument, Message: msg, Details: []protoadapt.MessageV1{br}}
}

// NotWritten is the outcome of a change that has surely not been written and may be tried again.
func NotWritten(format string, a ...any) *Failure {
	err := fmt.Errorf(format, a...)
	return &Failure{
		Reason:  ReasonNotWritten,
		Message: prefixed("not written: ", err),
		Meta:    map[string]string{MetaWritten: WrittenNo},
		Details: []protoadapt.MessageV1{&errdetails.RetryInfo{RetryDelay: durationpb.New(retryDelay)}},
		Err:     err,
	}
}

// OutcomeUnknown is the outcome of a change that may have been written.
func OutcomeUnknown(format string, a ...any) *Failure {
	err := fmt.Errorf(format, a...)
	return &Failure{
		Reason:  ReasonOutcomeUnknown,
		Message: prefixed("outcome unknown: ", err) + "; retry only with the same request_id",
		Meta:    map[string]string{MetaWritten: WrittenUnknown},
		Err:     err,
	}
}

// prefixed does not say twice what the room below said already.
func prefixed(prefix string, err error) string {
	return prefix + strings.TrimPrefix(err.Error(), prefix)
}

// LimitReached refuses a call because a limit of this node, named by subject, is reached.
func LimitReached(subject, format string, a ...any) *Failure {
	msg := fmt.Sprintf(format, a...)
	return &Failure{
		Reason:  ReasonLimitReached,
		Message: msg,
		Details: []protoadapt.MessageV1{&errdetails.QuotaFailure{
			Violations: []*errdetails.QuotaFailure_Violation{{Subject: subject, Description: msg}},
		}},
	}
}

// written is what an error says of a change.
type written int

const (
	writtenUnknown written = iota // whatever does not say otherwise
	writtenNot
)

// writtenOf asks err, and what it wraps, by the two small interfaces that the room below
// implements.
func writtenOf(err error) written {
	var not interface{ NotWritten() bool }
	var unknown interface{ OutcomeUnknown() bool }
	if errors.As(err, &unknown) && unknown.OutcomeUnknown() {
		return writtenUnknown
	}
	if errors.As(err, &not) && not.NotWritten() {
		return writtenNot
	}
	return writtenUnknown
}

// OfChange turns an error of Agreement into an outcome of a change.
func OfChange(err error) *Failure {
	var f *Failure
	if errors.As(err, &f) {
		return f
	}
	var upgrade interface {
		UpgradeIncomplete() (needed, level uint32, members []string)
	}
	if errors.As(err, &upgrade) {
		needed, level, members := upgrade.UpgradeIncomplete()
		return &Failure{Reason: ReasonUpgradeIncomplete, Message: prefixed("not written: ", err), Err: err, Meta: map[string]string{
			MetaWritten:     WrittenNo,
			MetaLevel:       strconv.FormatUint(uint64(level), 10),
			MetaNeededLevel: strconv.FormatUint(uint64(needed), 10),
			MetaMembers:     strings.Join(members, ","),
		}}
	}
	if writtenOf(err) == writtenNot {
		if f := quotaReached(err); f != nil {
			return f
		}
		return NotWritten("%w", err)
	}
	return OutcomeUnknown("%w", err)
}

// quotaReached is the outcome of a change that a limit of the leader's does not allow; nil if err says
// nothing of a limit. Nobody tries it again on the caller's behalf: no other node could take it, and
// more tries make an overloaded leader slower.
func quotaReached(err error) *Failure {
	var limit interface{ Quota() string }
	if !errors.As(err, &limit) {
		return nil
	}
	f := LimitReached(limit.Quota(), "%s", prefixed("not written: ", err))
	f.Meta = map[string]string{MetaWritten: WrittenNo}
	f.Err = err
	return f
}

// ToStatus is err as the caller gets it from the node called node; nil stays nil.
func ToStatus(node string, err error) error {
	if err == nil {
		return nil
	}
	var f *Failure
	if !errors.As(err, &f) {
		switch {
		case errors.Is(err, context.Canceled):
			f = &Failure{Reason: ReasonCanceled, Message: "the caller canceled"}
		case errors.Is(err, context.DeadlineExceeded):
			f = &Failure{Reason: ReasonDeadlineExceeded, Message: "the caller's deadline has passed"}
		default:
			f = &Failure{Reason: ReasonInternal, Message: err.Error()}
		}
	}
	code := codeOf[f.Reason]
	if f.Code != codes.OK {
		code = f.Code
	}
	if f.Reason == ReasonOutcomeUnknown {
		switch {
		case errors.Is(f.Err, context.DeadlineExceeded):
			code = codes.DeadlineExceeded
		case errors.Is(f.Err, context.Canceled):
			code = codes.Canceled
		}
	}
	meta := maps.Clone(f.Meta)
	if meta == nil {
		meta = make(map[string]string, 1)
	}
	if meta[MetaNode] == "" {
		meta[MetaNode] = node
	}
	details := append([]protoadapt.MessageV1{
		&errdetails.ErrorInfo{Domain: Domain, Reason: f.Reason, Metadata: meta},
	}, f.Details...)
	st := status.New(code, f.Message)
	if with, err := st.WithDetails(details...); err == nil {
		st = with
	}
	return st.Err()
}

// AsNotWritten is f as the answer to a change that was surely not written.
func (f *Failure) AsNotWritten() *Failure {
	change := *f
	change.Meta = maps.Clone(f.Meta)
	if change.Meta == nil {
		change.Meta = make(map[string]string, 1)
	}
	change.Meta[MetaWritten] = WrittenNo
	return &change
}

// InfoOf returns the ErrorInfo of this domain in a status; nil if there is none.
func InfoOf(st *status.Status) *errdetails.ErrorInfo {
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.Domain == Domain {
			return info
		}
	}
	return nil
}

// QuoteShort quotes what a caller sent, and not more of it than a message should hold.
func QuoteShort(s string) string {
	const most = 64
	if len(s) > most {
		return strconv.Quote(s[:most]) + "..."
	}
	return strconv.Quote(s)
}
