package server

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/durationpb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/freshness"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// clusterCalls are all calls that can name the cluster that must answer.
func clusterCalls() map[string]func(ctx context.Context, n *testNode, opts ...grpc.CallOption) error {
	calls := map[string]func(ctx context.Context, n *testNode, opts ...grpc.CallOption) error{
		"GetStatus": func(ctx context.Context, n *testNode, opts ...grpc.CallOption) error {
			_, err := n.cluster().GetStatus(ctx, &rollcallv1.GetStatusRequest{}, opts...)
			return err
		},
		"ListEvents": func(ctx context.Context, n *testNode, opts ...grpc.CallOption) error {
			_, err := n.reads().ListEvents(ctx, &rollcallv1.ListEventsRequest{}, opts...)
			return err
		},
		"WatchEvents": func(ctx context.Context, n *testNode, opts ...grpc.CallOption) error {
			stream, err := n.reads().WatchEvents(ctx, &rollcallv1.WatchEventsRequest{}, opts...)
			if err != nil {
				return err
			}
			m, err := stream.Recv()
			if err == nil && m.GetClusterId() != "3f9a" {
				return errWrongCluster
			}
			return tellHeader(stream, opts, err)
		},
		"WatchServices": func(ctx context.Context, n *testNode, opts ...grpc.CallOption) error {
			stream, err := n.reads().WatchServices(ctx, &rollcallv1.WatchServicesRequest{}, opts...)
			if err != nil {
				return err
			}
			m, err := stream.Recv()
			if err == nil && m.GetClusterId() != "3f9a" {
				return errWrongCluster
			}
			return tellHeader(stream, opts, err)
		},
	}
	for name, call := range readCalls {
		calls[name] = call
	}
	return calls
}

var errWrongCluster = context.Canceled // whatever is no status with a reason

// tellHeader fills what grpc.Header asks for, which a stream does only when it ends.
func tellHeader(stream grpc.ClientStream, opts []grpc.CallOption, err error) error {
	for _, o := range opts {
		if h, ok := o.(grpc.HeaderCallOption); ok && err == nil {
			*h.HeaderAddr, err = stream.Header()
		}
	}
	return err
}

func TestReadsNameTheirCluster(t *testing.T) {
	n := single(t)
	n.registry.set("svc", serving)
	for name, call := range clusterCalls() {
		t.Run(name, func(t *testing.T) {
			right := metadata.AppendToOutgoingContext(patient(t), freshness.MetadataCluster, "3f9a")
			var header metadata.MD
			if err := call(right, n, grpc.Header(&header)); err != nil {
				t.Fatal(err)
			}
			if got := header.Get(freshness.MetadataCluster); len(got) != 1 || got[0] != "3f9a" {
				t.Errorf("the answer says it is of cluster %q", got)
			}
			wrong := metadata.AppendToOutgoingContext(patient(t), freshness.MetadataCluster, "b00c")
			checkError(t, call(wrong, n), want{codes.FailedPrecondition, rpcerror.ReasonClusterChanged, "", map[string]string{rpcerror.MetaClusterID: "3f9a"}, `belongs to cluster 3f9a, and "b00c" is asked for`})
			empty := metadata.AppendToOutgoingContext(patient(t), freshness.MetadataCluster, "")
			checkError(t, call(empty, n), want{codes.InvalidArgument, rpcerror.ReasonInvalidArgument, "", nil, "must be the id of a cluster"})
		})
	}
}

// A revision of another cluster is not waited for.
func TestAnotherClustersRevisionIsRefusedAtOnce(t *testing.T) {
	n := single(t)
	ctx := metadata.AppendToOutgoingContext(patient(t), freshness.MetadataCluster, "b00c", freshness.MetadataMinRevision, "1000000")
	for name, call := range clusterCalls() {
		if name == "GetStatus" {
			continue // it takes no revision
		}
		t.Run(name, func(t *testing.T) {
			checkError(t, call(ctx, n), want{codes.FailedPrecondition, rpcerror.ReasonClusterChanged, "", nil, ""})
		})
	}
}

func TestChangesNameTheirCluster(t *testing.T) {
	n := single(t)
	changes := map[string]func(ctx context.Context, opts ...grpc.CallOption) error{
		"SetServingStatus": func(ctx context.Context, opts ...grpc.CallOption) error {
			_, err := n.admin().SetServingStatus(ctx, setRequest("a", serving), opts...)
			return err
		},
		"BatchSetServingStatus": func(ctx context.Context, opts ...grpc.CallOption) error {
			s := serving
			_, err := n.admin().BatchSetServingStatus(ctx, &rollcallv1.BatchSetServingStatusRequest{Changes: []*rollcallv1.StatusChange{{Service: "a", Status: &s}}}, opts...)
			return err
		},
		"DeleteService": func(ctx context.Context, opts ...grpc.CallOption) error {
			_, err := n.admin().DeleteService(ctx, &rollcallv1.DeleteServiceRequest{Service: "a", AllowMissing: true}, opts...)
			return err
		},
	}
	changes["SetOverride"] = func(ctx context.Context, opts ...grpc.CallOption) error {
		_, err := n.admin().SetOverride(ctx, &rollcallv1.SetOverrideRequest{Pattern: "*", Status: notServing.Enum()}, opts...)
		return err
	}
	changes["ClearOverride"] = func(ctx context.Context, opts ...grpc.CallOption) error {
		_, err := n.admin().ClearOverride(ctx, &rollcallv1.ClearOverrideRequest{Pattern: "*"}, opts...)
		return err
	}
	changes["SetRule"] = func(ctx context.Context, opts ...grpc.CallOption) error {
		_, err := n.admin().SetRule(ctx, &rollcallv1.SetRuleRequest{Name: "r", Pattern: "*", MinServing: ptr(int64(1))}, opts...)
		return err
	}
	changes["RemoveRule"] = func(ctx context.Context, opts ...grpc.CallOption) error {
		_, err := n.admin().RemoveRule(ctx, &rollcallv1.RemoveRuleRequest{Name: "r"}, opts...)
		return err
	}
	changes["GrantLease"] = func(ctx context.Context, opts ...grpc.CallOption) error {
		_, err := n.admin().GrantLease(ctx, &rollcallv1.GrantLeaseRequest{Ttl: durationpb.New(time.Minute)}, opts...)
		return err
	}
	changes["RevokeLease"] = func(ctx context.Context, opts ...grpc.CallOption) error {
		_, err := n.admin().RevokeLease(ctx, &rollcallv1.RevokeLeaseRequest{LeaseId: "a"}, opts...)
		return err
	}
	changes["ReleaseLeaseGuard"] = func(ctx context.Context, opts ...grpc.CallOption) error {
		_, err := n.admin().ReleaseLeaseGuard(ctx, &rollcallv1.ReleaseLeaseGuardRequest{}, opts...)
		return err
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			before := n.agreement.count()
			wrong := metadata.AppendToOutgoingContext(patient(t), freshness.MetadataCluster, "b00c")
			checkError(t, change(wrong), want{codes.FailedPrecondition, rpcerror.ReasonClusterChanged, rpcerror.WrittenNo, map[string]string{rpcerror.MetaClusterID: "3f9a"}, ""})
			if n.agreement.count() != before {
				t.Error("it was proposed")
			}
			var header metadata.MD
			right := metadata.AppendToOutgoingContext(patient(t), freshness.MetadataCluster, "3f9a")
			if err := change(right, grpc.Header(&header)); err != nil {
				t.Fatal(err)
			}
			if got := header.Get(freshness.MetadataCluster); len(got) != 1 || got[0] != "3f9a" {
				t.Errorf("the answer says it is of cluster %q", got)
			}
		})
	}
}

func TestPageTokensNameTheirCluster(t *testing.T) {
	n := single(t)
	n.registry.setAll(serving, "a", "b", "c")
	ctx := patient(t)
	now, err := n.reads().ListServices(ctx, &rollcallv1.ListServicesRequest{PageSize: 1})
	if err != nil {
		t.Fatal(err)
	}
	at := &rollcallv1.At{At: &rollcallv1.At_Revision{Revision: 3}}
	past, err := n.reads().ListServices(ctx, &rollcallv1.ListServicesRequest{PageSize: 1, At: at})
	if err != nil {
		t.Fatal(err)
	}
	events, err := n.reads().ListEvents(ctx, &rollcallv1.ListEventsRequest{PageSize: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []interface {
		GetClusterId() string
		GetNextPageToken() string
	}{now, past, events} {
		if m.GetClusterId() != "3f9a" || m.GetNextPageToken() == "" {
			t.Fatalf("%+v", m)
		}
	}
	n.registry.mu.Lock()
	n.registry.cluster = "b00c"
	n.registry.mu.Unlock()
	changed := want{codes.FailedPrecondition, rpcerror.ReasonClusterChanged, "", map[string]string{rpcerror.MetaClusterID: "b00c"}, ""}
	_, err = n.reads().ListServices(ctx, &rollcallv1.ListServicesRequest{PageToken: now.GetNextPageToken()})
	checkError(t, err, changed)
	_, err = n.reads().ListServices(ctx, &rollcallv1.ListServicesRequest{PageToken: past.GetNextPageToken(), At: at})
	checkError(t, err, changed)
	_, err = n.reads().ListEvents(ctx, &rollcallv1.ListEventsRequest{PageToken: events.GetNextPageToken()})
	checkError(t, err, changed)
}

// A node that has no registry yet does not tell of an empty one.
func TestANodeWithoutAClusterDoesNotAnswerForTheRegistry(t *testing.T) {
	n := single(t)
	n.registry.mu.Lock()
	n.registry.unformed = true
	n.registry.mu.Unlock()
	ctx := patient(t)
	none := want{codes.Unavailable, rpcerror.ReasonNoCluster, "", nil, "belongs to no cluster yet"}
	for name, call := range clusterCalls() {
		if name == "Check" || name == "Watch" || name == "GetStatus" {
			continue // the standard's own: the node is NOT_SERVING as a whole
		}
		t.Run(name, func(t *testing.T) { checkError(t, call(ctx, n), none) })
	}
	named := metadata.AppendToOutgoingContext(ctx, freshness.MetadataCluster, "3f9a")
	_, err := n.health().Check(named, &healthpb.HealthCheckRequest{Service: "svc"})
	checkError(t, err, none)
	none.written = rpcerror.WrittenNo
	_, err = n.admin().SetServingStatus(named, setRequest("a", serving))
	checkError(t, err, none)
}
