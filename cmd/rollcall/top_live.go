package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"time"

	"golang.org/x/term"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/top"
)

const (
	topRedraw = 250 * time.Millisecond // at the soonest after the last time, for changes; keys are answered at once
	topAsk    = 2 * time.Second        // between two questions about the cluster
)

// topNews is what came since the picture was drawn last. A service that changed often is here once, so it holds each
// service once at most, however long the terminal takes.
type topNews struct {
	mu       sync.Mutex // guards the rest
	reset    string     // the cluster is another one; its id
	services map[string]top.Service
	deleted  map[string]bool
	synced   bool
	endpoint string    // "": no node tells
	lost     time.Time // since when none does
	filtered bool
	events   []*rollcallv1.Event // nil: as they were
	status   *rollcallv1.GetStatusResponse
	problem  string // that the status could not be asked for; "": none
	err      error  // that ended the watch

	came chan struct{} // one place: there is something
}

func newTopNews() *topNews {
	return &topNews{services: map[string]top.Service{}, deleted: map[string]bool{}, came: make(chan struct{}, 1)}
}

// add changes the news, and tells that there are some.
func (n *topNews) add(change func()) {
	n.mu.Lock()
	change()
	n.mu.Unlock()
	select {
	case n.came <- struct{}{}:
	default:
	}
}

// take brings the news into a picture.
func (n *topNews) take(p *top.Picture, event func(*rollcallv1.Event) top.Event) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.reset != "" {
		p.Services.Clear()
		p.Note = fmt.Sprintf("the cluster changed: it is %s now, restored from a backup or founded anew", n.reset)
		n.reset = ""
	}
	for name := range n.deleted {
		p.Services.Delete(name)
	}
	for _, s := range n.services {
		p.Services.Put(s)
	}
	clear(n.deleted)
	clear(n.services)
	if n.events != nil {
		p.Events = p.Events[:0]
		for _, e := range n.events {
			p.Events = append(p.Events, event(e))
		}
		n.events = nil
	}
	p.Synced, p.Endpoint, p.Lost, p.Filtered = p.Synced || n.synced, n.endpoint, n.lost, n.filtered
	if n.status != nil {
		p.Status = n.status
	}
	p.StatusError = n.problem
	return n.err
}

// topLive draws until the reader or ctx ends it, which is no error.
func (a *app) topLive(ctx context.Context, flags *topFlags, in, out *os.File) error {
	c, err := a.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := endAtHangup(ctx)
	defer cancel()
	var asking sync.WaitGroup
	defer asking.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()

	before, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return invalid("the terminal does not give single keys: %w", err)
	}
	defer term.Restore(int(in.Fd()), before)
	screen := &top.Screen{W: a.stdout}
	if err := screen.Open(); err != nil {
		return err
	}
	defer screen.Close()

	news, keys := newTopNews(), make(chan []top.Key)
	asking.Go(func() { a.topWatch(ctx, c, flags, news) })
	asking.Go(func() { a.topStatus(ctx, c, flags, news) })
	asking.Go(func() { readKeys(ctx, in, keys) })
	d := &topDrawing{a: a, picture: top.NewPicture(flags.prefix, flags.depth), screen: screen, out: out, news: news}
	d.picture.Paint, d.picture.Live = a.colors(), true
	return d.run(ctx, keys)
}

// topWatch brings the services, and their changes.
func (a *app) topWatch(ctx context.Context, c *client.Client, flags *topFlags, news *topNews) {
	watching := client.WithWatchState(ctx, func(s client.WatchState) {
		news.add(func() {
			news.filtered = s.Filtered
			if news.endpoint = s.Endpoint; !s.Connected {
				news.endpoint, news.lost = "", a.now()
			}
		})
	})
	for u, err := range c.WatchServices(watching, flags.prefixes()...) {
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			news.add(func() { news.err = doing("watch services", err) })
			return
		}
		services := make([]top.Service, len(u.Services))
		for i, r := range u.Services {
			services[i] = topService(a.now(), r)
		}
		news.add(func() {
			if u.Reset {
				news.reset, news.synced = u.Cluster, false
				clear(news.services)
				clear(news.deleted)
			}
			for _, name := range u.Deleted {
				delete(news.services, name)
				news.deleted[name] = true
			}
			for _, s := range services {
				delete(news.deleted, s.Name)
				news.services[s.Name] = s
			}
			news.synced = news.synced || u.Synced
		})
	}
}

// topStatus asks for the status of the cluster, and for the last events, again and again.
func (a *app) topStatus(ctx context.Context, c *client.Client, flags *topFlags, news *topNews) {
	for ; ctx.Err() == nil; pause(ctx, topAsk) {
		try, done := context.WithTimeout(ctx, a.timeout)
		status, err := a.clusterStatus(try, c)
		events, _ := lastEvents(try, c, flags) // what is wrong, the status says
		done()
		news.add(func() {
			switch {
			case err == nil:
				news.status, news.problem = status, ""
			case ctx.Err() == nil:
				news.problem = a.explain(doing("get the status of the cluster", err)).Error()
			}
			if len(events) > 0 {
				news.events = events
			}
		})
	}
}

// topDrawing is the picture on its terminal.
type topDrawing struct {
	a       *app
	picture *top.Picture
	screen  *top.Screen
	out     *os.File
	news    *topNews
}

func (d *topDrawing) run(ctx context.Context, keys <-chan []top.Key) error {
	resized := make(chan os.Signal, 1) // one look at the size for several changes
	notifyResize(resized)
	defer signal.Stop(resized)
	second := time.NewTicker(time.Second) // ages
	defer second.Stop()
	soon := time.NewTimer(0) // the next picture
	defer soon.Stop()
	came := d.news.came
	for {
		select {
		case <-ctx.Done():
			return nil
		case sent := <-keys:
			for _, k := range sent {
				if d.picture.Press(k) {
					return nil
				}
				if k == top.CtrlL {
					d.screen.Forget()
				}
			}
		case <-resized:
			d.screen.Forget()
		case <-came:
			came = nil // until the picture is drawn
			soon.Reset(topRedraw)
			continue
		case <-soon.C:
			came = d.news.came
		case <-second.C:
		}
		if err := d.draw(); err != nil {
			return err
		}
	}
}

func (d *topDrawing) draw() error {
	if err := d.news.take(d.picture, d.a.topEvent); err != nil {
		return err
	}
	columns, rows, err := term.GetSize(int(d.out.Fd()))
	if err != nil || columns <= 0 || rows <= 0 {
		columns, rows = 80, 24
	}
	return d.screen.Show(d.picture.Lines(columns, rows, topEvents, d.a.now()), rows)
}
