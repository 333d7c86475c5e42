package server

import (
	"log/slog"
	"time"

	"github.com/rollcallhq/rollcall/server/authn"
	"github.com/rollcallhq/rollcall/server/authz"
	"github.com/rollcallhq/rollcall/server/freshness"
)

// readsOf is what a server's reads have, for tests without a server. Nobody re-checks its streams.
func readsOf(r freshness.Reads, all *fakeAccess) reads {
	now := func() int64 { return time.Now().UnixNano() }
	a := authz.New(authn.New(authn.Config{Tokens: tokens{all}, Clock: now, Logger: slog.New(slog.DiscardHandler)}), rights{all})
	return reads{Reads: r, access: a, streams: authz.NewStreams(a, time.Now), denials: &authn.Denials{}}
}
