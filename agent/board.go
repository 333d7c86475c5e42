package agent

import (
	"sync"
	"time"

	"github.com/rollcallhq/rollcall/client"
)

// board is what local clients are told: of each service what it says of itself, but NOT_SERVING while the registry has
// switched it off. "" is the agent itself, which is SERVING while it runs.
//
// A service that says SERVING before the registry was heard of it is shown as NOT_SERVING until the registry is heard,
// or the initial wait is over: an agent that is restarted while an operator has switched a service off tells nobody
// that it is on.
type board struct {
	// wait is called, with mu held, when the initial wait of a service begins.
	wait func(name string, c *cell)

	mu     sync.Mutex // guards what follows
	cells  map[string]*cell
	added  chan struct{} // closed when a name is added; nil: nobody waits
	over   bool          // shutdown was called
	ends   chan struct{} // closed by endWatches
	closed bool          // and then this is true
}

// cell is one name.
type cell struct {
	said    client.Status
	off     bool    // the registry has switched it off
	waits   waiting // for the registry
	stays   bool    // it stays as it is when the agent stops
	shown   client.Status
	since   time.Time     // of shown
	changed chan struct{} // closed when shown changes; nil: nobody waits
}

// waiting says where the initial wait of a service is.
type waiting int

const (
	unheard waiting = iota // the service has not said SERVING yet, and the registry was not heard of it
	waits                  // it has, and waits
	settled                // the registry was heard of it, or the wait is over
)

func newBoard(wait func(name string, c *cell)) *board {
	b := &board{wait: wait, cells: map[string]*cell{}, ends: make(chan struct{})}
	b.cells[""] = &cell{said: client.Serving, waits: settled, shown: client.Serving, since: time.Now()}
	return b
}

// add adds a service, or says anew whether it stays as it is at the end of the agent.
func (b *board) add(name string, stays bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c := b.cells[name]; c != nil {
		c.stays = stays
		return
	}
	b.cells[name] = &cell{said: client.Unknown, stays: stays, shown: client.Unknown, since: time.Now()}
	if b.added != nil {
		close(b.added)
		b.added = nil
	}
}

// change changes what is known of a service, if there is one of that name.
func (b *board) change(name string, change func(*cell)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c := b.cells[name]; c != nil {
		change(c)
		b.show(name, c)
	}
}

// say takes what a service says of itself.
func (b *board) say(name string, s client.Status) { b.change(name, func(c *cell) { c.said = s }) }

// judged takes what the registry says of a service.
func (b *board) judged(name string, off, heard bool) {
	b.change(name, func(c *cell) {
		c.off = off
		if heard {
			c.waits = settled
		}
	})
}

// endWait ends the initial wait of a service, and reports whether it waited. A service that went and came back has
// another cell, and another wait.
func (b *board) endWait(name string, of *cell) (waited bool) {
	b.change(name, func(c *cell) {
		if waited = c == of && c.waits == waits; waited {
			c.waits = settled
		}
	})
	return waited
}

func (b *board) remove(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c := b.cells[name]; c != nil {
		delete(b.cells, name)
		c.tell()
	}
}

// show makes anew what is shown. b.mu is held.
func (b *board) show(name string, c *cell) {
	if c.waits == unheard && c.said == client.Serving {
		c.waits = waits
		b.wait(name, c)
	}
	shown := c.said
	switch {
	case b.over && (c.stays || c.shown == client.NotServing):
		return
	case b.over, c.off, c.waits == waits && c.said == client.Serving:
		shown = client.NotServing
	}
	if shown != c.shown {
		c.shown, c.since = shown, time.Now()
		c.tell()
	}
}

func (c *cell) tell() {
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
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

// follow returns what is shown of a name, and a channel that is closed when that changes.
func (b *board) follow(name string) (client.Status, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.cells[name]
	to, shown := &b.added, client.ServiceUnknown
	if c != nil {
		to, shown = &c.changed, c.shown
	}
	if *to == nil {
		*to = make(chan struct{})
	}
	return shown, *to
}

// cell returns a copy of what is known of a name.
func (b *board) cell(name string) (cell, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c := b.cells[name]; c != nil {
		return *c, true
	}
	return cell{}, false
}

// statuses counts the services by what is shown of them.
func (b *board) statuses() (counts map[client.Status]int, off int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	counts = map[client.Status]int{}
	for name, c := range b.cells {
		if name != "" {
			counts[c.shown]++
		}
		if c.off {
			off++
		}
	}
	return counts, off
}

// shutdown shows all as NOT_SERVING from now on, but services that stay as they are.
func (b *board) shutdown() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.over = true
	for name, c := range b.cells {
		b.show(name, c)
	}
}

// endWatches ends every Watch, and each new one. The server must be stopping, and its clients must have been told so:
// one that was not opens the Watch again at once.
func (b *board) endWatches() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.closed = true
		close(b.ends)
	}
}
