package healthserver

import (
	"context"
	"errors"
	"flag"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/rollcallhq/rollcall/client"
)

func TestWatchSendsChangesOfBothSides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFakeSource()
		src.say(map[string]opinion{service: absent()})
		s := mustNew(t, withRegistry(src, &fakeLease{}))
		run(t, s)
		all, cart, alive := watch(t, s, ""), watch(t, s, "cart"), watch(t, s, "liveness")
		synctest.Wait()
		for _, step := range []func(){
			func() { s.SetServingStatus("cart", client.Serving) },
			func() { s.SetServingStatus("cart", client.Serving) }, // the same
			func() { src.say(map[string]opinion{service: report(client.NotServing, "")}) },
			func() { s.SetServingStatus("cart", client.NotServing) }, // shows the same
			func() { s.SetServingStatus("cart", client.Unknown) },    // and so does this
			func() { src.say(map[string]opinion{service: absent()}) },
			s.Shutdown,
			func() { s.SetServingStatus("cart", client.Serving) }, // ignored by the original
			s.Resume,
		} {
			step()
			synctest.Wait()
		}
		for _, test := range []struct {
			of   string
			w    *watching
			want []client.Status
		}{
			{"the whole", all, []client.Status{client.Serving, client.NotServing, client.Serving, client.NotServing, client.Serving}},
			{"cart", cart, []client.Status{client.ServiceUnknown, client.Serving, client.NotServing, client.Unknown, client.NotServing, client.Serving}},
			{"liveness", alive, []client.Status{client.Serving}},
		} {
			if got := test.w.all(); !slices.Equal(got, test.want) {
				t.Errorf("Watch of %s sent %v, want %v", test.of, got, test.want)
			}
		}
	})
}

// A Watch that ends after a message is opened again by grpc-go without a pause: so it never ends while serving.
func TestWatchDoesNotEndWhileServing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFakeSource()
		src.say(map[string]opinion{service: absent()})
		s := mustNew(t, withRegistry(src, &fakeLease{}))
		ctx, cancel := context.WithCancel(context.Background())
		ran := make(chan error)
		go func() { ran <- s.Run(ctx) }()
		w, unknown := watch(t, s, ""), watch(t, s, "nobody")
		for _, o := range []opinion{report(client.NotServing, ""), absent(), held(report(client.NotServing, "")), {}} {
			src.say(map[string]opinion{service: o})
			synctest.Wait()
		}
		s.Shutdown()
		s.Resume()
		cancel()
		<-ran
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		for _, w := range []*watching{w, unknown} {
			select {
			case <-w.ended:
				t.Errorf("it ended: %v", w.result)
			default:
			}
		}
	})
}

// A change that comes while the status before it is being looked at, or sent, is not missed.
func TestChangesAreNotMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFakeSource()
		src.say(map[string]opinion{service: absent()})
		s := mustNew(t, withRegistry(src, &fakeLease{}))
		src.once = func() { src.say(map[string]opinion{service: report(client.NotServing, "")}) }
		run(t, s)
		synctest.Wait()
		wantStatus(t, s, "", client.NotServing)

		ctx, cancel := context.WithCancel(t.Context())
		w := &interrupted{stream: &stream{ctx: ctx}, once: func() {
			src.say(map[string]opinion{service: absent()})
			s.judge()
		}}
		ended := make(chan struct{})
		go func() {
			_ = s.Watch(&healthpb.HealthCheckRequest{}, w)
			close(ended)
		}()
		synctest.Wait()
		if got := w.all(); !slices.Equal(got, []client.Status{client.NotServing, client.Serving}) {
			t.Errorf("Watch sent %v", got)
		}
		cancel()
		<-ended
	})
}

// interrupted is a stream during whose first message something happens.
type interrupted struct {
	*stream
	once func()
}

func (s *interrupted) Send(r *healthpb.HealthCheckResponse) error {
	if s.once != nil {
		s.once()
		s.once = nil
	}
	return s.stream.Send(r)
}

func TestEndWatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mustNew(t)
		all := []*watching{watch(t, s, ""), watch(t, s, service), watch(t, s, "liveness"), watch(t, s, "nobody")}
		synctest.Wait()
		s.EndWatches()
		s.EndWatches()
		for _, w := range all {
			<-w.ended
			if status.Code(w.result) != codes.Unavailable {
				t.Errorf("it ended with %v", w.result)
			}
			if len(w.all()) != 1 {
				t.Errorf("it sent %v", w.all())
			}
		}
		// A new one ends before its first message: then a client pauses before it opens another one.
		late := watch(t, s, "")
		<-late.ended
		if status.Code(late.result) != codes.Unavailable || len(late.all()) != 0 {
			t.Errorf("a new one sent %v and ended with %v", late.all(), late.result)
		}
		wantStatus(t, s, "", client.Serving)
	})
}

func TestWatchEndsWithItsStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mustNew(t)
		w := watch(t, s, service)
		synctest.Wait()
		w.cancel()
		<-w.ended
		if status.Code(w.result) != codes.Canceled {
			t.Errorf("it ended with %v", w.result)
		}
		broken := &stream{ctx: context.Background(), err: errors.New("broken")}
		if err := s.Watch(&healthpb.HealthCheckRequest{}, broken); status.Code(err) != codes.Canceled {
			t.Errorf("after a Send that failed it ended with %v", err)
		}
	})
}

var rounds = flag.Int("rounds", 3, "how often TestWatchesConverge runs; nightly 20")

// 50 Watches end with the newest status and repeat none, while both sides change at once.
func TestWatchesConverge(t *testing.T) {
	for range *rounds {
		synctest.Test(t, testWatchesConverge)
	}
}

func testWatchesConverge(t *testing.T) {
	src := newFakeSource()
	src.say(map[string]opinion{service: absent()})
	s := mustNew(t, withRegistry(src, &fakeLease{}))
	run(t, s)
	s.SetServingStatus("cart", client.Serving) // what is set between Shutdown and Resume is ignored, perhaps all below
	names := []string{"", "cart", service, "liveness", "late"}
	var all []*watching
	for i := range 50 {
		all = append(all, watch(t, s, names[i%len(names)]))
	}
	statuses := []client.Status{client.Serving, client.NotServing, client.Unknown}
	var work sync.WaitGroup
	work.Go(func() {
		for range 1000 {
			s.SetServingStatus(names[rand.N(4)], statuses[rand.N(3)])
		}
	})
	work.Go(func() {
		for range 900 {
			src.say(map[string]opinion{service: report(statuses[rand.N(3)], "")})
		}
	})
	work.Go(func() {
		for range 50 {
			s.Shutdown()
			s.Resume()
		}
	})
	work.Wait()
	s.SetServingStatus("late", client.Serving)
	synctest.Wait()
	for i, w := range all {
		name := names[i%len(names)]
		want, err := check(t, s, name)
		if got := w.last(); err != nil || got != want {
			t.Errorf("Watch of %q sent %v last, Check answers %v, %v", name, got, want, err)
		}
		if sent := w.all(); len(slices.Compact(slices.Clone(sent))) != len(sent) {
			t.Errorf("Watch of %q repeats a status: %v", name, sent)
		}
	}
}
