package ratelimit

import (
	"container/list"
	"math"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// maxKeys bounds the callers that are remembered: about 5 MiB. The one that was not heard of for longest is forgotten,
// and may then do what a new one may.
const maxKeys = 16_384

// Limits bounds what each key may do: so much in a second, and as much at once after a second in which it did nothing.
// Its methods may be called at the same time.
type Limits struct {
	perSecond int

	mu      sync.Mutex // guards what follows
	keys    map[string]*list.Element
	recent  list.List // of *caller, the one that was heard of last first
	refused uint64
}

type caller struct {
	key    string
	bucket *rate.Limiter
}

// New returns Limits of so much in a second, 1 at least.
func New(perSecond int) *Limits {
	return &Limits{perSecond: perSecond, keys: make(map[string]*list.Element)}
}

// PerSecond is how much each key may do in a second.
func (l *Limits) PerSecond() int { return l.perSecond }

// Take reports whether a key may do n at the time now. If not, nothing is taken, and wait is how long it has to do
// nothing until it may. What is more than a second's worth is allowed to who has a full second's worth left, and is
// owed: it is waited for before the next Take.
func (l *Limits) Take(key string, n int, now time.Time) (wait time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	bucket := l.bucket(key)
	first := min(n, l.perSecond)
	if !bucket.AllowN(now, first) {
		l.refused++
		missing := float64(first) - bucket.TokensAt(now)
		return time.Duration(math.Ceil(missing / float64(l.perSecond) * float64(time.Second))), false
	}
	for owed := n - first; owed > 0; owed -= l.perSecond {
		bucket.ReserveN(now, min(owed, l.perSecond))
	}
	return 0, true
}

// bucket returns that of a key. mu is held.
func (l *Limits) bucket(key string) *rate.Limiter {
	if e := l.keys[key]; e != nil {
		l.recent.MoveToFront(e)
		return e.Value.(*caller).bucket
	}
	if len(l.keys) >= maxKeys {
		oldest := l.recent.Back()
		delete(l.keys, oldest.Value.(*caller).key)
		l.recent.Remove(oldest)
	}
	c := &caller{key, rate.NewLimiter(rate.Limit(l.perSecond), l.perSecond)}
	l.keys[key] = l.recent.PushFront(c)
	return c.bucket
}

// Refused is how often something was not allowed.
func (l *Limits) Refused() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.refused
}

// AddressKey is the key of a caller that is known by its address only, without the port. Of IPv6 it is the network of
// 64 bits, since one machine usually has all of it.
func AddressKey(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	ip = ip.Unmap().WithZone("")
	if ip.Is6() && !ip.IsLoopback() {
		network, _ := ip.Prefix(64)
		return network.String()
	}
	return ip.String()
}
