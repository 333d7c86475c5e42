package agent

import (
	"context"
	"log/slog"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/rollcallhq/rollcall/agent/config"
	"github.com/rollcallhq/rollcall/client"
)

// TestStopSaysTheLastWord: by each on_stop, and what has waited goes out before.
func TestStopSaysTheLastWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := newFakeRegistry()
		var all []config.Service
		for _, stop := range []client.OnStop{client.StopNotServing, client.StopWithdraw, client.StopLeave} {
			s := watched(stop.String())
			s.OnStop = stop
			all = append(all, s)
		}
		a := start(t, reg, file(all...))
		for _, s := range all {
			for _, st := range []client.Status{notServing, serving} { // the second within a second
				if err := a.push(s.Name, st, ""); err != nil {
					t.Fatal(err)
				}
			}
			a.reported(s.Reported(), notServing)
		}
		if took := a.stop(); took > 500*time.Millisecond {
			t.Errorf("the end took %v", took)
		}
		a.reported("not_serving/"+address, notServing)
		a.reported("withdraw/"+address, missing)
		a.reported("leave/"+address, serving)
		a.shows("not_serving", notServing)
		a.shows("leave", serving)
		a.shows("", notServing)
		if err := a.push("leave", notServing, ""); err != errEnded {
			t.Errorf("a push after the end returns %v", err)
		}
	})
}

// TestStopIsBounded: by a registry that hangs, in the middle of moves between leases, and by checks that do not return.
func TestStopIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg, p := newFakeRegistry(), &probe{}
		gone, moved := watched("gone", checked("c", "1", p)), watched("moved", checked("c", "1", p))
		a := start(t, reg, file(gone, moved))
		reg.hang(true)
		defer reg.hang(false)
		moved.OnStop = client.StopLeave
		a.mustReload(file(moved))
		p.hangs.Store(true)
		time.Sleep(time.Minute)
		if took := a.stop(); took > StopTimeout {
			t.Errorf("the end took %v, at most %v is promised", took, StopTimeout)
		}
	})
}

// TestStopEndsWatches: those who watch are told NOT_SERVING, and then that the agent stops; one who comes back finds
// nobody.
func TestStopEndsWatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := newFakeRegistry()
		cfg := file(watched("shop", checked("c", "1", &probe{})))
		cfg.GRPC = "agent"
		l := bufconn.Listen(64 << 10)
		a := newAgent(cfg, reg.registry(), slog.New(slog.DiscardHandler))
		var err error
		if a.ports, err = listen(cfg, a.board, newHTTP(a, cfg), func(string) (net.Listener, error) { return l, nil }); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- a.Run(ctx) }()
		conn, err := grpc.NewClient("passthrough:///agent", grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		watch, err := healthpb.NewHealthClient(conn).Watch(t.Context(), &healthpb.HealthCheckRequest{Service: "shop"}, grpc.WaitForReady(true))
		if err != nil {
			t.Fatal(err)
		}
		var seen []client.Status
		heard := make(chan error, 1)
		go func() {
			for {
				resp, err := watch.Recv()
				if err != nil {
					heard <- err
					return
				}
				seen = append(seen, resp.GetStatus())
			}
		}()
		time.Sleep(time.Second)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run returns %v", err)
		}
		if err := <-heard; status.Code(err) != codes.Unavailable {
			t.Errorf("the Watch ends with %v", err)
		}
		begun := max(0, slices.Index(seen, serving)) // before, checks and the registry had not said anything
		if !slices.Equal(seen[begun:], []client.Status{serving, notServing}) {
			t.Errorf("the Watch saw %v", seen)
		}
	})
}

// TestWatchesOfNamesThatComeAndGo: SERVICE_UNKNOWN until the agent watches a service, and again when it does not.
func TestWatchesOfNamesThatComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, newFakeRegistry(), file(watched("other")))
		ctx, cancel := context.WithCancel(t.Context())
		s := &fakeStream{ctx: ctx}
		done := make(chan error, 1)
		go func() { done <- health{board: a.board}.Watch(&healthpb.HealthCheckRequest{Service: "shop"}, s) }()
		synctest.Wait()
		shop := watched("shop", checked("c", "1", &probe{}))
		a.mustReload(file(watched("other"), shop))
		time.Sleep(time.Second)
		a.mustReload(file(watched("other")))
		time.Sleep(time.Second)
		a.mustReload(file(watched("other"), shop))
		time.Sleep(time.Second)
		cancel()
		if err := <-done; err != errStreamEnded {
			t.Errorf("Watch returns %v", err)
		}
		got := slices.DeleteFunc(s.sent, func(s client.Status) bool { return s == unknown || s == notServing }) // on the way
		if !slices.Equal(got, []client.Status{missing, serving, missing, serving}) {
			t.Errorf("it saw %v", got)
		}
		if n := len(a.board.cells); n != 3 {
			t.Errorf("%d cells are left", n)
		}
	})
}

type fakeStream struct {
	grpc.ServerStream
	ctx    context.Context
	sent   []client.Status
	during func() // called by Send; may be nil
}

func (s *fakeStream) Context() context.Context { return s.ctx }
func (s *fakeStream) Send(r *healthpb.HealthCheckResponse) error {
	s.sent = append(s.sent, r.GetStatus())
	if s.during != nil {
		s.during()
	}
	return nil
}

// TestWatchSendsNoStatusTwice: one that changed and changed back while the stream was busy.
func TestWatchSendsNoStatusTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoard(func(string, *cell) {})
		ctx, cancel := context.WithCancel(t.Context())
		s := &fakeStream{ctx: ctx, during: func() {
			b.say("", notServing)
			b.say("", serving)
		}}
		done := make(chan error, 1)
		go func() { done <- health{board: b}.Watch(&healthpb.HealthCheckRequest{}, s) }()
		synctest.Wait()
		cancel()
		<-done
		if !slices.Equal(s.sent, []client.Status{serving}) {
			t.Errorf("sent was %v", s.sent)
		}
	})
}

// TestCloseWithoutRun frees the ports.
func TestCloseWithoutRun(t *testing.T) {
	cfg := file(watched("shop"))
	cfg.Endpoints, cfg.GRPC, cfg.HTTP = []string{"127.0.0.1:1"}, "127.0.0.1:0", "127.0.0.1:0"
	a, err := New(cfg, Options{})
	if err != nil {
		t.Fatal(err)
	}
	cfg.GRPC, cfg.HTTP = a.Addresses()
	if _, err := New(cfg, Options{}); err == nil {
		t.Fatal("two agents listen at one address")
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if err := a.Run(t.Context()); err == nil {
		t.Error("Run after Close returns nil")
	}
	again, err := New(cfg, Options{})
	if err != nil {
		t.Fatalf("the ports are not free: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}
