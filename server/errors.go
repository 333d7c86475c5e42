package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
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
	ReasonFellBehind         = "FELL_BEHIND"          // a watch of services was too slow; begin it anew
	ReasonDiverged           = "DIVERGED"             // this node's registry is not the cluster's; ask another
)

// Keys of ErrorInfo.metadata.
const (
	MetaNode            = "node"             // who says so; on every error
	MetaWritten         = "written"          // of a change: "no" or "unknown"
	MetaService         = "service"          // that a refusal is about
	MetaCurrentRevision = "current_revision" // a service's, 0 if it does not exist; or the node's
	MetaRevision        = "revision"         // the registry's, as of which a service that was read does not exist
	MetaOldestRevision  = "oldest_revision"  // from here on all events are retained
	MetaIndex           = "index"            // of the log entry at which this node diverged
)

// Values of MetaWritten.
const (
	WrittenNo      = "no"
	WrittenUnknown = "unknown"
)

// retryDelay is what RetryInfo advises: an election takes about a second, a hand-over less.
const retryDelay = 250 * time.Millisecond

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
	ReasonFellBehind:         codes.Unavailable,
	ReasonDiverged:           codes.Unavailable,
}

// failure is an outcome on its way to a status. It is what the server's own code returns; the
// outermost handler turns it, or any other error, into a status.
type failure struct {
	reason  string
	msg     string
	meta    map[string]string // of ErrorInfo, besides node
	details []protoadapt.MessageV1
	err     error      // what it came from, for the code of OUTCOME_UNKNOWN
	code    codes.Code // instead of the table's, for a reason only the leader knows; OK is none
}

func (f *failure) Error() string { return f.msg }
func (f *failure) Unwrap() error { return f.err }

// NotWritten says that the change has surely not been written and may be tried again.
func (f *failure) NotWritten() bool { return f.reason == ReasonNotWritten }

// OutcomeUnknown says that the change may have been written.
func (f *failure) OutcomeUnknown() bool { return f.reason == ReasonOutcomeUnknown }

// violation is what is wrong with one field of a request.
type violation struct{ field, description string }

// maxViolations keeps the status of a batch that is wrong all over within what clients accept as
// headers (8 KiB in some languages).
const maxViolations = 5

func invalid(vs ...violation) *failure {
	br := &errdetails.BadRequest{}
	for _, v := range vs[:min(len(vs), maxViolations)] {
		br.FieldViolations = append(br.FieldViolations, &errdetails.BadRequest_FieldViolation{
			Field: v.field, Description: v.description,
		})
	}
	msg := vs[0].field + " " + vs[0].description
	if n := len(vs) - 1; n > 0 {
		msg += fmt.Sprintf(" (and %d more)", n)
	}
	return &failure{reason: ReasonInvalidArgument, msg: msg, details: []protoadapt.MessageV1{br}}
}

func notWritten(format string, a ...any) *failure {
	err := fmt.Errorf(format, a...)
	return &failure{
		reason:  ReasonNotWritten,
		msg:     prefixed("not written: ", err),
		meta:    map[string]string{MetaWritten: WrittenNo},
		details: []protoadapt.MessageV1{&errdetails.RetryInfo{RetryDelay: durationpb.New(retryDelay)}},
		err:     err,
	}
}

func outcomeUnknown(format string, a ...any) *failure {
	err := fmt.Errorf(format, a...)
	return &failure{
		reason: ReasonOutcomeUnknown,
		msg:    prefixed("outcome unknown: ", err) + "; retry only with the same request_id",
		meta:   map[string]string{MetaWritten: WrittenUnknown},
		err:    err,
	}
}

// prefixed does not say twice what the room below said already.
func prefixed(prefix string, err error) string {
	return prefix + strings.TrimPrefix(err.Error(), prefix)
}

func limitReached(subject, format string, a ...any) *failure {
	msg := fmt.Sprintf(format, a...)
	return &failure{
		reason: ReasonLimitReached,
		msg:    msg,
		details: []protoadapt.MessageV1{&errdetails.QuotaFailure{
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

// changeFailure turns an error of Agreement into an outcome of a change.
func changeFailure(err error) *failure {
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	if writtenOf(err) == writtenNot {
		return notWritten("%w", err)
	}
	return outcomeUnknown("%w", err)
}

// statusError is err as the caller gets it from the node called node; nil stays nil.
func statusError(node string, err error) error {
	if err == nil {
		return nil
	}
	var f *failure
	if !errors.As(err, &f) {
		switch {
		case errors.Is(err, context.Canceled):
			f = &failure{reason: ReasonCanceled, msg: "the caller canceled"}
		case errors.Is(err, context.DeadlineExceeded):
			f = &failure{reason: ReasonDeadlineExceeded, msg: "the caller's deadline has passed"}
		default:
			f = &failure{reason: ReasonInternal, msg: err.Error()}
		}
	}
	code := codeOf[f.reason]
	if f.code != codes.OK {
		code = f.code
	}
	if f.reason == ReasonOutcomeUnknown {
		switch {
		case errors.Is(f.err, context.DeadlineExceeded):
			code = codes.DeadlineExceeded
		case errors.Is(f.err, context.Canceled):
			code = codes.Canceled
		}
	}
	meta := maps.Clone(f.meta)
	if meta == nil {
		meta = make(map[string]string, 1)
	}
	if meta[MetaNode] == "" {
		meta[MetaNode] = node
	}
	details := append([]protoadapt.MessageV1{
		&errdetails.ErrorInfo{Domain: Domain, Reason: f.reason, Metadata: meta},
	}, f.details...)
	st := status.New(code, f.msg)
	if with, err := st.WithDetails(details...); err == nil {
		st = with
	}
	return st.Err()
}

// errorInfo returns the ErrorInfo of this domain in a status; nil if there is none.
func errorInfo(st *status.Status) *errdetails.ErrorInfo {
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.Domain == Domain {
			return info
		}
	}
	return nil
}
