package loadgen

import (
	"cmp"
	"errors"
	"slices"
	"sync"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
	"github.com/rollcallhq/rollcall/internal/connfailure"
)

// maxErrorKinds bounds how many kinds Errors keeps.
const maxErrorKinds = 32

// Errors counts the errors of a load by code and reason, and keeps the first message of each kind. It is
// safe for use by many goroutines.
type Errors struct {
	mu    sync.Mutex // guards what follows
	total uint64
	kinds map[errorKind]*ErrorCount
}

type errorKind struct{ code, reason string }

// ErrorCount is how often calls failed in one way, with the message of the first.
type ErrorCount struct {
	Code    string `json:"code"`
	Reason  string `json:"reason"`
	Count   uint64 `json:"count"`
	Message string `json:"message"`
}

// Add counts one error.
func (e *Errors) Add(err error) {
	c := DescribeError(err)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.total++
	kind := errorKind{c.Code, c.Reason}
	known := e.kinds[kind]
	if known == nil {
		if e.kinds == nil {
			e.kinds = map[errorKind]*ErrorCount{}
		}
		if len(e.kinds) >= maxErrorKinds {
			return // counted in the total only
		}
		known = &c
		e.kinds[kind] = known
	}
	known.Count++
}

// Count returns how many errors there were.
func (e *Errors) Count() uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.total
}

// List returns the kinds, the most frequent first. It is never nil, so that JSON has a list.
func (e *Errors) List() []ErrorCount {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := make([]ErrorCount, 0, len(e.kinds))
	for _, c := range e.kinds {
		list = append(list, *c)
	}
	slices.SortFunc(list, func(a, b ErrorCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Reason, b.Reason))
	})
	return list
}

// DescribeError returns the kind and the message of one error.
func DescribeError(err error) ErrorCount {
	if e, ok := errors.AsType[*client.Error](err); ok {
		return ErrorCount{Code: format.Code(e.Code), Reason: e.Reason, Message: format.OneLine(e.Message)}
	}
	s := status.Convert(err)
	c := ErrorCount{Code: format.Code(s.Code()), Message: format.OneLine(s.Message())}
	for _, d := range s.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			c.Reason = info.GetReason()
		}
	}
	if c.Reason == "" && doubtful(s.Code()) {
		c.Message = connfailure.Text(c.Message) // most likely gRPC's own
	}
	return c
}

// doubtful reports codes that gRPC itself gives when a call fails on the way.
func doubtful(c codes.Code) bool {
	switch c {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Unknown, codes.Internal, codes.Unimplemented:
		return true
	}
	return false
}
