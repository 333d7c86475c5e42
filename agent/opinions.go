package agent

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/rollcallhq/rollcall/client/view"
)

// viewNames is how many names a view.View takes.
const viewNames = 10_000

// opinions follows what the registry says of all services. One view has all their names, or as few as can have them.
// When the names change there are new views, which begin with what the old ones knew.
type opinions struct {
	newView func(names []string, known map[string]view.Opinion) (source, error)
	life    context.Context
	changed func() // called when there may be something new, from several goroutines

	mu      sync.Mutex // guards what follows
	views   *views
	end     context.CancelFunc // of what runs
	running *sync.WaitGroup
}

// source is what the registry says of some names: a view.View.
type source interface {
	Run(ctx context.Context) error
	Get(name string) view.Opinion
	Changed() <-chan struct{}
	Silent() time.Duration
	Err() error
}

// views are what the registry says of some names. They do not change.
type views struct {
	names []string // sorted
	all   []source
	of    map[string]source
}

func newOpinions(life context.Context, r registry, changed func()) *opinions {
	return &opinions{newView: r.newView, life: life, changed: changed, views: &views{}, end: func() {}, running: &sync.WaitGroup{}}
}

func (o *opinions) newest() *views {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.views
}

// reader returns what reads the opinion of a name.
func (o *opinions) reader() func(name string) view.Opinion {
	of := o.newest().of
	return func(name string) view.Opinion {
		if v := of[name]; v != nil {
			return v.Get(name)
		}
		return view.Opinion{}
	}
}

// silent returns for how long no node of the registry has been heard.
func (o *opinions) silent() (longest time.Duration) {
	for _, v := range o.newest().all {
		longest = max(longest, v.Silent())
	}
	return longest
}

// err returns why no node of the registry is heard; nil if that is not known, or if one is.
func (o *opinions) err() error {
	for _, v := range o.newest().all {
		if err := v.Err(); err != nil {
			return err
		}
	}
	return nil
}

// prepare makes the views of names. They know what the views of now know, and do not run. nil: the names are those of
// now.
func (o *opinions) prepare(names []string) (*views, error) {
	slices.Sort(names)
	names = slices.Compact(names)
	now := o.newest()
	if slices.Equal(names, now.names) {
		return nil, nil
	}
	known := map[string]view.Opinion{}
	for name, v := range now.of {
		if opinion := v.Get(name); opinion.Heard {
			known[name] = opinion
		}
	}
	next := &views{names: names, of: make(map[string]source, len(names))}
	for chunk := range slices.Chunk(names, viewNames) {
		v, err := o.newView(chunk, known)
		if err != nil {
			return nil, err
		}
		next.all = append(next.all, v)
		for _, name := range chunk {
			next.of[name] = v
		}
	}
	return next, nil
}

// follow goes over to views that prepare made.
func (o *opinions) follow(next *views) {
	ctx, cancel := context.WithCancel(o.life)
	running := &sync.WaitGroup{}
	for _, v := range next.all {
		running.Go(func() { _ = v.Run(ctx) }) // it ends with ctx and by nothing else
	}
	o.mu.Lock()
	end, ended := o.end, o.running
	o.views, o.end, o.running = next, cancel, running
	o.mu.Unlock()
	end()
	ended.Wait()
	for _, v := range next.all {
		running.Go(func() { o.heed(ctx, v) })
	}
}

// heed has changed called when opinions change. With ten thousand services that takes a while, so it rests then: it
// takes a twentieth of a core at most: a switch then shows up to 60 ms later.
func (o *opinions) heed(ctx context.Context, v source) {
	for {
		changed := v.Changed()
		begun := time.Now()
		o.changed()
		rest := time.NewTimer(19 * time.Since(begun))
		select {
		case <-rest.C:
		case <-ctx.Done():
		}
		rest.Stop()
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// stop ends the views and waits for them. What they knew stays.
func (o *opinions) stop() {
	o.mu.Lock()
	end, running := o.end, o.running
	o.mu.Unlock()
	end()
	running.Wait()
}
