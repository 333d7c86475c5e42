package server

import (
	"context"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/flowcontrol"
	"github.com/rollcallhq/rollcall/server/freshness"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// health implements grpc.health.v1.Health. Clients see the behaviour of grpc-go's own health server.
type health struct {
	healthpb.UnimplementedHealthServer
	reads
	statuses  Statuses
	listLimit int
	// unknown is the answer to Check of a service that does not exist. It is made once, because probes ask
	// for services that are still being set up over and over.
	unknown error
	// answers by status. gRPC only marshals them, and marshaling stores nothing in a message but
	// its size, atomically and always the same, so all calls share them.
	answers [4]*healthpb.HealthCheckResponse
}

func newHealth(r reads, statuses Statuses, listLimit int) *health {
	h := &health{
		reads:     r,
		statuses:  statuses,
		listLimit: listLimit,
		unknown:   rpcerror.ToStatus(r.Node, &rpcerror.Failure{Reason: rpcerror.ReasonNotFound, Message: "unknown service"}),
	}
	for s := range h.answers {
		h.answers[s] = &healthpb.HealthCheckResponse{Status: Status(s)}
		proto.Size(h.answers[s])
	}
	return h
}

func (h *health) answer(s Status) *healthpb.HealthCheckResponse {
	if s < 0 || int(s) >= len(h.answers) {
		return h.answers[healthpb.HealthCheckResponse_UNKNOWN]
	}
	return h.answers[s]
}

// Check implements grpc.health.v1.Health. It is the hot path: while everybody may read everything, a call without
// metadata of ours costs one look-up and a message that was made in advance. Nobody looks who calls then.
func (h *health) Check(ctx context.Context, req *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	if h.Fence.Refusal() != nil || h.Incoming.Asks(ctx) || !h.access.Open() {
		return h.checkAsked(ctx, req.GetService())
	}
	if s, ok := h.statuses.Status(req.GetService()); ok {
		return h.answer(s), nil
	}
	return nil, h.notFound(req.GetService())
}

func (h *health) checkAsked(ctx context.Context, name string) (*healthpb.HealthCheckResponse, error) {
	call, err := h.admitTo(ctx, name)
	if err != nil {
		h.SetHeader(ctx, call.Heading)
		return nil, err
	}
	s, ok := h.statuses.Status(name)
	h.SetHeader(ctx, call.Heading)
	if !ok {
		return nil, h.notFound(name)
	}
	return h.answer(s), nil
}

// admitTo is admit of a call about a name. It tells who may not read the name nothing else. The error is a status.
func (h *health) admitTo(ctx context.Context, name string) (admitted, error) {
	call, err := h.admit(ctx, false, func(ctx context.Context) (freshness.Heading, error) {
		if f := h.Fence.RefusalOf(name); f != nil {
			return freshness.Heading{}, f
		}
		heading, err := h.Await(ctx)
		if err == nil { // the fence may have been raised during the wait
			err = failed(h.Fence.RefusalOf(name))
		}
		return heading, err
	})
	if call.may != nil {
		if f := call.may.DeniedRead(name); f != nil {
			if limits.Lookup(name) != nil {
				return admitted{}, h.notFound(name) // it says what is wrong with the name
			}
			call, err = admitted{}, h.deny(f)
		}
	}
	return call, rpcerror.ToStatus(h.Node, err)
}

// notFound checks the name, after the look-up: a name that breaks the rules is never found, so Check need not
// check it before.
func (h *health) notFound(name string) error {
	if err := limits.Lookup(name); err != nil {
		return rpcerror.ToStatus(h.Node, rpcerror.Invalid(rpcerror.Violation{Field: "service", Description: err.Error()}))
	}
	return h.unknown
}

// List implements grpc.health.v1.Health: "" and the services, one cut.
func (h *health) List(ctx context.Context, _ *healthpb.HealthListRequest) (*healthpb.HealthListResponse, error) {
	call, err := h.admit(ctx, false, h.AwaitRegistry)
	if err == nil {
		err = h.deny(call.may.DeniedPrefixes())
	}
	if err == nil {
		err = failed(flowcontrol.Reserve(ctx, min(64*h.listLimit, maxAnswerBytes), false))
	}
	if err != nil {
		h.SetHeader(ctx, call.Heading)
		return nil, rpcerror.ToStatus(h.Node, err)
	}
	services, more := h.statuses.ListStatuses(call.may.Within(), h.listLimit)
	h.answered(ctx, call, !call.may.Whole())
	own, hasOwn := h.statuses.Status(rollcallv1.OwnReady)
	count := len(services)
	if hasOwn {
		count++
	}
	if more || count > h.listLimit {
		return nil, rpcerror.ToStatus(h.Node, rpcerror.LimitReached("health-list",
			"there are more than %d services, which is this node's --health-list-limit; use rollcall.v1.Registry.ListServices", h.listLimit))
	}
	res := &healthpb.HealthListResponse{Statuses: make(map[string]*healthpb.HealthCheckResponse, count)}
	for name, s := range services {
		res.Statuses[name] = h.answer(s)
	}
	if hasOwn {
		res.Statuses[rollcallv1.OwnReady] = h.answer(own)
	}
	if size := proto.Size(res); size > maxAnswerBytes {
		return nil, rpcerror.ToStatus(h.Node, rpcerror.LimitReached("health-list",
			"the list has %d bytes, and clients receive %d; use rollcall.v1.Registry.ListServices", size, maxAnswerBytes))
	}
	return res, nil
}

// watch begins a watch of name and returns nil, or says why not. It ends with UNAVAILABLE when the node
// stops, so that clients move to another. How a watch lives is in watch.go.
func (h *health) watch(name string, o *openWatch) error {
	if err := limits.Lookup(name); err != nil {
		return rpcerror.ToStatus(h.Node, rpcerror.Invalid(rpcerror.Violation{Field: "service", Description: err.Error()}))
	}
	ctx := o.stream.Context()
	call, err := h.admitTo(ctx, name)
	h.SetHeader(ctx, call.Heading)
	if err != nil {
		return err
	}
	o.name, o.fence, o.streams = name, h.Fence, h.streams
	o.Left, o.stop = h.statuses.WatchStatus(name, o.connection, func(s Status) { o.Send(o.stream, s) })
	if f := o.begin(call.Leader); f != nil {
		o.stop()
		return rpcerror.ToStatus(h.Node, f)
	}
	if call.caller == nil {
		h.streams.JoinUnseen(&o.recheck, o)
	} else if f := h.streams.Join(&o.recheck, o, call.caller, call.may); f != nil {
		o.EndFor(f)
		return nil
	}
	o.Left() // there is nothing under way yet
	return nil
}
