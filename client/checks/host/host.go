package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"runtime"
	"syscall"

	"github.com/shirou/gopsutil/v4/disk"
	"github.com/shirou/gopsutil/v4/load"
	"github.com/shirou/gopsutil/v4/mem"

	"github.com/rollcallhq/rollcall/client/checks"
)

// Option is an option of Disk and Memory.
type Option func(*check)

// FreePercent has the check warn when less than warn percent are free, and fail when less than fail percent are.
// The defaults are 10 and 5; 0 and 0 turn this bound off.
func FreePercent(warn, fail float64) Option {
	return func(c *check) { c.warnPercent, c.failPercent = warn, fail }
}

// FreeBytes has the check warn when fewer than warn bytes are free, and fail when fewer than fail bytes are, beside
// FreePercent. The defaults are 0 and 0: only percents count.
func FreeBytes(warn, fail uint64) Option {
	return func(c *check) { c.warnBytes, c.failBytes = warn, fail }
}

type check struct {
	name        string
	err         error // what is wrong with the arguments
	nonCritical bool
	measure     func(context.Context) error

	warnPercent, failPercent float64
	warnBytes, failBytes     uint64
}

func (c *check) Name() string { return c.name }

func (c *check) Check(ctx context.Context) error {
	if c.err != nil {
		return c.err
	}
	return c.measure(ctx)
}

// Validate tells what is wrong with the arguments that the check was made with. Runner.Add asks it.
func (c *check) Validate() error { return c.err }

func (c *check) NonCriticalByDefault() bool { return c.nonCritical }

func newCheck(name string, opts []Option) *check {
	c := &check{name: name, warnPercent: 10, failPercent: 5}
	for _, opt := range opts {
		if opt == nil {
			c.err = errors.New("an option is nil")
			return c
		}
		opt(c)
	}
	switch {
	case !(c.failPercent >= 0 && c.failPercent <= c.warnPercent && c.warnPercent <= 100): // NaN is none of it
		c.err = errors.New("FreePercent needs 0 ≤ fail ≤ warn ≤ 100")
	case c.failBytes > c.warnBytes:
		c.err = errors.New("FreeBytes needs fail ≤ warn")
	case c.warnPercent == 0 && c.warnBytes == 0:
		c.err = errors.New("there is no bound: FreePercent and FreeBytes are both zero")
	}
	return c
}

// judge words what is free of total.
func (c *check) judge(what string, free, total uint64) error {
	percent := 100.0
	if total > 0 {
		percent = float64(free) / float64(total) * 100
	}
	return c.bound(percent, free, fmt.Sprintf("%s: %s of %s free, %.1f %%", what, size(free), size(total), percent))
}

func (c *check) bound(percent float64, free uint64, message string) error {
	switch {
	case percent < c.failPercent || free < c.failBytes:
		return errors.New(message)
	case percent < c.warnPercent || free < c.warnBytes:
		return checks.Degraded(errors.New(message))
	}
	return nil
}

// Disk returns a check of the free space of the file system that path lies on: what a process without root's rights
// may still use, as df shows it. It looks at the file system's inodes too, by the same percents. It fails when path
// does not exist.
func Disk(name, path string, opts ...Option) checks.Check {
	c := newCheck(name, opts)
	if path == "" {
		c.err = errors.New("Disk needs a path; it is empty")
	}
	c.measure = func(ctx context.Context) error {
		u, err := disk.UsageWithContext(ctx, path)
		if err != nil {
			return diskError(path, err)
		}
		if err := c.judge(path, u.Free, u.Used+u.Free); err != nil || u.InodesTotal == 0 {
			return err
		}
		percent := float64(u.InodesFree) / float64(u.InodesTotal) * 100
		return c.bound(percent, math.MaxUint64, fmt.Sprintf("%s: %d of %d inodes free, %.1f %%", path, u.InodesFree, u.InodesTotal, percent))
	}
	return c
}

func diskError(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: there is no such file or directory", path)
	}
	if errno := syscall.Errno(0); errors.As(err, &errno) {
		err = errno
	}
	return fmt.Errorf("%s: the file system cannot be measured: %w", path, err)
}

// Memory returns a check of the memory that programs can still get without swapping, of the whole machine: the limit
// of a container is not looked at.
func Memory(name string, opts ...Option) checks.Check {
	c := newCheck(name, opts)
	c.measure = func(ctx context.Context) error {
		m, err := mem.VirtualMemoryWithContext(ctx)
		if err != nil {
			return fmt.Errorf("the memory cannot be measured: %w", err)
		}
		return c.judge("memory", m.Available, m.Total)
	}
	return c
}

// Load returns a check of the load average of the last five minutes, divided by the number of processors: it warns
// above warn and fails above fail; 2 and 4 are good values. warn must be above zero and at most fail.
//
// It is not critical by default: a peak loads all instances, and each one that leaves makes it worse for the rest.
// It fails on Windows, which has no load average.
func Load(name string, warn, fail float64) checks.Check {
	c := &check{name: name, nonCritical: true, measure: func(ctx context.Context) error {
		if runtime.GOOS == "windows" {
			return errors.New("there is no load average on Windows")
		}
		avg, err := load.AvgWithContext(ctx)
		if err != nil {
			return fmt.Errorf("the load cannot be measured: %w", err)
		}
		return judgeLoad(avg.Load5/float64(runtime.NumCPU()), warn, fail)
	}}
	if !(warn > 0 && warn <= fail) || math.IsInf(fail, 0) {
		c.err = errors.New("Load needs 0 < warn ≤ fail")
	}
	return c
}

func judgeLoad(perCPU, warn, fail float64) error {
	err := fmt.Errorf("load of %.2f a processor over five minutes", perCPU)
	switch {
	case perCPU > fail:
		return err
	case perCPU > warn:
		return checks.Degraded(err)
	}
	return nil
}

func size(n uint64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	default:
		return fmt.Sprintf("%d bytes", n)
	}
}
