package server

import (
	"context"
	"fmt"
	"log/slog"

	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"

	"github.com/rollcallhq/rollcall/api/rollcall/convert"
	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/budget"
	"github.com/rollcallhq/rollcall/server/flowcontrol"
	"github.com/rollcallhq/rollcall/server/forward"
	"github.com/rollcallhq/rollcall/server/freshness"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// admin implements rollcall.v1.Admin. It validates a request, makes a command of it, brings the command to
// the leader, and answers with the result.
type admin struct {
	rollcallv1.UnimplementedAdminServer
	node     string
	incoming freshness.Incoming
	registry Registry
	router   *forward.Router
	pending  *budget.Budget
	log      *slog.Logger
}

// SetServingStatus implements rollcall.v1.Admin.
func (a *admin) SetServingStatus(ctx context.Context, req *rollcallv1.SetServingStatusRequest) (res *rollcallv1.SetServingStatusResponse, err error) {
	defer rpcerror.Recovered(a.log, a.node, "Admin.SetServingStatus", true, &err)
	if err := a.checkMetadata(ctx); err != nil {
		return nil, err
	}
	if err := validateSet(req); err != nil {
		return nil, rpcerror.ToStatus(a.node, err)
	}
	change := &logv1.Change{
		Service:    req.GetService(),
		Status:     logv1.Status(req.GetStatus()),
		IfRevision: req.IfRevision,
	}
	result, err := a.change(ctx, req.GetValidateOnly(), command(ctx, req, change))
	if err != nil {
		return nil, err
	}
	return &rollcallv1.SetServingStatusResponse{
		Service:   convert.ServiceResults(result)[0],
		Changed:   result.GetServices()[0].GetChanged(),
		Revision:  result.GetRevision(),
		ClusterId: a.registry.ClusterID(),
	}, nil
}

// BatchSetServingStatus implements rollcall.v1.Admin.
func (a *admin) BatchSetServingStatus(ctx context.Context, req *rollcallv1.BatchSetServingStatusRequest) (res *rollcallv1.BatchSetServingStatusResponse, err error) {
	defer rpcerror.Recovered(a.log, a.node, "Admin.BatchSetServingStatus", true, &err)
	if err := a.checkMetadata(ctx); err != nil {
		return nil, err
	}
	answer, err := validateBatch(req, callerAddress(ctx))
	if err != nil {
		return nil, rpcerror.ToStatus(a.node, err)
	}
	if f := flowcontrol.Reserve(ctx, answer, true); f != nil {
		return nil, a.notTaken(f)
	}
	changes := make([]*logv1.Change, len(req.GetChanges()))
	for i, c := range req.GetChanges() {
		changes[i] = &logv1.Change{
			Service:    c.GetService(),
			Status:     logv1.Status(c.GetStatus()),
			IfRevision: c.IfRevision,
		}
	}
	result, err := a.change(ctx, req.GetValidateOnly(), command(ctx, req, changes...))
	if err != nil {
		return nil, err
	}
	res = &rollcallv1.BatchSetServingStatusResponse{Revision: result.GetRevision(), ClusterId: a.registry.ClusterID()}
	res.Services = convert.ServiceResults(result)
	for _, r := range result.GetServices() {
		if r.GetChanged() {
			res.ChangedCount++
		}
	}
	if proto.Size(res) > maxAnswerBytes {
		// validateBatch estimated the answer with this caller's actor. Services that did not change keep the
		// report of an earlier caller, whose actor may be longer. The answer leaves those actors out: the
		// caller needs them least.
		for i, r := range result.GetServices() {
			if report := res.Services[i].GetReport(); report != nil && !r.GetChanged() {
				report.Actor = nil
			}
		}
	}
	return res, nil
}

// DeleteService implements rollcall.v1.Admin.
func (a *admin) DeleteService(ctx context.Context, req *rollcallv1.DeleteServiceRequest) (res *rollcallv1.DeleteServiceResponse, err error) {
	defer rpcerror.Recovered(a.log, a.node, "Admin.DeleteService", true, &err)
	if err := a.checkMetadata(ctx); err != nil {
		return nil, err
	}
	if err := validateDelete(req); err != nil {
		return nil, rpcerror.ToStatus(a.node, err)
	}
	change := &logv1.Change{
		Service:    req.GetService(),
		Status:     logv1.Status_STATUS_SERVICE_UNKNOWN,
		IfRevision: req.IfRevision,
		MustExist:  !req.GetAllowMissing(),
	}
	result, err := a.change(ctx, req.GetValidateOnly(), command(ctx, req, change))
	if err != nil {
		return nil, err
	}
	return &rollcallv1.DeleteServiceResponse{Revision: result.GetRevision(), ClusterId: a.registry.ClusterID()}, nil
}

// checkMetadata refuses a change that is meant for another cluster, or that carries metadata which only reads
// understand.
func (a *admin) checkMetadata(ctx context.Context) error {
	if refusal := a.incoming.CheckCluster(ctx, a.node, a.registry.ClusterID()); refusal != nil {
		return rpcerror.ToStatus(a.node, refusal.AsNotWritten())
	}
	return nil
}

// change routes cmd and returns its result, which has one entry per change, or a status.
func (a *admin) change(ctx context.Context, validateOnly bool, cmd *logv1.Command) (*logv1.Result, error) {
	connection, _ := peer.FromContext(ctx)
	bytes := forward.CommandBytes(cmd)
	if f := a.pending.Take(connection, bytes); f != nil {
		return nil, a.notTaken(f)
	}
	defer a.pending.Give(connection, bytes)
	result, err := a.router.Propose(ctx, cmd, validateOnly)
	if err != nil {
		return nil, rpcerror.ToStatus(a.node, rpcerror.OfChange(err))
	}
	if refusal := result.GetRefusal(); refusal != nil {
		return nil, rpcerror.ToStatus(a.node, rpcerror.Refused(refusal))
	}
	if got, want := len(result.GetServices()), len(cmd.GetWrite().GetChanges()); got != want {
		return nil, rpcerror.ToStatus(a.node, rpcerror.OutcomeUnknown("the leader answered with %d results for %d changes", got, want))
	}
	if validateOnly {
		result = preview(result)
	}
	return result, nil
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
		report.Time, report.Revision = 0, 0
	}
	return result
}

// notTaken returns f as a status that says that the change was surely not written. f was found before
// anything was proposed.
func (a *admin) notTaken(f *rpcerror.Failure) error {
	return rpcerror.ToStatus(a.node, f.AsNotWritten())
}

// common are the fields that every request for a change has.
type common interface {
	GetReason() string
	GetActor() string
	GetRequestId() string
	GetBreakGlass() []string
}

// command makes the log's command of a validated request. An actor that was not given stays "": any other
// text would look like a name that the caller gave.
func command(ctx context.Context, req common, changes ...*logv1.Change) *logv1.Command {
	return &logv1.Command{
		Actor:      &logv1.Actor{Name: req.GetActor(), Peer: callerAddress(ctx)},
		Reason:     req.GetReason(),
		RequestId:  req.GetRequestId(),
		BreakGlass: req.GetBreakGlass(),
		Kind:       &logv1.Command_Write{Write: &logv1.Write{Changes: changes}},
	}
}

func callerAddress(ctx context.Context) string {
	if p, ok := peer.FromContext(ctx); ok && p.Addr != nil {
		return p.Addr.String()
	}
	return ""
}

// validateCommand checks what a leader must not take on trust in a command that a follower validated.
func validateCommand(cmd *logv1.Command) error {
	var problem string
	switch kind := cmd.GetKind().(type) {
	case *logv1.Command_Write:
		switch n := len(kind.Write.GetChanges()); {
		case n == 0:
			problem = "changes nothing"
		case n > limits.MaxChanges:
			problem = fmt.Sprintf("has %d changes; at most %d are allowed", n, limits.MaxChanges)
		}
	case *logv1.Command_AnnounceMember:
		if kind.AnnounceMember.GetMember().GetName() == "" {
			problem = "announces a member without a name"
		}
	case *logv1.Command_Record:
		// The fold knows the kinds of records. The leader has it check the command before it proposes it.
	case *logv1.Command_TermStart, *logv1.Command_RaiseLevel, *logv1.Command_Expire:
		problem = "is one that only a leader makes"
	default:
		problem = "is of a kind this node does not know"
	}
	if problem == "" {
		return nil
	}
	f := rpcerror.Invalid(rpcerror.Violation{Field: "command", Description: problem})
	f.Meta = map[string]string{rpcerror.MetaWritten: rpcerror.WrittenNo}
	return f
}
