package server

import (
	"context"
	"log/slog"
	"time"

	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"

	"github.com/rollcallhq/rollcall/api/rollcall/convert"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/auditlog"
	"github.com/rollcallhq/rollcall/server/authn"
	"github.com/rollcallhq/rollcall/server/authz"
	"github.com/rollcallhq/rollcall/server/budget"
	"github.com/rollcallhq/rollcall/server/fence"
	"github.com/rollcallhq/rollcall/server/flowcontrol"
	"github.com/rollcallhq/rollcall/server/forward"
	"github.com/rollcallhq/rollcall/server/freshness"
	"github.com/rollcallhq/rollcall/server/ratelimit"
	"github.com/rollcallhq/rollcall/server/renewal"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// admin implements rollcall.v1.Admin. It validates a request, makes a command of it, brings the command to
// the leader, and answers with the result.
type admin struct {
	rollcallv1.UnimplementedAdminServer
	node     string
	incoming freshness.Incoming
	registry Registry
	access   Access
	callers  *authn.Authenticator
	denials  *authn.Denials
	rights   *authz.Authorizer
	streams  *authz.Streams
	router   *forward.Router
	pending  *budget.Budget
	renewer  *renewal.Renewer
	leases   Leases
	renewals *budget.Budget // what large messages of KeepAlive, and their answers, hold
	fence    *fence.Fence
	ending   context.Context            // ends when streams are to end
	cutOff   func(call context.Context) // closes the connection of a call
	onWrite  func(took time.Duration)   // see Config
	audit    *auditlog.Log              // nil: none
	limits   *ratelimit.Limits          // of writes, by caller; nil: none
	log      *slog.Logger
}

// SetServingStatus implements rollcall.v1.Admin.
func (a *admin) SetServingStatus(ctx context.Context, req *rollcallv1.SetServingStatusRequest) (res *rollcallv1.SetServingStatusResponse, err error) {
	defer rpcerror.Recovered(a.log, a.node, "Admin.SetServingStatus", true, &err)
	caller, err := a.admit(ctx)
	if err != nil {
		return nil, err
	}
	if err := validateSet(req); err != nil {
		return nil, rpcerror.ToStatus(a.node, err)
	}
	result, err := a.write(ctx, caller, req, setChange(req))
	if err != nil {
		return nil, err
	}
	res = a.setResponse(result)
	res.Service = convert.ServiceResults(result)[0]
	return res, nil
}

func setChange(req *rollcallv1.SetServingStatusRequest) *logv1.Change {
	return &logv1.Change{
		Service:    req.GetService(),
		Status:     logv1.Status(req.GetStatus()),
		IfRevision: req.IfRevision,
		LeaseId:    req.GetLeaseId(),
	}
}

// setResponse is the answer without the service's record.
func (a *admin) setResponse(result *logv1.Result) *rollcallv1.SetServingStatusResponse {
	return &rollcallv1.SetServingStatusResponse{
		Changed:     result.GetServices()[0].GetChanged(),
		Revision:    result.GetRevision(),
		ClusterId:   a.registry.ClusterID(),
		BrokenRules: convert.BrokenRules(result.GetBrokenRules()),
	}
}

// BatchSetServingStatus implements rollcall.v1.Admin.
func (a *admin) BatchSetServingStatus(ctx context.Context, req *rollcallv1.BatchSetServingStatusRequest) (res *rollcallv1.BatchSetServingStatusResponse, err error) {
	defer rpcerror.Recovered(a.log, a.node, "Admin.BatchSetServingStatus", true, &err)
	caller, err := a.admit(ctx)
	if err != nil {
		return nil, err
	}
	answer, err := validateBatch(req, actorBytes(caller))
	if err != nil {
		return nil, rpcerror.ToStatus(a.node, err)
	}
	if f := flowcontrol.Reserve(ctx, answer, true); f != nil {
		return nil, a.notTaken(f)
	}
	result, err := a.write(ctx, caller, req, batchChanges(req)...)
	if err != nil {
		return nil, err
	}
	res = a.batchResponse(result)
	res.Services = convert.ServiceResults(result)
	shorten(res, result, maxAnswerBytes)
	return res, nil
}

func batchChanges(req *rollcallv1.BatchSetServingStatusRequest) []*logv1.Change {
	changes := make([]*logv1.Change, len(req.GetChanges()))
	for i, c := range req.GetChanges() {
		if c == nil {
			c = &rollcallv1.StatusChange{}
		}
		changes[i] = &logv1.Change{
			Service:    c.GetService(),
			Status:     logv1.Status(c.GetStatus()),
			IfRevision: c.IfRevision,
			LeaseId:    c.GetLeaseId(),
		}
	}
	return changes
}

// batchResponse is the answer without the services' records.
func (a *admin) batchResponse(result *logv1.Result) *rollcallv1.BatchSetServingStatusResponse {
	res := &rollcallv1.BatchSetServingStatusResponse{
		Revision:    result.GetRevision(),
		ClusterId:   a.registry.ClusterID(),
		BrokenRules: convert.BrokenRules(result.GetBrokenRules()),
	}
	for _, r := range result.GetServices() {
		if r.GetChanged() {
			res.ChangedCount++
		}
	}
	return res
}

// shorten makes the answer to a batch small enough to be received: at most so many bytes. validateBatch estimated it
// with this caller's actor and without overrides. First it leaves out what the caller needs least.
func shorten(res *rollcallv1.BatchSetServingStatusResponse, result *logv1.Result, most int) {
	for _, leaveOut := range []func(s *rollcallv1.ServiceRecord, changed bool){
		func(s *rollcallv1.ServiceRecord, _ bool) { s.Shadowed = nil },
		// A service that did not change keeps the report of an earlier caller, whose actor may be longer.
		func(s *rollcallv1.ServiceRecord, changed bool) {
			if report := s.GetReport(); report != nil && !changed {
				report.Actor = nil
			}
		},
		func(s *rollcallv1.ServiceRecord, _ bool) { s.Override = nil },
	} {
		if proto.Size(res) <= most {
			return
		}
		for i, s := range res.GetServices() {
			leaveOut(s, result.GetServices()[i].GetChanged())
		}
	}
}

// DeleteService implements rollcall.v1.Admin.
func (a *admin) DeleteService(ctx context.Context, req *rollcallv1.DeleteServiceRequest) (res *rollcallv1.DeleteServiceResponse, err error) {
	defer rpcerror.Recovered(a.log, a.node, "Admin.DeleteService", true, &err)
	caller, err := a.admit(ctx)
	if err != nil {
		return nil, err
	}
	if err := validateDelete(req); err != nil {
		return nil, rpcerror.ToStatus(a.node, err)
	}
	result, err := a.write(ctx, caller, req, deleteChange(req))
	if err != nil {
		return nil, err
	}
	return a.deleteResponse(result), nil
}

func deleteChange(req *rollcallv1.DeleteServiceRequest) *logv1.Change {
	return &logv1.Change{
		Service:    req.GetService(),
		Status:     logv1.Status_STATUS_SERVICE_UNKNOWN,
		IfRevision: req.IfRevision,
		MustExist:  !req.GetAllowMissing(),
		LeaseId:    req.GetLeaseId(),
	}
}

func (a *admin) deleteResponse(result *logv1.Result) *rollcallv1.DeleteServiceResponse {
	return &rollcallv1.DeleteServiceResponse{
		Revision:    result.GetRevision(),
		ClusterId:   a.registry.ClusterID(),
		BrokenRules: convert.BrokenRules(result.GetBrokenRules()),
	}
}

// admit returns who asks for a change. It refuses a change that is meant for another cluster, one that carries metadata
// which only reads understand, and one of a caller whose credential proves nothing.
func (a *admin) admit(ctx context.Context) (*authn.Caller, error) {
	if refusal := a.incoming.CheckCluster(ctx, a.node, a.registry.ClusterID()); refusal != nil {
		return nil, a.notTaken(refusal)
	}
	caller, refusal := a.callers.Caller(ctx)
	if refusal != nil {
		return nil, rpcerror.ToStatus(a.node, refusal)
	}
	a.noteCaller(ctx, caller)
	return caller, nil
}

// write routes changes of services and returns the result, which has one entry per change, or a status.
func (a *admin) write(ctx context.Context, caller *authn.Caller, req changeRequest, changes ...*logv1.Change) (*logv1.Result, error) {
	cmd := command(caller, req)
	cmd.Kind = &logv1.Command_Write{Write: &logv1.Write{Changes: changes}}
	result, err := a.propose(ctx, cmd, req.GetValidateOnly())
	if err != nil {
		return nil, err
	}
	if got, want := len(result.GetServices()), len(changes); got != want {
		return nil, rpcerror.ToStatus(a.node, rpcerror.OutcomeUnknown("the leader answered with %d results for %d changes", got, want))
	}
	return result, nil
}

// changeRecord routes a command about one record of a kind and returns the result and what became of the
// record, or a status. The record is nil if there was none to remove, and that was allowed.
func (a *admin) changeRecord(ctx context.Context, caller *authn.Caller, req changeRequest, kind logv1.Kind, payload payload) (*logv1.Result, *logv1.RecordResult, error) {
	b, err := payload.MarshalVT()
	if err != nil {
		return nil, nil, rpcerror.ToStatus(a.node, rpcerror.NotWritten("%w", err))
	}
	cmd := command(caller, req)
	cmd.Kind = &logv1.Command_Record{Record: &logv1.RecordCommand{Kind: kind, Payload: b}}
	result, err := a.propose(ctx, cmd, req.GetValidateOnly())
	if err != nil {
		return nil, nil, err
	}
	allowMissing, _ := req.(interface{ GetAllowMissing() bool })
	switch records := result.GetRecords(); {
	case len(records) == 1 && records[0].GetKind() == kind:
		return result, records[0], nil
	case len(records) == 0 && allowMissing != nil && allowMissing.GetAllowMissing():
		return result, nil, nil
	}
	return nil, nil, rpcerror.ToStatus(a.node, rpcerror.OutcomeUnknown("the leader answered with %d results for one change", len(result.GetRecords())))
}

// payload is the command of a kind.
type payload interface{ MarshalVT() ([]byte, error) }

// propose routes cmd and returns its result, or a status.
func (a *admin) propose(ctx context.Context, cmd *logv1.Command, validateOnly bool) (*logv1.Result, error) {
	connection, _ := peer.FromContext(ctx)
	bytes := forward.CommandBytes(cmd)
	if f := a.limit(cmd); f != nil {
		return nil, rpcerror.ToStatus(a.node, f)
	}
	if f := a.pending.Take(connection, bytes); f != nil {
		return nil, a.notTaken(f)
	}
	defer a.pending.Give(connection, bytes)
	began := time.Now()
	result, err := a.router.Propose(ctx, cmd, validateOnly)
	a.noteChange(ctx, result)
	if a.onWrite != nil && !validateOnly {
		a.onWrite(time.Since(began))
	}
	if err != nil {
		return nil, rpcerror.ToStatus(a.node, rpcerror.OfChange(err))
	}
	if refusal := result.GetRefusal(); refusal != nil {
		return nil, rpcerror.ToStatus(a.node, a.refused(refusal))
	}
	if validateOnly {
		result = preview(result)
	}
	return result, nil
}

// refused is what a client is told of a refusal.
func (a *admin) refused(refusal *logv1.Refusal) *rpcerror.Failure {
	f := rpcerror.Refused(refusal)
	a.denials.Count(f)
	return f
}

// preview takes from a result what only a change that is made has: its revision, and when it was made.
func preview(made *logv1.Result) *logv1.Result {
	result := proto.CloneOf(made)
	result.Revision = 0
	for _, s := range result.GetServices() {
		record, report := s.GetRecord(), s.GetRecord().GetReport()
		if !s.GetChanged() || report == nil {
			continue
		}
		if record.StatusTime == report.Time {
			record.StatusTime = 0
		}
		if s.EffectiveTime == report.Time {
			s.EffectiveTime = 0
		}
		report.Time, report.Revision = 0, 0
	}
	return result
}

// notTaken returns f as a status that says that the change was surely not written. f was found before
// anything was proposed.
func (a *admin) notTaken(f *rpcerror.Failure) error {
	return rpcerror.ToStatus(a.node, f.AsNotWritten())
}

// changeRequest is what every request for a change has.
type changeRequest interface {
	GetReason() string
	GetActor() string
	GetRequestId() string
	GetValidateOnly() bool
}

// command makes the log's command of a request from caller, without its kind. An actor that was not given stays
// "": any other text would look like a name that the caller gave.
func command(caller *authn.Caller, req changeRequest) *logv1.Command {
	cmd := &logv1.Command{
		Actor:     caller.Actor(req.GetActor()),
		Reason:    req.GetReason(),
		RequestId: req.GetRequestId(),
	}
	if r, ok := req.(interface{ GetBreakGlass() []string }); ok {
		cmd.BreakGlass = r.GetBreakGlass()
	}
	return cmd
}

// actorBytes is about how many bytes the API's Actor of a caller has besides what the request names.
func actorBytes(caller *authn.Caller) int {
	bytes := len(caller.Address())
	if caller.Verified() {
		const fields = 8 // verified and on_behalf_of
		bytes += len(caller.Identity) + fields
	}
	return bytes
}
