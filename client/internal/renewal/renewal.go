package renewal

import (
	"math/rand/v2"
	"time"
)

// State is what is known of a lease.
type State int

const (
	Held    State = iota + 1 // renewed, less than its TTL ago
	Overdue                  // last renewed so long ago that it may be lost
	Lost                     // ended, or never granted; it is not renewed any more
)

// Change is a new state of a lease, or, if Refused, that renewals of it are refused from now on.
type Change struct {
	State State
	Err   error // what last went wrong, if the state is Overdue; another cluster, if it is Lost for that; else nil
	// Refused means that the state is as before, and that nodes refuse to renew the lease because of who asks. Err is
	// what they say. It is tried again, less and less often, and told again if they say something else. When it is
	// renewed again, the state is told again.
	Refused bool
}

// Options are of one lease.
type Options struct {
	TTL     time.Duration // 0: not known; then the first answers tell
	Lived   time.Duration // how long ago its grant was asked for; without TTL it means nothing
	Cluster string        // that granted it; "": any
	// Tell is called with each change of the state, one at a time and in order. It must not block. The state at
	// first is Held, untold, if there is a TTL.
	Tell func(Change)
}

// Renewal renews one lease until it is lost or stopped.
type Renewal struct {
	r       *Renewer
	id      string
	cluster string
	tell    func(Change)

	// What follows is guarded by r.mu.
	stopped bool
	place   int // in r.queue
	state   State
	ttl     time.Duration // 0: not known yet
	learns  bool          // the TTL, from the answers
	acked   time.Duration // when the renewal that was acknowledged last was sent
	wake    time.Duration // when to look again
	next    time.Duration // when to send, or to give up waiting for an answer

	try   uint64 // counts those sent; an answer to an earlier one only counts if it is a good one
	asked bool   // an answer to try is waited for
	tries int    // in a row that were not answered with a renewal
	at    int    // endpoint of the try, or of the next one if there were tries

	lastErr  error
	refusals int          // in a row
	refusal  string       // what was told of them
	others   map[int]bool // endpoints that belong to another cluster, as they said since acked
	otherErr error        // of the last of them
}

const (
	// unknownTTL is of leases whose TTL is not known yet.
	unknownTTL = 3 * time.Second
	pauseBase  = 50 * time.Millisecond
	pauseMax   = time.Second
	// A refusal of the caller is no trouble on the way: it lasts until a person mends it.
	refusedFirst = time.Second
	refusedMax   = 30 * time.Second
)

func (e *Renewal) shortest() time.Duration {
	if e.ttl == 0 {
		return unknownTTL
	}
	return e.ttl
}

// interval is the time from a renewal to the next: a third of the TTL, and up to a tenth of that more or less.
func (e *Renewal) interval() time.Duration {
	third := e.shortest() / 3
	return third - third/10 + rand.N(third/5)
}

// silence is how long an endpoint may take to answer.
func (e *Renewal) silence() time.Duration { return e.shortest() / 6 }

// pause returns the pause before the next try: it grows with each round, and is random.
func (e *Renewal) pause(endpoints int) time.Duration {
	round := min((e.tries-1)/endpoints, 10)
	d := min(pauseBase<<round, pauseMax, e.silence())
	return d/2 + rand.N(d/2)
}

// refusedPause returns the pause before the next try of a lease that was refused: it grows, and is random.
func (e *Renewal) refusedPause() time.Duration {
	d := min(refusedFirst<<min(e.refusals-1, 10), refusedMax)
	return d/2 + rand.N(d/2)
}

// overdueAt is when its TTL has passed; never, if that is not known.
func (e *Renewal) overdueAt() (at time.Duration, ok bool) {
	return e.acked + e.ttl, e.ttl > 0 && e.state == Held
}

// Until returns the time until which the lease surely lives; the zero time if that is not known.
func (e *Renewal) Until() time.Time {
	e.r.mu.Lock()
	defer e.r.mu.Unlock()
	if e.ttl == 0 || e.state == Lost {
		return time.Time{}
	}
	return time.Now().Add(e.acked + e.ttl - e.r.clock.now())
}

// Stop ends the renewals. A change that is on its way may still be told.
func (e *Renewal) Stop() {
	e.r.mu.Lock()
	defer e.r.mu.Unlock()
	e.r.remove(e)
	e.r.kick()
}
