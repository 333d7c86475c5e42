package authn

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/rollcallhq/rollcall/api/rollcall/accesstoken"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// The answer to a failed call waits firstDelay, and twice as long after each further one of the same address, maxDelay
// at most. An address without a failure for forgetAfter begins anew.
//
// The waits are bounded, so that a flood of failures holds little memory: a call that finds as many waiting is answered
// at once. So the delay slows down mistakes and makes them visible. What keeps strangers out is the size of secrets.
const (
	firstDelay  = 100 * time.Millisecond
	maxDelay    = 5 * time.Second
	forgetAfter = time.Minute

	maxAddresses = 4096
	// MaxWaiting is how many failed calls wait at most. Each holds its request, of some megabytes if a stranger wants.
	MaxWaiting           = 32
	maxWaitingPerAddress = 4
)

// warnEvery is how often failures are logged at most.
const warnEvery = time.Minute

// reasons are those for which a call is not let in.
var reasons = [...]string{
	rpcerror.ReasonTokenUnknown, rpcerror.ReasonTokenExpired, rpcerror.ReasonTokenRevoked,
	rpcerror.ReasonTokenDamaged, rpcerror.ReasonTokenOverPlainText,
}

// failures are the calls that were not let in.
type failures struct {
	mu        sync.Mutex // guards what follows
	addresses map[netip.Prefix]*address
	waiting   int
	counts    map[string]uint64 // by reason
	warned    time.Time         // when one was logged last
	held      int               // that were not logged since
}

// address is where failed calls came from.
type address struct {
	failed  int // in a row, without a pause of forgetAfter
	last    time.Time
	waiting int
}

func newFailures() failures {
	return failures{addresses: make(map[netip.Prefix]*address), counts: make(map[string]uint64)}
}

// Failures returns how many calls were not let in so far, by reason in lower case: "token_unknown". All reasons are
// there.
func (a *Authenticator) Failures() map[string]uint64 {
	a.failures.mu.Lock()
	defer a.failures.mu.Unlock()
	counts := make(map[string]uint64, len(reasons))
	for _, reason := range reasons {
		counts[strings.ToLower(reason)] = a.failures.counts[reason]
	}
	return counts
}

// refuse returns why a call is not let in, after the delay of the caller's address. A token that becomes known meanwhile
// is let in: this node may have been behind.
func (a *Authenticator) refuse(ctx context.Context) (caller *Caller, failure *rpcerror.Failure) {
	key := prefixOf(connectionOf(ctx).Addr)
	defer func() {
		if failure != nil {
			a.count(ctx, failure)
		}
	}()
	if delay := a.failures.begin(key, time.Now()); delay > 0 {
		defer a.failures.end(key)
		timer := time.NewTimer(delay)
		defer timer.Stop()
		for waiting := true; waiting; {
			changed := a.cfg.Tokens.Changed()
			if caller, failure = a.Identify(ctx); failure == nil {
				a.failures.forgive(key)
				return caller, nil
			}
			select {
			case <-changed:
			case <-timer.C:
				waiting = false
			case <-ctx.Done():
				waiting = false
			case <-a.cfg.Ending:
				waiting = false
			}
		}
	}
	return a.Identify(ctx)
}

// begin notes a failure and returns how long its answer waits; 0: not at all, and end must not be called.
func (f *failures) begin(key netip.Prefix, now time.Time) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	from := f.addresses[key]
	if from == nil {
		f.makeRoom()
		from = &address{}
		f.addresses[key] = from
	}
	if now.Sub(from.last) >= forgetAfter {
		from.failed = 0
	}
	delay := maxDelay
	if from.failed < 6 { // 2^6 times firstDelay is more than maxDelay
		delay = firstDelay << from.failed
	}
	from.failed, from.last = from.failed+1, now
	if f.waiting >= MaxWaiting || from.waiting >= maxWaitingPerAddress {
		return 0
	}
	f.waiting++
	from.waiting++
	return delay
}

// makeRoom forgets some address from which nobody waits, if there is room for no other.
func (f *failures) makeRoom() {
	if len(f.addresses) < maxAddresses {
		return
	}
	for key, from := range f.addresses {
		if from.waiting == 0 {
			delete(f.addresses, key)
			return
		}
	}
}

func (f *failures) end(key netip.Prefix) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiting--
	if from := f.addresses[key]; from != nil {
		from.waiting--
	}
}

// forgive takes back a failure that was none.
func (f *failures) forgive(key netip.Prefix) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if from := f.addresses[key]; from != nil && from.failed > 0 {
		from.failed--
	}
}

// count counts a failure and logs it, once in warnEvery at most.
func (a *Authenticator) count(ctx context.Context, failure *rpcerror.Failure) {
	f := &a.failures
	now := time.Now()
	f.mu.Lock()
	f.counts[failure.Reason]++
	if !f.warned.IsZero() && now.Sub(f.warned) < warnEvery {
		f.held++
		f.mu.Unlock()
		return
	}
	held := f.held
	f.warned, f.held = now, 0
	f.mu.Unlock()
	attrs := []any{"reason", failure.Reason, "address", addressOf(connectionOf(ctx).Addr), "held_back", held}
	if sum, bad := read(a.incoming.Values(ctx, metadataKey)); bad == nil {
		attrs = append(attrs, "token", accesstoken.ID(sum))
	}
	a.cfg.Logger.Warn("a call was refused because its token proves nothing", attrs...)
}

// prefixOf is what is taken for one caller: an address, the network of an IPv6 address, or all that have no address of
// the network.
func prefixOf(a net.Addr) netip.Prefix {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	prefix, _ := ip.Prefix(bits) // an address that is none has the zero Prefix
	return prefix
}
