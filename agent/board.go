package agent

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/rollcallhq/rollcall/client"
)

// initialWait is how long a service shows NOT_SERVING at most while the registry has not been heard of it: an agent
// that is restarted while an operator has switched a service off tells nobody that it is on.
const initialWait = 500 * time.Millisecond

var (
	errStreamEnded = status.Error(codes.Canceled, "the stream has ended")
	errStopping    = status.Error(codes.Unavailable, "the agent is stopping")
	errNoService   = status.Error(codes.NotFound, "the agent does not watch this service")
)

// board is the agent's grpc.health.v1. Of each service it shows the worse of what the service says and what the
// registry says. "" is the agent itself.
type board struct {
	healthpb.UnimplementedHealthServer

	mu    sync.Mutex // guards what follows
	cells map[string]*cell
	ends  chan struct{} // closed by end
	ended bool
}

// cell is one name.
type cell struct {
	known    bool // the agent watches it; else somebody asks for it
	said     client.Status
	off      bool // the registry has switched it off
	waiting  bool // the registry was not heard of it yet, and the initial wait is not over
	shown    client.Status
	changed  chan struct{} // closed and replaced when shown changes
	watchers int
}

func newBoard() *board {
	b := &board{cells: map[string]*cell{}, ends: make(chan struct{})}
	b.set("", func(c *cell) { c.said = client.Serving })
	return b
}

// set changes what is known of a name that the agent watches.
func (b *board) set(name string, change func(*cell)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.cell(name)
	c.known = true
	change(c)
	c.show()
}

// add adds a service. It waits for the registry.
func (b *board) add(name string) {
	b.set(name, func(c *cell) { c.said, c.off, c.waiting = client.Unknown, false, true })
}

func (b *board) say(name string, s client.Status) { b.set(name, func(c *cell) { c.said = s }) }

// judged takes what the registry says of a service.
func (b *board) judged(name string, off, heard bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c := b.cells[name]; c != nil && c.known {
		c.off = off
		c.waiting = c.waiting && !heard
		c.show()
	}
}

// endWait ends the initial wait of services, and returns how many still waited.
func (b *board) endWait(names []string) (waited int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, name := range names {
		if c := b.cells[name]; c != nil && c.waiting {
			waited++
			c.waiting = false
			c.show()
		}
	}
	return waited
}

func (b *board) remove(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c := b.cells[name]; c != nil {
		c.known = false
		c.show()
		b.forget(name, c)
	}
}

// cell returns the cell of a name, a new one if need be. b.mu is held.
func (b *board) cell(name string) *cell {
	c := b.cells[name]
	if c == nil {
		c = &cell{shown: client.ServiceUnknown, changed: make(chan struct{})}
		b.cells[name] = c
	}
	return c
}

// forget drops a cell that nobody needs. b.mu is held.
func (b *board) forget(name string, c *cell) {
	if !c.known && c.watchers == 0 {
		delete(b.cells, name)
	}
}

// show makes anew what is shown. board.mu is held.
func (c *cell) show() {
	shown := c.said
	switch {
	case !c.known:
		shown = client.ServiceUnknown
	case c.off || c.waiting:
		shown = client.NotServing
	}
	if shown != c.shown {
		c.shown = shown
		close(c.changed)
		c.changed = make(chan struct{})
	}
}

// statuses counts the services by what is shown of them.
func (b *board) statuses() map[client.Status]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	counts := map[client.Status]int{}
	for name, c := range b.cells {
		if c.known && name != "" {
			counts[c.shown]++
		}
	}
	return counts
}

// look returns what is shown of a service; ServiceUnknown if the agent does not watch it.
func (b *board) look(name string) client.Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c := b.cells[name]; c != nil {
		return c.shown
	}
	return client.ServiceUnknown
}

// Check implements grpc.health.v1.
func (b *board) Check(_ context.Context, in *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	shown := b.look(in.GetService())
	if shown == client.ServiceUnknown {
		return nil, errNoService
	}
	return &healthpb.HealthCheckResponse{Status: shown}, nil
}

// List implements grpc.health.v1. It names all services.
func (b *board) List(context.Context, *healthpb.HealthListRequest) (*healthpb.HealthListResponse, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make(map[string]*healthpb.HealthCheckResponse, len(b.cells))
	for name, c := range b.cells {
		if c.known {
			all[name] = &healthpb.HealthCheckResponse{Status: c.shown}
		}
	}
	return &healthpb.HealthListResponse{Statuses: all}, nil
}

// Watch implements grpc.health.v1: the newest status wins, and the same one is not sent twice in a row. A name that
// the agent does not watch is SERVICE_UNKNOWN, until it does.
func (b *board) Watch(in *healthpb.HealthCheckRequest, stream healthpb.Health_WatchServer) error {
	name := in.GetService()
	b.mu.Lock()
	c := b.cell(name)
	c.watchers++
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		c.watchers--
		b.forget(name, c)
	}()
	sent := client.Status(-1)
	for {
		b.mu.Lock()
		shown, changed := c.shown, c.changed
		b.mu.Unlock()
		select {
		case <-b.ends:
			return errStopping
		default:
		}
		if shown != sent {
			sent = shown
			if err := stream.Send(&healthpb.HealthCheckResponse{Status: shown}); err != nil {
				return errStreamEnded
			}
		}
		select {
		case <-changed:
		case <-b.ends:
		case <-stream.Context().Done():
			return errStreamEnded
		}
	}
}

// end ends every Watch, and each new one. The server must be stopping: a client that was not told so opens the Watch
// again at once.
func (b *board) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ended {
		b.ended = true
		close(b.ends)
	}
}

// switchedOff counts the services that the registry has switched off.
func (b *board) switchedOff() (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.cells {
		if c.known && c.off {
			n++
		}
	}
	return n
}

// changes returns a channel that is closed when what is shown of a name changes next.
func (b *board) changes(name string) <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.cell(name).changed
}
