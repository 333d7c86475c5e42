package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"pgregory.net/rapid"

	"github.com/rollcallhq/rollcall/api/rollcall/accesstoken"
	"github.com/rollcallhq/rollcall/api/rollcall/convert"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/fsm/access"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// watchOf is a client that follows something, begins anew when it is told to, and keeps what it was told.
type watchOf struct {
	who   string // "anonymous" or "token:ci"
	what  string
	names []string // that it is about; nil: all
	begin func(ctx context.Context, take func(name, state string, gone bool)) error

	mu    sync.Mutex // guards what follows
	state map[string]string
	ended error // why it does not go on
}

// run follows until it is refused.
func (w *watchOf) run(ctx context.Context) {
	for {
		w.mu.Lock()
		w.state = map[string]string{}
		w.mu.Unlock()
		err := w.begin(ctx, func(name, state string, gone bool) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if gone {
				delete(w.state, name)
			} else {
				w.state[name] = state
			}
		})
		if status.Code(err) == codes.Unavailable && cmpReason(err) == rpcerror.ReasonAccessChanged {
			continue
		}
		w.mu.Lock()
		w.ended = err
		w.mu.Unlock()
		return
	}
}

// receiveAll calls take with each message of a stream, and returns why it ended.
func receiveAll[M any](stream interface{ Recv() (M, error) }, err error, take func(M)) error {
	for err == nil {
		var m M
		if m, err = stream.Recv(); err == nil {
			take(m)
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func (n *testNode) watch(who string, ctx func(context.Context) context.Context, what string, names ...string) *watchOf {
	w := &watchOf{who: who, what: what, names: names}
	w.begin = func(c context.Context, take func(name, state string, gone bool)) error {
		c = ctx(c)
		switch what {
		case "health":
			stream, err := n.health().Watch(c, &healthpb.HealthCheckRequest{Service: names[0]})
			return receiveAll(stream, err, func(m *healthpb.HealthCheckResponse) {
				take(names[0], m.GetStatus().String(), m.GetStatus() == serviceUnknown)
			})
		case "events":
			stream, err := n.reads().WatchEvents(c, &rollcallv1.WatchEventsRequest{FromRevision: 1})
			return receiveAll(stream, err, func(m *rollcallv1.WatchEventsResponse) {
				for _, e := range m.GetEvents() {
					take(fmt.Sprint(e.GetRevision()), line(e), false)
				}
			})
		}
		req := &rollcallv1.WatchServicesRequest{Services: names}
		if what == "prefix" {
			req = &rollcallv1.WatchServicesRequest{Prefixes: names}
		}
		stream, err := n.reads().WatchServices(c, req)
		return receiveAll(stream, err, func(m *rollcallv1.WatchServicesResponse) {
			for _, r := range m.GetServices() {
				take(r.GetService(), r.GetStatus().String(), r.GetStatus() == serviceUnknown)
			}
			for _, name := range m.GetDeleted() {
				take(name, "", true)
			}
		})
	}
	return w
}

// isRefusal says that a watch ended because its caller may read nothing of it.
func isRefusal(err error) bool {
	return err != nil && (cmpReason(err) == rpcerror.ReasonDenied || cmpReason(err) == rpcerror.ReasonNoCredentials)
}

// want is what a watch must have been told of a registry, and whether it must have ended with a refusal.
func (w *watchOf) want(f *fakeRegistry, who naive, enforced bool) (state map[string]string, refused bool) {
	if !enforced {
		who = naive{grants: []access.Grant{{Verbs: access.All, Pattern: "*"}}}
	}
	state = map[string]string{}
	if w.what == "events" {
		events, _ := f.read()
		for _, e := range events {
			if p, ok := who.sees(convert.Event(e)); ok {
				state[fmt.Sprint(e.GetRevision())] = line(p)
			}
		}
		return state, !who.begins("") && !who.may(access.Auth)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch w.what {
	case "prefix":
		for name, s := range f.services {
			if matches(&logv1.Event{Kind: logv1.Kind_KIND_SERVICE, Key: name}, w.names) && who.allows(name) {
				state[name] = s.String()
			}
		}
		return state, slices.ContainsFunc(w.names, func(p string) bool { return !who.begins(p) }) || !who.begins("")
	default:
		for _, name := range w.names {
			if s, ok := f.services[name]; ok {
				state[name] = s.String()
			}
			refused = refused || !who.allows(name)
		}
		return state, refused
	}
}

// TestWatchesTellWhatANaiveFilterDoes: over a random history of changes of services and of grants, a second after each
// change every watch has been told what a naive filter leaves of the registry, or was refused if that is nothing. A
// watch that was refused begins anew when that changes.
func TestWatchesTellWhatANaiveFilterDoes(t *testing.T) {
	type step struct {
		what   int
		name   string
		status Status
		grants []access.Grant
		n      int
	}
	steps := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
		return step{
			rapid.IntRange(0, 7).Draw(t, "what"), rapid.SampledFrom(readNames).Draw(t, "name"),
			rapid.SampledFrom([]Status{serving, notServing, serviceUnknown}).Draw(t, "status"), drawGrants(t, "grants"), rapid.IntRange(0, 3).Draw(t, "n"),
		}
	}), 1, 12)
	rapid.Check(t, func(rt *rapid.T) {
		script := steps.Draw(rt, "steps")
		var bad []string
		synctest.Test(t, func(t *testing.T) {
			n := single(t)
			token := accesstoken.New()
			n.addToken("ci", token, 0)
			ctx, stop := context.WithCancel(context.Background())
			var all []*watchOf
			var running sync.WaitGroup
			for who, as := range map[string]func(context.Context) context.Context{
				"anonymous": func(ctx context.Context) context.Context { return ctx },
				"token:ci":  func(ctx context.Context) context.Context { return with(ctx, token) },
			} {
				all = append(all, n.watch(who, as, "health", "a/b"), n.watch(who, as, "names", "a", "a/b"), n.watch(who, as, "names", "shop/cart"),
					n.watch(who, as, "prefix"), n.watch(who, as, "prefix", "a"), n.watch(who, as, "prefix", "shop/", "b"), n.watch(who, as, "events"))
			}
			begin := func(w *watchOf) {
				w.ended = nil
				running.Go(func() { w.run(ctx) })
			}
			for _, w := range all {
				begin(w)
			}
			var anonymous, own []access.Grant
			enforced := false
			for i, step := range script {
				switch step.what {
				case 0, 1:
					n.registry.set(step.name, step.status)
				case 2:
					n.registry.setAll(step.status%2+1, step.name, readNames[(slices.Index(readNames, step.name)+1)%len(readNames)])
				case 3:
					anonymous = step.grants
				case 4:
					own = step.grants
				case 5:
					enforced = step.n > 0
				case 6: // back and forth at once
					n.access.change(func(r *fakeRights) { r.grants["token:ci"] = access.New(step.grants...) })
				}
				if step.what == 7 {
					n.registry.noteOther(&logv1.Event{Type: logv1.EventType_EVENT_TYPE_OVERRIDE_SET, Kind: logv1.Kind_KIND_OVERRIDE, Key: step.name + "/*"})
				}
				n.access.change(func(r *fakeRights) {
					r.enforced, r.anonymous, r.grants["token:ci"] = enforced, access.New(anonymous...), access.New(own...)
				})
				time.Sleep(time.Second)
				synctest.Wait()
				for _, w := range all {
					who := naive{true, anonymous}
					if w.who != "anonymous" {
						who = naive{false, slices.Concat(anonymous, own)}
					}
					w.mu.Lock()
					ended := w.ended
					w.mu.Unlock()
					state, refused := w.want(n.registry, who, enforced)
					if ended != nil && !refused { // it may begin anew
						begin(w)
						time.Sleep(time.Second)
						synctest.Wait()
					}
					w.mu.Lock()
					switch {
					case refused && !isRefusal(w.ended):
						bad = append(bad, fmt.Sprintf("after step %d %s of %v by %s goes on, or ended with %v; the grants are %v", i, w.what, w.names, w.who, w.ended, who.grants))
					case !refused && (w.ended != nil || !maps.Equal(w.state, state)):
						bad = append(bad, fmt.Sprintf("after step %d %s of %v by %s has (%v)\n%v, want\n%v; the grants are %v", i, w.what, w.names, w.who, w.ended, w.state, state, who.grants))
					}
					w.mu.Unlock()
				}
			}
			stop()
			running.Wait()
		})
		if len(bad) > 0 {
			rt.Fatal(bad[0])
		}
	})
}

// TestHowWatchesEnd: each sort of watch says why it ends, within a second.
func TestHowWatchesEnd(t *testing.T) {
	open := map[string]func(context.Context, *testNode) error{
		"health": func(ctx context.Context, n *testNode) error {
			stream, err := n.health().Watch(ctx, &healthpb.HealthCheckRequest{Service: "shop/cart"})
			return receiveAll(stream, err, func(*healthpb.HealthCheckResponse) {})
		},
		"names": func(ctx context.Context, n *testNode) error {
			stream, err := n.reads().WatchServices(ctx, &rollcallv1.WatchServicesRequest{Services: []string{"shop/cart", "shop/pay"}})
			return receiveAll(stream, err, func(*rollcallv1.WatchServicesResponse) {})
		},
		"prefix": func(ctx context.Context, n *testNode) error {
			stream, err := n.reads().WatchServices(ctx, &rollcallv1.WatchServicesRequest{Prefixes: []string{"shop/"}})
			return receiveAll(stream, err, func(*rollcallv1.WatchServicesResponse) {})
		},
		"events": func(ctx context.Context, n *testNode) error {
			stream, err := n.reads().WatchEvents(ctx, &rollcallv1.WatchEventsRequest{})
			return receiveAll(stream, err, func(*rollcallv1.WatchEventsResponse) {})
		},
	}
	writes := map[string]bool{"keep alive": true, "write": true}
	open["keep alive"] = func(ctx context.Context, n *testNode) error {
		stream, err := n.admin().KeepAlive(ctx)
		return receiveAll(stream, err, func(*rollcallv1.KeepAliveResponse) {})
	}
	open["write"] = func(ctx context.Context, n *testNode) error {
		stream, err := n.admin().WriteStream(ctx)
		return receiveAll(stream, err, func(*rollcallv1.WriteStreamResponse) {})
	}
	reading := func(patterns ...string) access.Permissions {
		var all []access.Grant
		for _, p := range patterns {
			all = append(all, access.Grant{Verbs: access.Read | access.Report, Pattern: p})
		}
		return access.New(all...)
	}
	for what, follow := range open {
		for _, tt := range []struct {
			name   string
			change func(r *fakeRights, token string)
			want   string // reason; "": it goes on
		}{
			{"revoked", func(r *fakeRights, token string) { delete(r.tokens, token) }, rpcerror.ReasonTokenRevoked},
			{"denied", func(r *fakeRights, _ string) { r.denied["token:ci"] = true }, rpcerror.ReasonDenied},
			{"nothing of it any more", func(r *fakeRights, _ string) { r.grants["token:ci"] = reading("pay") }, map[bool]string{true: rpcerror.ReasonAccessChanged, false: rpcerror.ReasonDenied}[what == "events"]},
			{"less of it", func(r *fakeRights, _ string) { r.grants["token:ci"] = reading("shop/cart") }, map[bool]string{true: "", false: rpcerror.ReasonAccessChanged}[what == "health"]},
			{"more of others", func(r *fakeRights, _ string) { r.grants["token:ci"] = reading("shop/*", "pay") }, map[bool]string{true: rpcerror.ReasonAccessChanged, false: ""}[what == "events"]},
			{"others", func(r *fakeRights, _ string) { r.grants["token:other"] = reading("*") }, ""},
			{"off", func(r *fakeRights, _ string) { r.enforced = false }, map[bool]string{true: rpcerror.ReasonAccessChanged, false: ""}[what == "events"]},
		} {
			synctest.Test(t, func(t *testing.T) {
				n := single(t)
				token := accesstoken.New()
				n.addToken("ci", token, 0)
				n.access.change(func(r *fakeRights) { r.enforced, r.grants["token:ci"] = true, reading("shop/*") })
				ctx, cancel := context.WithCancel(with(t.Context(), token))
				ended := make(chan error, 1)
				go func() { ended <- follow(ctx, n) }()
				time.Sleep(time.Second)
				n.access.change(func(r *fakeRights) { tt.change(r, token.ID()) })
				time.Sleep(time.Second)
				synctest.Wait()
				got, want := "", tt.want
				if writes[what] && tt.name != "revoked" && tt.name != "denied" {
					want = "" // it may report something
				}
				select {
				case err := <-ended:
					got = cmpReason(err)
				default:
				}
				if got != want {
					t.Errorf("%s, %s: ended for %q, want %q", what, tt.name, got, want)
				}
				cancel()
				synctest.Wait()
				if n := n.OpenWatches(); n != 0 {
					t.Errorf("%s, %s: %d watches are left", what, tt.name, n)
				}
			})
		}
		// By the clock of the cluster, of which nobody tells.
		synctest.Test(t, func(t *testing.T) {
			n := single(t)
			token := accesstoken.New()
			n.addToken("ci", token, n.now.Add(time.Hour).UnixNano())
			n.access.change(func(r *fakeRights) { r.enforced, r.grants["token:ci"] = true, reading("shop/*") })
			ended := make(chan error, 1)
			go func() { ended <- follow(with(t.Context(), token), n) }()
			time.Sleep(time.Hour - time.Second)
			synctest.Wait()
			if len(ended) > 0 {
				t.Errorf("%s: it ended before the token expired: %v", what, <-ended)
			}
			n.later.Store(int64(time.Hour))
			time.Sleep(2 * time.Second)
			synctest.Wait()
			select {
			case err := <-ended:
				if cmpReason(err) != rpcerror.ReasonTokenExpired {
					t.Errorf("%s: it ended for %v", what, err)
				}
			default:
				t.Errorf("%s: it goes on with a token that has expired", what)
			}
		})
	}
}
