package server

import (
	"context"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/auditlog"
	"github.com/rollcallhq/rollcall/server/authn"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// audited registers services on next whose writes, whose backups, and whose calls that end because of who the caller is,
// get a line in the audit log. Without an audit log it is next.
func audited(log *auditlog.Log, callers *authn.Authenticator, next grpc.ServiceRegistrar) grpc.ServiceRegistrar {
	if log == nil {
		return next
	}
	return auditedServices{log, callers, next}
}

type auditedServices struct {
	log     *auditlog.Log
	callers *authn.Authenticator
	next    grpc.ServiceRegistrar
}

// RegisterService implements grpc.ServiceRegistrar.
func (a auditedServices) RegisterService(desc *grpc.ServiceDesc, impl any) {
	wrapped := *desc
	changes := slices.Contains([]string{
		rollcallv1.Admin_ServiceDesc.ServiceName, rollcallv1.Access_ServiceDesc.ServiceName, rollcallv1.Cluster_ServiceDesc.ServiceName,
	}, desc.ServiceName)
	wrapped.Methods = slices.Clone(desc.Methods)
	for i, m := range wrapped.Methods {
		name := desc.ServiceName + "/" + m.MethodName
		wrapped.Methods[i].Handler = func(srv any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
			if changes {
				return a.change(name, m.Handler, srv, ctx, decode, interceptor)
			}
			res, err := m.Handler(srv, ctx, decode, interceptor)
			if err != nil {
				a.refusal(name, ctx, err)
			}
			return res, err
		}
	}
	wrapped.Streams = slices.Clone(desc.Streams)
	for i, s := range wrapped.Streams {
		name := desc.ServiceName + "/" + s.StreamName
		backup := name == rollcallv1.Cluster_ExportSnapshot_FullMethodName[1:]
		wrapped.Streams[i].Handler = func(srv any, stream grpc.ServerStream) error {
			began := time.Now()
			err := s.Handler(srv, stream)
			if err == nil && backup {
				a.backup(name, stream.Context(), time.Since(began))
			}
			if err != nil {
				a.refusal(name, stream.Context(), err)
			}
			return err
		}
	}
	a.next.RegisterService(&wrapped, impl)
}

type unaryHandler = func(srv any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error)

// auditedCall is what the handler of a change tells of it.
type auditedCall struct {
	identity string // "": the handler did not find out
	answered bool   // the fold has answered, or the leader in its place
	revision int64
}

type auditedKey struct{}

// noted is where the handler of a change tells of it; nil: nobody wants to know.
func (a *admin) noted(ctx context.Context) *auditedCall {
	if a.audit == nil {
		return nil
	}
	call, _ := ctx.Value(auditedKey{}).(*auditedCall)
	return call
}

// noteCaller has the line of a call say who makes it.
func (a *admin) noteCaller(ctx context.Context, caller *authn.Caller) {
	if call := a.noted(ctx); call != nil {
		call.identity = caller.Identity
	}
}

// noteChange has the line of a call say what became of its command, which was proposed; nil: there is no answer.
func (a *admin) noteChange(ctx context.Context, result *logv1.Result) {
	if call := a.noted(ctx); call != nil {
		call.answered, call.revision = result != nil, result.GetRevision()
	}
}

// change handles a call that may change something.
func (a auditedServices) change(method string, next unaryHandler, srv any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
	var call auditedCall
	var req changeRequest // nil: the call changes nothing that the log has, or did not come as a whole
	var transfer *rollcallv1.TransferLeadershipRequest
	var began time.Time
	res, err := next(srv, context.WithValue(ctx, auditedKey{}, &call), func(message any) error {
		err := decode(message)
		began = time.Now()
		if err == nil {
			req, _ = message.(changeRequest)
			transfer, _ = message.(*rollcallv1.TransferLeadershipRequest)
		}
		return err
	}, interceptor)
	if transfer != nil {
		e := auditlog.Entry{Identity: call.identity, Peer: callerAddress(ctx), Method: method, Outcome: auditlog.Done, Took: time.Since(began)}
		a.transfer(&e, transfer, res, err)
		return res, err
	}
	if req == nil || req.GetValidateOnly() {
		if err != nil {
			a.refusal(method, ctx, err)
		}
		return res, err
	}
	e := auditlog.Entry{
		Identity: call.identity, Peer: callerAddress(ctx), Method: method, OnBehalfOf: req.GetActor(), Reason: req.GetReason(), RequestID: req.GetRequestId(),
		Outcome: auditlog.Done, Revision: call.revision, Took: time.Since(began),
	}
	e.Names, e.Total = changedNames(req, res)
	if err != nil {
		explain(&e, status.Convert(err))
	}
	addChange(a.log, &e, call.answered)
	return res, err
}

// transfer adds the line of a transfer of leadership, which names who leads after it, or who was to.
func (a auditedServices) transfer(e *auditlog.Entry, req *rollcallv1.TransferLeadershipRequest, res any, err error) {
	to := req.GetTo()
	if r, ok := res.(*rollcallv1.TransferLeadershipResponse); ok && err == nil {
		to = r.GetLeader()
	}
	if to != "" {
		e.Names, e.Total = []string{to}, 1
	}
	if err != nil {
		explain(e, status.Convert(err))
	}
	addChange(a.log, e, e.Refusal == rpcerror.ReasonNotTransferred)
}

// addChange adds the line of a change. A stranger can make very many at no cost of those that ended for who the caller is,
// and of those that the cluster did not look at: their lines are bounded.
func addChange(log *auditlog.Log, e *auditlog.Entry, answered bool) {
	switch {
	case e.Outcome == auditlog.Denied, e.Outcome == auditlog.Unauthenticated, e.Outcome == auditlog.Refused && !answered:
		log.AddRefusal(e)
	default:
		log.Add(e)
	}
}

// refusal writes a line of a call that ended because of who the caller is.
func (a auditedServices) refusal(method string, ctx context.Context, err error) {
	s := status.Convert(err)
	if c := s.Code(); c != codes.PermissionDenied && c != codes.Unauthenticated {
		return
	}
	e := auditlog.Entry{Peer: callerAddress(ctx), Method: method}
	explain(&e, s)
	a.log.AddRefusal(&e)
}

// backup writes a line of a backup that was sent: who has it has everything, the hashes of tokens too.
func (a auditedServices) backup(method string, ctx context.Context, took time.Duration) {
	e := auditlog.Entry{Peer: callerAddress(ctx), Method: method, Outcome: auditlog.Done, Took: took}
	if caller, failure := a.callers.Identify(ctx); failure == nil {
		e.Identity = caller.Identity
	}
	a.log.Add(&e)
}

// streamed writes the line of a write of a stream. result is nil if there is no answer.
func (s *writeStream) streamed(w *streamedWrite, result *logv1.Result, err error) {
	if s.audit == nil || w.Command == nil {
		return
	}
	var failed *status.Status
	if err != nil {
		failed = status.FromProto(s.status(err))
	}
	if w.ValidateOnly && failed.Code() != codes.PermissionDenied && failed.Code() != codes.Unauthenticated {
		return
	}
	actor := w.Command.GetActor()
	e := auditlog.Entry{
		Identity: identityOf(actor), OnBehalfOf: onBehalfOf(actor), Peer: actor.GetPeer(), Method: streamedMethod[w.kind], Stream: true,
		Reason: w.Command.GetReason(), RequestID: w.Command.GetRequestId(), Outcome: auditlog.Done, Revision: result.GetRevision(),
	}
	if !w.began.IsZero() {
		e.Took = time.Since(w.began)
	}
	changes := w.Command.GetWrite().GetChanges()
	e.Total = len(changes)
	for _, c := range changes[:min(len(changes), auditlog.MaxNames)] {
		e.Names = append(e.Names, c.GetService())
	}
	if failed != nil {
		explain(&e, failed)
	}
	addChange(s.audit, &e, result != nil)
}

// streamedMethod is the unary call that does the same as a write of a stream.
var streamedMethod = map[writeKind]string{
	setWrite:    rollcallv1.Admin_SetServingStatus_FullMethodName[1:],
	batchWrite:  rollcallv1.Admin_BatchSetServingStatus_FullMethodName[1:],
	deleteWrite: rollcallv1.Admin_DeleteService_FullMethodName[1:],
}

// explain sets what an error says of the outcome. Only a change that is made has a revision.
func explain(e *auditlog.Entry, s *status.Status) {
	info := rpcerror.InfoOf(s)
	meta := info.GetMetadata()
	e.Refusal, e.Revision = info.GetReason(), 0
	if id := meta[rpcerror.MetaIdentity]; id != "" {
		e.Identity = id
	}
	switch {
	case s.Code() == codes.Unauthenticated:
		e.Outcome = auditlog.Unauthenticated
	case s.Code() == codes.PermissionDenied:
		e.Outcome, e.Verb = auditlog.Denied, meta[rpcerror.MetaVerb]
		if name := meta[rpcerror.MetaName]; name != "" && len(e.Names) == 0 {
			e.Names = []string{name}
		}
	case info != nil && meta[rpcerror.MetaWritten] != rpcerror.WrittenUnknown:
		e.Outcome = auditlog.Refused
	default:
		e.Outcome = auditlog.Unknown
	}
}

// identityOf is who an actor is, as far as access is concerned.
func identityOf(a *logv1.Actor) string {
	if !a.GetVerified() {
		return limits.AnonymousIdentity
	}
	return a.GetName()
}

// onBehalfOf is what the caller gave as its actor.
func onBehalfOf(a *logv1.Actor) string {
	if !a.GetVerified() {
		return a.GetName()
	}
	return a.GetOnBehalfOf()
}

func callerAddress(ctx context.Context) string {
	if p, ok := peer.FromContext(ctx); ok && p.Addr != nil {
		return p.Addr.String()
	}
	return ""
}

// changedNames returns what a change is about: the first names, and how many there are.
func changedNames(req changeRequest, res any) (names []string, total int) {
	name := ""
	switch r := req.(type) {
	case *rollcallv1.BatchSetServingStatusRequest:
		for _, c := range r.GetChanges()[:min(len(r.GetChanges()), auditlog.MaxNames)] {
			names = append(names, c.GetService())
		}
		return names, len(r.GetChanges())
	case interface{ GetService() string }:
		name = r.GetService()
	case interface{ GetName() string }:
		name = r.GetName()
	case interface{ GetPattern() string }:
		name = r.GetPattern()
	case interface{ GetIdentity() string }:
		name = r.GetIdentity()
	case interface{ GetLeaseId() string }:
		name = r.GetLeaseId()
	}
	if r, ok := req.(interface{ GetId() string }); ok && name == "" {
		name = r.GetId()
	}
	if r, ok := res.(*rollcallv1.GrantLeaseResponse); ok {
		name = r.GetLeaseId()
	}
	if name == "" {
		return nil, 0
	}
	return []string{name}, 1
}
