package client_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/rollcallhq/rollcall/api/rollcall/accesstoken"
	"github.com/rollcallhq/rollcall/client"
)

// A token that is exchanged and revoked in the same moment fails nothing: no read, no write of a stream, no watch and
// no lease.
func TestATokenIsExchangedUnderLoad(t *testing.T) {
	for _, source := range []string{"file", "function"} {
		synctest.Test(t, func(t *testing.T) {
			f := startGuarded(t, 3)
			file, token := newTokenFile(t)
			cfg := f.config()
			var current atomic.Pointer[accesstoken.Token]
			current.Store(&token)
			if cfg.TokenFile = file.path; source == "function" {
				cfg.TokenFile = ""
				cfg.Token = func(context.Context) (string, error) { return current.Load().Text(), nil }
			}
			c := newClient(t, cfg)
			for _, n := range f.nodes {
				n.onWrite = func(context.Context, int) error { time.Sleep(time.Millisecond); return nil }
			}
			k := keep(t, f, c, client.KeepOptions{})
			k.report(t, "shop/cart", serving)
			ctx, cancel := context.WithCancel(t.Context())
			var all sync.WaitGroup
			var calls atomic.Int64
			load := func(call func() error) {
				all.Go(func() {
					for ctx.Err() == nil {
						if err := call(); err != nil && ctx.Err() == nil {
							t.Errorf("%v", err)
							return
						}
						calls.Add(1)
						time.Sleep(20 * time.Millisecond)
					}
				})
			}
			for range 4 {
				load(func() error { _, err := c.Check(ctx, "shop/cart"); return err })
				load(func() error { return set(ctx, c, client.WriteOptions{}) })
			}
			var seen atomic.Int64
			all.Go(func() {
				for _, err := range c.Watch(ctx, "news") {
					if err != nil && ctx.Err() == nil {
						t.Errorf("%v", err)
					}
					seen.Add(1)
				}
			})
			for range 3 {
				time.Sleep(5 * time.Second)
				next := file.exchange()
				f.refuse(*current.Swap(&next), client.ReasonTokenRevoked)
			}
			time.Sleep(5 * time.Second)
			before := seen.Load()
			f.write(event{"news", serving, ""})
			synctest.Wait()
			if seen.Load() != before+1 {
				t.Errorf("the watch does not go on")
			}
			cancel()
			all.Wait()
			if calls.Load() < 5_000 {
				t.Errorf("%d calls", calls.Load())
			}
			wantTold(t, k, "granted, reported")
			wantStatus(t, f, "shop/cart", serving)
			for _, method := range []string{"Check", "SetServingStatus", "Watch", "WriteStream", "KeepAlive"} {
				used := slices.Compact(f.used(method))
				if last := used[len(used)-1]; method != "SetServingStatus" && last != method+" "+current.Load().ID() {
					t.Errorf("%s: last with %q", method, last)
				}
			}
		})
	}
}

// A stream keeps the token that it was opened with. When there is another one, writes and renewals go over new streams,
// and the old ones end.
func TestStreamsBeginAnewWithAnotherToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startGuarded(t, 1)
		file, token := newTokenFile(t)
		c := f.guardedClient(t, file)
		openStream(t, f, c)
		k := keep(t, f, c, client.KeepOptions{})
		k.report(t, "shop/cart", serving)
		time.Sleep(ttl)
		want := func(method string, tokens ...accesstoken.Token) {
			t.Helper()
			var all []string
			for _, token := range tokens {
				all = append(all, method+" "+token.ID())
			}
			if got := f.used(method); !slices.Equal(got, all) {
				t.Errorf("%s: %q, want %q", method, got, all)
			}
		}
		openStream(t, f, c)
		want("WriteStream", token)
		want("KeepAlive", token)
		other := file.exchange()
		time.Sleep(2 * time.Second) // the old one is not idle yet
		openStream(t, f, c)
		want("WriteStream", token, other)
		time.Sleep(ttl)
		want("KeepAlive", token, other)
		if n := f.openStreams("KeepAlive", 0); n != 1 {
			t.Errorf("%d streams of renewals are open", n)
		}
		time.Sleep(2 * time.Minute) // the old one of writes is idle
		f.refuse(token, client.ReasonTokenRevoked)
		openStream(t, f, c)
		time.Sleep(ttl)
		want("KeepAlive", token, other)
		wantTold(t, k, "granted, reported")
	})
}

// A file that becomes unusable changes nothing, and is told with the refusal that it leads to in the end.
func TestATokenFileThatBecomesUnusable(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(tokenFile)
		says  string
	}{
		"damaged":  {func(f tokenFile) { f.write("rct_half", 0o600) }, "64 characters"},
		"too open": {func(f tokenFile) { f.write(accesstoken.New().Text(), 0o644) }, "mode 0644"},
		"empty":    {func(f tokenFile) { f.write("", 0o600) }, "is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := startGuarded(t, 2)
				file, token := newTokenFile(t)
				var log logged
				cfg := f.config()
				cfg.TokenFile, cfg.Logger = file.path, log.logger()
				c := newClient(t, cfg)
				test.spoil(file)
				for range 5 {
					time.Sleep(2 * time.Second)
					if _, err := c.Check(t.Context(), ""); err != nil {
						t.Fatal(err)
					}
				}
				if n := strings.Count(log.text(), "level=WARN"); n != 1 || !strings.Contains(log.text(), test.says) {
					t.Errorf("logged %d times:\n%s", n, log.text())
				}
				f.refuse(token, client.ReasonTokenRevoked)
				_, err := c.Check(t.Context(), "")
				if e := failure(t, err); e.Reason != client.ReasonTokenRevoked || !strings.Contains(e.Message, test.says) || !strings.Contains(e.Message, file.path) {
					t.Errorf("%v", err)
				}
				if _, err := c.Check(t.Context(), ""); !client.IsUnauthenticated(err) {
					t.Errorf("%v", err)
				}
				file.exchange()
				if _, err := c.Check(t.Context(), ""); err != nil {
					t.Errorf("%v", err)
				}
				if text := log.text(); strings.Contains(text, token.Text()[21:]) || !strings.Contains(text, "can be used again") || !strings.Contains(text, "another token") {
					t.Errorf("%s", text)
				}
			})
		})
	}
}

// Who always has another token and is always refused is told so, and does not go on for ever.
func TestTokensThatAreAllRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startGuarded(t, 3)
		cfg := f.config()
		cfg.Token = func(context.Context) (string, error) {
			token := accesstoken.New()
			f.refuse(token, client.ReasonTokenUnknown)
			return token.Text(), nil
		}
		c := newClient(t, cfg)
		if _, err := c.Check(t.Context(), ""); !client.IsUnauthenticated(err) {
			t.Errorf("%v", err)
		}
		if err := set(t.Context(), c, client.WriteOptions{}); !client.IsUnauthenticated(err) || !client.IsNotWritten(err) {
			t.Errorf("%v", err)
		}
		for _, err := range c.Watch(t.Context(), "a") {
			if !client.IsUnauthenticated(err) {
				t.Errorf("%v", err)
			}
		}
		for _, method := range []string{"Check", "SetServingStatus", "Watch"} {
			if n := len(f.used(method)); n > 2 {
				t.Errorf("%s was called %d times", method, n)
			}
		}
	})
}

// A write whose first try and its hedge were both refused for the token that has been exchanged is made with the other one.
func TestATokenIsExchangedBeneathAHedgedWrite(t *testing.T) {
	for _, apart := range []time.Duration{0, time.Millisecond, hedge} {
		synctest.Test(t, func(t *testing.T) {
			f := startGuarded(t, 2)
			file, token := newTokenFile(t)
			c := f.guardedClient(t, file)
			revoked := refusal(codes.Unauthenticated, client.ReasonTokenRevoked, map[string]string{"written": "no"})
			const first = 2 * hedge
			for i, n := range f.nodes {
				after := []time.Duration{first, first - hedge + apart}[i]
				n.onWrite = func(ctx context.Context, call int) error {
					if call > 1 {
						return nil
					}
					return answerAfter(after, revoked)(ctx, call)
				}
			}
			var other accesstoken.Token
			time.AfterFunc(hedge+time.Millisecond, func() { other = file.exchange() })
			if err := set(t.Context(), c, client.WriteOptions{}); err != nil {
				t.Errorf("%v apart: %v", apart, err)
			}
			if used := f.used("SetServingStatus"); len(used) < 3 || used[1] != "SetServingStatus "+token.ID() || used[2] != "SetServingStatus "+other.ID() {
				t.Errorf("%v apart: %q", apart, used)
			}
		})
	}
}
