package server

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/freshness"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// readCalls are the calls that take metadata.
var readCalls = map[string]func(ctx context.Context, n *testNode, opts ...grpc.CallOption) error{
	"Check": func(ctx context.Context, n *testNode, opts ...grpc.CallOption) error {
		_, err := n.health().Check(ctx, &healthpb.HealthCheckRequest{Service: "svc"}, opts...)
		return err
	},
	"List": func(ctx context.Context, n *testNode, opts ...grpc.CallOption) error {
		_, err := n.health().List(ctx, &healthpb.HealthListRequest{}, opts...)
		return err
	},
	"GetService": func(ctx context.Context, n *testNode, opts ...grpc.CallOption) error {
		_, err := n.reads().GetService(ctx, &rollcallv1.GetServiceRequest{Service: "svc"}, opts...)
		return err
	},
	"ListServices": func(ctx context.Context, n *testNode, opts ...grpc.CallOption) error {
		_, err := n.reads().ListServices(ctx, &rollcallv1.ListServicesRequest{}, opts...)
		return err
	},
	"ListOverrides": func(ctx context.Context, n *testNode, opts ...grpc.CallOption) error {
		_, err := n.reads().ListOverrides(ctx, &rollcallv1.ListOverridesRequest{}, opts...)
		return err
	},
	"ListLeases": func(ctx context.Context, n *testNode, opts ...grpc.CallOption) error {
		_, err := n.reads().ListLeases(ctx, &rollcallv1.ListLeasesRequest{}, opts...)
		return err
	},
	"ListRules": func(ctx context.Context, n *testNode, opts ...grpc.CallOption) error {
		_, err := n.reads().ListRules(ctx, &rollcallv1.ListRulesRequest{}, opts...)
		return err
	},
	"Watch": func(ctx context.Context, n *testNode, opts ...grpc.CallOption) error {
		stream, err := n.health().Watch(ctx, &healthpb.HealthCheckRequest{Service: "svc"}, opts...)
		if err != nil {
			return err
		}
		if _, err := stream.Recv(); err != nil {
			return err
		}
		for _, o := range opts {
			if h, ok := o.(grpc.HeaderCallOption); ok { // Watch sets it only when the stream ends
				*h.HeaderAddr, err = stream.Header()
			}
		}
		return err
	},
}

func TestMetadataIsUnderstoodOrRefused(t *testing.T) {
	n := single(t)
	n.registry.set("svc", serving)
	for key, tt := range map[string]struct{ value, message string }{
		"rollcall-min-revison":    {"1", "is not known; rollcall-consistency"},
		"rollcall-":               {"1", "is not known; rollcall-consistency"},
		"rollcall-revision":       {"1", "is not known; rollcall-consistency"},
		"rollcall-age-ms":         {"1", "is not known; rollcall-consistency"},
		"rollcall-consistency":    {"Linearizable", "must be local or linearizable"},
		"Rollcall-Consistency":    {"", "must be local or linearizable"},
		"rollcall-max-staleness":  {"2", "must be a duration"},
		"Rollcall-Max-Staleness":  {"-2s", "must be a duration"},
		"rollcall-require-leader": {"1", "must be true or false"},
		"rollcall-min-revision":   {"-1", "must be a revision"},
		"Rollcall-Min-Revision":   {"9223372036854775808", "must be a revision"},
		"ROLLCALL-MIN-REVISION":   {strings.Repeat("9", 1000), "must be a revision"},
	} {
		for call, do := range readCalls {
			t.Run(call+"/"+key, func(t *testing.T) {
				ctx := metadata.AppendToOutgoingContext(patient(t), key, tt.value)
				checkError(t, do(ctx, n), want{codes.InvalidArgument, rpcerror.ReasonInvalidArgument, "", nil, tt.message})
			})
		}
	}
	ctx := metadata.AppendToOutgoingContext(patient(t), freshness.MetadataMinRevision, "1", freshness.MetadataMinRevision, "1")
	checkError(t, readCalls["Check"](ctx, n), want{codes.InvalidArgument, rpcerror.ReasonInvalidArgument, "", nil, "more than once"})
}

func TestMetadataOfOthersIsIgnored(t *testing.T) {
	n := single(t)
	n.registry.set("svc", serving)
	ctx := metadata.AppendToOutgoingContext(patient(t), "x-rollcall-min-revision", "9", "rollcal", "9", "traceparent", "00")
	for call, do := range readCalls {
		var header metadata.MD
		if err := do(ctx, n, grpc.Header(&header)); err != nil {
			t.Errorf("%s: %v", call, err)
		}
		if len(header.Get(freshness.MetadataRevision)) != 0 {
			t.Errorf("%s answers a header nobody asked for", call)
		}
	}
}

func TestMetadataOnChangesIsRefused(t *testing.T) {
	n := single(t)
	ctx := metadata.AppendToOutgoingContext(patient(t), freshness.MetadataMinRevision, "1")
	_, err := n.admin().SetServingStatus(ctx, setRequest("a", serving))
	checkError(t, err, want{codes.InvalidArgument, rpcerror.ReasonInvalidArgument, rpcerror.WrittenNo, nil, "means nothing"})
	_, err = n.cluster().GetStatus(ctx, &rollcallv1.GetStatusRequest{})
	checkError(t, err, want{codes.InvalidArgument, rpcerror.ReasonInvalidArgument, "", nil, "means nothing"})
	if n.agreement.count() != 0 {
		t.Error("something was proposed")
	}
}

func TestMinRevisionWaitsUntilTheNodeIsThere(t *testing.T) {
	for call, do := range readCalls {
		bubble(t, call, func(t *testing.T) {
			n := single(t)
			n.registry.set("svc", serving)
			ctx := metadata.AppendToOutgoingContext(timeout(t, 5*time.Second), freshness.MetadataMinRevision, "2")
			var header metadata.MD
			done := make(chan error, 1)
			go func() { done <- do(ctx, n, grpc.Header(&header)) }()
			synctest.Wait()
			select {
			case err := <-done:
				t.Fatalf("did not wait: %v", err)
			default:
			}
			n.registry.set("other", serving)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if got := header.Get(freshness.MetadataRevision); len(got) != 1 || got[0] != "2" {
				t.Errorf("%s is %v, want 2", freshness.MetadataRevision, got)
			}
			if got := header.Get(freshness.MetadataNode); len(got) != 1 || got[0] != "n1" {
				t.Errorf("%s is %v, want n1", freshness.MetadataNode, got)
			}
		})
	}
}

func TestMinRevisionThatIsNotReached(t *testing.T) {
	for call, do := range readCalls {
		for name, ctx := range map[string]func(t *testing.T) context.Context{
			"caller's deadline": func(t *testing.T) context.Context { return timeout(t, 400*time.Millisecond) },
			"server's":          func(*testing.T) context.Context { return context.Background() },
		} {
			bubble(t, call+"/"+name, func(t *testing.T) {
				n := single(t)
				n.registry.set("svc", serving)
				ctx := metadata.AppendToOutgoingContext(ctx(t), freshness.MetadataMinRevision, "7")
				checkError(t, do(ctx, n), want{codes.Unavailable, rpcerror.ReasonRevisionNotReached, "", map[string]string{rpcerror.MetaCurrentRevision: "1"}, "at revision 1"})
			})
		}
	}
}
