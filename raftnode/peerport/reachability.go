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
	case err != nil && purpose == peerv1.Hello_PURPOSE_PROBE:
		p.logger.Debug("peer does not answer", "peer", name, "reason", text)
	case err != nil && !known:
		// Nodes that start together find each other missing at first.
		p.logger.Info("peer cannot be reached yet", "peer", name, "reason", text)
	case err != nil:
		p.logger.Warn("peer cannot be reached", "peer", name, "reason", text)
	case known && purpose != peerv1.Hello_PURPOSE_PROBE:
		p.logger.Info("peer is back", "peer", name, "away", now.Sub(last.Since).Round(time.Millisecond).String())
	}
}

// heard takes note that a peer whose last probe failed has called: a follower would not try again.
func (p *reachability) heard(name string) {
	key := peerPurpose{name, peerv1.Hello_PURPOSE_PROBE}
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if last, known := p.states[key]; known && last.Err != "" {
		p.states[key] = peerReach{PeerStatus{Name: name, Since: now}, now}
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
