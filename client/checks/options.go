package checks

import (
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"time"
)

const (
	defaultInterval    = 10 * time.Second
	defaultJitter      = 0.1
	defaultTimeout     = 5 * time.Second
	defaultRise        = 1
	defaultFall        = 3
	defaultMaxParallel = 64

	minInterval = time.Millisecond
	maxTime     = 365 * 24 * time.Hour // of an interval and of a timeout
)

// RunnerOption is an option of [NewRunner].
type RunnerOption func(*runnerOptions)

type runnerOptions struct {
	reporters   []Reporter
	observer    Observer
	logger      *slog.Logger
	maxParallel int
	err         error // the first fault
}

func (o *runnerOptions) fault(err error) {
	if o.err == nil {
		o.err = err
	}
}

// To has the Runner tell these reporters the status of each service. A *health.Server of gRPC is a [Reporter], and
// [ToRegistry] makes one. To may be given more than once. Without it nobody is told: the page and Results show the
// status.
func To(reporters ...Reporter) RunnerOption {
	return func(o *runnerOptions) {
		for _, r := range reporters {
			if isNil(r) {
				o.fault(errors.New("checks: a reporter is nil"))
				return
			}
		}
		o.reporters = append(o.reporters, reporters...)
	}
}

// WithLogger sets the logger. It gets a line when a check turns, hangs or panics, and when the status of a service
// changes. The default logs nothing. A logger that blocks delays no check; lines are lost meanwhile.
func WithLogger(l *slog.Logger) RunnerOption {
	return func(o *runnerOptions) {
		if l == nil {
			o.fault(errors.New("checks: the logger is nil"))
			return
		}
		o.logger = l
	}
}

// WithObserver sets the [Observer], for metrics. There is none by default.
func WithObserver(observer Observer) RunnerOption {
	return func(o *runnerOptions) {
		if isNil(observer) {
			o.fault(errors.New("checks: the observer is nil"))
			return
		}
		o.observer = observer
	}
}

// WithMaxParallel bounds how many checks run at once; at least 1, the default is 64. A check that is due waits for a
// place, the one that is due longest first. Waiting is no failure and does not count into the timeout. A stuck check
// takes no place.
func WithMaxParallel(n int) RunnerOption {
	return func(o *runnerOptions) {
		if n < 1 {
			o.fault(fmt.Errorf("checks: %d checks at once are allowed; at least 1 is needed", n))
			return
		}
		o.maxParallel = n
	}
}

// CheckOption is an option of [Runner.Add].
type CheckOption func(*checkOptions)

type checkOptions struct {
	interval, timeout time.Duration
	jitter            float64
	rise, fall        int
	critical          bool
}

func defaultCheckOptions(c Check) checkOptions {
	n, ok := c.(interface{ NonCriticalByDefault() bool })
	o := checkOptions{
		interval: defaultInterval,
		timeout:  defaultTimeout,
		jitter:   defaultJitter,
		rise:     defaultRise,
		fall:     defaultFall,
		critical: !ok || !n.NonCriticalByDefault(),
	}
	if d, ok := c.(defaulter); ok {
		for _, opt := range d.defaults() {
			opt(&o)
		}
	}
	return o
}

func (o *checkOptions) validate() error {
	switch {
	case o.interval < minInterval || o.interval > maxTime:
		return fmt.Errorf("the interval is %v; %v to %v are allowed", o.interval, minInterval, maxTime)
	case o.timeout <= 0 || o.timeout > maxTime:
		return fmt.Errorf("the timeout is %v; more than 0 and at most %v are allowed", o.timeout, maxTime)
	case !(o.jitter >= 0 && o.jitter < 1): // NaN is neither
		return fmt.Errorf("the jitter is %v; 0 or more and less than 1 are allowed", o.jitter)
	case o.rise < 1:
		return fmt.Errorf("rise is %d; at least 1 success is needed", o.rise)
	case o.fall < 1:
		return fmt.Errorf("fall is %d; at least 1 failure is needed", o.fall)
	}
	return nil
}

// Interval is the time from the start of a run to the start of the next one, 1 ms to 365 days; the default is 10 s.
// A run that is not over by then delays the next one, which starts when it has returned.
func Interval(d time.Duration) CheckOption { return func(o *checkOptions) { o.interval = d } }

// Jitter makes each interval longer or shorter by a random part of it, up to f, so that many checks do not run at
// once: 0 or more and less than 1; the default is 0.1, which is 10 %.
func Jitter(f float64) CheckOption { return func(o *checkOptions) { o.jitter = f } }

// Timeout is how long a run may take, up to 365 days; the default is 5 s. Then its context ends and it has failed,
// whatever it returns later. The timeout may be longer than the interval.
func Timeout(d time.Duration) CheckOption { return func(o *checkOptions) { o.timeout = d } }

// Rise is how many successes in a row turn a failing check back to SERVING; at least 1, the default.
func Rise(n int) CheckOption { return func(o *checkOptions) { o.rise = n } }

// Fall is how many failures in a row turn a check to NOT_SERVING; at least 1, the default is 3.
func Fall(n int) CheckOption { return func(o *checkOptions) { o.fall = n } }

// NonCritical makes a check that is shown and does not change the status of its service.
func NonCritical() CheckOption { return func(o *checkOptions) { o.critical = false } }

// Critical makes a check whose failure turns its service. That is the default, except of checks that say otherwise:
// see [Check].
func Critical() CheckOption { return func(o *checkOptions) { o.critical = true } }

// isNil reports whether v is nil, or an interface that holds a nil pointer or a nil function.
func isNil(v any) bool {
	if v == nil {
		return true
	}
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.Pointer, reflect.Func:
		return r.IsNil()
	}
	return false
}
