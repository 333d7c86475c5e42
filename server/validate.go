package server

import (
	"fmt"
	"strconv"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// violations collects what is wrong with a request.
type violations []rpcerror.Violation

func (vs *violations) add(field, format string, a ...any) {
	*vs = append(*vs, rpcerror.Violation{Field: field, Description: fmt.Sprintf(format, a...)})
}

// err returns nil if nothing is wrong. The error says that the request was not written, so that clients need
// not conclude it from the code.
func (vs violations) err() error {
	if len(vs) == 0 {
		return nil
	}
	f := rpcerror.Invalid(vs...)
	f.Meta = map[string]string{rpcerror.MetaWritten: rpcerror.WrittenNo}
	return f
}

// text adds what is wrong with the text of a field, if anything is.
func (vs *violations) text(field string, bad *limits.Error) {
	if bad != nil {
		vs.add(field, "%v", bad)
	}
}

// common checks the fields that every change has.
func (vs *violations) common(req changeRequest) {
	if bad := limits.Reason(req.GetReason()); bad != nil {
		vs.add("reason", "%s", bad.Plain()) // it may be long, and of several lines
	}
	vs.text("actor", limits.Actor(req.GetActor()))
	if actor := req.GetActor(); limits.IsProven(actor) {
		vs.add("actor", "%s is the name of one who proves who it is; show its token or its certificate, or give another name", rpcerror.QuoteShort(actor))
	}
	vs.text("request_id", limits.RequestID(req.GetRequestId()))
	if r, ok := req.(interface{ GetBreakGlass() []string }); ok {
		vs.breakGlass(r.GetBreakGlass(), req.GetReason())
	}
}

// ifRevision checks a condition on the revision of what, "a service" for example.
func (vs *violations) ifRevision(field string, r *int64, what string) {
	if r != nil && *r < 0 {
		vs.add(field, "is %d; it must be a revision, or 0 for %s that must not exist", *r, what)
	}
}

// status checks a required status. deletes allows SERVICE_UNKNOWN, which deletes the service.
func (vs *violations) status(field string, s *Status, deletes bool) {
	switch {
	case s == nil:
		vs.add(field, "is required; leaving it out does not mean UNKNOWN")
	case *s == healthpb.HealthCheckResponse_SERVICE_UNKNOWN:
		if !deletes {
			vs.add(field, "cannot be SERVICE_UNKNOWN; to forget a service use DeleteService")
		}
	case *s < healthpb.HealthCheckResponse_UNKNOWN || *s > healthpb.HealthCheckResponse_SERVICE_UNKNOWN:
		vs.add(field, "is %d, which grpc.health.v1 does not know", int32(*s))
	}
}

func validateSet(req *rollcallv1.SetServingStatusRequest) error {
	var vs violations
	vs.text("service", limits.Name(req.GetService()))
	vs.status("status", req.Status, false)
	vs.ifRevision("if_revision", req.IfRevision, "a service")
	vs.lease("lease_id", req.GetLeaseId())
	vs.common(req)
	return vs.err()
}

func validateDelete(req *rollcallv1.DeleteServiceRequest) error {
	var vs violations
	vs.text("service", limits.Name(req.GetService()))
	vs.ifRevision("if_revision", req.IfRevision, "a service")
	vs.lease("lease_id", req.GetLeaseId())
	vs.common(req)
	return vs.err()
}

// validateBatch checks a batch and returns about how many bytes its answer will have. The answer repeats the
// reason and the actor for every service; actorBytes is what the actor has besides what the request names. A batch whose answer is too large to
// receive is refused: its caller would not learn what was changed.
func validateBatch(req *rollcallv1.BatchSetServingStatusRequest, actorBytes int) (answerBytes int, err error) {
	var vs violations
	vs.common(req)
	switch n := len(req.GetChanges()); {
	case n == 0:
		vs.add("changes", "is empty; give 1 to %d", limits.MaxChanges)
		return 0, vs.err()
	case n > limits.MaxChanges:
		vs.add("changes", "has %d entries; at most %d are allowed, split it", n, limits.MaxChanges)
		return 0, vs.err()
	}
	first := make(map[string]int, len(req.GetChanges()))
	size := 0
	if len(req.GetBreakGlass()) > 0 {
		size = limits.MaxRules * brokenRuleBytes
	}
	for i, c := range req.GetChanges() {
		field := "changes[" + strconv.Itoa(i) + "]"
		vs.text(field+".service", limits.Name(c.GetService()))
		if c == nil {
			continue
		}
		vs.status(field+".status", c.Status, true)
		vs.ifRevision(field+".if_revision", c.IfRevision, "a service")
		vs.lease(field+".lease_id", c.GetLeaseId())
		if j, again := first[c.GetService()]; again {
			vs.add(field+".service", "%s is already in changes[%d]; each service may appear once", rpcerror.QuoteShort(c.GetService()), j)
		} else {
			first[c.GetService()] = i
		}
		size += recordOverhead + len(c.GetService()) + len(c.GetLeaseId()) + len(req.GetReason()) + len(req.GetActor()) + actorBytes
	}
	if size > maxAnswerBytes {
		vs.add("changes", "would be answered with about %d bytes, which is more than the %d that clients receive; shorten the reason or split the batch",
			size, maxAnswerBytes)
	}
	return size, vs.err()
}

// recordOverhead is the most that a ServiceRecord in a repeated field takes besides its strings:
// tags, lengths, two timestamps, two statuses, the revision.
const recordOverhead = 90

// brokenRuleBytes is the most that a BrokenRule in a repeated field takes.
const brokenRuleBytes = limits.MaxRuleNameBytes + limits.MaxPatternBytes + 48
