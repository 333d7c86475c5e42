package lossyfs

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
)

// Power is what disks hang on.
type Power struct {
	mu       sync.RWMutex // held shared by every operation, exclusively by Cut
	off      bool
	lost     chan struct{} // closed by Cut
	released chan struct{} // closed by Release

	trigger atomic.Pointer[func(Event) bool]
	events  atomic.Int64
}

// Event is an operation that is about to be done.
type Event struct {
	Op   Op
	Name string // last element of the path
	Dir  string // last element of the directory's path; "": the root, or not known
}

// Op is a kind of operation.
type Op string

// Operations that change a disk or make a change durable.
const (
	Create   Op = "create"
	Mkdir    Op = "mkdir"
	Write    Op = "write"
	Truncate Op = "truncate" // also to a greater length
	Rename   Op = "rename"
	Link     Op = "link"
	Remove   Op = "remove"
	Sync     Op = "sync"
	SyncDir  Op = "syncdir"
)

// NewPower returns a Power that is on.
func NewPower() *Power {
	return &Power{lost: make(chan struct{}), released: make(chan struct{})}
}

// Cut takes the power from all disks at one instant: an operation is done before it, or never.
func (p *Power) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.off {
		p.off = true
		close(p.lost)
	}
}

// Lost is closed when the power is cut.
func (p *Power) Lost() <-chan struct{} { return p.lost }

// Release has all calls that wait for the power fail, and those that come. Whoever made them must have
// been killed.
func (p *Power) Release() {
	p.Cut()
	select {
	case <-p.released:
	default:
		close(p.released)
	}
}

// CutWhen cuts the power before the first event for which f returns true. f may be called by several
// goroutines at once.
func (p *Power) CutWhen(f func(Event) bool) { p.trigger.Store(&f) }

// CutAtEvent cuts the power before the n-th event from now on.
func (p *Power) CutAtEvent(n int64) {
	var seen atomic.Int64
	p.CutWhen(func(Event) bool { return seen.Add(1) >= n })
}

// Events is how many events there were.
func (p *Power) Events() int64 { return p.events.Load() }

// begin returns whether an operation may be done; then end has to be called. Without power it returns
// only after Release.
func (p *Power) begin(e Event) bool {
	if f := p.trigger.Load(); f != nil && e.Op != "" && (*f)(e) {
		p.Cut()
	}
	p.mu.RLock()
	if !p.off {
		if e.Op != "" {
			p.events.Add(1)
		}
		return true
	}
	p.mu.RUnlock()
	<-p.released
	return false
}

func (p *Power) end() { p.mu.RUnlock() }

// Loss says what is lost of that which was not flushed. Both are what real disks do.
type Loss struct {
	rng *rand.Rand // nil: all is lost
}

// LoseAll loses all that was not flushed.
func LoseAll() Loss { return Loss{} }

// LoseSome keeps some sectors of what was not flushed, and the names of some directories.
func LoseSome(rng *rand.Rand) Loss { return Loss{rng} }

// half is true half of the time, never if all is lost.
func (l Loss) half() bool { return l.rng != nil && l.rng.IntN(2) == 0 }
