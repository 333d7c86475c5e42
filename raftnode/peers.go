package raftnode

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

// PeerStatus is how the last try to reach a peer ended.
type PeerStatus struct {
	Name  string
	Err   string    // in words; "": it answered
	Since time.Time // when Err became what it is
}

// peers remembers how dials end, so that a peer that stays away is reported once and not at every
// retry.
type peers struct {
	logger *slog.Logger

	mu     sync.Mutex // guards states
	states map[peerPurpose]PeerStatus
}

type peerPurpose struct {
	name    string
	purpose peerv1.Hello_Purpose
}

func newPeers(logger *slog.Logger) *peers {
	return &peers{logger: logger, states: map[peerPurpose]PeerStatus{}}
}

// dialed takes note of the end of a dial and logs what is new in it.
func (p *peers) dialed(name string, purpose peerv1.Hello_Purpose, err error) {
	if errors.Is(err, context.Canceled) || errors.Is(err, ErrClosed) {
		return
	}
	text := ""
	if err != nil {
		text = inWords(err)
	}
	key := peerPurpose{name, purpose}
	p.mu.Lock()
	last, known := p.states[key]
	if known && last.Err == text {
		p.mu.Unlock()
		return
	}
	now := time.Now()
	p.states[key] = PeerStatus{Name: name, Err: text, Since: now}
	p.mu.Unlock()

	switch {
	case err != nil && purpose == peerv1.Hello_PURPOSE_PROBE:
		p.logger.Debug("peer does not answer", "peer", name, "reason", text)
	case err != nil:
		p.logger.Warn("peer cannot be reached", "peer", name, "reason", text)
	case known && purpose != peerv1.Hello_PURPOSE_PROBE:
		p.logger.Info("peer is back", "peer", name, "away", now.Sub(last.Since).Round(time.Millisecond).String())
	}
}

// list returns the peers in order of their names. A peer that raft or an RPC reached is reached,
// whatever an older probe met.
func (p *peers) list() []PeerStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	newest := map[string]PeerStatus{}
	for key, s := range p.states {
		if have, ok := newest[key.name]; !ok || s.Since.After(have.Since) {
			newest[key.name] = s
		}
	}
	all := make([]PeerStatus, 0, len(newest))
	for _, s := range newest {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b PeerStatus) int { return cmp.Compare(a.Name, b.Name) })
	return all
}
