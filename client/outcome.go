package client

import (
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// verdict says what a failed try means for the call.
type verdict int

const (
	verdictFinal     verdict = iota // it is the call's answer
	verdictUnsent                   // the request surely did not leave this process
	verdictRetry                    // not done, or harmless to repeat; it may succeed later
	verdictElsewhere                // harmless to repeat; it may succeed at another endpoint, not later
)

// judge says what a failed try means, and what became of a write.
func (op operation) judge(t try) (verdict, Written) {
	st := status.Convert(t.err)
	if t.stuck {
		return verdictRetry, WrittenNo
	}
	if t.unsent {
		switch st.Code() {
		case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
			return verdictUnsent, WrittenNo
		}
		return verdictFinal, WrittenNo // it cannot be sent at all: it is too large, for example
	}
	if op.write {
		v, w := judgeWrite(st)
		if op.once && w == WrittenUnknown {
			v = verdictFinal
		}
		return v, w
	}
	return judgeRead(st), WrittenNo
}

func judgeRead(st *status.Status) verdict {
	switch st.Code() {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Aborted:
		return verdictRetry
	case codes.Unknown, codes.Internal, codes.DataLoss:
		return verdictElsewhere
	case codes.OutOfRange:
		if errorInfo(st).GetReason() == ReasonAhead {
			return verdictElsewhere // another node may be at that revision
		}
	case codes.FailedPrecondition:
		if errorInfo(st).GetReason() == ReasonClusterChanged {
			return verdictElsewhere // another node may still belong to the cluster
		}
	case codes.ResourceExhausted:
		if errorInfo(st) == nil {
			return verdictElsewhere // gRPC's own: an answer above maxReceiveBytes, a full connection
		}
	}
	return verdictFinal
}

func judgeWrite(st *status.Status) (verdict, Written) {
	info := errorInfo(st)
	switch said := info.GetMetadata()[writtenKey]; {
	case info.GetReason() == reasonNotWritten:
		return verdictRetry, WrittenNo
	case info.GetReason() == reasonUnknown:
		return verdictRetry, WrittenUnknown
	case info.GetReason() == ReasonClusterChanged:
		return verdictElsewhere, WrittenNo
	case said == WrittenUnknown.String():
		return judgeUnknown(st), WrittenUnknown
	case said == WrittenNo.String() && st.Code() == codes.Unavailable:
		return verdictRetry, WrittenNo // a node that does not serve any more: another may
	case said == WrittenNo.String():
		return verdictFinal, WrittenNo
	}
	switch st.Code() {
	case codes.Unimplemented:
		return verdictFinal, WrittenNo // also without ErrorInfo: gRPC's own answer of a server that has no such method
	case codes.InvalidArgument, codes.NotFound, codes.AlreadyExists, codes.FailedPrecondition, codes.OutOfRange,
		codes.ResourceExhausted, codes.PermissionDenied, codes.Unauthenticated:
		// Only a node's own word counts. gRPC uses RESOURCE_EXHAUSTED also when an answer is too large to be
		// received, and then the write was done.
		if info != nil {
			return verdictFinal, WrittenNo
		}
	}
	return judgeUnknown(st), WrittenUnknown
}

// judgeUnknown is for a write whose outcome nobody knows. Its request id makes it as harmless to repeat as
// a read.
func judgeUnknown(st *status.Status) verdict {
	if v := judgeRead(st); v != verdictFinal {
		return v
	}
	return verdictElsewhere
}

// decides reports whether an answer to one try is the answer to all of them. It is, if it was given in the
// log, where a request id has one answer, or if every node gives it to the same request. What a node says
// of itself, a limit or a permission, is not; nor what it has seen around it before it asked the log.
func decides(f *Error) bool {
	if f.Written == WrittenUnknown {
		return false
	}
	switch f.Reason {
	case ReasonWouldLoseQuorum, ReasonChangeInProgress, ReasonMemberNotEmpty, ReasonMemberNotWaiting, ReasonMemberUnreachable,
		ReasonMemberMismatch, ReasonMemberAnswers, ReasonLastVoter:
		return false
	}
	switch f.Code {
	case codes.InvalidArgument, codes.NotFound, codes.AlreadyExists, codes.FailedPrecondition, codes.OutOfRange:
		return true
	}
	return f.Reason == ReasonTableFull
}
