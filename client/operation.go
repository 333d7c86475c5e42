package client

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	"github.com/rollcallhq/rollcall/internal/connfailure"
)

// operation describes a call: for its errors, and for how it may be retried.
type operation struct {
	name      string
	service   string
	about     bool   // there is a service; its name may be ""
	pattern   string // of overrides
	rule      string
	lease     string
	access    string          // a token, a role or an identity
	member    string          // a node
	write     bool            // changes something
	requestID string          // of writes
	cluster   string          // that must answer; "": any
	streamed  *streamedChange // nil: it is never sent over a stream of writes
	headers   bool            // those of the answer are wanted
	alone     bool            // it is work for the nodes, so that it is not hedged
	once      bool            // a second try would not be the same; it is a write without a request id
}

func (op operation) error(code codes.Code, message string, err error) *Error {
	e := &Error{Op: op.name, Service: op.service, Pattern: op.pattern, Rule: op.rule, LeaseID: op.lease, Access: op.access, Member: op.member, Code: code, Message: message, RequestID: op.requestID, err: err}
	e.subject = cmp.Or(op.service, op.pattern, op.rule, op.lease, op.access, op.member)
	if op.about && op.service == "" || strings.ContainsFunc(e.subject, odd) {
		e.subject = strconv.Quote(e.subject)
	}
	return e
}

// leaseLost returns an error of the client's own that IsLeaseLost knows.
func (op operation) leaseLost(message string) *Error {
	e := op.error(codes.NotFound, message, nil)
	e.Reason, e.leaseRefused = reasonNotFound, true
	return e
}

// aboutService returns op as one about a service.
func (op operation) aboutService(service string) operation {
	op.service, op.about = service, true
	return op
}

func odd(r rune) bool { return r == '"' || !limits.Shows(r) }

// failed returns the error of one try.
func (op operation) failed(e *endpoint, err error, w Written) *Error {
	st := status.Convert(err)
	f := op.error(st.Code(), st.Message(), err)
	f.Written = w
	f.Endpoint = e.address
	info := errorInfo(st)
	if info == nil && f.doubtful() || f.Code == codes.Unimplemented {
		f.Message = connfailure.Text(f.Message) // most likely gRPC's own
	}
	if info != nil {
		f.Reason = info.GetReason()
		if f.Reason == reasonRevisionMismatch {
			// A malformed number becomes 0: the reason alone says what happened.
			f.CurrentRevision, _ = strconv.ParseInt(info.GetMetadata()[currentRevisionKey], 10, 64)
		}
		if f.Reason == ReasonCompacted {
			f.OldestRevision, _ = strconv.ParseInt(info.GetMetadata()[oldestRevisionKey], 10, 64)
		}
		if id := info.GetMetadata()[leaseKey]; id != "" {
			f.LeaseID, f.leaseRefused = id, true
		}
		if f.Reason == ReasonClusterChanged {
			f.ClusterID = info.GetMetadata()[clusterIDKey]
		}
		if f.Reason == ReasonDenied || f.Reason == ReasonEscalation {
			f.Identity, f.Verb = info.GetMetadata()[identityKey], info.GetMetadata()[verbKey]
		}
	}
	if f.Code == codes.Unauthenticated && e.token != nil {
		if problem := e.token.Problem(); problem != nil {
			f.Message += "; " + problem.Error() // most likely why
		}
	}
	return f
}

// ended returns the error of a call that has no more time. last is what went wrong before, or nil.
func (op operation) ended(cause error, last *Error) *Error {
	code := codes.Canceled
	if errors.Is(cause, context.DeadlineExceeded) {
		code = codes.DeadlineExceeded
	}
	f := op.error(code, cause.Error(), cause)
	if last != nil {
		f.err = errors.Join(cause, last.err)
		f.Reason = last.Reason
		f.Message += "; last: " + last.Endpoint + ": " + oneLine(last.Message)
	}
	return f
}

// because adds the end of the call's time to the errors that e wraps, if e came with it.
func (e *Error) because(cause error) *Error {
	if cause == nil && e.Code == codes.DeadlineExceeded {
		cause = context.DeadlineExceeded // a node noticed first
	}
	if cause != nil && e.doubtful() {
		e.err = errors.Join(cause, e.err)
	}
	return e
}

// unanswered returns the error of a round in which no endpoint could be connected to.
func (op operation) unanswered(failures []*Error) *Error {
	var tried, why []string
	var errs []error
	for _, f := range failures {
		tried = append(tried, f.Endpoint)
		why = append(why, oneLine(f.Message))
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
