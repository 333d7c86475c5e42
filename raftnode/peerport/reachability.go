package peerport

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
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

	mu     sync.Mutex // guards states
	states map[peerPurpose]peerReach
}

type peerReach struct {
	PeerStatus
	tried time.Time
}

type peerPurpose struct {
	name    string
	purpose peerv1.Hello_Purpose
}

func newReachability(logger *slog.Logger) *reachability {
	return &reachability{logger: logger, states: map[peerPurpose]peerReach{}}
}

// dialed takes note of the end of a dial and logs what is new in it.
func (p *reachability) dialed(name string, purpose peerv1.Hello_Purpose, err error) {
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
	last, known := p.states[key]
	if known && last.Err == text {
		last.tried = now
		p.states[key] = last
		p.mu.Unlock()
		return
	}
	p.states[key] = peerReach{PeerStatus{Name: name, Err: text, Since: now}, now}
	p.mu.Unlock()

	switch {
	case err != nil && quiet(purpose):
		p.logger.Debug("peer does not answer", "peer", name, "reason", text)
	case err != nil && !known:
		// Nodes that start together find each other missing at first.
		p.logger.Info("peer cannot be reached yet", "peer", name, "reason", text)
	case err != nil:
		p.logger.Warn("peer cannot be reached", "peer", name, "reason", text)
	case known && !quiet(purpose):
		p.logger.Info("peer is back", "peer", name, "away", now.Sub(last.Since).Round(time.Millisecond).String())
	}
}

// quiet reports whether the end of a dial is worth no more than a line for debugging: raft dials the same
// peer and is told of it.
func quiet(purpose peerv1.Hello_Purpose) bool {
	return purpose == peerv1.Hello_PURPOSE_PROBE || purpose == peerv1.Hello_PURPOSE_CLOCK
}

// heard takes note that a peer has called. A failed dial of the past must not stand any more: a follower
// would not dial again soon.
func (p *reachability) heard(name string) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, purpose := range []peerv1.Hello_Purpose{peerv1.Hello_PURPOSE_PROBE, peerv1.Hello_PURPOSE_CLOCK} {
		key := peerPurpose{name, purpose}
		if last, known := p.states[key]; known && last.Err != "" {
			p.states[key] = peerReach{PeerStatus{Name: name, Since: now}, now}
		}
	}
}

// list returns the peers in order of their names, each as it was found last.
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
	for _, s := range newest {
		all = append(all, s.PeerStatus)
	}
	slices.SortFunc(all, func(a, b PeerStatus) int { return cmp.Compare(a.Name, b.Name) })
	return all
}
