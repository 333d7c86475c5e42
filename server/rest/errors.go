package rest

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/rollcallhq/rollcall/api/rollcall/apijson"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// Error is what is answered in place of what was asked for, as docs/json.md has it.
type Error struct {
	Code    string  `json:"code"`   // of gRPC: "NOT_FOUND"
	Reason  string  `json:"reason"` // for programs: "REVISION_MISMATCH"; can be empty
	Message string  `json:"message"`
	Written string  `json:"written"` // "no" or "unknown"
	Details Details `json:"details"`
}

// Details are facts for programs: numbers, texts and lists, by name.
type Details map[string]any

// httpStatus is the status of an HTTP answer by the code of gRPC. That of a reason goes before.
var httpStatus = map[codes.Code]int{
	codes.OK:                 http.StatusOK,
	codes.Canceled:           499, // the client has left, and nobody reads this
	codes.Unknown:            http.StatusInternalServerError,
	codes.InvalidArgument:    http.StatusBadRequest,
	codes.DeadlineExceeded:   http.StatusGatewayTimeout,
	codes.NotFound:           http.StatusNotFound,
	codes.AlreadyExists:      http.StatusConflict,
	codes.PermissionDenied:   http.StatusForbidden,
	codes.ResourceExhausted:  http.StatusTooManyRequests,
	codes.FailedPrecondition: http.StatusConflict,
	codes.Aborted:            http.StatusConflict,
	codes.OutOfRange:         http.StatusRequestedRangeNotSatisfiable,
	codes.Unimplemented:      http.StatusNotImplemented,
	codes.Internal:           http.StatusInternalServerError,
	codes.Unavailable:        http.StatusServiceUnavailable,
	codes.DataLoss:           http.StatusInternalServerError,
	codes.Unauthenticated:    http.StatusUnauthorized,
}

// statusOfReason is the status of an HTTP answer for reasons whose code would say something else.
var statusOfReason = map[string]int{
	rpcerror.ReasonCompacted:      http.StatusGone,
	rpcerror.ReasonOutcomeUnknown: http.StatusServiceUnavailable,
}

// WriteError answers a request with an error. r may be any request that has the context of one that is answered here.
func WriteError(w http.ResponseWriter, r *http.Request, err error) {
	c := callOf(r.Context())
	node, write, requestID := "", r.Method != http.MethodGet, ""
	if c != nil {
		node, write, requestID = c.handler.cfg.Node, c.write, c.requestID
	}
	code, e := errorOf(node, write, err)
	if e.Written == rpcerror.WrittenUnknown && requestID != "" {
		e.Details["request_id"] = requestID
	}
	body, failed := apijson.Marshal(e)
	if failed != nil {
		body = []byte(`{"code":"INTERNAL","reason":"","message":"this error cannot be written as JSON","written":"unknown","details":{}}`)
	}
	body = append(body, '\n')
	h := w.Header()
	if code == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="rollcall"`)
	}
	if after, ok := e.Details["retry_after_seconds"].(float64); ok {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(after))))
	} else if code == http.StatusTooManyRequests {
		h.Set("Retry-After", "1")
	}
	if code == http.StatusRequestTimeout || code == http.StatusRequestEntityTooLarge {
		h.Set("Connection", "close") // what is left of the body is not read
	}
	// It fails only if the client has left.
	if c != nil {
		_ = c.out.send(code, body)
		return
	}
	h.Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(body)
}

// ErrorOf returns what WriteError writes of an error that ends a stream which has begun.
func ErrorOf(r *http.Request, err error) *Error {
	node := ""
	if c := callOf(r.Context()); c != nil {
		node = c.handler.cfg.Node
	}
	_, e := errorOf(node, false, err)
	return e
}

func errorOf(node string, write bool, err error) (code int, e *Error) {
	var field *apijson.Error
	if errors.As(err, &field) {
		f := rpcerror.Invalid(rpcerror.Violation{Field: field.Field, Description: field.Message})
		f.Message = field.Error()
		err = f.AsNotWritten()
	}
	var routing *runtime.HTTPStatusError
	if errors.As(err, &routing) {
		err = refuse(routing.HTTPStatus, codes.InvalidArgument, rpcerror.ReasonInvalidArgument, "the path of the URL is not well formed; write other characters than letters and digits as %%XX")
	}
	s := statusOf(node, err)
	info := rpcerror.InfoOf(s)
	e = &Error{
		Code: codeName(s.Code()), Reason: info.GetReason(), Message: overHTTP(s.Message()),
		Written: written(write, s, info), Details: detailsOf(s, info),
	}
	var known *refusal
	ofReason, special := statusOfReason[e.Reason]
	switch {
	case errors.As(err, &known):
		code = known.status
	case special && s.Code() != codes.DeadlineExceeded:
		code = ofReason
	default:
		if code = httpStatus[s.Code()]; code == 0 {
			code = http.StatusInternalServerError
		}
	}
	return code, e
}

// codeName is the name of a code in gRPC's own protos: "NOT_FOUND".
func codeName(code codes.Code) string {
	return codeNames[code]
}

var codeNames = [...]string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
	"RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE",
	"DATA_LOSS", "UNAUTHENTICATED",
}

// written is what is known of a change that failed. It judges as the Go client does.
func written(write bool, s *status.Status, info *errdetails.ErrorInfo) string {
	if !write {
		return rpcerror.WrittenNo
	}
	switch said := info.GetMetadata()[rpcerror.MetaWritten]; {
	case info.GetReason() == rpcerror.ReasonNotWritten, info.GetReason() == rpcerror.ReasonClusterChanged:
		return rpcerror.WrittenNo
	case said != "":
		return said
	}
	switch s.Code() {
	case codes.Unimplemented:
		return rpcerror.WrittenNo
	case codes.InvalidArgument, codes.NotFound, codes.AlreadyExists, codes.FailedPrecondition, codes.OutOfRange,
		codes.ResourceExhausted, codes.PermissionDenied, codes.Unauthenticated:
		if info != nil {
			return rpcerror.WrittenNo
		}
	}
	return rpcerror.WrittenUnknown
}

// detailNames are the names of facts that ErrorInfo has under another one.
var detailNames = map[string]string{rpcerror.MetaLease: "lease_id"}

// detailsOf returns the facts of an error.
func detailsOf(s *status.Status, info *errdetails.ErrorInfo) Details {
	d := Details{}
	for key, value := range info.GetMetadata() {
		name := key
		if other, ok := detailNames[key]; ok {
			name = other
		}
		switch {
		case key == rpcerror.MetaWritten:
		case key == rpcerror.MetaMembers:
			d[name] = strings.FieldsFunc(value, func(r rune) bool { return r == ',' }) // "": no member
		case strings.HasSuffix(key, "revision"), key == rpcerror.MetaIndex, strings.HasSuffix(key, "level"):
			if n, err := strconv.ParseInt(value, 10, 64); err == nil {
				d[name] = n
				continue
			}
			d[name] = value
		default:
			d[name] = value
		}
	}
	for _, detail := range s.Details() {
		switch detail := detail.(type) {
		case *errdetails.BadRequest:
			var fields []map[string]string
			for _, v := range detail.GetFieldViolations() {
				field := v.GetField()
				if plain, err := strconv.Unquote(field); err == nil { // JSON has quotes of its own
					field = plain
				}
				fields = append(fields, map[string]string{"field": field, "message": overHTTP(v.GetDescription())})
			}
			d["fields"] = fields
		case *errdetails.QuotaFailure:
			for _, v := range detail.GetViolations() {
				d["limit"] = v.GetSubject()
			}
		case *errdetails.RetryInfo:
			d["retry_after_seconds"] = detail.GetRetryDelay().AsDuration().Seconds()
		case *rollcallv1.BrokenRules:
			d["broken_rules"] = apijson.Messages(detail.GetRules())
			d["more_broken_rules"] = detail.GetMore()
		}
	}
	return d
}
