package peerport

import (
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
					p.dialed("n2", d.purpose, d.err)
				}
				got := p.list()
				if len(got) != 1 || got[0].Err != tt.err || got[0].Since.Sub(began) != tt.since*time.Second {
					t.Errorf("got %+v (%s), want %q since %s", got, got[0].Since.Sub(began), tt.err, tt.since*time.Second)
				}
			})
		})
	}
}
