package server

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// registryService is rollcall.v1.Registry.
type registryService struct {
	rollcallv1.UnimplementedRegistryServer
	reads
	log *slog.Logger
}

// GetService implements rollcall.v1.Registry.
func (s *registryService) GetService(ctx context.Context, req *rollcallv1.GetServiceRequest) (res *rollcallv1.GetServiceResponse, err error) {
	defer recovered(s.log, s.node, "Registry.GetService", false, &err)
	heading, err := s.awaitRegistry(ctx)
	var rec *rollcallv1.ServiceRecord
	var revision int64
	if err == nil {
		if bad := rollcallv1.CheckLookup(req.GetService()); bad != nil {
			err = invalid(violation{"service", bad.Error()})
		}
	}
	if err == nil {
		rec, revision = s.registry.GetService(req.GetService())
		if rec == nil {
			err = &failure{
				reason: ReasonNotFound,
				msg:    fmt.Sprintf("service %q does not exist", req.GetService()),
				meta:   map[string]string{MetaService: req.GetService()},
			}
		}
	}
	s.setHeader(ctx, heading)
	if err != nil {
		return nil, statusError(s.node, err)
	}
	return &rollcallv1.GetServiceResponse{Service: rec, Revision: revision}, nil
}

// ListServices implements rollcall.v1.Registry.
func (s *registryService) ListServices(ctx context.Context, req *rollcallv1.ListServicesRequest) (res *rollcallv1.ListServicesResponse, err error) {
	defer recovered(s.log, s.node, "Registry.ListServices", false, &err)
	heading, err := s.awaitRegistry(ctx)
	if err == nil {
		res, err = s.list(req)
	}
	s.setHeader(ctx, heading)
	if err != nil {
		return nil, statusError(s.node, err)
	}
	return res, nil
}

func (s *registryService) list(req *rollcallv1.ListServicesRequest) (*rollcallv1.ListServicesResponse, error) {
	after, err := validateList(req)
	if err != nil {
		return nil, err
	}
	limit := int(req.GetPageSize())
	if limit == 0 {
		limit = DefaultPageSize
	}
	recs, next, revision := s.registry.ListServices(req.GetPrefix(), after, limit, req.GetStatuses())
	if n := fitting(recs, maxAnswerBytes-pageOverhead); n < len(recs) {
		recs = recs[:n]
		next = recs[n-1].GetService()
	}
	return &rollcallv1.ListServicesResponse{
		Services:      recs,
		NextPageToken: encodeToken(next),
		Revision:      revision,
	}, nil
}

// pageOverhead is what a page has besides its records.
const pageOverhead = 1 << 10

// fitting returns how many of recs fit into size bytes, at least one: a page that a client cannot
// receive would be the end of its listing.
func fitting(recs []*rollcallv1.ServiceRecord, size int) int {
	for i, rec := range recs {
		const tagAndLength = 5
		size -= proto.Size(rec) + tagAndLength
		if size < 0 {
			return max(i, 1)
		}
	}
	return len(recs)
}

func validateList(req *rollcallv1.ListServicesRequest) (after string, err error) {
	var vs violations
	if err := rollcallv1.CheckLookup(req.GetPrefix()); err != nil {
		vs.add("prefix", "%v", err)
	}
	if n := req.GetPageSize(); n < 0 || n > MaxPageSize {
		vs.add("page_size", "is %d; it must be 1 to %d, or 0 for %d", n, MaxPageSize, DefaultPageSize)
	}
	known := healthpb.HealthCheckResponse_ServingStatus_name
	for i, st := range req.GetStatuses() {
		if _, ok := known[int32(st)]; !ok {
			vs.add(fmt.Sprintf("statuses[%d]", i), "is %d, which grpc.health.v1 does not know", int32(st))
		} else if slices.Contains(req.GetStatuses()[:i], st) {
			vs.add(fmt.Sprintf("statuses[%d]", i), "%v is given twice", st)
		}
		if len(vs) > maxViolations {
			break
		}
	}
	after, bad := decodeToken(req.GetPageToken())
	if bad == nil && after != "" && !strings.HasPrefix(after, req.GetPrefix()) {
		bad = errors.New("belongs to a list of another prefix")
	}
	if bad != nil {
		vs.add("page_token", "%v", bad)
	}
	if len(vs) > 0 {
		return "", invalid(vs...)
	}
	return after, nil
}

// A page token is a format byte and the name it stands after, so that any node can go on.
const tokenFormat = 1

func encodeToken(after string) string {
	if after == "" {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(append([]byte{tokenFormat}, after...))
}

func decodeToken(token string) (after string, err error) {
	if token == "" {
		return "", nil
	}
	errToken := errors.New("is not one that ListServices returned")
	if len(token) > base64.RawURLEncoding.EncodedLen(1+rollcallv1.MaxNameBytes) {
		return "", errToken
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(b) < 2 || b[0] != tokenFormat || rollcallv1.CheckName(string(b[1:])) != nil {
		return "", errToken
	}
	return string(b[1:]), nil
}
