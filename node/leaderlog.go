package node

import (
	"context"
	"log/slog"
	"time"

	"github.com/rollcallhq/rollcall/raftnode"
	"github.com/rollcallhq/rollcall/raftnode/peerport"
)

// leaderlessAfter is longer than an election that goes well. Of such an election only the new leader is
// logged.
const leaderlessAfter = 3 * time.Second

// leaderLog writes into the node's log who leads, and that nobody does: with the members that cannot be
// reached, as an operator has to see to those.
type leaderLog struct {
	log  *slog.Logger
	raft interface {
		Status() raftnode.Status
		Changed() <-chan struct{}
	}
	leader string    // last known; "": none so far
	since  time.Time // since when there is none; zero: there is one
	warned bool      // that there is none
	next   time.Time // when it is logged again
}

// run logs until ctx ends.
func (l *leaderLog) run(ctx context.Context) {
	for {
		changed := l.raft.Changed() // before Status, so that no change is missed
		again := l.observe(l.raft.Status(), time.Now())
		var timer <-chan time.Time
		if again > 0 {
			timer = time.After(again)
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-timer:
		}
	}
}

// observe logs what is new in s. It returns after which time to observe again though nothing changes; 0:
// never.
func (l *leaderLog) observe(s raftnode.Status, now time.Time) time.Duration {
	switch {
	case !s.Formed:
		// Forming says itself what it waits for.
		l.since = time.Time{}
		return 0
	case s.Leader == "":
		if l.since.IsZero() {
			l.since = now
		}
		gone := now.Sub(l.since)
		if gone < leaderlessAfter {
			return leaderlessAfter - gone
		}
		// Nodes that look for a leader change their role all the time.
		if wait := l.next.Sub(now); l.warned && wait > 0 {
			return wait
		}
		l.warned, l.next = true, now.Add(noticeEvery)
		l.log.Warn("no leader: writes are refused, reads go on", "term", s.Term, "for", gone.Round(time.Second).String(),
			"was", l.leader, "voters", len(s.Voters), "unreachable", unreachable(s.Peers))
		return noticeEvery
	}
	switch {
	case l.warned:
		l.log.Info("a leader again: writes are accepted", "leader", s.Leader, "term", s.Term, "was", l.leader,
			"after", now.Sub(l.since).Round(time.Millisecond).String())
	case s.Leader != l.leader:
		l.log.Info("leader changed", "leader", s.Leader, "term", s.Term, "was", l.leader)
	}
	l.leader, l.since, l.warned = s.Leader, time.Time{}, false
	return 0
}

// unreachable are the members whose last dial failed.
func unreachable(peers []peerport.PeerStatus) []string {
	names := []string{}
	for _, p := range peers {
		if p.Err != "" {
			names = append(names, p.Name)
		}
	}
	return names
}
