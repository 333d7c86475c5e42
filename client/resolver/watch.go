package resolver

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/rollcallhq/rollcall/client/internal/halves"
	"github.com/rollcallhq/rollcall/client/view"
)

// opinions is what a watch needs of a view.View of SERVICE itself.
type opinions interface {
	Run(ctx context.Context) error
	Get(name string) view.Opinion
	Changed() <-chan struct{}
}

// watch follows one service for all channels to it. It lives as long as there is a channel.
type watch struct {
	b     *builder
	state *state // belongs to run

	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex // guards what follows
	current *list      // nil: nothing to give yet
	changed chan struct{}
}

// get returns the list that channels are to have, and a channel that is closed at the next one.
func (w *watch) get() (*list, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.current, w.changed
}

func (w *watch) set(l *list) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.current = l
	close(w.changed)
	w.changed = make(chan struct{})
}

// stop ends the watch and waits for all that it started.
func (w *watch) stop() {
	w.cancel()
	<-w.done
}

// run waits for the watch before it, and follows the service until ctx ends.
func (w *watch) run(ctx context.Context, before *watch) {
	defer close(w.done)
	if before != nil {
		<-before.done
	}
	var started sync.WaitGroup
	defer started.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	s := w.state
	about, err := w.b.opinions(s.service)
	if err != nil { // the name was checked before
		w.set(&list{err: err})
		return
	}
	started.Go(func() { _ = about.Run(ctx) }) // it ends with ctx
	events := make(chan event)
	parts := halves.Of(w.b.endpoints)
	for i, endpoints := range parts {
		h := &half{index: i, service: s.service, endpoints: endpoints, source: w.b.source, events: events}
		started.Go(func() { h.run(ctx) })
	}

	s.start(time.Now(), len(parts))
	defer w.observe(&list{})
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		opinionChanged := about.Changed()
		s.opinion(about.Get(s.service))
		next, wake := s.next(time.Now())
		if current, _ := w.get(); next != current {
			w.tell(next)
			w.observe(next)
			w.set(next)
		}
		if wake.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(time.Until(wake))
		}
		select {
		case e := <-events:
			if e.err != nil {
				w.b.logger.LogAttrs(ctx, slog.LevelDebug, "a watch of instances ended", slog.String("service", s.service), slog.Any("error", e.err))
			}
			s.take(time.Now(), e)
		case <-opinionChanged:
		case <-timer.C:
		case <-ctx.Done():
			return
		}
	}
}

// observe counts a list.
func (w *watch) observe(l *list) {
	if w.b.observer != nil {
		w.b.observer.Endpoints(w.state.service, l.serving, l.skipped, l.panicked)
	}
}

// tell logs how a list that is about to be given differs from the one before.
func (w *watch) tell(l *list) {
	before, _ := w.get()
	if before == nil {
		before = &list{}
	}
	service := slog.String("service", w.state.service)
	switch {
	case l.err != nil:
		w.b.logger.Warn("the instances of a service are not known", service, slog.Any("error", l.err))
	case l.panicked > 0 && before.panicked == 0:
		w.b.logger.Warn("too few instances of a service are SERVING: all are used that no operator switched off", service,
			slog.Int("serving", l.serving), slog.Int("others", l.panicked))
	case l.panicked == 0 && before.panicked > 0:
		w.b.logger.Info("enough instances of a service are SERVING again", service, slog.Int("serving", l.serving))
	}
	if l.held > 0 && before.held == 0 {
		w.b.logger.Warn("another cluster answers and does not know instances that were SERVING: they stay in use", service, slog.Int("held", l.held))
	}
	if l.keptOff > 0 && before.keptOff == 0 {
		w.b.logger.Warn("another cluster answers and does not know that an operator switched instances off: they stay off until one speaks of them", service,
			slog.Int("kept_off", l.keptOff))
	}
	if l.skipped > 0 && before.skipped == 0 {
		w.b.logger.Warn("instances of a service are not used: their names do not end with HOST:PORT", service, slog.Int("skipped", l.skipped))
	}
}
