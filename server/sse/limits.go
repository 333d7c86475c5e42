package sse

import (
	"log/slog"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc/peer"

	"github.com/rollcallhq/rollcall/server/ratelimit"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// Subjects of the QuotaFailure of a refused stream, and what the refusals are counted by.
const (
	quotaStreams           = "sse-streams"
	quotaStreamsPerAddress = "sse-streams-per-address"
)

// Counts are how many streams are open, and how many were refused or cut off since the start.
type Counts struct {
	Services, Events int64
	// Refused are by the limit that was reached: of all streams, and of those of one address.
	RefusedAll, RefusedAddress int64
	// Stalled were ended because their readers did not take what was sent.
	Stalled int64
}

// limits count the streams.
type limits struct {
	most, perAddress int
	log              *slog.Logger

	mu     sync.Mutex // guards what follows
	open   int
	of     map[string]int // by what addressOf returns
	counts Counts
	warned time.Time
}

// enter counts a stream from what addressOf returns, or refuses it.
func (l *limits) enter(from string, open *int64) *rpcerror.Failure {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= l.most {
		l.counts.RefusedAll++
		l.warn(quotaStreams, l.most)
		return rpcerror.LimitReached(quotaStreams,
			"this node has %d open streams of events, half of its --max-http-connections; close one, or ask another node", l.most).AsNotWritten()
	}
	if from != "" && l.of[from] >= l.perAddress {
		l.counts.RefusedAddress++
		l.warn(quotaStreamsPerAddress, l.perAddress)
		return rpcerror.LimitReached(quotaStreamsPerAddress,
			"this node has %d open streams of events from %s, which is the most that one address may have; close one", l.perAddress, from).AsNotWritten()
	}
	l.open++
	*open++
	if from != "" {
		l.of[from]++
	}
	return nil
}

func (l *limits) leave(from string, open *int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	*open--
	if from == "" {
		return
	}
	if l.of[from]--; l.of[from] == 0 {
		delete(l.of, from)
	}
}

func (l *limits) stalled() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts.Stalled++
}

// warn logs at most once a minute: a client that is refused may try again and again. mu is held.
func (l *limits) warn(limit string, most int) {
	if now := time.Now(); now.Sub(l.warned) > time.Minute {
		l.warned = now
		l.log.Warn("a stream of events over HTTP was refused; find who opens so many", "limit", limit, "most", most)
	}
}

// addressOf is where a caller sits: its address, of IPv6 its network, since one machine usually has all of it; "" if that is
// not known.
func addressOf(p *peer.Peer) string {
	if p == nil {
		return ""
	}
	at, ok := p.Addr.(*net.TCPAddr)
	if !ok {
		return ""
	}
	return ratelimit.AddressKey(at.String())
}
