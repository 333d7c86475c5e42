package watchdog

import (
	"fmt"
	"sync/atomic"
	"time"
)

const (
	// NoProgress is how long a disk may do nothing before its node ends.
	NoProgress = 30 * time.Second
	// SlowestDisk is the rate, in bytes a second, at which a disk that makes progress writes.
	SlowestDisk = 256 << 10
)

// Limit is how long writing so many bytes may take.
func Limit(bytes int) time.Duration {
	return NoProgress + time.Duration(bytes)*time.Second/SlowestDisk
}

// Watchdog watches operations that run one after another. Watching one allocates nothing.
type Watchdog struct {
	what  string
	fail  func(error)
	made  time.Time
	timer *time.Timer

	begun atomic.Int64 // when the operation under way began, since made, and 1; 0: none is under way
	limit atomic.Int64 // of the operation under way
}

// New returns a watchdog for operations on what. It calls fail, on another goroutine, if an operation does not
// end within its limit.
func New(what string, fail func(error)) *Watchdog {
	w := &Watchdog{what: what, fail: fail, made: time.Now()}
	w.timer = time.AfterFunc(NoProgress, w.look) // look does nothing before Begin
	w.timer.Stop()
	return w
}

// Begin begins an operation.
func (w *Watchdog) Begin(limit time.Duration) {
	w.limit.Store(int64(limit))
	w.begun.Store(int64(time.Since(w.made) + 1))
	w.timer.Reset(limit)
}

// End ends the operation.
func (w *Watchdog) End() {
	w.begun.Store(0)
	w.timer.Stop()
}

// Busy is how long the operation under way has taken so far; 0: none is under way.
func (w *Watchdog) Busy() time.Duration {
	begun := w.begun.Load()
	if begun == 0 {
		return 0
	}
	return time.Since(w.made) + 1 - time.Duration(begun)
}

// look may come for an operation that has ended meanwhile.
func (w *Watchdog) look() {
	if limit := time.Duration(w.limit.Load()); w.Busy() >= limit {
		w.fail(fmt.Errorf("%s: the disk has made no progress for %s", w.what, limit.Round(time.Second)))
	}
}

// Watch watches a single operation. End it by calling the function that Watch returns.
func Watch(what string, limit time.Duration, fail func(error)) (end func()) {
	w := New(what, fail)
	w.Begin(limit)
	return w.End
}
