package server

import (
	"fmt"
	"strconv"
	"unicode"
	"unicode/utf8"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// Limits of the fields of a change.
const (
	MaxReasonBytes    = 1 << 10
	MaxActorBytes     = 256
	MaxRequestIDBytes = 64
	MaxBatch          = 10_000
)

// Limits of a page of services.
const (
	DefaultPageSize = 1_000
	MaxPageSize     = 10_000
)

// violations collects what is wrong with a request.
type violations []rpcerror.Violation

func (vs *violations) add(field, format string, a ...any) {
	*vs = append(*vs, rpcerror.Violation{Field: field, Description: fmt.Sprintf(format, a...)})
}

// err is nil if nothing is wrong. A refused request was not written, which clients need not deduce.
func (vs violations) err() error {
	if len(vs) == 0 {
		return nil
	}
	f := rpcerror.Invalid(vs...)
	f.Meta = map[string]string{rpcerror.MetaWritten: rpcerror.WrittenNo}
	return f
}

// text checks a string that people read: its size, and that a terminal or a log line survives it.
func (vs *violations) text(field, s string, maxBytes int, lines bool) {
	switch {
	case len(s) > maxBytes:
		vs.add(field, "is %d bytes long; at most %d are allowed", len(s), maxBytes)
		return
	case !utf8.ValidString(s):
		vs.add(field, "is not valid UTF-8")
		return
	}
	for _, r := range s {
		if unicode.IsControl(r) && !(lines && (r == '\n' || r == '\t')) {
			vs.add(field, "holds the control character %U", r)
			return
		}
	}
}

func (vs *violations) common(reason, actor, requestID string) {
	vs.text("reason", reason, MaxReasonBytes, true)
	vs.text("actor", actor, MaxActorBytes, false)
	vs.text("request_id", requestID, MaxRequestIDBytes, false)
}

func (vs *violations) name(field, name string) {
	if err := rollcallv1.CheckName(name); err != nil {
		vs.add(field, "%v", err)
	}
}

func (vs *violations) ifRevision(field string, r *int64) {
	if r != nil && *r < 0 {
		vs.add(field, "is %d; it must be a revision, or 0 for a service that must not exist", *r)
	}
}

// status checks a required status; deletes says whether SERVICE_UNKNOWN has a meaning here.
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
	vs.name("service", req.GetService())
	vs.status("status", req.Status, false)
	vs.ifRevision("if_revision", req.IfRevision)
	vs.common(req.GetReason(), req.GetActor(), req.GetRequestId())
	return vs.err()
}

func validateDelete(req *rollcallv1.DeleteServiceRequest) error {
	var vs violations
	vs.name("service", req.GetService())
	vs.ifRevision("if_revision", req.IfRevision)
	vs.common(req.GetReason(), req.GetActor(), req.GetRequestId())
	return vs.err()
}

// validateBatch also bounds the answer and returns about how many bytes it will have. The answer repeats reason, actor and the caller's address peer
// for every service. With an answer nobody can receive, a caller would not learn what it changed.
func validateBatch(req *rollcallv1.BatchSetServingStatusRequest, peer string) (answerBytes int, err error) {
	var vs violations
	vs.common(req.GetReason(), req.GetActor(), req.GetRequestId())
	switch n := len(req.GetChanges()); {
	case n == 0:
		vs.add("changes", "is empty; give 1 to %d", MaxBatch)
		return 0, vs.err()
	case n > MaxBatch:
		vs.add("changes", "has %d entries; at most %d are allowed, split it", n, MaxBatch)
		return 0, vs.err()
	}
	first := make(map[string]int, len(req.GetChanges()))
	size := 0
	for i, c := range req.GetChanges() {
		field := "changes[" + strconv.Itoa(i) + "]"
		vs.name(field+".service", c.GetService())
		if c == nil {
			continue
		}
		vs.status(field+".status", c.Status, true)
		vs.ifRevision(field+".if_revision", c.IfRevision)
		if j, again := first[c.GetService()]; again {
			vs.add(field+".service", "%s is already in changes[%d]; each service may appear once", rpcerror.QuoteShort(c.GetService()), j)
		} else {
			first[c.GetService()] = i
		}
		size += recordOverhead + len(c.GetService()) + len(req.GetReason()) + len(req.GetActor()) + len(peer)
	}
	if size > maxAnswerBytes {
		vs.add("changes", "would be answered with about %d bytes, which is more than the %d that clients receive; shorten the reason or split the batch",
			size, maxAnswerBytes)
	}
	return size, vs.err()
}

// recordOverhead is the most that a ServiceRecord in a repeated field takes besides its strings:
// tags, lengths, two timestamps, two statuses, the revision.
const recordOverhead = 88
