package renewal

import (
	"container/heap"
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

const (
	// gather is the shortest time between two looks at what is due, so that many leases share a message.
	gather = 5 * time.Millisecond
	// maxSleep is the longest time between two looks. It is how late a suspended machine may be noticed.
	maxSleep = time.Second
	// stuckAfter is how long a message may wait for its answer before its stream is given up.
	stuckAfter = 5 * time.Second
	// clusterChangedAfter is how long a lease is held on to when some endpoints belong to another cluster and none
	// has renewed it: they may be nodes of the old one that restart.
	clusterChangedAfter = 5 * time.Second
	// idleAfter is how long a stream stays open that nobody uses.
	idleAfter = time.Minute
)

// Stream is an open KeepAlive stream.
type Stream interface {
	Send(*rollcallv1.KeepAliveRequest) error
	Recv() (*rollcallv1.KeepAliveResponse, error)
}

// Config says how to reach the nodes.
type Config struct {
	Endpoints int
	// Open opens a stream at an endpoint, to a node of a cluster ("": of any). The stream ends with ctx. It
	// must not take for ever if ctx does not end.
	Open func(ctx context.Context, endpoint int, cluster string) (Stream, error)
	// OtherCluster reports whether an error of a stream says that the node belongs to another cluster.
	OtherCluster func(error) bool
	// Refused reports whether an error of a stream says that the node refuses the caller, whichever lease it asks for.
	Refused func(error) bool
	// Credential returns which credential a stream would be opened with now. A stream carries its own for as long as it
	// is open: when there is another one, renewals go over new streams, and leases that were refused are tried at once.
	Credential func() uint64
	Logger     *slog.Logger
}

// Renewer renews leases. It is safe for use by many goroutines.
type Renewer struct {
	cfg Config
	ctx context.Context // ends with Close
	end context.CancelFunc
	wg  sync.WaitGroup
	due chan struct{} // capacity 1: look at once

	mu      sync.Mutex // guards what follows
	clock   clock
	running bool // the loop
	queue   queue
	results []result
	order   []int // of the endpoints, random
	current int   // where the next renewal starts: an index of order
	streams map[place]*stream
	retired []*stream // opened with an earlier credential: each ends when its messages are answered
	refused bool      // a stream ended because its caller is refused
	// credential is that of streams.
	credential uint64
}

// place is where a stream leads to.
type place struct {
	endpoint int
	cluster  string
}

// New returns a Renewer without leases. It has no goroutines.
func New(cfg Config) *Renewer {
	r := &Renewer{cfg: cfg, due: make(chan struct{}, 1), clock: newClock(), order: rand.Perm(cfg.Endpoints), streams: map[place]*stream{}}
	r.ctx, r.end = context.WithCancel(context.Background())
	return r
}

// Close ends all renewals and waits for the goroutines. Nothing more is told then.
func (r *Renewer) Close() {
	r.mu.Lock()
	r.end()
	r.mu.Unlock()
	r.wg.Wait()
}

// Add begins to renew a lease: at once if its TTL is not known or a third of it has passed.
func (r *Renewer) Add(id string, o Options) *Renewal {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.clock.now()
	e := &Renewal{r: r, id: id, cluster: o.Cluster, tell: o.Tell, ttl: o.TTL, learns: o.TTL == 0, next: now}
	if o.TTL > 0 {
		e.state, e.acked = Held, now-o.Lived
		e.next = max(now, e.acked+e.interval())
	}
	e.wake = e.next
	heap.Push(&r.queue, e)
	if !r.running && r.ctx.Err() == nil {
		r.running = true
		r.wg.Add(1)
		go r.run()
	}
	r.kick()
	return e
}

func (r *Renewer) kick() {
	select {
	case r.due <- struct{}{}:
	default:
	}
}

// remove takes e out; r.mu is held.
func (r *Renewer) remove(e *Renewal) {
	if !e.stopped {
		e.stopped = true
		heap.Remove(&r.queue, e.place)
	}
}

// told is a change that is to be told.
type told struct {
	e      *Renewal
	change Change
}

// run looks at what is due, until there is no lease.
func (r *Renewer) run() {
	defer r.wg.Done()
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		changes, wait, more := r.look()
		for _, c := range changes {
			c.e.tell(c.change)
		}
		if !more {
			return
		}
		t.Reset(gather)
		select {
		case <-t.C:
		case <-r.ctx.Done():
			continue // look ends it
		}
		t.Reset(max(wait-gather, 0))
		select {
		case <-t.C:
		case <-r.due:
		case <-r.ctx.Done():
		}
	}
}

// look takes the answers that came, sends what is due, and returns when to look again.
func (r *Renewer) look() (changes []told, wait time.Duration, more bool) {
	credential := r.cfg.Credential()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx.Err() != nil || len(r.queue) == 0 {
		r.running, r.results = false, nil
		for _, s := range r.streams {
			s.end(nil)
		}
		for _, s := range r.retired {
			s.end(nil)
		}
		r.retired = nil
		return nil, 0, false
	}
	now := r.clock.now()
	if r.credential != credential {
		r.credential = credential
		r.begin(now)
	}
	if r.refused { // all are: who waits for his next renewal is told now
		r.refused = false
		r.hasten(now, func(e *Renewal) bool { return e.refusals == 0 })
	}
	tell := func(e *Renewal, c Change) {
		e.state = c.State
		changes = append(changes, told{e, c})
	}
	results := r.results
	r.results = nil
	for _, res := range results {
		if !res.e.stopped {
			r.take(res, now, tell)
		}
	}
	for len(r.queue) > 0 && r.queue[0].wake <= now {
		e := r.queue[0]
		if at, ok := e.overdueAt(); ok && at <= now {
			tell(e, Change{State: Overdue, Err: e.lastErr})
		}
		if len(e.others) > 0 && e.ttl > 0 && now >= e.acked+max(e.ttl, clusterChangedAfter) {
			r.lose(e, e.otherErr, tell)
			continue
		}
		if e.next <= now {
			r.send(e, now)
		}
		r.settle(e)
	}
	for _, s := range r.streams {
		s.check(now)
	}
	r.retired = slices.DeleteFunc(r.retired, func(s *stream) bool { return s.retire(now) })
	if len(r.queue) == 0 {
		return changes, 0, true // the next look ends it
	}
	return changes, min(r.queue[0].wake-now, maxSleep), true
}

// begin has new streams opened for what comes, with another credential, and has the leases tried that were refused.
func (r *Renewer) begin(now time.Duration) {
	for _, s := range r.streams {
		r.retired = append(r.retired, s)
	}
	clear(r.streams)
	r.hasten(now, func(e *Renewal) bool { return e.refusals > 0 })
}

// hasten has leases renewed now.
func (r *Renewer) hasten(now time.Duration, which func(*Renewal) bool) {
	for _, e := range slices.Clone(r.queue) {
		if !e.asked && which(e) {
			e.next = now
			r.settle(e)
		}
	}
}

// settle puts e where it belongs after its times changed.
func (r *Renewer) settle(e *Renewal) {
	e.wake = e.next
	if at, ok := e.overdueAt(); ok {
		e.wake = min(e.wake, at)
	}
	heap.Fix(&r.queue, e.place)
}

// send renews e. If it is waiting for an answer, it has waited long enough.
func (r *Renewer) send(e *Renewal, now time.Duration) {
	if e.asked {
		r.moveOn(e)
	}
	if e.tries == 0 {
		e.at = r.order[r.current]
	}
	e.try++
	e.asked = true
	e.next = now + e.silence()
	r.stream(place{e.at, e.cluster}).put(e, now)
}

// moveOn makes the next try of e, and the first of the others, one at the endpoint after e's.
func (r *Renewer) moveOn(e *Renewal) {
	e.tries++
	e.asked = false
	if r.order[r.current] == e.at {
		r.current = (r.current + 1) % len(r.order)
	}
	for i, endpoint := range r.order {
		if endpoint == e.at {
			e.at = r.order[(i+1)%len(r.order)]
			return
		}
	}
}

// result is what became of one try.
type result struct {
	e          *Renewal
	try        uint64
	endpoint   int
	sent       time.Duration
	answer     answer
	renewAfter time.Duration
	err        error // of failed
}

type answer int

const (
	waiting answer = iota // the node could not ask the leader
	renewed
	lost
	failed // there is no answer
)

// take applies an answer.
func (r *Renewer) take(res result, now time.Duration, tell func(*Renewal, Change)) {
	e := res.e
	switch {
	case res.answer == lost:
		r.lose(e, nil, tell)
		return
	case res.answer == renewed:
		r.renewed(e, res, now, tell)
	case res.try != e.try || !e.asked:
		return // it was given up, and another try goes on
	case res.answer == waiting:
		r.moveOn(e)
		e.next = now + e.pause(len(r.order))
	case res.answer == failed:
		e.lastErr = res.err
		if r.cfg.OtherCluster(res.err) {
			if e.others == nil {
				e.others = map[int]bool{}
			}
			e.others[res.endpoint], e.otherErr = true, res.err
			if len(e.others) == len(r.order) {
				r.lose(e, res.err, tell)
				return
			}
		}
		r.moveOn(e)
		e.next = now
		switch {
		case r.cfg.Refused(res.err):
			e.refusals++
			e.next = now + e.refusedPause()
			if text := res.err.Error(); text != e.refusal {
				e.refusal = text
				tell(e, Change{State: e.state, Err: res.err, Refused: true})
			}
		case e.tries%len(r.order) == 0: // a whole round
			e.next = now + e.pause(len(r.order))
		}
	}
	r.settle(e)
}

func (r *Renewer) renewed(e *Renewal, res result, now time.Duration, tell func(*Renewal, Change)) {
	e.acked = max(e.acked, res.sent)
	if e.learns {
		// A third of the shortest TTL in the message: never too long.
		e.ttl = max(e.ttl, 3*res.renewAfter)
	}
	news := e.state != Held || e.refusals > 0
	e.others, e.otherErr, e.lastErr, e.tries, e.asked = nil, nil, nil, 0, false
	e.refusals, e.refusal = 0, ""
	e.next = max(now, e.acked+e.interval())
	if news && (e.ttl == 0 || now < e.acked+e.ttl) {
		tell(e, Change{State: Held})
	}
}

func (r *Renewer) lose(e *Renewal, err error, tell func(*Renewal, Change)) {
	r.remove(e)
	tell(e, Change{State: Lost, Err: err})
}
