package server

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/authn"
	"github.com/rollcallhq/rollcall/server/deadline"
	"github.com/rollcallhq/rollcall/server/flowcontrol"
	"github.com/rollcallhq/rollcall/server/forward"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

const (
	// maxStreamedWrites is how many writes of one stream may be taken whose answers have not left: no further
	// message is read then.
	maxStreamedWrites = 10_000
	// writeStreamBytes is what a stream takes from the budget of changes when it opens: for the ids of writes that
	// are refused because the budget is used up, and for what gRPC holds.
	writeStreamBytes = 256 << 10
)

// writeStream is one call of Admin.WriteStream. One goroutine receives and starts the writes of a message together,
// another sends the answers that are ready together. A write has no goroutine.
type writeStream struct {
	*admin
	ctx        context.Context // ends with the stream, or when the node stops
	connection *peer.Peer
	caller     *authn.Caller
	who        *standing // of caller
	until      time.Time // the stream's own deadline; zero: it has none
	calls      *forward.Calls
}

// streamedWrite is one write, from when its message has come until its answer has left.
type streamedWrite struct {
	forward.Call
	kind    writeKind
	renewal *rollcallv1.KeepAliveRequest
	brief   bool
	began   time.Time // when it was started; zero: it was not
	bytes   int64     // that it took from the budget
	room    int       // about how many bytes its answer has beyond those of a small one
}

type writeKind int

const (
	noWrite writeKind = iota
	setWrite
	batchWrite
	deleteWrite
	keepAliveWrite
)

// WriteStream implements rollcall.v1.Admin.
func (a *admin) WriteStream(stream grpc.BidiStreamingServer[rollcallv1.WriteStreamRequest, rollcallv1.WriteStreamResponse]) (err error) {
	defer rpcerror.Recovered(a.log, a.node, "Admin.WriteStream", true, &err)
	ctx := stream.Context()
	caller, err := a.admit(ctx)
	if err != nil {
		return err
	}
	caller = caller.WithAddress()
	who, refusal := a.stand(caller)
	if refusal != nil {
		return a.notTaken(refusal)
	}
	working, giveUp := context.WithCancel(ctx)
	defer giveUp()
	s := &writeStream{admin: a, ctx: working, caller: caller, who: who, calls: forward.NewCalls(working, maxStreamedWrites)}
	s.connection, _ = peer.FromContext(ctx)
	s.until, _ = ctx.Deadline()
	if f := a.pending.Take(s.connection, writeStreamBytes); f != nil {
		return a.notTaken(f)
	}
	defer a.pending.Give(s.connection, writeStreamBytes)
	if err := stream.Send(&rollcallv1.WriteStreamResponse{ClusterId: a.registry.ClusterID()}); err != nil {
		return err
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		s.send(stream)
	}()
	lost := make(chan error, 1) // why the caller may not go on; the first one ends the stream
	stop, refusal := a.recheck(ctx, caller, func(why error) {
		select {
		case lost <- why:
		default:
		}
	})
	defer stop()
	if refusal != nil {
		lost <- refusal
	}
	received := make(chan error, 1) // nobody waits for it when the node stops
	go func() { received <- s.receive(stream) }()
	select {
	case err = <-received:
	case why := <-lost:
		var f *rpcerror.Failure
		errors.As(why, &f)
		err = a.notTaken(f) // a write that came since is refused for the same reason
	case <-a.router.Draining:
		// What is not answered when the stream ends was not taken.
		err = rpcerror.ToStatus(a.node, rpcerror.ErrStopping.AsNotWritten())
	}
	s.calls.Close()
	s.awaitSent(ctx, sent, giveUp)
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// awaitSent waits until the answers to all writes that were taken have left. When the node stops, it gives up the writes
// that are not answered soon, and then cuts off a client that does not read: the status that ends the stream would wait
// behind the unread answers, and Stop would wait for it.
func (s *writeStream) awaitSent(ctx context.Context, sent <-chan struct{}, giveUp context.CancelFunc) {
	select {
	case <-sent:
		return
	case <-s.ending.Done():
	}
	for _, next := range []func(){giveUp, func() { s.cutOff(ctx) }} {
		grace := time.NewTimer(flowcontrol.StuckGrace)
		select {
		case <-sent:
			grace.Stop()
			return
		case <-grace.C:
			next()
		}
	}
	<-sent
}

// receive takes the writes of one message after the other, until the stream ends. The error is a status, or io.EOF.
func (s *writeStream) receive(stream grpc.BidiStreamingServer[rollcallv1.WriteStreamRequest, rollcallv1.WriteStreamResponse]) (err error) {
	defer rpcerror.Recovered(s.log, s.node, "Admin.WriteStream", true, &err)
	for s.calls.AwaitRoom() {
		req, err := stream.Recv()
		if err != nil {
			return err
		}
		if f := s.who.lost(); f != nil {
			return s.notTaken(f)
		}
		if f := s.refuseMessage(req.GetWrites()); f != nil {
			return rpcerror.ToStatus(s.node, f)
		}
		s.take(req.GetWrites())
	}
	return rpcerror.ToStatus(s.node, rpcerror.ErrStopping)
}

// refuseMessage says why none of the writes of a message is done, and the stream ends once the writes before it are
// answered.
func (s *writeStream) refuseMessage(writes []*rollcallv1.StreamedWrite) *rpcerror.Failure {
	changes := 0
	ids := make(map[uint64]struct{}, len(writes))
	var vs violations
	for _, w := range writes {
		switch write := w.GetWrite().(type) {
		case *rollcallv1.StreamedWrite_Batch:
			changes += len(write.Batch.GetChanges())
		case *rollcallv1.StreamedWrite_KeepAlive:
			changes += len(write.KeepAlive.GetLeaseIds())
		default:
			changes++
		}
		if _, again := ids[w.GetId()]; again || s.calls.Has(w.GetId()) {
			vs.add("writes.id", "is %d, which is the id of another write that is not answered yet; nothing of this message was done", w.GetId())
			break
		}
		ids[w.GetId()] = struct{}{}
	}
	if changes > limits.MaxChanges {
		vs.add("writes", "have %d changes in one message; at most %d are allowed; nothing of this message was done", changes, limits.MaxChanges)
	}
	if len(vs) == 0 {
		return nil
	}
	return rpcerror.Invalid(vs...)
}

// take starts the writes of a message. Each is refused alone.
func (s *writeStream) take(writes []*rollcallv1.StreamedWrite) {
	now := time.Now()
	calls := make([]*forward.Call, 0, len(writes))
	errs := make([]error, 0, len(writes))
	var refused map[string]*forward.Refusal // by what is used up
	length := 0
	for _, w := range writes {
		write, err := s.prepare(w)
		bytes := forward.CommandBytes(write.Command)
		f := s.limit(write.Command)
		if f == nil {
			f = s.pending.Take(s.connection, bytes)
		}
		if f != nil {
			s.streamed(write, nil, f.AsNotWritten())
			if refused == nil {
				refused = make(map[string]*forward.Refusal)
			}
			r := refused[f.Message]
			if r == nil {
				r = &forward.Refusal{Err: f.AsNotWritten()}
				refused[f.Message] = r
			}
			r.IDs = append(r.IDs, w.GetId())
			continue
		}
		write.bytes = bytes
		length += write.Command.SizeVT()
		write.Deadline = s.deadline(w, now, length)
		if err == nil && write.room > 0 {
			err = s.reserve(write)
		}
		if err == nil {
			write.began = now
		}
		calls, errs = append(calls, &write.Call), append(errs, err)
	}
	for _, r := range refused {
		s.calls.Refuse(*r)
	}
	if s.calls.Add(calls) {
		s.start(calls, errs)
	} else {
		s.giveBack(calls)
	}
	s.calls.Wake()
}

// deadline is when a write of a message that came now is given up. Without a timeout it may work as long as a unary
// call without one. length is how many bytes the commands of its message have up to it.
func (s *writeStream) deadline(w *rollcallv1.StreamedWrite, now time.Time, length int) time.Time {
	at := now.Add(s.router.Timeout + deadline.Transfer(length))
	if t := w.GetTimeout(); t.AsDuration() > 0 { // others are refused
		at = now.Add(t.AsDuration())
	}
	if !s.until.IsZero() && s.until.Before(at) {
		at = s.until
	}
	return at
}

// start starts calls, but for those that have an error.
func (s *writeStream) start(calls []*forward.Call, errs []error) {
	valid := make([]*forward.Call, 0, len(calls))
	for i, c := range calls {
		switch write := c.Value.(*streamedWrite); {
		case errs[i] != nil:
			c.Fail(errs[i])
		case write.kind == keepAliveWrite:
			go s.renewStreamed(write)
		default:
			valid = append(valid, c)
		}
	}
	if err := s.tryStart(valid); err != nil {
		for _, c := range valid {
			c.Fail(err)
		}
	}
}

// renewStreamed answers a keep_alive, which has a goroutine: it renews many leases.
func (s *writeStream) renewStreamed(write *streamedWrite) {
	ctx, cancel := context.WithDeadline(s.ctx, write.Deadline)
	defer cancel()
	ctx, cancelAnswer := deadline.Answerable(ctx, 0)
	defer cancelAnswer()
	if res, err := s.tryRenew(ctx, write.renewal); err != nil {
		write.Fail(err)
	} else {
		write.Done(res)
	}
	write.Flush()
}

// tryRenew returns an error if renewing panicked.
func (s *writeStream) tryRenew(ctx context.Context, req *rollcallv1.KeepAliveRequest) (_ *rollcallv1.KeepAliveResponse, err error) {
	defer rpcerror.Recovered(s.log, s.node, "Admin.WriteStream", false, &err)
	return (&keepAliveAnswer{}).renew(ctx, s.who, req), nil
}

// tryStart returns an error if starting panicked.
func (s *writeStream) tryStart(calls []*forward.Call) (err error) {
	defer rpcerror.Recovered(s.log, s.node, "Admin.WriteStream", true, &err)
	s.router.Start(calls)
	return nil
}

// reserve takes the room of a large answer from the budget.
func (s *writeStream) reserve(write *streamedWrite) error {
	if f := s.pending.Take(s.connection, int64(write.room)); f != nil {
		return f.AsNotWritten()
	}
	write.bytes += int64(write.room)
	return nil
}

// giveBack is called when the answers of calls have left, or never will.
func (s *writeStream) giveBack(calls []*forward.Call) {
	var bytes int64
	for _, c := range calls {
		bytes += c.Value.(*streamedWrite).bytes
	}
	s.pending.Give(s.connection, bytes)
}

// prepare makes the command of a write. The error says what is wrong with it.
func (s *writeStream) prepare(w *rollcallv1.StreamedWrite) (*streamedWrite, error) {
	write := &streamedWrite{brief: w.GetBrief()}
	write.ID, write.Value = w.GetId(), write
	var req changeRequest
	var changes []*logv1.Change
	var err error
	timeout := w.GetTimeout()
	switch w := w.GetWrite().(type) {
	case *rollcallv1.StreamedWrite_Set:
		write.kind, req, changes, err = setWrite, w.Set, []*logv1.Change{setChange(w.Set)}, validateSet(w.Set)
	case *rollcallv1.StreamedWrite_Batch:
		write.kind, req, changes = batchWrite, w.Batch, batchChanges(w.Batch)
		if write.room, err = validateBatch(w.Batch, actorBytes(s.caller)); write.brief {
			write.room = 0
		}
	case *rollcallv1.StreamedWrite_Delete:
		write.kind, req, changes, err = deleteWrite, w.Delete, []*logv1.Change{deleteChange(w.Delete)}, validateDelete(w.Delete)
	case *rollcallv1.StreamedWrite_KeepAlive:
		write.kind, write.renewal, write.room = keepAliveWrite, w.KeepAlive, keepAliveBytes(w.KeepAlive)
		if err = validateKeepAlive(w.KeepAlive); err == nil {
			err = validateTimeout(timeout)
		}
		return write, err
	default:
		var vs violations
		vs.add("write", "is required: set, batch, delete or keep_alive")
		return write, vs.err()
	}
	write.Command = command(s.caller, req)
	write.Command.Kind = &logv1.Command_Write{Write: &logv1.Write{Changes: changes}}
	write.ValidateOnly = req.GetValidateOnly()
	if err == nil {
		err = validateTimeout(timeout)
	}
	return write, err
}

func validateTimeout(t *durationpb.Duration) error {
	var vs violations
	if t != nil && (t.CheckValid() != nil || t.AsDuration() <= 0) {
		vs.add("timeout", "is not a time that the caller can wait; leave it out to wait as long as the node lets a change work")
	}
	return vs.err()
}
