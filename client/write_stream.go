package client

import (
	"context"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client/internal/writestream"
)

// streamedChange is a change as a stream of writes carries it.
type streamedChange struct {
	write  *rollcallv1.StreamedWrite // without id; each try makes its own of it
	size   int
	answer func(*rollcallv1.StreamedResult) (any, bool) // false: it is not of this change
}

// changeWeight is what a change of a batch counts beyond its bytes: a node takes 10,000 changes in one message.
const changeWeight = 128

// newStreamedChange returns nil for a change that goes as a call of its own: streams carry none of its kind, it is
// large, it cannot be encoded, which would end the stream for others too, or its caller gives metadata.
func newStreamedChange(ctx context.Context, req any, isAnswer func(any) bool) *streamedChange {
	if md, ok := metadata.FromOutgoingContext(ctx); ok && len(md) > 0 {
		return nil
	}
	w := &rollcallv1.StreamedWrite{}
	weight, valid := 0, false
	switch req := req.(type) {
	case *rollcallv1.SetServingStatusRequest:
		w.Write = &rollcallv1.StreamedWrite_Set{Set: req}
		valid = encodable(req.GetReason(), req.GetActor(), req.GetRequestId(), req.GetLeaseId()) && encodable(req.GetBreakGlass()...)
	case *rollcallv1.DeleteServiceRequest:
		w.Write = &rollcallv1.StreamedWrite_Delete{Delete: req}
		valid = encodable(req.GetReason(), req.GetActor(), req.GetRequestId(), req.GetLeaseId()) && encodable(req.GetBreakGlass()...)
	case *rollcallv1.BatchSetServingStatusRequest:
		w.Write = &rollcallv1.StreamedWrite_Batch{Batch: req}
		weight = changeWeight * len(req.GetChanges())
		valid = encodable(req.GetReason(), req.GetActor(), req.GetRequestId()) && encodable(req.GetBreakGlass()...)
		for _, c := range req.GetChanges() {
			valid = valid && encodable(c.GetService(), c.GetLeaseId())
		}
	}
	if !valid {
		return nil
	}
	size := weight + proto.Size(w)
	if size > writestream.MaxWriteBytes {
		return nil
	}
	return &streamedChange{write: w, size: size, answer: func(r *rollcallv1.StreamedResult) (any, bool) {
		var answer any
		switch r := r.GetResult().(type) {
		case *rollcallv1.StreamedResult_Set:
			answer = r.Set
		case *rollcallv1.StreamedResult_Batch:
			answer = r.Batch
		case *rollcallv1.StreamedResult_Delete:
			answer = r.Delete
		}
		return answer, isAnswer(answer)
	}}
}

// encodable reports that protobuf encodes the texts. A service's name was checked before.
func encodable(texts ...string) bool {
	for _, s := range texts {
		if !utf8.ValidString(s) {
			return false
		}
	}
	return true
}

// tryStream makes one attempt over the endpoint's stream of writes. false: the attempt is to be made as a call of its
// own. The stream names no cluster, so a change that is for one goes over it only if the node said that it is of that
// one.
func (e *endpoint) tryStream(ctx context.Context, change *streamedChange, cluster string) (try, bool) {
	write := &rollcallv1.StreamedWrite{Write: change.write.GetWrite()}
	out, ok := e.writes.Do(ctx, write, change.size, cluster)
	switch {
	case !ok:
		return try{}, false
	case out.Result == nil && ctx.Err() != nil:
		// The node is connected; if the write was not sent, others waited to be sent before it.
		return try{err: status.FromContextError(ctx.Err()).Err(), unsent: !out.Sent, stuck: !out.Sent}, true
	case out.Result == nil:
		return try{err: out.Err, credential: out.Credential}, true
	case out.Result.GetError() != nil:
		return try{err: status.FromProto(out.Result.GetError()).Err(), credential: out.Credential}, true
	}
	message, ok := change.answer(out.Result)
	if !ok {
		return try{err: status.Error(codes.Internal, "the node answered another kind of change")}, true
	}
	return try{answer: answer{message: message}}, true
}

// newWriter returns what carries writes to e over a stream.
func (e *endpoint) newWriter(cfg Config, credential func() uint64) *writestream.Writer {
	return writestream.New(writestream.Config{
		Credential: credential,
		Open: func(ctx context.Context) (writestream.Stream, error) {
			conn, err := e.connect(ctx)
			if err != nil {
				return nil, err
			}
			return rollcallv1.NewAdminClient(conn).WriteStream(ctx)
		},
		Timeout: cfg.AttemptTimeout,
	})
}
