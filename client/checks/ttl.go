package checks

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"
)

// TTL is a check that the program feeds: a worker says OK after each round, and the check fails when it has said
// nothing for a time. All methods may be called from several goroutines.
//
// Until it is fed for the first time, the check fails: a worker that has not finished a round is not known to work.
// A Runner sees at once what changes, and when the time is over, whatever the Interval. One failure turns the check,
// unless Add gets another Fall: the program itself decides when to say Fail.
type TTL struct {
	check readymade // what is common to ready-made checks
	ttl   time.Duration

	mu    sync.Mutex         // guards what follows
	fed   time.Time          // zero: never
	last  error              // what was fed: nil is OK
	timer *time.Timer        // fires when the time is over; nil while no Runner listens
	wakes map[*func()]func() // of Runners that have this check
}

// NewTTL returns a TTL that fails when it has not been fed for ttl, which must be above zero: two to three times
// the longest round.
func NewTTL(name string, ttl time.Duration) *TTL {
	t := &TTL{ttl: ttl, wakes: map[*func()]func(){}}
	t.check.name, t.check.run = name, t.state
	if ttl <= 0 {
		t.check.err = errors.New("the ttl must be above zero")
	}
	return t
}

// Name is the name that NewTTL got.
func (t *TTL) Name() string { return t.check.Name() }

// Check returns what was fed last, or an error if that is too long ago. A Runner calls it.
func (t *TTL) Check(ctx context.Context) error {
	if err := t.Validate(); err != nil {
		return err
	}
	return t.check.Check(ctx)
}

// Validate says what is wrong with the arguments of NewTTL; nil if nothing is. Runner.Add calls it.
func (t *TTL) Validate() error {
	if t.ttl == 0 && t.check.err == nil {
		return errors.New("this TTL was not made by NewTTL")
	}
	return t.check.Validate()
}

// OK says that all is well.
func (t *TTL) OK() { t.feed(nil) }

// Fail says that something is wrong: the check fails with err until it is fed something else.
func (t *TTL) Fail(err error) {
	if err == nil {
		err = errors.New("failed; no reason was given")
	}
	t.feed(failed{err})
}

// Degraded says that all is well but for err: a warning, which turns nothing.
func (t *TTL) Degraded(err error) {
	if err == nil {
		err = errors.New("degraded; no reason was given")
	}
	t.feed(Degraded(err))
}

// failed keeps an error from being a warning, also if a Degraded is wrapped in it: it has no Unwrap. Is and As
// look into it.
type failed struct{ err error }

func (f failed) Error() string        { return f.err.Error() }
func (f failed) Is(target error) bool { return errors.Is(f.err, target) }
func (f failed) As(target any) bool   { return errors.As(f.err, target) }

func (t *TTL) feed(err error) {
	for _, run := range t.set(err) {
		run()
	}
}

// set keeps what was fed, and returns what must be called if the result has changed by it: without the lock,
// because the Runner may hold its own while it calls this check.
func (t *TTL) set(err error) []func() {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.verdict()
	t.fed, t.last = time.Now(), err
	if t.timer != nil {
		t.timer.Reset(t.ttl)
	}
	if text(before) == text(err) && isDegraded(before) == isDegraded(err) {
		return nil
	}
	return slices.Collect(maps.Values(t.wakes))
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// wake has run called when the check's result changes, until stop is called. A call that is under way then may
// come later.
func (t *TTL) wake(run func()) (stop func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := &run
	t.wakes[key] = run
	if t.timer == nil {
		t.timer = time.AfterFunc(t.ttl, t.over)
		if !t.fed.IsZero() {
			t.timer.Reset(max(0, t.ttl-time.Since(t.fed)))
		}
	}
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.wakes, key)
		if len(t.wakes) == 0 && t.timer != nil {
			t.timer.Stop()
			t.timer = nil
		}
	}
}

// over has the check run when it was not fed in time.
func (t *TTL) over() {
	t.mu.Lock()
	runs := slices.Collect(maps.Values(t.wakes))
	t.mu.Unlock()
	for _, run := range runs {
		run()
	}
}

func (t *TTL) defaults() []CheckOption { return []CheckOption{Fall(1)} }

func (t *TTL) state(context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.verdict()
}

// verdict is the check's result now. The caller holds mu.
func (t *TTL) verdict() error {
	if t.fed.IsZero() {
		return errors.New("nothing was reported yet")
	}
	if age := time.Since(t.fed); age >= t.ttl {
		message := "nothing was reported for " + span(age) + ", at most " + span(t.ttl) + " is allowed"
		if t.last != nil {
			message += "; the last report was: " + foreign(t.last.Error())
		}
		return errors.New(message)
	}
	return t.last
}
