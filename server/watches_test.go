package server

import (
	"log/slog"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"

	"github.com/rollcallhq/rollcall/server/rpcerror"
	"github.com/rollcallhq/rollcall/server/rpcstats"
)

func limitedWatches(node, connection int) *watches {
	cfg := DefaultConfig()
	cfg.Node, cfg.MaxWatches, cfg.MaxWatchesPerConnection = "n1", node, connection
	cfg.Logger = slog.New(slog.DiscardHandler)
	return newWatches(cfg, rpcstats.New(), newRequestLimits(cfg))
}

func TestWatchLimits(t *testing.T) {
	w := limitedWatches(5, 3)
	a, b := &peer.Peer{}, &peer.Peer{}
	enter := func(p *peer.Peer, quota string) {
		t.Helper()
		switch err := w.enter(p); {
		case quota == "" && err != nil:
			t.Fatal(err)
		case quota != "":
			checkError(t, err, want{codes.ResourceExhausted, rpcerror.ReasonLimitReached, "", nil, quota})
		}
	}
	for range 3 {
		enter(a, "")
	}
	enter(a, "--max-watches-per-connection")
	enter(b, "")
	enter(nil, "") // a call without a connection counts for the node alone
	enter(b, "--max-watches")
	w.leave(nil)
	enter(b, "")
	w.leave(a)
	enter(a, "")
	for _, p := range []*peer.Peer{a, a, a, b, b} {
		w.leave(p)
	}
	if n := w.open.Load(); n != 0 || len(w.connections) != 0 {
		t.Errorf("%d watches and %d connections are left", n, len(w.connections))
	}
}

// BenchmarkWatchLimits is what counting costs each watch, once.
func BenchmarkWatchLimits(b *testing.B) {
	w := limitedWatches(200_000, 10_000)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		p := &peer.Peer{}
		for pb.Next() {
			if w.enter(p) == nil {
				w.leave(p)
			}
		}
	})
}
