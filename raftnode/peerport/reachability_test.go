package peerport

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
)

func TestPeerIsAwaySinceTheFirstDialThatFoundItSo(t *testing.T) {
	const (
		raft  = peerv1.Hello_PURPOSE_RAFT
		clock = peerv1.Hello_PURPOSE_CLOCK
		probe = peerv1.Hello_PURPOSE_PROBE
	)
	refused, lost := errors.New("refused"), errors.New("lost")
	type dial struct {
		at      time.Duration
		purpose peerv1.Hello_Purpose
		err     error
	}
	for _, tt := range []struct {
		name  string
		dials []dial
		since time.Duration
		err   string
	}{
		{"one purpose", []dial{{1, raft, nil}, {2, raft, refused}, {3, raft, refused}}, 2, "refused"},
		{"another purpose dials later for the first time", []dial{{1, raft, nil}, {2, raft, refused}, {3, clock, refused}}, 2, "refused"},
		{"another purpose dials later and had reached it", []dial{{1, clock, nil}, {2, raft, refused}, {3, clock, refused}}, 2, "refused"},
		{"what a purpose met in an outage before does not count", []dial{{1, raft, refused}, {2, clock, nil}, {3, probe, refused}}, 3, "refused"},
		{"what it met before another failure does not count", []dial{{1, raft, refused}, {2, clock, lost}, {3, probe, refused}}, 3, "refused"},
		{"reached by one purpose, then by another", []dial{{1, raft, refused}, {2, clock, nil}, {3, raft, nil}}, 2, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				p := newReachability(slog.New(slog.DiscardHandler))
				for _, d := range tt.dials {
					time.Sleep(time.Until(began.Add(d.at * time.Second)))
					p.dialed("n2", d.purpose, time.Now(), d.err)
				}
				got := p.list()
				if len(got) != 1 || got[0].Err != tt.err || got[0].Since.Sub(began) != tt.since*time.Second {
					t.Errorf("got %+v (%s), want %q since %s", got, got[0].Since.Sub(began), tt.err, tt.since*time.Second)
				}
			})
		})
	}
}

// TestUnreachable: a peer is known not to be reached from the first failed dial on, until one succeeds, whoever dials
// and although the peer calls; but after a call only if it was tried again, and never by a try of long ago.
func TestUnreachable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newReachability(slog.New(slog.DiscardHandler))
		lost := errors.New("lost")
		want := func(what string, d time.Duration) {
			t.Helper()
			got, why := p.unreachable("n2")
			if got != d || (d > 0) != (why == "lost") {
				t.Errorf("%s: for %s (%q), want %s", what, got, why, d)
			}
			all := p.cannotReach()
			if (d > 0) != (len(all) == 1) || d > 0 && time.Since(all[0].Since) != d {
				t.Errorf("%s: %+v", what, all)
			}
		}
		dial := func(purpose peerv1.Hello_Purpose, err error) { p.dialed("n2", purpose, time.Now(), err) }
		want("at first", 0)
		dial(peerv1.Hello_PURPOSE_CLOCK, nil)
		want("reached", 0)
		dial(peerv1.Hello_PURPOSE_RPC, lost)
		time.Sleep(3 * time.Second)
		want("failed", 3*time.Second)
		dial(peerv1.Hello_PURPOSE_CLOCK, lost)
		want("failed again", 3*time.Second)
		time.Sleep(time.Second)
		if !p.heard("n2") {
			t.Error("it called, and is not to be dialed")
		}
		want("it called", 4*time.Second)
		dial(peerv1.Hello_PURPOSE_CLOCK, lost)
		if p.heard("n2") {
			t.Error("it called, and is to be dialed although it just was")
		}
		time.Sleep(time.Second)
		want("it called and was tried again", 5*time.Second)
		time.Sleep(failingFor - time.Second)
		want("just not long ago", 4*time.Second+failingFor)
		time.Sleep(1)
		want("long ago", 0)
		dial(peerv1.Hello_PURPOSE_CLOCK, lost)
		time.Sleep(time.Second)
		want("it begins anew", time.Second)
		dial(peerv1.Hello_PURPOSE_RAFT, nil)
		want("reached again", 0)
		dial(peerv1.Hello_PURPOSE_RAFT, context.Canceled)
		want("given up", 0)
		if p.heard("n2") {
			t.Error("it called, and is to be dialed although it can be reached")
		}
	})
}
