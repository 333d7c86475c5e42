package peerport

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
)

// PeerStatus is how the last try to reach a peer ended. A leader tries all of them all the time, a
// follower seldom.
type PeerStatus struct {
	Name  string
	Err   string    // in words; "": it answered
	Since time.Time // when Err became what it is
}

// reachability remembers how dials end, so that a peer that stays away is reported once and not at every
// retry.
type reachability struct {
	logger *slog.Logger

	mu      sync.Mutex // guards what follows
	states  map[peerPurpose]peerReach
	failing map[string]failing // peers to which no dial has succeeded since one failed, of whatever purpose
}

// failing is how a peer cannot be connected to. That the peer has called does not end it: it may be cut off one way.
type failing struct {
	since, tried time.Time // when the first and the newest dial began that failed
	reason       string
}

// failingFor is how long a failed dial counts that was not tried again.
const failingFor = 15 * time.Second

// failingPause is the least time between two dials for which a call is the reason.
const failingPause = time.Second

type peerReach struct {
	PeerStatus
	tried   time.Time
	reached bool      // at least once, in this process
	failing time.Time // since when no dial succeeded; zero: the last one did
	warned  bool      // that it cannot be reached
}

// startTogether is how long members that are started together may find each other missing, or not ready, before
// that is worth a warning.
const startTogether = 15 * time.Second

type peerPurpose struct {
	name    string
	purpose peerv1.Hello_Purpose
}

func newReachability(logger *slog.Logger) *reachability {
	return &reachability{logger: logger, states: map[peerPurpose]peerReach{}, failing: map[string]failing{}}
}

// dialed takes note of the end of a dial and logs what is new in it.
// The dial began at begun.
func (p *reachability) dialed(name string, purpose peerv1.Hello_Purpose, begun time.Time, err error) {
	if errors.Is(err, context.Canceled) || errors.Is(err, ErrClosed) {
		return
	}
	text := ""
	if err != nil {
		text = Reason(err)
	}
	key := peerPurpose{name, purpose}
	now := time.Now()
	p.mu.Lock()
	if was := p.failing[name]; err == nil {
		delete(p.failing, name)
	} else {
		if was.stale(now) {
			was = failing{since: begun}
		}
		was.tried, was.reason = begun, text
		p.failing[name] = was
	}
	last, known := p.states[key]
	next := last
	next.tried = now
	if !known || last.Err != text {
		next.PeerStatus = PeerStatus{Name: name, Err: text, Since: now}
	}
	if err == nil {
		next.reached, next.failing, next.warned = true, time.Time{}, false
	} else {
		if next.failing.IsZero() {
			next.failing = now
		}
		next.warned = last.warned || last.reached || now.Sub(next.failing) >= startTogether
	}
	p.states[key] = next
	p.mu.Unlock()

	news := !known || last.Err != text || next.warned && !last.warned
	switch {
	case !news:
	case err != nil && quiet(purpose):
		p.logger.Debug("peer does not answer", "member", name, "reason", text)
	case err != nil && !next.warned:
		p.logger.Info("peer cannot be reached yet", "member", name, "reason", text)
	case err != nil:
		p.logger.Warn("peer cannot be reached", "member", name, "reason", text)
	case known && !quiet(purpose):
		p.logger.Info("peer is back", "member", name, "away", now.Sub(last.failing).Round(time.Millisecond).String())
	}
}

// quiet reports whether the end of a dial is worth no more than a line for debugging: raft dials the same
// peer and is told of it.
func quiet(purpose peerv1.Hello_Purpose) bool {
	return purpose == peerv1.Hello_PURPOSE_PROBE || purpose == peerv1.Hello_PURPOSE_CLOCK
}

// heard takes note that a peer has called. A failed dial of the past must not stand any more: a follower
// would not dial again soon. It says whether the peer should be dialed now, to find out whether it was away or is cut
// off one way.
func (p *reachability) heard(name string) (again bool) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	f, ok := p.failing[name]
	again = ok && now.Sub(f.tried) >= failingPause
	for _, purpose := range []peerv1.Hello_Purpose{peerv1.Hello_PURPOSE_PROBE, peerv1.Hello_PURPOSE_CLOCK} {
		key := peerPurpose{name, purpose}
		if last, known := p.states[key]; known && last.Err != "" {
			p.states[key] = peerReach{PeerStatus: PeerStatus{Name: name, Since: now}, tried: now, reached: true}
		}
	}
	return again
}

func (f failing) stale(now time.Time) bool { return f.tried.IsZero() || now.Sub(f.tried) > failingFor }

// cannotReach returns the peers to which no dial has succeeded since one failed lately, by name.
func (p *reachability) cannotReach() []PeerStatus {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []PeerStatus
	for name, f := range p.failing {
		if !f.stale(now) {
			all = append(all, PeerStatus{Name: name, Err: f.reason, Since: f.since})
		}
	}
	slices.SortFunc(all, func(a, b PeerStatus) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// unreachable returns for how long a peer could not be connected to, and how the last try failed; 0: it could be, or
// was not tried lately.
func (p *reachability) unreachable(name string) (time.Duration, string) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	f, ok := p.failing[name]
	if !ok || f.stale(now) {
		return 0, ""
	}
	return max(now.Sub(f.since), 1), f.reason
}

func (p *reachability) forget(gone func(name string) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.DeleteFunc(p.states, func(key peerPurpose, _ peerReach) bool { return gone(key.name) })
	maps.DeleteFunc(p.failing, func(name string, _ failing) bool { return gone(name) })
}

// list returns the peers in order of their names, each as it was found last by a dial of any purpose.
func (p *reachability) list() []PeerStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	newest := map[string]peerReach{}
	for key, s := range p.states {
		if have, ok := newest[key.name]; !ok || s.tried.After(have.tried) {
			newest[key.name] = s
		}
	}
	all := make([]PeerStatus, 0, len(newest))
	for name, s := range newest {
		s.Since = p.since(name, s.PeerStatus)
		all = append(all, s.PeerStatus)
	}
	slices.SortFunc(all, func(a, b PeerStatus) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// since returns since when a peer has been as it was found last. Each purpose dials at times of its own, so another
// one may have found the same earlier; what it found before the peer was last otherwise does not count.
func (p *reachability) since(name string, found PeerStatus) time.Time {
	var otherwise time.Time
	for key, s := range p.states {
		if key.name == name && s.Err != found.Err && s.tried.After(otherwise) {
			otherwise = s.tried
		}
	}
	since := found.Since
	for key, s := range p.states {
		if key.name == name && s.Err == found.Err && s.Since.After(otherwise) && s.Since.Before(since) {
			since = s.Since
		}
	}
	return since
}
