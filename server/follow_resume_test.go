package server

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// A watch that goes on from a revision waits until the node is there, and is refused if it does not come. It is never
// told of an older state.
func TestAWatchGoesOnAheadOfTheNode(t *testing.T) {
	bubble(t, "ahead", func(t *testing.T) {
		n := single(t)
		ctx, cancel := context.WithCancel(t.Context()) // without a deadline, as a watch has none
		defer cancel()
		n.registry.set("a", serving)
		stream, err := n.reads().WatchServices(ctx, &rollcallv1.WatchServicesRequest{FromRevision: 3})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		n.registry.setAll(notServing, "a", "b")
		n.registry.set("c", serving)
		m, err := stream.Recv()
		if err != nil || !m.GetResumed() || m.GetRevision() != 3 || len(m.GetServices()) > 0 || m.GetClusterId() == "" {
			t.Errorf("%v, %v", m, err)
		}
		if m, err = stream.Recv(); err != nil || m.GetResumed() || m.GetRevision() != 4 || len(m.GetServices()) != 1 {
			t.Errorf("%v, %v", m, err)
		}
		began := time.Now()
		stream, err = n.reads().WatchServices(ctx, &rollcallv1.WatchServicesRequest{FromRevision: 9})
		if err == nil {
			_, err = stream.Recv()
		}
		checkError(t, err, want{codes.Unavailable, rpcerror.ReasonRevisionNotReached, "", nil, "did not reach from_revision 9 in time"})
		if took := time.Since(began); took < time.Second || took > time.Minute {
			t.Errorf("it was refused after %s", took)
		}
	})
}

// A watch by names begins anew.
func TestAWatchByNamesBeginsAnew(t *testing.T) {
	n := single(t)
	n.registry.set("a", serving)
	stream, err := n.reads().WatchServices(patient(t), &rollcallv1.WatchServicesRequest{Services: []string{"a"}, FromRevision: 99})
	if err != nil {
		t.Fatal(err)
	}
	if m, err := stream.Recv(); err != nil || m.GetResumed() {
		t.Errorf("%v, %v", m, err)
	}
	if m, err := stream.Recv(); err != nil || m.GetServices()[0].GetService() != "a" {
		t.Errorf("%v, %v", m, err)
	}
}

func TestViews(t *testing.T) {
	n := single(t)
	ctx := patient(t)
	n.registry.set("a", serving)
	for view, reports := range map[rollcallv1.View]bool{rollcallv1.View_VIEW_UNSPECIFIED: true, rollcallv1.View_VIEW_FULL: true, rollcallv1.View_VIEW_STATUS: false} {
		list, err := n.reads().ListServices(ctx, &rollcallv1.ListServicesRequest{View: view})
		if err != nil {
			t.Fatal(err)
		}
		old, err := n.reads().ListServices(ctx, &rollcallv1.ListServicesRequest{View: view, At: &rollcallv1.At{At: &rollcallv1.At_Revision{Revision: 1}}})
		if err != nil {
			t.Fatal(err)
		}
		stream, err := n.reads().WatchServices(ctx, &rollcallv1.WatchServicesRequest{View: view})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = stream.Recv() // the fake sends nothing first
		m, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		for what, got := range map[string][]*rollcallv1.ServiceRecord{"list": list.GetServices(), "list as of": old.GetServices(), "watch": m.GetServices()} {
			if len(got) != 1 || got[0].GetService() != "a" || got[0].GetStatus() != serving || (got[0].GetReport() != nil) != reports {
				t.Errorf("%v: %s: %v", view, what, got)
			}
		}
	}
	_, err := n.reads().ListServices(ctx, &rollcallv1.ListServicesRequest{View: 7})
	checkError(t, err, want{codes.InvalidArgument, rpcerror.ReasonInvalidArgument, "", nil, "view is 7, which this node does not know"})
	stream, err := n.reads().WatchServices(ctx, &rollcallv1.WatchServicesRequest{View: 7, FromRevision: -1})
	if err == nil {
		_, err = stream.Recv()
	}
	checkError(t, err, want{codes.InvalidArgument, rpcerror.ReasonInvalidArgument, "", nil, "view is 7, which this node does not know; VIEW_FULL and VIEW_STATUS are (and 1 more)"})
}
