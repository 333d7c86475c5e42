package server

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/rollcallhq/rollcall/api/rollcall/convert"
	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/fsm/access"
	"github.com/rollcallhq/rollcall/server/authz"
	"github.com/rollcallhq/rollcall/server/flowcontrol"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// ListEvents implements rollcall.v1.Registry.
func (s *registryService) ListEvents(ctx context.Context, req *rollcallv1.ListEventsRequest) (res *rollcallv1.ListEventsResponse, err error) {
	defer rpcerror.Recovered(s.log, s.Node, "Registry.ListEvents", false, &err)
	call, err := s.admitToRegistry(ctx)
	if err == nil {
		res, err = s.listEvents(ctx, req, call.may)
	}
	s.answered(ctx, call, err == nil && filtersEvents(call.may, req))
	if err != nil {
		return nil, rpcerror.ToStatus(s.Node, err)
	}
	return res, nil
}

func (s *registryService) listEvents(ctx context.Context, req *rollcallv1.ListEventsRequest, may *authz.Reader) (*rollcallv1.ListEventsResponse, error) {
	cluster := s.registry.ClusterID()
	at, err := validateListEvents(req, cluster)
	first := at == nil
	if err != nil {
		return nil, err
	}
	if err := s.deny(deniedEvents(may, req)); err != nil {
		return nil, err
	}
	ctx, done := s.boundRead(ctx)
	defer done()
	if first {
		if at, err = s.eventRange(ctx, req); err != nil {
			return nil, s.historyError(err)
		}
	} else if s.registry.Revision() < at.to {
		if f := s.WaitRevision(ctx, at.to); f != nil {
			return nil, f
		}
	}
	limit := int(req.GetPageSize())
	if limit == 0 {
		limit = limits.DefaultPageSize
	}
	if f := flowcontrol.Reserve(ctx, pageEstimate(limit), false); f != nil {
		return nil, f
	}
	q := logv1.EventQuery{From: at.from, To: at.to, Descending: req.GetNewestFirst(), PageBytes: maxAnswerBytes}
	if service := req.GetService(); service != "" {
		q.Kind, q.Key = logv1.Kind_KIND_SERVICE, service
		pattern.Each(service, func(p string) bool {
			q.Also = append(q.Also, logv1.RecordName{Kind: logv1.Kind_KIND_OVERRIDE, Key: p})
			return true
		})
	}
	page, err := s.history.ReadEvents(ctx, q, limit, func(e *logv1.Event) bool {
		return may.Sees(e) && matches(e, req.GetPrefixes()) &&
			(req.GetActor() == "" || e.GetActor().Is(req.GetActor())) &&
			(len(req.GetTypes()) == 0 || slices.Contains(req.GetTypes(), rollcallv1.EventType(e.GetType())))
	})
	if err != nil {
		return nil, s.historyError(err)
	}
	if to, oldest := req.GetToRevision(), page.Span.Oldest; first && to > 0 && to < oldest {
		return nil, notKept(&logv1.CompactedError{Asked: to, Oldest: oldest}, "the list is to end with revision "+strconv.FormatInt(to, 10))
	}
	res := &rollcallv1.ListEventsResponse{OldestRevision: page.Span.Oldest, Revision: s.registry.Revision(), ClusterId: cluster}
	next, size := page.Next, maxAnswerBytes-pageOverhead
	for _, e := range page.Events {
		const tagAndLength = 5
		p := convert.Event(e)
		may.Redact(p)
		// The first event is always in the answer, see fitting.
		if size -= proto.Size(p) + tagAndLength; size < 0 && len(res.Events) > 0 {
			next = e.GetRevision()
			break
		}
		res.Events = append(res.Events, p)
	}
	if next != 0 {
		if q.Descending {
			at.to = next
		} else {
			at.from = next
		}
		res.NextPageToken = at.token(cluster, req)
	}
	return res, nil
}

// deniedEvents refuses a list of events to who may read nothing of what it is about.
func deniedEvents(may *authz.Reader, req *rollcallv1.ListEventsRequest) *rpcerror.Failure {
	switch service := req.GetService(); {
	case service != "":
		return may.DeniedRead(service)
	case len(req.GetPrefixes()) == 0 && may.May(access.Auth):
		return nil // it may read the events about access
	}
	return may.DeniedPrefixes(req.GetPrefixes()...)
}

// filtersEvents says that events, or parts of some, may be left out of a list because the caller may not read them.
func filtersEvents(may *authz.Reader, req *rollcallv1.ListEventsRequest) bool {
	types := req.GetTypes()
	aboutAccess := req.GetService() == "" && len(req.GetPrefixes()) == 0 &&
		(len(types) == 0 || slices.Contains(types, rollcallv1.EventType_EVENT_TYPE_ACCESS_CHANGED))
	return !may.Whole() || aboutAccess && !may.May(access.Auth)
}

// eventRange returns the range of revisions that a list covers. The first page fixes it, and all further
// pages, of any node, keep it: what is written in between does not belong to the list.
func (s *registryService) eventRange(ctx context.Context, req *rollcallv1.ListEventsRequest) (*eventRange, error) {
	at := &eventRange{from: req.GetFromRevision(), to: s.registry.Revision()}
	if to := req.GetToRevision(); to > 0 {
		at.to = min(at.to, to)
	}
	if t := req.GetFromTime(); t != nil {
		before, err := s.history.RevisionAt(ctx, t.AsTime().UnixNano()-1)
		if old := (*logv1.CompactedError)(nil); err != nil && !errors.As(err, &old) {
			return nil, err
		} else if err == nil {
			at.from = max(at.from, before+1)
		}
	}
	if t := req.GetToTime(); t != nil {
		last, err := s.history.RevisionAt(ctx, t.AsTime().UnixNano())
		if old := (*logv1.CompactedError)(nil); errors.As(err, &old) {
			return nil, notKept(old, "the list is to end at "+t.AsTime().Format(time.RFC3339Nano))
		} else if err != nil {
			return nil, err
		}
		at.to = min(at.to, last)
	}
	if at.to == 0 {
		*at = eventRange{from: math.MaxInt64, to: 1} // empty: there are no events
	}
	return at, nil
}

// eventRange is the part of a list of events that is still to come. from 0 means the oldest event there is.
type eventRange struct{ from, to int64 }

// A page token of events is a format byte, the cluster, a hash of the request that it belongs to, and the
// range of revisions that is left. Any node of the cluster goes on from it.
const eventTokenFormat = 6

func (r *eventRange) token(cluster string, req *rollcallv1.ListEventsRequest) string {
	b := appendCluster([]byte{eventTokenFormat}, cluster)
	b = binary.BigEndian.AppendUint64(b, listHash(req))
	b = binary.BigEndian.AppendUint64(b, uint64(r.from))
	b = binary.BigEndian.AppendUint64(b, uint64(r.to))
	return base64.RawURLEncoding.EncodeToString(b)
}

func parseEventToken(req *rollcallv1.ListEventsRequest) (cluster string, left *eventRange, err error) {
	if req.GetPageToken() == "" {
		return "", nil, nil
	}
	errToken := errors.New("is not one that ListEvents returned")
	b, err := base64.RawURLEncoding.Strict().DecodeString(req.GetPageToken())
	if err != nil || len(b) < 1 || b[0] != eventTokenFormat {
		return "", nil, errToken
	}
	cluster, b, ok := cutCluster(b[1:])
	if !ok || len(b) != 8+8+8 {
		return "", nil, errToken
	}
	left = &eventRange{from: int64(binary.BigEndian.Uint64(b[8:])), to: int64(binary.BigEndian.Uint64(b[16:]))}
	switch {
	case binary.BigEndian.Uint64(b) != listHash(req):
		return "", nil, errors.New("belongs to another list: only page_size may change from page to page")
	case left.from < 0 || left.to < 1:
		return "", nil, errToken
	}
	return cluster, left, nil
}

// listHash is a hash of the request without what changes from page to page. It finds a token that is used
// with another request by mistake. It is no protection against an attacker.
func listHash(req *rollcallv1.ListEventsRequest) uint64 {
	same := proto.CloneOf(req)
	same.PageSize, same.PageToken = 0, ""
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(same)
	if err != nil {
		return 0 // cannot fail: the request was decoded a moment ago
	}
	h := fnv.New64a()
	h.Write(b)
	return h.Sum64()
}

// validateListEvents returns the range of the page token; nil if there is none.
func validateListEvents(req *rollcallv1.ListEventsRequest, cluster string) (*eventRange, error) {
	var vs violations
	vs.prefixes(req.GetPrefixes())
	if bad := limits.Lookup(req.GetService()); bad != nil {
		vs.text("service", bad)
	} else if req.GetService() != "" && len(req.GetPrefixes()) > 0 {
		vs.add("service", "is given, and prefixes too; give one of them")
	}
	vs.revision("from_revision", req.GetFromRevision())
	vs.revision("to_revision", req.GetToRevision())
	if to := req.GetToRevision(); to > 0 && to < req.GetFromRevision() {
		vs.add("to_revision", "is %d, before from_revision, which is %d", to, req.GetFromRevision())
	}
	vs.timestamp("from_time", req.GetFromTime())
	vs.timestamp("to_time", req.GetToTime())
	if from, to := req.GetFromTime(), req.GetToTime(); from != nil && to != nil && to.AsTime().Before(from.AsTime()) {
		vs.add("to_time", "is before from_time")
	}
	vs.text("actor", limits.Actor(req.GetActor()))
	for i, t := range req.GetTypes() {
		if _, known := rollcallv1.EventType_name[int32(t)]; !known || t == rollcallv1.EventType_EVENT_TYPE_UNSPECIFIED {
			vs.add(fmt.Sprintf("types[%d]", i), "is %d, which is not a type of event that this node knows", int32(t))
		}
		if len(vs) > rpcerror.MaxViolations {
			break
		}
	}
	vs.pageSize(req.GetPageSize())
	of, at, bad := parseEventToken(req)
	if bad != nil {
		vs.add("page_token", "%v", bad)
	}
	if len(vs) > 0 {
		return nil, rpcerror.Invalid(vs...)
	}
	if at != nil {
		if f := rpcerror.CheckCluster(of, cluster); f != nil {
			return nil, f
		}
	}
	return at, nil
}

func (vs *violations) pageSize(n int32) {
	if n < 0 || n > limits.MaxPageSize {
		vs.add("page_size", "is %d; it must be 1 to %d, or 0 for %d", n, limits.MaxPageSize, limits.DefaultPageSize)
	}
}

// Times are counted in nanoseconds of 64 bits.
var (
	firstTime = time.Unix(0, math.MinInt64+1)
	lastTime  = time.Unix(0, math.MaxInt64)
)

func (vs *violations) timestamp(field string, t *timestamppb.Timestamp) {
	if t == nil {
		return
	}
	if t.CheckValid() != nil {
		vs.add(field, "is not a time; it must be from 1678 to 2262, with nanoseconds below a second")
	} else if at := t.AsTime(); at.Before(firstTime) || at.After(lastTime) {
		vs.add(field, "is %s; it must be from 1678 to 2262", at.Format(time.RFC3339))
	}
}
