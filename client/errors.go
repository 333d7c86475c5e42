package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
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
	// ReasonCompacted: events or a moment are asked for that are older than what the cluster retains.
	ReasonCompacted = "COMPACTED"
	// ReasonAhead: the moment asked for is a revision that no node that answered has reached.
	ReasonAhead = "REVISION_AHEAD"
	// ReasonUpgradeIncomplete: the change needs a feature level that not all members of the cluster have
	// yet. Nothing was written.
	ReasonUpgradeIncomplete = "UPGRADE_INCOMPLETE"
)

// What a node says in ErrorInfo.
const (
	errorDomain            = "rollcall"
	reasonNotWritten       = "NOT_WRITTEN"
	reasonUnknown          = "OUTCOME_UNKNOWN"
	reasonRevisionMismatch = "REVISION_MISMATCH"
	currentRevisionKey     = "current_revision"
	oldestRevisionKey      = "oldest_revision"
	writtenKey             = "written" // "no", "unknown"
)

// Error is every error of this package's calls. It wraps the context's error if that ended the call
// (also when a node noticed first), ErrClosed, and the status that came from gRPC.
type Error struct {
	Op string // "set", "set batch", "delete", "check", "get", "list", "watch", "wait", "watch events", "watch services",
	// "list events", "status"
	Service   string     // whose; "" for calls that are not about one
	Code      codes.Code // never OK
	Reason    string     // ErrorInfo.reason of a node, or one of this package's; may be empty
	Message   string
	Written   Written
	RequestID string // of a write: what its event carries
	Endpoint  string // that the error came from; "" if from none or several
	// CurrentRevision is the service's, with reason REVISION_MISMATCH; 0: it does not exist.
	CurrentRevision int64
	// OldestRevision is that from which on all events are retained, with ReasonCompacted.
	OldestRevision int64

	subject string // Service as shown
	err     error
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

// doubtful tells trouble on the way from an answer that stands for itself.
func (e *Error) doubtful() bool {
	switch e.Code {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Unknown, codes.Internal:
		return true
	}
	return e.Written == WrittenUnknown
}

func (e *Error) shown() string {
	if e.subject != "" {
		return e.subject
	}
	return e.Service
}

func (e *Error) Unwrap() error { return e.err }

// GRPCStatus is for passing the error on: its code and line, and the details that the node gave.
func (e *Error) GRPCStatus() *status.Status {
	p := &spb.Status{Code: int32(e.Code), Message: e.Error()}
	var from interface{ GRPCStatus() *status.Status }
	if errors.As(e.err, &from) {
		p.Details = from.GRPCStatus().Proto().GetDetails()
	}
	return status.FromProto(p)
}

// operation is what a call is about.
type operation struct {
	name      string
	service   string
	about     bool   // there is a service; its name may be ""
	write     bool   // changes something
	requestID string // of writes
}

func (op operation) error(code codes.Code, message string, err error) *Error {
	e := &Error{Op: op.name, Service: op.service, Code: code, Message: message, RequestID: op.requestID, err: err}
	if op.about {
		e.subject = op.service
		if op.service == "" || strings.ContainsFunc(op.service, odd) {
			e.subject = strconv.Quote(op.service)
		}
	}
	return e
}

func odd(r rune) bool {
	return r == '"' || r == unicode.ReplacementChar || unicode.IsSpace(r) || !unicode.IsPrint(r)
}

// failed makes the error of one try.
func (op operation) failed(e *endpoint, err error, w Written) *Error {
	st := status.Convert(err)
	f := op.error(st.Code(), st.Message(), err)
	f.Written = w
	f.Endpoint = e.address
	if info := errorInfo(st); info != nil {
		f.Reason = info.GetReason()
		if f.Reason == reasonRevisionMismatch {
			// Malformed is 0 too: the reason alone says what happened.
			f.CurrentRevision, _ = strconv.ParseInt(info.GetMetadata()[currentRevisionKey], 10, 64)
		}
		if f.Reason == ReasonCompacted {
			f.OldestRevision, _ = strconv.ParseInt(info.GetMetadata()[oldestRevisionKey], 10, 64)
		}
	}
	return f
}

// ended makes the error of a call that has no more time; last is what went wrong before, or nil.
func (op operation) ended(cause error, last *Error) *Error {
	code := codes.Canceled
	if errors.Is(cause, context.DeadlineExceeded) {
		code = codes.DeadlineExceeded
	}
	f := op.error(code, cause.Error(), cause)
	if last != nil {
		f.err = errors.Join(cause, last.err)
		f.Reason = last.Reason
		f.Message += "; last: " + last.Endpoint + ": " + plain(last.Message)
	}
	return f
}

// because makes an error that came with the end of the call's time wrap that too.
func (e *Error) because(cause error) *Error {
	if cause == nil && e.Code == codes.DeadlineExceeded {
		cause = context.DeadlineExceeded // a node noticed first
	}
	if cause != nil && e.doubtful() {
		e.err = errors.Join(cause, e.err)
	}
	return e
}

// unanswered makes the error of a round in which no endpoint could be connected to.
func (op operation) unanswered(failures []*Error) *Error {
	var tried, why []string
	var errs []error
	for _, f := range failures {
		tried = append(tried, f.Endpoint)
		why = append(why, plain(f.Message))
		errs = append(errs, f.err)
	}
	message := "no endpoint answers: tried "
	if len(slices.Compact(slices.Clone(why))) == 1 {
		message += strings.Join(tried, ", ") + ": " + why[0]
	} else {
		for i := range tried {
			tried[i] += " (" + why[i] + ")"
		}
		message += strings.Join(tried, ", ")
	}
	f := op.error(codes.Unavailable, message, errors.Join(errs...))
	f.Reason = ReasonNoEndpoint
	return f
}

func errorInfo(st *status.Status) *errdetails.ErrorInfo {
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.GetDomain() == errorDomain {
			return info
		}
	}
	return nil
}

// plain takes gRPC's wrapping off the message of a failed connection. For reading only.
func plain(message string) string {
	if _, inner, ok := strings.Cut(message, `connection error: desc = "`); ok {
		message = strings.TrimSuffix(inner, `"`)
	}
	if _, inner, ok := strings.Cut(message, "Error while dialing: "); ok {
		message = inner
		if strings.HasPrefix(inner, "dial ") {
			// "dial tcp 127.0.0.1:7600: connect: connection refused": the address is named already.
			if _, rest, ok := strings.Cut(inner, ": "); ok {
				message = strings.TrimPrefix(rest, "connect: ")
			}
		}
	}
	return oneLine(message)
}

func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
}
