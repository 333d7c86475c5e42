package main

import (
	"cmp"
	"errors"
	"slices"
	"sync"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"

	"github.com/rollcallhq/rollcall/client"
)

// failureKinds bounds what failures keeps.
const failureKinds = 32

// failures counts the errors of a load by code and reason, each with the first message.
type failures struct {
	mu    sync.Mutex // guards what follows
	total uint64
	kinds map[failureKind]*failureCount
}

type failureKind struct{ code, reason string }

// failureCount is how often calls failed in one way, and how the first of them did.
type failureCount struct {
	Code    string `json:"code"`
	Reason  string `json:"reason"`
	Count   uint64 `json:"count"`
	Message string `json:"message"`
}

func (f *failures) add(err error) {
	c := describeFailure(err)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.total++
	kind := failureKind{c.Code, c.Reason}
	known := f.kinds[kind]
	if known == nil {
		if f.kinds == nil {
			f.kinds = map[failureKind]*failureCount{}
		}
		if len(f.kinds) >= failureKinds {
			return // counted in the total alone
		}
		known = &c
		f.kinds[kind] = known
	}
	known.Count++
}

func (f *failures) count() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.total
}

// list is the most frequent first. Never nil, for JSON.
func (f *failures) list() []failureCount {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := make([]failureCount, 0, len(f.kinds))
	for _, c := range f.kinds {
		list = append(list, *c)
	}
	slices.SortFunc(list, func(a, b failureCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Reason, b.Reason))
	})
	return list
}

func describeFailure(err error) failureCount {
	if e, ok := errors.AsType[*client.Error](err); ok {
		return failureCount{Code: codeName(e.Code), Reason: e.Reason, Message: oneLine(e.Message)}
	}
	s := status.Convert(err)
	c := failureCount{Code: codeName(s.Code()), Message: oneLine(s.Message())}
	for _, d := range s.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			c.Reason = info.GetReason()
		}
	}
	return c
}
