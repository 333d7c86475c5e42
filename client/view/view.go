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
)

// View is what the registry last said of some names. Make one with [New]. All methods are safe for use by many
// goroutines, before, during and after Run.
type View struct {
	client *client.Client
	logger *slog.Logger
	names  []string
	slots  map[string]*slot // by name; it never changes

	changed atomic.Pointer[chan struct{}] // closed and replaced after slots have changed
	ready   chan struct{}
	started atomic.Bool
	made    time.Time
	heard   atomic.Int64 // watches that hear a node now
	silent  atomic.Int64 // nanoseconds after made at which heard last became 0
}

// slot is what Get reads.
type slot struct{ opinion atomic.Pointer[Opinion] }

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
	v := &View{client: c, logger: o.logger, slots: map[string]*slot{}, ready: make(chan struct{}), made: time.Now()}
	for _, name := range names {
		if err := limits.Name(name); err != nil {
			return nil, fmt.Errorf("view: the name %w", err)
		}
		if v.slots[name] != nil {
			continue
		}
		s := &slot{}
		first := o.initial[name]
		s.opinion.Store(&first)
		v.slots[name] = s
		v.names = append(v.names, name)
	}
	if n := len(v.names); n > limits.MaxWatchedNames {
		return nil, fmt.Errorf("view: %d names are given; at most %d are allowed, make another View for the others", n, limits.MaxWatchedNames)
	}
	changed := make(chan struct{})
	v.changed.Store(&changed)
	return v, nil
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
	if v.heard.Load() > 0 {
		return 0
	}
	return max(0, time.Since(v.made)-time.Duration(v.silent.Load()))
}

// Run follows the names until ctx ends, and then returns the error of ctx, after all that it started has ended. Nothing
// else ends it: while no node can be reached, or all refuse, it logs that once and goes on trying. It may be called once;
// another call returns an error at once.
func (v *View) Run(ctx context.Context) error {
	if v.started.Swap(true) {
		return errors.New("view: Run was called before")
	}
	var wg sync.WaitGroup
	wg.Go(func() { v.follow(ctx) })
	wg.Wait()
	return ctx.Err()
}
