package checks

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
)

// stopWait is how long Run waits for what has not returned.
const stopWait = 5 * time.Second

// Runner runs checks and tells what follows from them. Make one with [NewRunner], give it checks with [Runner.Add],
// and run it with [Runner.Run]. It is safe for use by many goroutines. At rest it has one goroutine and one timer,
// however many checks there are, and one goroutine for each Reporter.
type Runner struct {
	o    runnerOptions
	tell outboxes
	wake chan struct{} // capacity 1: loop looks anew

	// mu is never held while something of the program's is called.
	mu        sync.Mutex
	ctx       context.Context // of Run; nil before
	stopped   bool            // Run waits for what has not returned, or is over
	empty     chan struct{}   // closed when Run has stopped and no check is inside
	services  map[string]*service
	due       queue     // checks that do not run
	deadlines queue     // checks that run, or should
	places    int       // for runs that may start
	inside    int       // runs that have not returned
	wakes     time.Time // when loop looks anew; zero: when it is told
	// leaving has the checks that were removed while they ran, until they return. A check that takes the name of one
	// waits, so that no check runs twice at once.
	leaving map[entryID]*entry
}

type entryID struct{ service, check string }

// NewRunner makes a Runner without checks. If an option is wrong, [Runner.Add] and [Runner.Run] return the error.
func NewRunner(opts ...RunnerOption) *Runner {
	o := runnerOptions{maxParallel: defaultMaxParallel}
	for _, opt := range opts {
		if opt == nil {
			o.fault(errors.New("checks: an option of NewRunner is nil"))
			continue
		}
		opt(&o)
	}
	return &Runner{
		o:        o,
		tell:     newOutboxes(o),
		wake:     make(chan struct{}, 1),
		empty:    make(chan struct{}),
		services: map[string]*service{},
		places:   o.maxParallel,
		leaving:  map[entryID]*entry{},
	}
}

// Add adds a check of a service. The service is a name as the registry has them, or "", which is the process itself.
// It returns an error, and adds nothing, if a name or an option is wrong, if the service has a check with this name,
// or if the Runner has stopped.
//
// The check runs at once, or as soon as Run is called. While Run runs, a critical check that is added makes its
// service UNKNOWN until it has run. The same Check may be added to several services; it runs for each of them.
func (r *Runner) Add(service string, c Check, opts ...CheckOption) error {
	return r.add(service, c, opts, false)
}

// Replace is Add, and if the service has a check with this name, that one is removed at the same moment. So the
// service is never without a check meanwhile, and nobody is told that a check was removed. A check that is critical
// makes its service UNKNOWN until it has run.
func (r *Runner) Replace(service string, c Check, opts ...CheckOption) error {
	return r.add(service, c, opts, true)
}

func (r *Runner) add(service string, c Check, opts []CheckOption, replace bool) error {
	if r.o.err != nil {
		return r.o.err
	}
	if service != "" {
		if err := limits.Name(service); err != nil {
			return fmt.Errorf("checks: the service's name %w", err)
		}
	}
	name, o, err := prepare(c, opts)
	if err != nil {
		return fmt.Errorf("checks: service %q: %w", service, err)
	}
	e, before, err := r.insert(service, name, c, o, replace)
	if before != nil && before.deaf != nil {
		before.deaf()
	}
	if err != nil {
		return err
	}
	if w, ok := c.(waker); ok {
		r.hear(e, w)
	}
	return nil
}

// insert adds a check. It returns the one that it replaces.
func (r *Runner) insert(service, name string, c Check, o checkOptions, replace bool) (added, before *entry, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return nil, nil, fmt.Errorf("checks: service %q: check %q comes too late: the runner has stopped", service, name)
	}
	now := time.Now()
	s := r.services[service]
	if s == nil {
		s = newService(service, now)
	}
	fresh := len(s.checks) == 0
	if before = s.checks[name]; before != nil {
		if !replace {
			return nil, nil, fmt.Errorf("checks: service %q has a check %q already", service, name)
		}
		r.detach(before)
	}
	e := &entry{service: s, name: name, check: c, o: o, since: now, due: now}
	s.checks[name] = e
	s.count(e, +1)
	r.services[service] = s
	if r.leaving[entryID{service, name}] != nil {
		e.state = stuck
		r.queueUp(&r.deadlines, e, now.Add(o.timeout))
	} else {
		r.schedule(e, now)
	}
	r.refresh(s, now, fresh)
	r.advanceAndPoke(now)
	return e, before, nil
}

// hear has the next run of e start at once when its check asks for it.
func (r *Runner) hear(e *entry, w waker) {
	stop := w.wake(func() { r.runNow(e) })
	r.mu.Lock()
	removed := e.removed
	e.deaf = stop
	r.mu.Unlock()
	if removed { // meanwhile
		stop()
	}
}

// prepare looks at the arguments of Add. A check whose own methods panic is refused.
func prepare(c Check, opts []CheckOption) (name string, o checkOptions, err error) {
	if isNil(c) {
		return "", o, errors.New("the check is nil")
	}
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("the check %T cannot be asked for its name and rules: panic: %s", c, visible(fmt.Sprint(v), maxErrorBytes))
		}
	}()
	name = c.Name()
	if name == "" {
		return "", o, errors.New("a check has no name")
	}
	if err := limits.Actor(name); err != nil { // one line, as names of callers
		return "", o, fmt.Errorf("the check's name %w", err)
	}
	if v, ok := c.(interface{ Validate() error }); ok {
		if err := v.Validate(); err != nil {
			return "", o, fmt.Errorf("check %q: %w", name, err)
		}
	}
	o = defaultCheckOptions(c)
	for _, opt := range opts {
		if opt == nil {
			return "", o, fmt.Errorf("check %q: an option is nil", name)
		}
		opt(&o)
	}
	if err := o.validate(); err != nil {
		return "", o, fmt.Errorf("check %q: %w", name, err)
	}
	return name, o, nil
}

// Remove removes a check of a service, and reports whether there was one. If it runs, its context ends, and its
// result counts for nothing; Remove does not wait for it. A check that is added with the same name runs when it has
// returned.
//
// When the last check of a service is removed, nothing is known of the service any more: reporters are told
// SERVICE_UNKNOWN, and the registry is told to delete it. To put another check in the place of the last one, add it
// first.
func (r *Runner) Remove(service, name string) bool {
	deaf, ok := r.takeOut(service, name)
	if deaf != nil {
		deaf()
	}
	return ok
}

func (r *Runner) takeOut(service, name string) (deaf func(), ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.services[service]
	if s == nil || s.checks[name] == nil {
		return nil, false
	}
	e := s.checks[name]
	r.detach(e)
	if len(s.checks) == 0 {
		delete(r.services, service)
	}
	if r.telling() {
		r.tell.removed(service, name)
	}
	r.refresh(s, time.Now(), false)
	return e.deaf, true
}

// detach takes e from its service and from its queue.
func (r *Runner) detach(e *entry) {
	delete(e.service.checks, e.name)
	e.service.count(e, -1)
	e.removed = true
	if e.inside {
		e.cancel()
		r.leaving[entryID{e.service.name, e.name}] = e
	}
	switch e.state {
	case idle:
		heap.Remove(&r.due, e.index)
		e.state = gone
	case stuck:
		heap.Remove(&r.deadlines, e.index)
		e.state = gone
	case running: // it has its place until it returns, at its timeout at the latest
	}
}

// Run runs the checks until ctx ends: all of them at once, and then each at its interval. It tells the reporters
// UNKNOWN of each service that has critical checks, until they have run. It may be called once; another call returns
// an error at once.
//
// When ctx ends, nothing new is told: the contexts of the checks end and their results count for nothing, so each
// service keeps the status that it has. Run returns nil when all checks and reporters have returned. After 5 s it
// returns an error that names those that have not.
func (r *Runner) Run(ctx context.Context) error {
	if r.o.err != nil {
		return r.o.err
	}
	r.mu.Lock()
	if r.ctx != nil {
		r.mu.Unlock()
		return errors.New("checks: Run was called before; a runner runs once")
	}
	r.ctx = ctx
	now := time.Now()
	for _, s := range r.services {
		r.refresh(s, now, true)
	}
	r.mu.Unlock()

	r.tell.run()
	r.loop(ctx)

	r.mu.Lock()
	r.stopped = true
	if r.inside == 0 {
		close(r.empty)
	}
	r.mu.Unlock()
	return r.stop()
}

// stop waits for what has not returned.
func (r *Runner) stop() error {
	timeout := time.NewTimer(stopWait)
	defer timeout.Stop()
	r.tell.close()
	late := false
	wait := func(done <-chan struct{}) bool {
		if !late {
			select {
			case <-done:
				return true
			case <-timeout.C:
				late = true
			}
		}
		select {
		case <-done:
			return true
		default:
			return false
		}
	}
	var missing []string
	if !wait(r.empty) {
		missing = r.insideNames()
	}
	missing = append(missing, r.tell.wait(wait)...)
	if len(missing) == 0 {
		return nil
	}
	const shown = 10
	if n := len(missing) - shown; n > 0 {
		missing = append(missing[:shown], fmt.Sprintf("and %d more", n))
	}
	return fmt.Errorf("checks: the runner has stopped, and %v later these have not returned: %s", stopWait, strings.Join(missing, ", "))
}

// insideNames are the checks whose runs have not returned, sorted.
func (r *Runner) insideNames() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var names []string
	name := func(e *entry) {
		if e.inside {
			names = append(names, fmt.Sprintf("check %q of service %q", e.name, e.service.name))
		}
	}
	for _, s := range r.services {
		for _, e := range s.checks {
			name(e)
		}
	}
	for _, e := range r.leaving {
		name(e)
	}
	slices.Sort(names)
	return names
}

// telling reports whether what changes is told.
func (r *Runner) telling() bool { return r.ctx != nil && !r.stopping(time.Now()) }

// stopping reports whether no run may start and no result counts: before Run, and from the end of its context on. A
// check can notice the end of the context before its timer does.
func (r *Runner) stopping(now time.Time) bool {
	if r.stopped || r.ctx == nil || r.ctx.Err() != nil {
		return true
	}
	deadline, ok := r.ctx.Deadline()
	return ok && !now.Before(deadline)
}

// record takes the outcome of a run, or of one that is late.
func (r *Runner) record(e *entry, o *outcome, now time.Time) {
	before := e.event()
	e.service.count(e, -1)
	e.damped.record(o.ok(), e.o.rise, e.o.fall)
	e.service.count(e, +1)
	e.outcome = *o
	if e.status != before.status {
		e.since = now
	}
	r.tell.ran(e, before)
	r.refresh(e.service, now, false)
}

// refresh derives the status of a service anew, and has it told if it has changed, or if it is to be told anyway.
func (r *Runner) refresh(s *service, now time.Time, anyway bool) {
	status := s.derived()
	if status == s.status && !anyway {
		return
	}
	if status != s.status {
		s.status, s.since = status, now
	}
	if r.telling() {
		r.tell.changed(s.name, change{status: status, reasons: s.reasons()})
	}
}

// Results returns the results of all checks as they were at one moment, sorted by service and name.
func (r *Runner) Results() []Result {
	r.mu.Lock()
	n := 0
	for _, s := range r.services {
		n += len(s.checks)
	}
	all := make([]Result, 0, n)
	for _, s := range r.services {
		for _, e := range s.checks {
			all = append(all, e.result())
		}
	}
	r.mu.Unlock()
	slices.SortFunc(all, compareResults)
	return all
}

// ResultsOf returns the results of the checks of one service as they were at one moment, sorted by name; none if it
// has no checks.
func (r *Runner) ResultsOf(service string) []Result {
	var all []Result
	r.mu.Lock()
	if s := r.services[service]; s != nil {
		for _, e := range s.checks {
			all = append(all, e.result())
		}
	}
	r.mu.Unlock()
	slices.SortFunc(all, compareResults)
	return all
}
