package server

import (
	"context"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/authz"
	"github.com/rollcallhq/rollcall/server/fence"
	"github.com/rollcallhq/rollcall/server/flowcontrol"
	"github.com/rollcallhq/rollcall/server/freshness"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// openWatch is a watch of the standard's Health service. It has no goroutine. Its handler has ended its own
// goroutine with the stream still open (see handle). The waker of package fsm/watch sends the statuses, and
// whatever ends the watch calls end. A goroutine that only waits would be most of the cost of a watch, and
// 10,000 goroutines that wake up at once would keep all others from the processors.
type openWatch struct {
	flowcontrol.StatusSender
	watches    *watches
	stream     grpc.ServerStream
	finish     finisher
	connection *peer.Peer
	name       string
	fence      *fence.Fence
	streams    *authz.Streams
	recheck    authz.Stream // of streams
	stop       func()       // returned by Statuses.WatchStatus
	returned   chan error   // the handler waits for it; nil: the handler has ended

	// Guarded by watches.mu.
	ended      bool
	unhook     [2]func() bool // stop what waits for the stream's context, and for the leader's if the watch requires a leader
	prev, next *openWatch     // in the list of watches that have begun
}

// handle is gRPC's handler of Watch. It stands in the service's description. An interceptor would be called
// for every Check too. Once the watch has begun, the handler ends without ending the stream (detach.go).
func (w *watches) handle(h *health, stream grpc.ServerStream) error {
	ctx := stream.Context()
	o := &openWatch{watches: w, stream: stream}
	o.connection, _ = peer.FromContext(ctx)
	if err := w.enter(o.connection); err != nil {
		return err
	}
	err := o.handle(ctx, h)
	if err != nil {
		w.leave(o.connection)
		return err
	}
	if o.returned != nil {
		return <-o.returned
	}
	detach()
	return nil
}

func (o *openWatch) handle(ctx context.Context, h *health) error {
	req := new(healthpb.HealthCheckRequest)
	if err := o.watches.requests.Only(o.stream, req); err != nil {
		return err
	}
	flowcontrol.SendUncompressed(ctx)
	if o.finish = finisherOf(ctx); o.finish == nil {
		o.returned = make(chan error, 1) // capacity 1: it is sent to once
	}
	return h.watch(req.GetService(), o)
}

// begin arranges that the watch ends when its caller leaves, when leader ends (if it is not nil), and when
// the node ends all watches. If the node has done that already, begin returns why.
func (o *openWatch) begin(leader context.Context) *rpcerror.Failure {
	w := o.watches
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ending != nil {
		return w.ending
	}
	if f := o.fence.Refusal(); f != nil && !rollcallv1.IsOwn(o.name) {
		return f
	}
	w.begun.Add(1)
	if o.next = w.first; o.next != nil {
		o.next.prev = o
	}
	w.first = o
	ctx := o.stream.Context()
	o.unhook[0] = context.AfterFunc(ctx, func() { o.end(ctx.Err()) })
	if leader != nil {
		o.unhook[1] = context.AfterFunc(leader, func() { o.end(freshness.ErrNoLeader) })
	}
	return nil
}

// end ends the watch with err, unless it has ended already. When end returns, no status is sent any more.
func (o *openWatch) end(err error) {
	w := o.watches
	w.mu.Lock()
	if o.ended {
		w.mu.Unlock()
		return
	}
	o.ended = true
	if o.prev != nil {
		o.prev.next = o.next
	} else {
		w.first = o.next
	}
	if o.next != nil {
		o.next.prev = o.prev
	}
	o.prev, o.next = nil, nil
	w.mu.Unlock()
	defer w.begun.Done()

	for _, unhook := range o.unhook {
		if unhook != nil {
			unhook()
		}
	}
	o.stop()
	o.streams.Leave(&o.recheck)
	w.leave(o.connection)
	err = rpcerror.ToStatus(w.node, err)
	if o.returned != nil {
		o.returned <- err
		return
	}
	w.rpcs.End(err)
	// The only error is that the connection has ended.
	_ = o.finish.WriteStatus(status.Convert(err))
}

// Context implements authz.Owner.
func (o *openWatch) Context() context.Context { return o.stream.Context() }

// Judge implements authz.Owner.
func (o *openWatch) Judge(now *authz.Reader) *rpcerror.Failure { return now.DeniedRead(o.name) }

// EndFor implements authz.Owner.
func (o *openWatch) EndFor(why *rpcerror.Failure) { o.end(why) }

// endAll ends all watches. Watches that begin later are ended at once.
func (w *watches) endAll(f *rpcerror.Failure) {
	w.mu.Lock()
	w.ending = f
	w.mu.Unlock()
	w.endThose(func(*openWatch) bool { return true }, f)
}

// endServices ends all watches except those of the node's own names. The fence must be raised before.
func (w *watches) endServices(f *rpcerror.Failure) {
	w.endThose(func(o *openWatch) bool { return !rollcallv1.IsOwn(o.name) }, f)
}

func (w *watches) endThose(which func(*openWatch) bool, f *rpcerror.Failure) {
	var all []*openWatch
	w.mu.Lock()
	for o := w.first; o != nil; o = o.next {
		if which(o) {
			all = append(all, o)
		}
	}
	w.mu.Unlock()
	for _, o := range all {
		o.end(f)
	}
}
