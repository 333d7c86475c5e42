package tlsport

import (
	"context"
	"log/slog"
	"maps"
	"net"
	"sync"
	"time"
)

const (
	// quietFor is how long a refusal with the same reason is not logged again.
	quietFor = time.Minute
	// maxReasons is how many reasons are remembered: strangers can choose the names in their certificates.
	maxReasons = 16
)

// refusals counts why connections are refused, and logs it: each reason once a minute, and no more than maxReasons of them.
type refusals struct {
	log *slog.Logger

	mu     sync.Mutex           // guards what follows
	logged map[string]time.Time // text → when
	counts map[string]uint64    // by HandshakeError.Reason
}

// Refusals counts the handshakes that failed since the port was made, by HandshakeError.Reason.
func (p *Port) Refusals() map[string]uint64 {
	p.refusals.mu.Lock()
	defer p.refusals.mu.Unlock()
	return maps.Clone(p.refusals.counts)
}

func (r *refusals) note(failure *HandshakeError, remote net.Addr) {
	r.count(failure.Reason)
	level := slog.LevelWarn
	if failure.byStranger() {
		level = slog.LevelDebug
	}
	if !r.log.Enabled(context.Background(), level) || level == slog.LevelWarn && !r.news(failure.Error()) {
		return
	}
	r.log.Log(context.Background(), level, "a connection is refused", "remote", remote.String(), "reason", failure.Error())
}

func (r *refusals) count(reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.counts == nil {
		r.counts = map[string]uint64{}
	}
	r.counts[reason]++
}

// news says whether a reason was not logged lately, and takes note of it.
func (r *refusals) news(reason string) bool {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if at, ok := r.logged[reason]; ok && now.Sub(at) < quietFor {
		return false
	}
	if len(r.logged) >= maxReasons {
		for reason, at := range r.logged {
			if now.Sub(at) >= quietFor {
				delete(r.logged, reason)
			}
		}
		if len(r.logged) >= maxReasons {
			return false
		}
	}
	if r.logged == nil {
		r.logged = map[string]time.Time{}
	}
	r.logged[reason] = now
	return true
}
