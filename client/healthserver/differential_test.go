package healthserver

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"pgregory.net/rapid"

	"github.com/rollcallhq/rollcall/client"
)

// drop is what a program uses of a health server.
type drop interface {
	healthpb.HealthServer
	SetServingStatus(string, client.Status)
	Shutdown()
	Resume()
}

// pair is the original and the drop-in, side by side.
type pair struct {
	original, ours drop
	watches        [][2]*watching
}

func newPair(t *testing.T) *pair {
	src := newFakeSource()
	src.say(map[string]opinion{service: absent(), instance: report(client.NotServing, "lease-1")})
	s := mustNew(t, withRegistry(src, &fakeLease{}), WithInstance(address))
	run(t, s)
	return &pair{original: health.NewServer(), ours: s}
}

func (p *pair) both(do func(drop)) {
	do(p.original)
	do(p.ours)
	synctest.Wait()
}

func (p *pair) watch(t *testing.T, name string) {
	p.watches = append(p.watches, [2]*watching{watch(t, p.original, name), watch(t, p.ours, name)})
	synctest.Wait()
}

// difference says what differs; "" if nothing does.
func (p *pair) difference(names []string) string {
	ctx := context.Background()
	for _, name := range names {
		in := &healthpb.HealthCheckRequest{Service: name}
		a, errA := p.original.Check(ctx, in)
		b, errB := p.ours.Check(ctx, in)
		if a.GetStatus() != b.GetStatus() || fmt.Sprint(errA) != fmt.Sprint(errB) {
			return fmt.Sprintf("Check of %q: %v, %v; ours %v, %v", name, a, errA, b, errB)
		}
	}
	a, errA := p.original.List(ctx, &healthpb.HealthListRequest{})
	b, errB := p.ours.List(ctx, &healthpb.HealthListRequest{})
	if fmt.Sprint(errA) != fmt.Sprint(errB) || len(a.GetStatuses()) != len(b.GetStatuses()) {
		return fmt.Sprintf("List: %v, %v; ours %v, %v", a, errA, b, errB)
	}
	for name, st := range a.GetStatuses() {
		if ours, ok := b.GetStatuses()[name]; !ok || ours.GetStatus() != st.GetStatus() {
			return fmt.Sprintf("List has %v of %q; ours %v", st, name, ours)
		}
	}
	for i, w := range p.watches {
		if a, b := w[0].all(), w[1].all(); !slices.Equal(a, b) {
			return fmt.Sprintf("Watch %d sent %v; ours %v", i, a, b)
		}
	}
	return ""
}

// Without an opinion of the registry nobody can tell the drop-in from the original.
func TestSameAsTheOriginal(t *testing.T) {
	names := []string{"", "a", "shop.v1.Cart", instance, "never set"}
	statuses := []client.Status{client.Unknown, client.Serving, client.NotServing, client.ServiceUnknown, 42}
	rapid.Check(t, func(rt *rapid.T) {
		steps := rapid.SliceOfN(rapid.IntRange(0, 99), 1, 60).Draw(rt, "steps")
		synctest.Test(t, func(t *testing.T) {
			p := newPair(t)
			for i, step := range steps {
				name, st := names[step%4], statuses[step/4%5]
				switch {
				case step < 8:
					p.both(drop.Shutdown)
				case step < 16:
					p.both(drop.Resume)
				case step < 36:
					p.watch(t, names[step%5])
				case step < 40 && len(p.watches) > 0:
					for _, w := range p.watches[step%len(p.watches)] {
						w.cancel()
						<-w.ended
					}
				default:
					p.both(func(d drop) { d.SetServingStatus(name, st) })
				}
				if d := p.difference(names); d != "" {
					t.Fatalf("step %d of %v: %s", i, steps, d)
				}
			}
		})
		if t.Failed() {
			rt.FailNow()
		}
	})
}

// What a program may rely on of grpc-go's server, asked of both.
func TestBehaviourOfTheOriginal(t *testing.T) {
	for _, test := range []struct {
		name string
		do   func(t *testing.T, d drop)
	}{
		{"the whole serves from the start", func(t *testing.T, d drop) { expect(t, d, "", client.Serving) }},
		{"an unknown name is NOT_FOUND", func(t *testing.T, d drop) {
			if _, err := check(t, d, "nobody"); status.Code(err) != codes.NotFound || status.Convert(err).Message() != "unknown service" {
				t.Errorf("it answers %v", err)
			}
		}},
		{"Shutdown turns all and freezes them", func(t *testing.T, d drop) {
			d.SetServingStatus("a", client.Serving)
			d.SetServingStatus("b", client.Unknown)
			d.Shutdown()
			for _, name := range []string{"", "a", "b"} {
				expect(t, d, name, client.NotServing)
				d.SetServingStatus(name, client.Serving)
				expect(t, d, name, client.NotServing)
			}
			d.SetServingStatus("new", client.Serving)
			if _, err := check(t, d, "new"); status.Code(err) != codes.NotFound {
				t.Errorf("a new name is %v", err)
			}
		}},
		{"Resume turns all to SERVING and listens again", func(t *testing.T, d drop) {
			d.SetServingStatus("a", client.NotServing)
			d.Shutdown()
			d.Resume()
			expect(t, d, "", client.Serving)
			expect(t, d, "a", client.Serving)
			d.SetServingStatus("a", client.Unknown)
			expect(t, d, "a", client.Unknown)
		}},
		{"List has every name that was set", func(t *testing.T, d drop) {
			d.SetServingStatus("a", client.NotServing)
			d.SetServingStatus("b", client.Unknown)
			resp, err := d.List(context.Background(), &healthpb.HealthListRequest{})
			if err != nil || len(resp.GetStatuses()) != 3 || resp.GetStatuses()["a"].GetStatus() != client.NotServing {
				t.Errorf("List answers %v, %v", resp, err)
			}
		}},
		{"List of more than 100 names is refused", func(t *testing.T, d drop) {
			for i := range 100 {
				d.SetServingStatus(fmt.Sprint("name", i), client.Serving)
			}
			if _, err := d.List(context.Background(), &healthpb.HealthListRequest{}); status.Code(err) != codes.ResourceExhausted {
				t.Errorf("List answers %v", err)
			}
		}},
		{"a Watch of a name that is set later", func(t *testing.T, d drop) {
			w := watch(t, d, "a")
			synctest.Wait()
			d.SetServingStatus("a", client.NotServing)
			synctest.Wait()
			d.SetServingStatus("b", client.Serving) // another one
			d.SetServingStatus("a", client.NotServing)
			synctest.Wait()
			if got := w.all(); !slices.Equal(got, []client.Status{client.ServiceUnknown, client.NotServing}) {
				t.Errorf("Watch sent %v", got)
			}
		}},
		{"the newest status wins over those that were not sent", func(t *testing.T, d drop) {
			w := &slow{stream: &stream{ctx: t.Context()}, held: make(chan struct{})}
			ended := make(chan struct{})
			ctx, cancel := context.WithCancel(t.Context())
			w.ctx = ctx
			go func() {
				_ = d.Watch(&healthpb.HealthCheckRequest{}, w)
				close(ended)
			}()
			synctest.Wait() // the first message is being sent
			for range 10 {
				d.SetServingStatus("", client.NotServing)
				d.SetServingStatus("", client.Serving)
				d.SetServingStatus("", client.Unknown)
			}
			synctest.Wait()
			close(w.held)
			synctest.Wait()
			if got := w.all(); !slices.Equal(got, []client.Status{client.Serving, client.Unknown}) {
				t.Errorf("Watch sent %v", got)
			}
			cancel()
			<-ended
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Run("original", func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { test.do(t, health.NewServer()) })
			})
			t.Run("ours", func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { test.do(t, newPair(t).ours) })
			})
		})
	}
}

func expect(t *testing.T, d drop, name string, want client.Status) {
	t.Helper()
	if got, err := check(t, d, name); err != nil || got != want {
		t.Errorf("%q is %v, %v, want %v", name, got, err, want)
	}
}

// slow is a stream whose first message is held up, as by flow control.
type slow struct {
	*stream
	held chan struct{}
}

func (s *slow) Send(r *healthpb.HealthCheckResponse) error {
	<-s.held
	return s.stream.Send(r)
}
