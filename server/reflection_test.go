package server

import (
	"testing"

	"google.golang.org/grpc/codes"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
)

// TestP8ReflectionIsLimited: it is for tools, and each of its streams holds memory.
func TestP8ReflectionIsLimited(t *testing.T) {
	n := single(t)
	ctx := patient(t)
	ask := func() (reflectionpb.ServerReflection_ServerReflectionInfoClient, error) {
		r, err := reflectionpb.NewServerReflectionClient(n.conn).ServerReflectionInfo(ctx)
		if err != nil {
			return nil, err
		}
		if err := r.Send(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}}); err != nil {
			return nil, err
		}
		_, err = r.Recv()
		return r, err
	}
	var open []reflectionpb.ServerReflection_ServerReflectionInfoClient
	for range maxReflections {
		r, err := ask()
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, r)
	}
	if _, err := ask(); status.Code(err) != codes.ResourceExhausted || quotaOf(err) != "reflections" {
		t.Errorf("one more: %v, quota %q", err, quotaOf(err))
	}
	if err := open[0].CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := open[0].Recv(); err == nil {
		t.Fatal("a stream that was closed goes on")
	}
	if _, err := ask(); err != nil {
		t.Errorf("after one was closed: %v", err)
	}
}
