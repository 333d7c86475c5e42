package view

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/internal/halves"
)

// View is what the registry last said of some names. Make one with [New]. All methods are safe for use by many
// goroutines, before, during and after Run.
type View struct {
	client  *client.Client
	logger  *slog.Logger
	names   []string
	slots   map[string]*slot // by name; it never changes
	ordered []*slot          // as names
	watches []*watch

	changed   atomic.Pointer[chan struct{}] // closed and replaced after slots have changed
	ready     chan struct{}
	started   atomic.Bool
	attention chan struct{} // settle is to look; capacity 1, so that a wish stays

	mu        sync.Mutex // guards all below, and what changes of watches; slots change under it
	home      string     // the cluster that counts, if homeKnown
	homeKnown bool
	known     int64     // revision of home that all opinions take into account: what is older is nothing new
	homeHeard time.Time // when a watch last heard it, while watches disagree
	dueAt     time.Time // when something held may end; zero: nothing may
	spoken    bool      // ready is closed
	hearing   int       // watches that hear a node
	silent    time.Time // when hearing last became 0; of New at first
	err       error     // why a watch ended, or could not be opened, since a node was last heard
	journal   journal
}

// slot is what Get reads.
type slot struct {
	index   int // of names
	opinion atomic.Pointer[Opinion]
	judged  int64 // revision of the home cluster that opinion takes into account; View.mu guards it
}

// New makes a View of these names, at least one and at most 10,000; one that is named twice counts once. It connects to
// nothing yet: see [View.Run]. The names are services', as they are written: neither patterns, nor the node's own names
// ("" and rollcall.…), which differ from node to node. Close the client after Run has returned.
func New(c *client.Client, names []string, opts ...Option) (*View, error) {
	if c == nil {
		return nil, errors.New("view: the client is nil")
	}
	if len(names) == 0 {
		return nil, errors.New("view: no name is given")
	}
	o := options{logger: slog.New(slog.DiscardHandler)}
	for _, opt := range opts {
		if opt == nil {
			return nil, errors.New("view: an option is nil")
		}
		if err := opt(&o); err != nil {
			return nil, err
		}
	}
	v := &View{
		client: c, logger: o.logger, slots: map[string]*slot{}, watches: newWatches(c.Endpoints()),
		ready: make(chan struct{}), attention: make(chan struct{}, 1), silent: time.Now(),
	}
	for _, name := range names {
		if err := limits.Name(name); err != nil {
			return nil, fmt.Errorf("view: a name %w", err)
		}
		if v.slots[name] != nil {
			continue
		}
		s, first := &slot{index: len(v.names)}, o.initial[name]
		s.opinion.Store(&first)
		v.slots[name], v.ordered, v.names = s, append(v.ordered, s), append(v.names, name)
	}
	if n := len(v.names); n > limits.MaxWatchedNames {
		return nil, fmt.Errorf("view: %d names are given; at most %d are allowed, make another View for the others", n, limits.MaxWatchedNames)
	}
	changed := make(chan struct{})
	v.changed.Store(&changed)
	return v, nil
}

// newWatches returns a watch for each half of the endpoints; one if there is one endpoint.
func newWatches(endpoints []string) (watches []*watch) {
	for _, half := range halves.Of(endpoints) {
		watches = append(watches, &watch{endpoints: half})
	}
	return watches
}

// Names returns the names of the View, in the order in which New got them.
func (v *View) Names() []string { return slices.Clone(v.names) }

// Get returns what the registry last said of a name. That of a name which is not of the View is the zero Opinion. It
// takes no lock and allocates nothing.
func (v *View) Get(name string) Opinion {
	s := v.slots[name]
	if s == nil {
		return Opinion{}
	}
	return *s.opinion.Load()
}

// Changed returns a channel that is closed when what Get returns for any name changes next, in more than its Revision
// and HeardAt. Take the channel before what Get returns is looked at: then no change is missed.
//
//	for {
//		changed := v.Changed()
//		use(v.Get("checkout"))
//		select {
//		case <-changed:
//		case <-ctx.Done():
//			return
//		}
//	}
func (v *View) Changed() <-chan struct{} { return *v.changed.Load() }

// Ready returns a channel that is closed when the registry has spoken of every name, also if only to say that there is
// no such service. What WithInitial gave does not count.
func (v *View) Ready() <-chan struct{} { return v.ready }

// Silent returns for how long no node has been heard: 0 while a watch is open, and the time since New if none was ever.
// A node that hangs counts as heard until that is noticed, after 15 s.
func (v *View) Silent() time.Duration {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.hearing > 0 {
		return 0
	}
	return time.Since(v.silent)
}

// Err returns why no node is heard: what the newest try failed with, for example that this process may not read one of
// the names (client.IsDenied). It is nil while a watch is open, and before the first try has ended.
func (v *View) Err() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.hearing > 0 {
		return nil
	}
	return v.err
}

// Run follows the names until ctx ends, and then returns the error of ctx, after all that it started has ended.
// Nothing else ends it, not even Close of the client: while no node can be reached, or all refuse, it logs that once
// and goes on trying. It may be called once; another call returns an error at once.
func (v *View) Run(ctx context.Context) error {
	if v.started.Swap(true) {
		return errors.New("view: Run was called before")
	}
	var wg sync.WaitGroup
	for _, w := range v.watches {
		wg.Go(func() { v.follow(ctx, w) })
	}
	wg.Go(func() { v.settle(ctx) })
	wg.Wait()
	return ctx.Err()
}
