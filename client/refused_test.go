package client_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/rollcallhq/rollcall/api/rollcall/accesstoken"
	"github.com/rollcallhq/rollcall/client"
)

// logged is what was logged.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logged) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// refusals are the ways in which the fake refuses a token.
var refusals = map[string]func(*fakeCluster, accesstoken.Token){
	client.ReasonTokenRevoked: func(f *fakeCluster, token accesstoken.Token) { f.refuse(token, client.ReasonTokenRevoked) },
	client.ReasonTokenExpired: func(f *fakeCluster, token accesstoken.Token) { f.refuse(token, client.ReasonTokenExpired) },
	client.ReasonDenied: func(f *fakeCluster, token accesstoken.Token) {
		f.do(func() { f.access.denied[token.Text()] = true })
	},
}

// allow ends all refusals.
func (f *fakeCluster) allow() {
	f.do(func() { f.access.refused, f.access.denied = map[string]string{}, map[string]bool{} })
}

func wantRefusal(t *testing.T, err error, reason string) {
	t.Helper()
	e := failure(t, err)
	denied := reason == client.ReasonDenied
	if e.Reason != reason || client.IsDenied(err) != denied || client.IsUnauthenticated(err) == denied || !client.IsNotWritten(err) {
		t.Errorf("%v: want %s", err, reason)
	}
	if denied && (e.Identity != "token:ci" || e.Verb != "report") {
		t.Errorf("identity %q, verb %q", e.Identity, e.Verb)
	}
}

// A refusal of the caller is the answer: nobody else is asked, and nothing is tried again.
func TestRefusalsOfTheCallerAreFinal(t *testing.T) {
	for reason, refuse := range refusals {
		synctest.Test(t, func(t *testing.T) {
			f := startGuarded(t, 3)
			file, token := newTokenFile(t)
			c := f.guardedClient(t, file)
			ctx := within(t, time.Hour)
			refuse(f, token)
			began := time.Now()
			_, err := c.Check(ctx, "a")
			wantRefusal(t, err, reason)
			wantRefusal(t, set(ctx, c, client.WriteOptions{}), reason)
			_, err = c.WhoAmI(ctx)
			wantRefusal(t, err, reason)
			for _, err := range c.Watch(ctx, "a") {
				wantRefusal(t, err, reason)
			}
			for _, err := range c.WatchServices(ctx) {
				wantRefusal(t, err, reason)
			}
			for _, err := range c.WatchEvents(ctx, client.WatchEventsOptions{}) {
				wantRefusal(t, err, reason)
			}
			for _, err := range c.List(ctx, client.ListOptions{}) {
				wantRefusal(t, err, reason)
			}
			_, err = c.ExportSnapshot(ctx, new(bytes.Buffer), client.ExportOptions{})
			wantRefusal(t, err, reason)
			if n := len(f.allUsed()); n != 8 {
				t.Errorf("%d calls: %q", n, f.allUsed())
			}
			if took := time.Since(began); took > time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// A crowd of writes whose caller is refused is refused one by one, and surely not written; so is it if the refusal comes
// while a stream is open.
func TestStreamedWritesWhoseCallerIsRefused(t *testing.T) {
	for reason, refuse := range refusals {
		synctest.Test(t, func(t *testing.T) {
			f := startGuarded(t, 1)
			file, token := newTokenFile(t)
			c := f.guardedClient(t, file)
			openStream(t, f, c)
			refuse(f, token)
			synctest.Wait()
			for range 3 {
				for _, err := range crowd(within(t, time.Minute), c, 10, client.WriteOptions{}) {
					wantRefusal(t, err, reason)
				}
			}
			if n := len(f.used("WriteStream")); n > 2 {
				t.Errorf("%d streams were opened", n)
			}
			time.Sleep(time.Minute)
			for _, err := range crowd(within(t, time.Minute), c, 10, client.WriteOptions{}) {
				wantRefusal(t, err, reason)
			}
			if n := len(f.used("WriteStream")); n > 4 {
				t.Errorf("%d streams were opened", n)
			}
			f.allow()
			time.Sleep(time.Minute)
			openStream(t, f, c)
		})
	}
}

// Writes that are under way when their stream is refused may have been done: nobody says that they were not.
func TestAStreamIsRefusedWhileWritesAreUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startGuarded(t, 1)
		file, token := newTokenFile(t)
		c := f.guardedClient(t, file)
		openStream(t, f, c)
		f.nodes[0].onAnswer = func(ctx context.Context, _ int) error { <-ctx.Done(); return ctx.Err() } // done, and not answered
		time.AfterFunc(time.Second, func() { f.refuse(token, client.ReasonTokenRevoked) })
		for i, err := range crowd(within(t, time.Minute), c, 5, client.WriteOptions{}) {
			if !client.IsUnknown(err) || !strings.Contains(err.Error(), "token_revoked") {
				t.Errorf("%d: %v", i, err)
			}
		}
	})
}

// A watch that is under way ends with the reason.
func TestWatchesEndWhenTheirCallerIsRefused(t *testing.T) {
	for reason, refuse := range refusals {
		synctest.Test(t, func(t *testing.T) {
			f := startGuarded(t, 3)
			file, token := newTokenFile(t)
			c := f.guardedClient(t, file)
			f.write(event{"a", serving, ""})
			time.AfterFunc(time.Minute, func() { refuse(f, token) })
			var all sync.WaitGroup
			end := func(name string, watch func() error) {
				all.Go(func() {
					began := time.Now()
					err := watch()
					wantRefusal(t, err, reason)
					if took := time.Since(began); took < time.Minute || took > time.Minute+time.Second {
						t.Errorf("%s ended after %v", name, took)
					}
				})
			}
			ctx := within(t, time.Hour)
			end("watch", func() (err error) {
				for _, err = range c.Watch(ctx, "a") {
				}
				return err
			})
			end("names", func() (err error) {
				for _, err = range c.WatchNames(ctx, "a", "b") {
				}
				return err
			})
			end("services", func() (err error) {
				for _, err = range c.WatchServices(ctx) {
				}
				return err
			})
			end("events", func() (err error) {
				for _, err = range c.WatchEvents(ctx, client.WatchEventsOptions{From: 1}) {
				}
				return err
			})
			end("keep alive", func() (err error) {
				f.grant("lease", ttl)
				for _, err = range c.KeepAlive(ctx, "lease") {
				}
				return err
			})
			all.Wait()
		})
	}
}

// Watches that are filtered say so, and begin anew by themselves when what they may read changes.
func TestFilteredWatchesBeginAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startGuarded(t, 2)
		file, _ := newTokenFile(t)
		c := f.guardedClient(t, file)
		f.do(func() { f.access.filtered = true })
		f.write(event{"a", serving, ""}, event{"b", serving, ""})
		ctx, cancel := context.WithCancel(t.Context())
		var told []string
		watched := client.WithWatchState(ctx, func(s client.WatchState) {
			reason := ""
			if s.Err != nil {
				reason = s.Err.(*client.Error).Reason
			}
			told = append(told, fmt.Sprintf("%v %v %s", s.Connected, s.Filtered, reason))
		})
		time.AfterFunc(time.Second, func() { f.do(func() { f.access.changed++; f.access.filtered = false }) })
		time.AfterFunc(time.Minute, func() { f.write(event{"c", serving, ""}) })
		time.AfterFunc(time.Hour, cancel)
		var revisions []int64
		for b, err := range c.WatchEvents(watched, client.WatchEventsOptions{From: 1}) {
			if err != nil {
				if ctx.Err() == nil {
					t.Error(err)
				}
				break
			}
			for _, e := range b.Events {
				revisions = append(revisions, e.GetRevision())
			}
		}
		if want := []string{"true true ", "false false ACCESS_CHANGED", "true false "}; !slices.Equal(told[:3], want) {
			t.Errorf("%q, want %q", told, want)
		}
		if !slices.Equal(revisions, []int64{1, 2, 3}) {
			t.Errorf("%v", revisions)
		}
	})
}

// Lists that are filtered say so.
func TestFilteredListsSaySo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startGuarded(t, 1)
		file, _ := newTokenFile(t)
		c := f.guardedClient(t, file)
		for _, filtered := range []bool{true, false} {
			f.do(func() { f.access.filtered = filtered })
			var info client.ReadInfo
			ctx := client.WithReadOptions(t.Context(), client.ReadOptions{Info: &info})
			for name, read := range map[string]func() error{
				"list":        func() error { return last(c.List(ctx, client.ListOptions{})) },
				"events":      func() error { return last(c.ListEvents(ctx, client.ListEventsOptions{})) },
				"overrides":   func() error { return last(c.ListOverrides(ctx, client.ListOverridesOptions{})) },
				"leases":      func() error { return last(c.ListLeases(ctx, client.ListLeasesOptions{})) },
				"tokens":      func() error { return last(c.ListTokens(ctx, client.ListTokensOptions{})) },
				"grants":      func() error { return last(c.ListGrants(ctx, client.ListGrantsOptions{})) },
				"rules":       func() error { _, err := c.ListRules(ctx); return err },
				"who this is": func() error { _, err := c.WhoAmI(ctx); return err },
			} {
				info = client.ReadInfo{}
				if err := read(); err != nil || info.Filtered != filtered {
					t.Errorf("%s: %v, %+v, want filtered %v", name, err, info, filtered)
				}
			}
		}
	})
}

func last[T any](list func(func(T, error) bool)) (err error) {
	for _, err = range list {
	}
	return err
}

// A hedge is no retry of what another node has refused, and a refusal ends those that are silent.
func TestARefusalOfTheCallerEndsAHedgedRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startGuarded(t, 3)
		file, _ := newTokenFile(t)
		c := f.guardedClient(t, file)
		f.nodes[0].onRead = func(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() }
		f.nodes[1].onRead = func(context.Context, string) error {
			return refusal(codes.PermissionDenied, client.ReasonDenied, map[string]string{"identity": "token:ci", "verb": "report"})
		}
		began := time.Now()
		_, err := c.Check(within(t, time.Minute), "a")
		wantRefusal(t, err, client.ReasonDenied)
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %v", took)
		}
		wantCalls(t, f.nodes[2], "Check", 0)
	})
}
