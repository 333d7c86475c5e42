package server

import (
	"time"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/rollcallhq/rollcall/api/rollcall/convert"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/forward"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

const (
	// A message holds at most so many answers, and about so many bytes, unless a single answer is larger.
	maxMessageAnswers     = 1_000
	maxMessageAnswerBytes = 64 << 10
)

// send sends answers until all writes that were taken are answered.
func (s *writeStream) send(stream grpc.BidiStreamingServer[rollcallv1.WriteStreamRequest, rollcallv1.WriteStreamResponse]) {
	broken := false
	send := func(res *rollcallv1.WriteStreamResponse) {
		broken = broken || stream.Send(res) != nil // Recv says why; answers that are left reach nobody
	}
	for more := true; more; {
		var answered []*forward.Call
		answered, more = s.calls.Next()
		for _, r := range s.calls.Refusals() {
			s.sendRefusal(r, send)
		}
		for len(answered) > 0 {
			res, n := s.message(answered)
			send(res)
			s.giveBack(answered[:n])
			s.calls.Sent(answered[:n])
			answered = answered[n:]
		}
	}
}

func (s *writeStream) sendRefusal(r forward.Refusal, send func(*rollcallv1.WriteStreamResponse)) {
	refusal := &rollcallv1.StreamedResult_Error{Error: s.status(r.Err)}
	for ids := r.IDs; len(ids) > 0; {
		n := min(len(ids), maxMessageAnswers/8)
		res := &rollcallv1.WriteStreamResponse{}
		for _, id := range ids[:n] {
			res.Results = append(res.Results, &rollcallv1.StreamedResult{Id: id, Result: refusal})
		}
		send(res)
		ids = ids[n:]
	}
}

// message returns a message with the answers of the first n calls.
func (s *writeStream) message(answered []*forward.Call) (res *rollcallv1.WriteStreamResponse, n int) {
	res = &rollcallv1.WriteStreamResponse{Results: make([]*rollcallv1.StreamedResult, 0, min(len(answered), maxMessageAnswers))}
	for bytes := 0; n < min(len(answered), maxMessageAnswers) && bytes < maxMessageAnswerBytes; n++ {
		r, size := s.answer(answered[n].Value.(*streamedWrite))
		if n > 0 && bytes+size > maxMessageAnswerBytes {
			break
		}
		bytes += size
		res.Results = append(res.Results, r)
	}
	return res, n
}

// resultOverhead is the most that a StreamedResult takes besides its answer.
const resultOverhead = 32

// answer is the answer to one write, and about how many bytes it has.
func (s *writeStream) answer(w *streamedWrite) (r *rollcallv1.StreamedResult, size int) {
	r = &rollcallv1.StreamedResult{Id: w.ID}
	err := s.result(w, r)
	if s.audit != nil {
		result, _ := w.Result()
		s.streamed(w, result, err)
	}
	if s.onWrite != nil && !w.began.IsZero() && !w.ValidateOnly {
		s.onWrite(time.Since(w.began))
	}
	if err != nil {
		r.Result = &rollcallv1.StreamedResult_Error{Error: s.status(err)}
	}
	if w.brief && err == nil {
		return r, resultOverhead
	}
	return r, proto.Size(r)
}

// result sets the answer to a write that was done.
func (s *writeStream) result(w *streamedWrite, r *rollcallv1.StreamedResult) (err error) {
	defer rpcerror.Recovered(s.log, s.node, "Admin.WriteStream", true, &err)
	if w.kind == keepAliveWrite {
		renewed, err := w.Answered()
		if err == nil {
			r.Result = &rollcallv1.StreamedResult_KeepAlive{KeepAlive: renewed.(*rollcallv1.KeepAliveResponse)}
		}
		return err
	}
	result, err := w.Result()
	if err != nil {
		return err
	}
	if refusal := result.GetRefusal(); refusal != nil {
		return s.refused(refusal)
	}
	if got, want := len(result.GetServices()), len(w.Command.GetWrite().GetChanges()); got != want {
		return rpcerror.OutcomeUnknown("the leader answered with %d results for %d changes", got, want)
	}
	if w.ValidateOnly {
		result = preview(result)
	}
	switch w.kind {
	case setWrite:
		res := s.setResponse(result)
		if !w.brief {
			res.Service = convert.ServiceResults(result)[0]
		}
		r.Result = &rollcallv1.StreamedResult_Set{Set: res}
	case batchWrite:
		res := s.batchResponse(result)
		if !w.brief {
			res.Services = convert.ServiceResults(result)
			shorten(res, result, maxAnswerBytes-resultOverhead)
		}
		r.Result = &rollcallv1.StreamedResult_Batch{Batch: res}
	case deleteWrite:
		r.Result = &rollcallv1.StreamedResult_Delete{Delete: s.deleteResponse(result)}
	}
	return nil
}

// status is an error as the unary call would fail with.
func (s *writeStream) status(err error) *spb.Status {
	if _, ok := err.(interface{ GRPCStatus() *status.Status }); !ok {
		err = rpcerror.ToStatus(s.node, rpcerror.OfChange(err))
	}
	return status.Convert(err).Proto()
}
