package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// want is what a client can rely on in an error.
type want struct {
	code    codes.Code
	reason  string
	written string
	meta    map[string]string // of those named
	message string            // part of it
}

func checkError(t *testing.T, err error, w want) {
	t.Helper()
	st, ok := status.FromError(err)
	if !ok || err == nil {
		t.Fatalf("got %v, want a status", err)
	}
	if st.Code() != w.code || !strings.Contains(st.Message(), w.message) {
		t.Errorf("got %v %q, want %v %q", st.Code(), st.Message(), w.code, w.message)
	}
	if strings.Contains(st.Message(), "\n") {
		t.Errorf("message %q has more than one line", st.Message())
	}
	info := rpcerror.InfoOf(st)
	if info == nil {
		t.Fatalf("%v has no ErrorInfo", err)
	}
	if info.GetReason() != w.reason {
		t.Errorf("reason is %q, want %q", info.GetReason(), w.reason)
	}
	if got := info.GetMetadata()[rpcerror.MetaWritten]; got != w.written {
		t.Errorf("written is %q, want %q", got, w.written)
	}
	if info.GetMetadata()[rpcerror.MetaNode] == "" {
		t.Error("ErrorInfo does not name the node")
	}
	for k, v := range w.meta {
		if got := info.GetMetadata()[k]; got != v {
			t.Errorf("metadata %s is %q, want %q", k, got, v)
		}
	}
	switch w.reason {
	case rpcerror.ReasonInvalidArgument:
		requireDetail[*errdetails.BadRequest](t, st)
	case rpcerror.ReasonNotWritten:
		requireDetail[*errdetails.RetryInfo](t, st)
	case rpcerror.ReasonLimitReached:
		requireDetail[*errdetails.QuotaFailure](t, st)
	}
}

func requireDetail[D any](t *testing.T, st *status.Status) {
	t.Helper()
	for _, d := range st.Details() {
		if _, ok := d.(D); ok {
			return
		}
	}
	t.Errorf("%v has no %T", st, *new(D))
}

func TestErrorsOfChanges(t *testing.T) {
	refusal := func(r *logv1.Refusal) func(context.Context, *logv1.Command) (*logv1.Result, error) {
		return func(context.Context, *logv1.Command) (*logv1.Result, error) {
			return &logv1.Result{Refusal: r}, nil
		}
	}
	failing := func(err error) func(context.Context, *logv1.Command) (*logv1.Result, error) {
		return func(context.Context, *logv1.Command) (*logv1.Result, error) { return nil, err }
	}
	untilDone := func(ctx context.Context, _ *logv1.Command) (*logv1.Result, error) {
		<-ctx.Done()
		return nil, unknownErr{fmt.Errorf("waiting for the log: %w", ctx.Err())}
	}
	tests := map[string]struct {
		propose func(context.Context, *logv1.Command) (*logv1.Result, error)
		want    want
	}{
		"refused as invalid": {
			refusal(&logv1.Refusal{Reason: logv1.Refusal_REASON_INVALID, Field: "request_id",
				Problem: logv1.Refusal_PROBLEM_REUSED, Given: "x", Value: 7}),
			want{codes.InvalidArgument, rpcerror.ReasonRequestIDReused, rpcerror.WrittenNo, nil, "was used for another request"},
		},
		"refused as invalid, another field": {
			refusal(&logv1.Refusal{Reason: logv1.Refusal_REASON_INVALID, Field: "reason",
				Problem: logv1.Refusal_PROBLEM_TOO_LONG, Value: 1025, Limit: 1024}),
			want{codes.InvalidArgument, rpcerror.ReasonInvalidArgument, rpcerror.WrittenNo, nil, "reason is 1025 bytes long"},
		},
		"refused, no such service": {
			refusal(&logv1.Refusal{Reason: logv1.Refusal_REASON_NOT_FOUND, Kind: logv1.Kind_KIND_SERVICE, Key: "a"}),
			want{codes.NotFound, rpcerror.ReasonNotFound, rpcerror.WrittenNo, map[string]string{rpcerror.MetaService: "a"}, `"a" does not exist`},
		},
		"refused, another revision": {
			refusal(&logv1.Refusal{Reason: logv1.Refusal_REASON_REVISION_MISMATCH, Kind: logv1.Kind_KIND_SERVICE, Key: "a", CurrentRevision: 42}),
			want{codes.FailedPrecondition, rpcerror.ReasonRevisionMismatch, rpcerror.WrittenNo, map[string]string{rpcerror.MetaCurrentRevision: "42", rpcerror.MetaService: "a"}, "42"},
		},
		"refused for a reason of a newer version": {
			refusal(&logv1.Refusal{Reason: 99, Problem: 98}),
			want{codes.InvalidArgument, rpcerror.ReasonInvalidArgument, rpcerror.WrittenNo, nil, "was refused"},
		},
		"not written until the caller gives up": {
			failing(fmt.Errorf("propose: %w", notWrittenErr{errors.New("not written: transfer in progress")})),
			want{codes.Unavailable, rpcerror.ReasonNotWritten, rpcerror.WrittenNo, nil, "transfer in progress"},
		},
		"leadership lost in flight": {
			failing(unknownErr{errors.New("leadership lost")}),
			want{codes.Unknown, rpcerror.ReasonOutcomeUnknown, rpcerror.WrittenUnknown, nil, "leadership lost"},
		},
		"an error that says nothing of the outcome": {
			failing(errors.New("disk on fire")),
			want{codes.Unknown, rpcerror.ReasonOutcomeUnknown, rpcerror.WrittenUnknown, nil, "disk on fire"},
		},
		"unknown beats not written": {
			failing(unknownErr{notWrittenErr{errors.New("contradiction")}}),
			want{codes.Unknown, rpcerror.ReasonOutcomeUnknown, rpcerror.WrittenUnknown, nil, "contradiction"},
		},
		"a deadline after proposing": {
			untilDone,
			want{codes.DeadlineExceeded, rpcerror.ReasonOutcomeUnknown, rpcerror.WrittenUnknown, nil, "outcome unknown"},
		},
		"results that do not fit the changes": {
			func(context.Context, *logv1.Command) (*logv1.Result, error) { return &logv1.Result{}, nil },
			want{codes.Unknown, rpcerror.ReasonOutcomeUnknown, rpcerror.WrittenUnknown, nil, "0 results for 1 changes"},
		},
		"a panic": {
			func(context.Context, *logv1.Command) (*logv1.Result, error) { panic("boom") },
			want{codes.Internal, rpcerror.ReasonInternal, rpcerror.WrittenUnknown, nil, "defect"},
		},
	}
	for name, tt := range tests {
		bubble(t, name, func(t *testing.T) {
			n := single(t)
			n.agreement.onPropose(tt.propose)
			// Without a deadline of its own: the server's applies, and the answer is the server's.
			_, err := n.admin().SetServingStatus(context.Background(), setRequest("a", serving))
			checkError(t, err, tt.want)
		})
	}
}

func TestCanceledWhileProposingStaysUnknown(t *testing.T) {
	err := rpcerror.ToStatus("n1", rpcerror.OfChange(unknownErr{context.Canceled}))
	checkError(t, err, want{codes.Canceled, rpcerror.ReasonOutcomeUnknown, rpcerror.WrittenUnknown, nil, ""})
}

func TestErrorsOfReads(t *testing.T) {
	n := single(t)
	ctx := patient(t)
	_, err := n.reads().GetService(ctx, &rollcallv1.GetServiceRequest{Service: "a"})
	checkError(t, err, want{codes.NotFound, rpcerror.ReasonNotFound, "", map[string]string{rpcerror.MetaService: "a"}, `"a"`})
	_, err = n.reads().GetService(ctx, &rollcallv1.GetServiceRequest{Service: "a\x00"})
	checkError(t, err, want{codes.InvalidArgument, rpcerror.ReasonInvalidArgument, "", nil, "control character"})
	checkError(t, rpcerror.ToStatus("n1", context.Canceled), want{codes.Canceled, rpcerror.ReasonCanceled, "", nil, ""})
	checkError(t, rpcerror.ToStatus("n1", fmt.Errorf("x: %w", context.DeadlineExceeded)), want{codes.DeadlineExceeded, rpcerror.ReasonDeadlineExceeded, "", nil, ""})
	checkError(t, rpcerror.ToStatus("n1", errors.New("odd")), want{codes.Internal, rpcerror.ReasonInternal, "", nil, "odd"})
}

// proposeUntilDone tells that it was called, and ends with its context.
func proposeUntilDone(called chan<- struct{}) func(context.Context, *logv1.Command) (*logv1.Result, error) {
	return func(ctx context.Context, _ *logv1.Command) (*logv1.Result, error) {
		close(called)
		<-ctx.Done()
		return nil, unknownErr{ctx.Err()}
	}
}

// errorInfoOf returns the ErrorInfo that a caller would get for err; empty if there is none.
func errorInfoOf(err error) *errdetails.ErrorInfo {
	if info := rpcerror.InfoOf(status.Convert(rpcerror.ToStatus("n1", err))); info != nil {
		return info
	}
	return &errdetails.ErrorInfo{}
}

// quotaOf is the subject of an error's QuotaFailure.
func quotaOf(err error) string {
	for _, d := range status.Convert(err).Details() {
		if q, ok := d.(*errdetails.QuotaFailure); ok && len(q.GetViolations()) > 0 {
			return q.GetViolations()[0].GetSubject()
		}
	}
	return ""
}
