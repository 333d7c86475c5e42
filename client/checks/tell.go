package checks

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/rollcallhq/rollcall/client"
)

// change is a new status of a service.
type change struct {
	status  client.Status
	reasons []string
}

// news is about a check or, if the key has no check, about a service.
type news struct {
	result  Result
	removed bool
	change  change
}

// line is a line of the log. Of each check and service the newest waits.
type line struct {
	level slog.Level
	text  string
	attrs []slog.Attr
}

// outboxes bring what is new to the reporters, the observer and the log. All have a goroutine each.
type outboxes struct {
	reporters []*outbox[string, change]
	observer  *outbox[entryID, news] // nil: there is none
	log       *outbox[entryID, line] // nil: there is none
}

func newOutboxes(o runnerOptions) outboxes {
	var b outboxes
	for _, reporter := range o.reporters {
		b.reporters = append(b.reporters, newOutbox(deliverTo(reporter, o.logger)))
	}
	if o.observer != nil {
		b.observer = newOutbox(observe(o.observer))
	}
	if o.logger != nil {
		b.log = newOutbox(func(_ entryID, l line) {
			o.logger.LogAttrs(context.Background(), l.level, l.text, l.attrs...)
		})
	}
	return b
}

// told remembers what a consumer was told last of each service.
type told map[string]client.Status

// isNew reports whether the consumer is to be told. It may have been away while the status changed and changed back.
func (t told) isNew(service string, s client.Status) bool {
	last, known := t[service]
	switch {
	case known && last == s, !known && s == client.ServiceUnknown:
		return false
	case s == client.ServiceUnknown:
		delete(t, service)
	default:
		t[service] = s
	}
	return true
}

func deliverTo(reporter Reporter, logger *slog.Logger) func(string, change) {
	t := told{}
	return func(service string, c change) {
		if !t.isNew(service, c.status) {
			return
		}
		withReason, ok := reporter.(ReasonReporter)
		if !ok {
			reporter.SetServingStatus(service, c.status)
			return
		}
		if err := withReason.Report(service, c.status, reasonText(c.status, c.reasons)); err != nil && logger != nil {
			logger.Warn("a reporter refused the status of a service", "service", service, "status", c.status, "error", err)
		}
	}
}

func observe(o Observer) func(entryID, news) {
	t := told{}
	return func(id entryID, n news) {
		switch {
		case n.removed:
			o.CheckRemoved(id.service, id.check)
		case id.check != "":
			o.CheckDone(n.result)
		case t.isNew(id.service, n.change.status):
			o.StatusChanged(id.service, n.change.status, n.change.reasons)
		}
	}
}

// changed tells all of a service.
func (b *outboxes) changed(service string, c change) {
	for _, box := range b.reporters {
		box.put(service, c)
	}
	if b.observer != nil {
		b.observer.put(entryID{service: service}, news{change: c})
	}
	if b.log != nil {
		l := line{slog.LevelInfo, "the status of a service is " + c.status.String(), []slog.Attr{slog.String("service", service)}}
		switch c.status {
		case client.NotServing:
			l.level = slog.LevelWarn
		case client.ServiceUnknown:
			l.text = "a service has no checks any more"
		}
		if len(c.reasons) > 0 {
			l.attrs = append(l.attrs, slog.String("reason", reasonText(c.status, c.reasons)))
		}
		b.log.put(entryID{service: service}, l)
	}
}

func (b *outboxes) removed(service, check string) {
	if b.observer != nil {
		b.observer.put(entryID{service, check}, news{removed: true})
	}
}

// event is what the log compares.
type event struct {
	status   client.Status
	missed   bool
	panicked bool
}

func (e *entry) event() event { return event{e.status, e.missed, e.stack != ""} }

// ran tells of a run that is over or late.
func (b *outboxes) ran(e *entry, before event) {
	id := entryID{e.service.name, e.name}
	if b.observer != nil {
		b.observer.put(id, news{result: e.result()})
	}
	if b.log == nil {
		return
	}
	now := e.event()
	l := line{attrs: []slog.Attr{slog.String("service", id.service), slog.String("check", id.check)}}
	switch {
	case now.panicked && !before.panicked:
		l.level, l.text = slog.LevelError, "a check panicked"
		l.attrs = append(l.attrs, slog.String("status", now.status.String()), slog.String("stack", e.stack))
	case now.status == client.NotServing && before.status != now.status:
		l.level, l.text = slog.LevelWarn, "a check has turned NOT_SERVING"
	case now.missed && !before.missed:
		l.level, l.text = slog.LevelWarn, "a check is stuck: it has not returned long after its timeout"
	case now.status == client.Serving && before.status == client.NotServing:
		l.level, l.text = slog.LevelInfo, "a check has turned SERVING"
	default:
		return
	}
	if e.text != "" {
		l.attrs = append(l.attrs, slog.String("error", e.text), slog.Int("failures", e.failures))
	}
	b.log.put(id, l)
}

// box is any outbox.
type box interface {
	run()
	close()
	abandon()
	ended() <-chan struct{}
}

// all has the outboxes by what people call their consumers.
func (b *outboxes) all(yield func(string, box) bool) {
	for i, r := range b.reporters {
		if !yield(fmt.Sprintf("reporter %d of %d", i+1, len(b.reporters)), r) {
			return
		}
	}
	if b.observer != nil && !yield("the observer", b.observer) {
		return
	}
	if b.log != nil {
		yield("the logger", b.log)
	}
}

func (b *outboxes) run() {
	for _, one := range b.all {
		go one.run()
	}
}

func (b *outboxes) close() {
	for _, one := range b.all {
		one.close()
	}
}

// wait waits for the consumers with the given function, and returns those that do not return.
func (b *outboxes) wait(wait func(<-chan struct{}) bool) (missing []string) {
	for name, one := range b.all {
		if !wait(one.ended()) {
			one.abandon()
			missing = append(missing, name)
		}
	}
	return missing
}
