package server

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/authz"
	"github.com/rollcallhq/rollcall/server/budget"
	"github.com/rollcallhq/rollcall/server/flowcontrol"
	"github.com/rollcallhq/rollcall/server/renewal"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// registryService implements rollcall.v1.Registry.
type registryService struct {
	rollcallv1.UnimplementedRegistryServer
	reads
	registry  Registry
	layers    Layers
	leases    Leases
	renewer   *renewal.Renewer
	followers Followers
	history   History
	logClock  func() int64
	// completePatience is how long a watch of services waits for a leader to confirm that this node holds all
	// acknowledged writes. By then it has sent all that the node holds.
	completePatience time.Duration
	pages            *budget.Budget             // of messages of streams
	cutOff           func(call context.Context) // closes the connection of a call
	log              *slog.Logger
}

// GetService implements rollcall.v1.Registry.
func (s *registryService) GetService(ctx context.Context, req *rollcallv1.GetServiceRequest) (res *rollcallv1.GetServiceResponse, err error) {
	defer rpcerror.Recovered(s.log, s.Node, "Registry.GetService", false, &err)
	call, err := s.admitToRegistry(ctx)
	var rec *rollcallv1.ServiceRecord
	var revision int64
	if err == nil {
		rec, revision, err = s.get(ctx, req, call.may)
	}
	s.SetHeader(ctx, call.Heading)
	if err != nil {
		return nil, rpcerror.ToStatus(s.Node, err)
	}
	return &rollcallv1.GetServiceResponse{Service: rec, Revision: revision, ClusterId: s.registry.ClusterID()}, nil
}

func (s *registryService) get(ctx context.Context, req *rollcallv1.GetServiceRequest, may *authz.Reader) (rec *rollcallv1.ServiceRecord, revision int64, err error) {
	var vs violations
	vs.text("service", limits.Lookup(req.GetService()))
	vs.at(req.GetAt())
	if len(vs) > 0 {
		return nil, 0, rpcerror.Invalid(vs...)
	}
	if err := s.deny(may.DeniedRead(req.GetService())); err != nil {
		return nil, 0, err
	}
	when := ""
	if req.GetAt().GetAt() == nil {
		rec, revision = s.registry.GetService(req.GetService())
	} else {
		ctx, done := s.boundRead(ctx)
		defer done()
		at, err := s.resolve(ctx, req.GetAt())
		if err != nil {
			return nil, 0, err
		}
		revision, when = at.revision, fmt.Sprintf(" at revision %d", at.revision)
		if rec, err = s.history.GetServiceAt(ctx, req.GetService(), revision); err != nil {
			return nil, 0, s.historyError(err)
		}
	}
	if rec == nil {
		return nil, 0, &rpcerror.Failure{
			Reason:  rpcerror.ReasonNotFound,
			Message: fmt.Sprintf("service %q does not exist%s", req.GetService(), when) + neverWritten(req.GetService()),
			// The revision in the headers may be newer: it counts a batch that is being published just now.
			Meta: map[string]string{rpcerror.MetaService: req.GetService(), rpcerror.MetaRevision: strconv.FormatInt(revision, 10)},
		}
	}
	return rec, revision, nil
}

// neverWritten says why no service can have this name; "" if one can.
func neverWritten(name string) string {
	if bad := limits.Name(name); bad != nil && !rollcallv1.IsOwn(name) {
		return "; no service can have this name: " + bad.Plain()
	}
	return ""
}

// ListServices implements rollcall.v1.Registry.
func (s *registryService) ListServices(ctx context.Context, req *rollcallv1.ListServicesRequest) (res *rollcallv1.ListServicesResponse, err error) {
	defer rpcerror.Recovered(s.log, s.Node, "Registry.ListServices", false, &err)
	call, err := s.admitToRegistry(ctx)
	if err == nil {
		res, err = s.list(ctx, req, call.may)
	}
	s.answered(ctx, call, err == nil && !call.may.Whole())
	if err != nil {
		return nil, rpcerror.ToStatus(s.Node, err)
	}
	return res, nil
}

func (s *registryService) list(ctx context.Context, req *rollcallv1.ListServicesRequest, may *authz.Reader) (*rollcallv1.ListServicesResponse, error) {
	cluster := s.registry.ClusterID()
	after, at, err := validateList(req, cluster)
	if err != nil {
		return nil, err
	}
	if err := s.deny(may.DeniedPrefixes(req.GetPrefix())); err != nil {
		return nil, err
	}
	within := may.Within(req.GetPrefix())
	limit := int(req.GetPageSize())
	if limit == 0 {
		limit = limits.DefaultPageSize
	}
	if f := flowcontrol.Reserve(ctx, pageEstimate(limit), false); f != nil {
		return nil, f
	}
	var recs []*rollcallv1.ServiceRecord
	var next string
	var revision int64
	if req.GetAt().GetAt() == nil {
		recs, next, revision = s.registry.ListServices(within, after, limit, req.GetStatuses(), statusOnly(req))
	} else {
		ctx, done := s.boundRead(ctx)
		defer done()
		if at, err = s.pageAsOf(ctx, req, at); err != nil {
			return nil, err
		}
		revision = at.revision
		recs, next, err = s.history.ListServicesAt(ctx, revision, within, after, limit, req.GetStatuses())
		if err != nil {
			return nil, s.historyError(err)
		}
		if statusOnly(req) {
			for i, rec := range recs {
				recs[i] = &rollcallv1.ServiceRecord{Service: rec.GetService(), Status: rec.GetStatus(), StatusTime: rec.GetStatusTime()}
			}
		}
	}
	if n := fitting(recs, maxAnswerBytes-pageOverhead); n < len(recs) {
		recs = recs[:n]
		next = recs[n-1].GetService()
	}
	return &rollcallv1.ListServicesResponse{
		Services:      recs,
		NextPageToken: encodeToken(cluster, next, at),
		Revision:      revision,
		ClusterId:     cluster,
	}, nil
}

// statusOnly says whether a request wants only the status of each service.
func statusOnly(req interface{ GetView() rollcallv1.View }) bool {
	return req.GetView() == rollcallv1.View_VIEW_STATUS
}

func (vs *violations) view(view rollcallv1.View) {
	if _, ok := rollcallv1.View_name[int32(view)]; !ok {
		vs.add("view", "is %d, which this node does not know; VIEW_FULL and VIEW_STATUS are", int32(view))
	}
}

// pageOverhead is what a page has besides its records.
const pageOverhead = 1 << 10

// pageEstimate is about how many bytes a page of so many records or events has.
func pageEstimate(limit int) int { return min(512*limit, maxAnswerBytes) }

// fitting returns how many of recs fit into size bytes, so that the client can receive the page. It is at
// least one, or the list would never go on.
func fitting[M proto.Message](recs []M, size int) int {
	for i, rec := range recs {
		const tagAndLength = 5
		size -= proto.Size(rec) + tagAndLength
		if size < 0 {
			return max(i, 1)
		}
	}
	return len(recs)
}

// validateList returns what the page token says: the last name of the page before, and the point in time of
// the list.
func validateList(req *rollcallv1.ListServicesRequest, cluster string) (after string, at *asOf, err error) {
	var vs violations
	vs.at(req.GetAt())
	vs.text("prefix", limits.Lookup(req.GetPrefix()))
	vs.pageSize(req.GetPageSize())
	vs.view(req.GetView())
	known := healthpb.HealthCheckResponse_ServingStatus_name
	for i, st := range req.GetStatuses() {
		if _, ok := known[int32(st)]; !ok {
			vs.add(fmt.Sprintf("statuses[%d]", i), "is %d, which grpc.health.v1 does not know", int32(st))
		} else if slices.Contains(req.GetStatuses()[:i], st) {
			vs.add(fmt.Sprintf("statuses[%d]", i), "%v is given twice", st)
		}
		if len(vs) > rpcerror.MaxViolations {
			break
		}
	}
	of, after, at, bad := decodeToken(req.GetPageToken())
	if bad == nil && after != "" {
		if !strings.HasPrefix(after, req.GetPrefix()) {
			bad = errors.New("belongs to a list of another prefix")
		} else if (at != nil) != (req.GetAt().GetAt() != nil) {
			bad = errors.New("belongs to a list of another point in time")
		}
	}
	if bad != nil {
		vs.add("page_token", "%v", bad)
	}
	if len(vs) > 0 {
		return "", nil, rpcerror.Invalid(vs...)
	}
	if after != "" {
		if f := rpcerror.CheckCluster(of, cluster); f != nil {
			return "", nil, f
		}
	}
	return after, at, nil
}

// A page token is a format byte, the cluster, the revision of a list as of a point in time, and the last name
// of the page before. Any node of the cluster can go on from it. The name is one that the caller may read. Who goes on
// from the token of another caller reads what it may read itself.
const (
	tokenFormat     = 4
	asOfTokenFormat = 5

	maxClusterIDBytes = 64
)

func encodeToken(cluster, after string, at *asOf) string {
	if after == "" {
		return ""
	}
	format := byte(tokenFormat)
	if at != nil {
		format = asOfTokenFormat
	}
	b := appendCluster([]byte{format}, cluster)
	if at != nil {
		b = binary.BigEndian.AppendUint64(b, uint64(at.revision))
	}
	return base64.RawURLEncoding.EncodeToString(append(b, after...))
}

func decodeToken(token string) (cluster, after string, at *asOf, err error) {
	if token == "" {
		return "", "", nil, nil
	}
	errToken := errors.New("is not one that ListServices returned")
	if len(token) > base64.RawURLEncoding.EncodedLen(1+1+maxClusterIDBytes+8+limits.MaxNameBytes) {
		return "", "", nil, errToken
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(b) < 1 || b[0] != tokenFormat && b[0] != asOfTokenFormat {
		return "", "", nil, errToken
	}
	isAsOf := b[0] == asOfTokenFormat
	cluster, b, ok := cutCluster(b[1:])
	if !ok || isAsOf && len(b) <= 8 {
		return "", "", nil, errToken
	}
	if isAsOf {
		at = &asOf{int64(binary.BigEndian.Uint64(b))}
		b = b[8:]
	}
	if limits.Name(string(b)) != nil || at != nil && at.revision < 0 {
		return "", "", nil, errToken
	}
	return cluster, string(b), at, nil
}

// appendCluster adds the cluster that a token belongs to, with its length in front.
func appendCluster(b []byte, id string) []byte {
	return append(append(b, byte(len(id))), id...)
}

// cutCluster takes from b what appendCluster added.
func cutCluster(b []byte) (id string, rest []byte, ok bool) {
	if len(b) < 1 || int(b[0]) > maxClusterIDBytes || len(b) < 1+int(b[0]) {
		return "", nil, false
	}
	return string(b[1 : 1+b[0]]), b[1+b[0]:], true
}
