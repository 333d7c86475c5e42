package cluster_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// ofCalls returns options that have a client's connections note every renewal that passes: grants, messages of
// KeepAlive, writes that name leases, and revokes.
func (r *leaseRecord) ofCalls() []grpc.DialOption {
	return []grpc.DialOption{grpc.WithChainUnaryInterceptor(r.unary), grpc.WithChainStreamInterceptor(r.stream)}
}

func (r *leaseRecord) unary(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	if m, ok := req.(*rollcallv1.RevokeLeaseRequest); ok {
		r.revoking(m.GetLeaseId(), time.Now())
	}
	sent := time.Now()
	for _, id := range namedLeases(req) {
		r.attempted(id, sent)
	}
	err := invoke(ctx, method, req, reply, cc, opts...)
	r.note(req, reply, err, sent, time.Now())
	return err
}

// note notes a write that was sent, and what became of it.
func (r *leaseRecord) note(req, reply any, err error, sent, over time.Time) {
	if m, ok := req.(interface{ GetRequestId() string }); ok && m.GetRequestId() != "" {
		sent = r.firstTry(m.GetRequestId(), sent, err)
	}
	for _, id := range namedLeases(req) {
		if err == nil {
			r.renewed(id, sent, over)
		} else {
			r.attempted(id, over)
		}
	}
	if err != nil {
		return
	}
	switch m := req.(type) {
	case *rollcallv1.GrantLeaseRequest:
		if answer := reply.(*rollcallv1.GrantLeaseResponse); answer.GetLeaseId() != "" {
			r.granted(answer.GetLeaseId(), answer.GetTtl().AsDuration(), sent, over)
		}
	case *rollcallv1.RevokeLeaseRequest:
		r.revoked(m.GetLeaseId(), over)
	}
}

// firstTry returns when the first try of a write was sent.
func (r *leaseRecord) firstTry(requestID string, sent time.Time, err error) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	first, repeated := r.first[requestID]
	switch {
	case repeated && err == nil:
		delete(r.first, requestID)
	case err != nil && !repeated:
		r.first[requestID] = sent
	}
	if repeated {
		return first
	}
	return sent
}

// namedLeases returns the leases that a write names.
func namedLeases(req any) []string {
	var ids []string
	switch m := req.(type) {
	case *rollcallv1.SetServingStatusRequest:
		if !m.GetValidateOnly() {
			ids = append(ids, m.GetLeaseId())
		}
	case *rollcallv1.DeleteServiceRequest:
		if !m.GetValidateOnly() {
			ids = append(ids, m.GetLeaseId())
		}
	case *rollcallv1.BatchSetServingStatusRequest:
		for _, c := range m.GetChanges() {
			if !m.GetValidateOnly() {
				ids = append(ids, c.GetLeaseId())
			}
		}
	}
	slices.Sort(ids)
	return slices.DeleteFunc(slices.Compact(ids), func(id string) bool { return id == "" })
}

func (r *leaseRecord) stream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	s, err := open(ctx, desc, cc, method, opts...)
	if err != nil {
		return nil, err
	}
	switch method {
	case rollcallv1.Admin_KeepAlive_FullMethodName:
		return &recordedKeepAlive{ClientStream: s, record: r}, nil
	case rollcallv1.Admin_WriteStream_FullMethodName:
		return &recordedWrites{ClientStream: s, record: r, waiting: map[uint64]sentWrite{}}, nil
	}
	return s, nil
}

// recordedKeepAlive is a stream of renewals. Each message has one answer, in order.
type recordedKeepAlive struct {
	grpc.ClientStream
	record  *leaseRecord
	mu      sync.Mutex // guards waiting
	waiting []sentWrite
}

// sentWrite is a message on a stream that waits for its answer.
type sentWrite struct {
	sent      time.Time
	leases    []string // that it renews
	requestID string
}

func (s *recordedKeepAlive) SendMsg(m any) error {
	w := sentWrite{sent: time.Now(), leases: slices.Clone(m.(*rollcallv1.KeepAliveRequest).GetLeaseIds())}
	for _, id := range w.leases {
		s.record.attempted(id, w.sent)
	}
	s.mu.Lock()
	s.waiting = append(s.waiting, w)
	s.mu.Unlock()
	return s.ClientStream.SendMsg(m)
}

func (s *recordedKeepAlive) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		for _, w := range s.waiting {
			s.record.streamed(w, false, now)
		}
		s.waiting = nil
		return err
	}
	if answer := m.(*rollcallv1.KeepAliveResponse); len(s.waiting) > 0 {
		s.record.keptAlive(answer, s.waiting[0].sent, now)
		s.waiting = s.waiting[1:]
	}
	return nil
}

// keptAlive notes the answer to renewals.
func (r *leaseRecord) keptAlive(answer *rollcallv1.KeepAliveResponse, sent, now time.Time) {
	for _, id := range answer.GetRenewedLeaseIds() {
		r.renewed(id, sent, now)
	}
	for _, id := range answer.GetLostLeaseIds() {
		r.answeredLost(id, now)
	}
	for _, id := range answer.GetWaitingLeaseIds() {
		r.attempted(id, now)
	}
}

// recordedWrites is a stream of writes, which renewals may ride on.
type recordedWrites struct {
	grpc.ClientStream
	record  *leaseRecord
	mu      sync.Mutex // guards waiting
	waiting map[uint64]sentWrite
}

func (s *recordedWrites) SendMsg(m any) error {
	now := time.Now()
	s.mu.Lock()
	for _, w := range m.(*rollcallv1.WriteStreamRequest).GetWrites() {
		var write any
		switch m := w.GetWrite().(type) {
		case *rollcallv1.StreamedWrite_Set:
			write = m.Set
		case *rollcallv1.StreamedWrite_Batch:
			write = m.Batch
		case *rollcallv1.StreamedWrite_Delete:
			write = m.Delete
		}
		waits := sentWrite{sent: now}
		if renewal := w.GetKeepAlive(); renewal != nil {
			waits.leases = slices.Clone(renewal.GetLeaseIds())
		} else {
			waits.leases, waits.requestID = namedLeases(write), write.(interface{ GetRequestId() string }).GetRequestId()
		}
		for _, id := range waits.leases {
			s.record.attempted(id, now)
		}
		s.waiting[w.GetId()] = waits
	}
	s.mu.Unlock()
	return s.ClientStream.SendMsg(m)
}

func (s *recordedWrites) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		for _, w := range s.waiting {
			s.record.streamed(w, false, now)
		}
		clear(s.waiting)
		return err
	}
	for _, result := range m.(*rollcallv1.WriteStreamResponse).GetResults() {
		w := s.waiting[result.GetId()]
		delete(s.waiting, result.GetId())
		if answer := result.GetKeepAlive(); answer != nil {
			s.record.keptAlive(answer, w.sent, now)
		} else {
			s.record.streamed(w, result.GetError() == nil, now)
		}
	}
	return nil
}

// streamed notes what became of a message on a stream.
func (r *leaseRecord) streamed(w sentWrite, acknowledged bool, now time.Time) {
	sent := w.sent
	if w.requestID != "" {
		var err error
		if !acknowledged {
			err = errNotAcknowledged
		}
		sent = r.firstTry(w.requestID, sent, err)
	}
	for _, id := range w.leases {
		if acknowledged {
			r.renewed(id, sent, now)
		} else {
			r.attempted(id, now)
		}
	}
}

var errNotAcknowledged = errors.New("not acknowledged")
