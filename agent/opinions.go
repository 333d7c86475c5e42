package agent

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/view"
)

// viewNames is how many names a view.View takes.
const viewNames = 10_000

// opinions follows what the registry says of all services. One view has all their names, or as few as can have them.
// When the names change there are new views, which begin with what the old ones knew.
type opinions struct {
	client  *client.Client
	logger  *slog.Logger
	life    context.Context
	changed func() // called when there may be something new, from several goroutines

	mu      sync.Mutex // guards what follows
	names   []string
	views   []*view.View
	viewOf  map[string]*view.View
	end     context.CancelFunc // of the views that run
	running *sync.WaitGroup    // and what they run
}

func newOpinions(life context.Context, c *client.Client, logger *slog.Logger, changed func()) *opinions {
	return &opinions{client: c, logger: logger, life: life, changed: changed, end: func() {}, running: &sync.WaitGroup{}}
}

// get returns what is known of a name.
func (o *opinions) get(name string) view.Opinion {
	o.mu.Lock()
	v := o.viewOf[name]
	o.mu.Unlock()
	if v == nil {
		return view.Opinion{}
	}
	return v.Get(name)
}

// all returns the views that run.
func (o *opinions) all() []*view.View {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.views)
}

// silent returns for how long no node of the registry has been heard.
func (o *opinions) silent() (longest time.Duration) {
	for _, v := range o.all() {
		longest = max(longest, v.Silent())
	}
	return longest
}

// follow has these names followed, and no others.
func (o *opinions) follow(names []string) error {
	names = slices.Sorted(slices.Values(names))
	o.mu.Lock()
	same := slices.Equal(names, o.names)
	before := o.viewOf
	o.mu.Unlock()
	if same {
		return nil
	}
	known := map[string]view.Opinion{}
	for name, v := range before {
		if opinion := v.Get(name); opinion.Heard {
			known[name] = opinion
		}
	}
	var views []*view.View
	viewOf := make(map[string]*view.View, len(names))
	for chunk := range slices.Chunk(names, viewNames) {
		v, err := view.New(o.client, chunk, view.WithLogger(o.logger), view.WithInitial(known))
		if err != nil {
			return err
		}
		views = append(views, v)
		for _, name := range chunk {
			viewOf[name] = v
		}
	}
	ctx, cancel := context.WithCancel(o.life)
	running := &sync.WaitGroup{}
	o.mu.Lock()
	end, ended := o.end, o.running
	o.names, o.views, o.viewOf, o.end, o.running = names, views, maps.Clone(viewOf), cancel, running
	o.mu.Unlock()
	for _, v := range views {
		running.Go(func() { _ = v.Run(ctx) }) // it ends with ctx and by nothing else
		running.Go(func() { o.heed(ctx, v) })
	}
	end()
	ended.Wait()
	o.changed()
	return nil
}

func (o *opinions) heed(ctx context.Context, v *view.View) {
	for {
		changed := v.Changed()
		o.changed()
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
