package server

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/rollcallhq/rollcall/server/fence"
	"github.com/rollcallhq/rollcall/server/flowcontrol"
	"github.com/rollcallhq/rollcall/server/freshness"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// TestWatchNeedsNoGoroutine: no handler runs while watches are open, and they live, change and end as
// with one. If this fails with a new version of gRPC, see watches.handle.
func TestWatchNeedsNoGoroutine(t *testing.T) {
	bubble(t, "watch", func(t *testing.T) {
		n := single(t)
		n.registry.set("svc", serving)
		open := func(ctx context.Context) healthpb.Health_WatchClient {
			t.Helper()
			w, err := n.health().Watch(ctx, &healthpb.HealthCheckRequest{Service: "svc"})
			if err != nil {
				t.Fatal(err)
			}
			return w
		}
		next := func(w healthpb.Health_WatchClient, want Status) {
			t.Helper()
			if res, err := w.Recv(); err != nil || res.GetStatus() != want {
				t.Fatalf("got %v %v, want %v", res, err, want)
			}
		}
		gone, cancel := context.WithCancel(context.Background())
		stays, canceled := open(context.Background()), open(gone)
		all := []healthpb.Health_WatchClient{stays, canceled}
		for _, w := range all {
			next(w, serving)
		}
		synctest.Wait()
		if stacks := allStacks(); strings.Contains(stacks, "handleStream") {
			t.Errorf("a handler runs:\n%s", stacks)
		}
		n.registry.set("svc", notServing)
		for _, w := range all {
			next(w, notServing)
		}
		counts := func(want ...string) {
			t.Helper()
			synctest.Wait()
			var got []string
			for _, c := range n.RPCs() {
				got = append(got, fmt.Sprint(c.Code, " ", c.Count))
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("counted %v, want %v", got, want)
			}
		}
		counts()
		cancel()
		counts("Canceled 1")
		if open := n.OpenWatches(); open != 1 {
			t.Errorf("%d watches are open, want 1", open)
		}
		ctx, stopped := context.WithTimeout(context.Background(), time.Second)
		defer stopped()
		if err := n.Stop(ctx); err != nil {
			t.Error(err)
		}
		if _, err := stays.Recv(); status.Code(err) != codes.Unavailable {
			t.Errorf("ended with %v", err)
		}
		counts("Canceled 1", "Unavailable 1")
		if open := n.OpenWatches(); open != 0 {
			t.Errorf("%d watches are open", open)
		}
	})
}

func allStacks() string {
	b := make([]byte, 1<<20)
	return string(b[:runtime.Stack(b, true)])
}

// strangeStream is a stream that is not gRPC's own.
type strangeStream struct {
	grpc.ServerStream
	ctx  context.Context
	name string
	sent chan Status
}

func (s *strangeStream) Context() context.Context { return s.ctx }

func (s *strangeStream) RecvMsg(m any) error {
	m.(*healthpb.HealthCheckRequest).Service = s.name
	return nil
}

func (s *strangeStream) SendMsg(m any) error {
	data, err := flowcontrol.NewCodec().Marshal(m)
	if err != nil {
		return err
	}
	var res healthpb.HealthCheckResponse
	if err := flowcontrol.NewCodec().Unmarshal(data, &res); err != nil {
		return err
	}
	s.sent <- res.GetStatus()
	data.Free()
	return nil
}

// TestWatchOfAStrangeStream: where the end of a stream cannot be written the handler waits for it.
func TestWatchOfAStrangeStream(t *testing.T) {
	for name, tt := range map[string]struct {
		end  func(w *watches, cancel func())
		want codes.Code
	}{
		"the caller goes": {func(_ *watches, cancel func()) { cancel() }, codes.Canceled},
		"the node stops":  {func(w *watches, _ func()) { w.endAll(rpcerror.ErrStopping) }, codes.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			registry := newFakeRegistry()
			h := newHealth(readsOf(freshness.Reads{Node: "n1", Registry: registry, Incoming: freshness.NewIncoming(), Fence: fence.New()}, &fakeAccess{}), registry, 100)
			w := limitedWatches(1, 1)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			s := &strangeStream{ctx: ctx, name: "svc", sent: make(chan Status, 1)} // one is under way at most
			returned := make(chan error, 1)
			go func() { returned <- w.handle(h, s) }()
			for _, want := range []Status{serviceUnknown, serving, notServing} {
				if want != serviceUnknown {
					registry.set("svc", want)
				}
				if got := <-s.sent; got != want {
					t.Errorf("sent %v, want %v", got, want)
				}
			}
			tt.end(w, cancel)
			if err := <-returned; status.Code(err) != tt.want {
				t.Errorf("returned %v, want %v", err, tt.want)
			}
			w.begun.Wait()
			if n := w.open.Load(); n != 0 || w.first != nil {
				t.Errorf("%d watches are open", n)
			}
		})
	}
}

// TestWatchesEndWhileTheyBegin: whatever order things happen in, each watch ends, once.
func TestWatchesEndWhileTheyBegin(t *testing.T) {
	for range 50 {
		registry := newFakeRegistry()
		h := newHealth(readsOf(freshness.Reads{Node: "n1", Registry: registry, Incoming: freshness.NewIncoming(), Fence: fence.New()}, &fakeAccess{}), registry, 100)
		w := limitedWatches(100, 100)
		var all sync.WaitGroup
		for i := range 30 {
			ctx, cancel := context.WithCancel(context.Background())
			s := &strangeStream{ctx: ctx, name: "svc", sent: make(chan Status, 1)}
			all.Go(func() {
				if err := w.handle(h, s); err == nil {
					t.Error("ended without an error")
				}
			})
			if i%2 == 0 {
				all.Go(cancel)
			} else {
				defer cancel()
			}
		}
		all.Go(func() {
			f := &rpcerror.Failure{Reason: rpcerror.ReasonDiverged, Message: "differs"}
			h.Fence.Raise(f)
			w.endServices(f)
		})
		all.Go(func() { w.endAll(rpcerror.ErrStopping) })
		all.Wait()
		w.begun.Wait()
		if n := w.open.Load(); n != 0 || w.first != nil {
			t.Fatalf("%d watches are open", n)
		}
	}
}
