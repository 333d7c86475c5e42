package checks

import (
	"context"
	"errors"
)

// Check finds out whether something works: a database, a disk, a rule of the business.
//
// A Check may have two more methods, which [Runner.Add] looks for:
//
//   - Validate() error says what is wrong with the Check's own parameters. Add refuses such a Check.
//   - NonCriticalByDefault() bool: a Check that says true is not critical, unless Add gets [Critical].
type Check interface {
	// Name names the Check in results, metrics, logs and reasons. Two checks of one service have different names.
	// Add calls it once.
	Name() string
	// Check returns nil if it works, a [Degraded] error as a warning, and any other error if it does not work. It
	// should return when ctx ends: that happens at the timeout, when the check is removed, and when the Runner
	// stops. A panic counts as a failure. A Runner never calls it twice at once for one service, but for several
	// services it may.
	Check(ctx context.Context) error
}

// waker is a Check that knows when its result changes.
type waker interface {
	// wake has the Check call run when its next run should start at once, until stop is called. run does not block,
	// and may be called a moment after stop.
	wake(run func()) (stop func())
}

// defaulter is a Check that has other defaults than most.
type defaulter interface{ defaults() []CheckOption }

// Func makes a [Check] of a function.
func Func(name string, f func(ctx context.Context) error) Check { return &funcCheck{name, f} }

type funcCheck struct {
	name string
	f    func(context.Context) error
}

func (c *funcCheck) Name() string                    { return c.name }
func (c *funcCheck) Check(ctx context.Context) error { return c.f(ctx) }

func (c *funcCheck) Validate() error {
	if c.f == nil {
		return errors.New("its function is nil")
	}
	return nil
}

// Degraded makes a warning of err: the Check works, but not well. The run counts as a success, and the results show
// the text of err. Degraded(nil) is nil. The warning may be wrapped. An error that joins several is a warning only
// if each of them is.
func Degraded(err error) error {
	if err == nil {
		return nil
	}
	return &degraded{err}
}

type degraded struct{ err error }

func (d *degraded) Error() string { return d.err.Error() }
func (d *degraded) Unwrap() error { return d.err }

// isDegraded reports whether err is a warning. It is stricter than errors.As, which finds a warning beside a failure,
// too.
func isDegraded(err error) bool {
	switch e := err.(type) {
	case *degraded:
		return true
	case interface{ Unwrap() error }:
		return isDegraded(e.Unwrap())
	case interface{ Unwrap() []error }:
		all := e.Unwrap()
		for _, one := range all {
			if !isDegraded(one) {
				return false
			}
		}
		return len(all) > 0
	}
	return false
}
