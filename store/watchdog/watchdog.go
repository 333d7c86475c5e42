// Package watchdog finds a disk that makes no progress. A slow disk is not a failure: an operation may take
// as long as its bytes take on the slowest disk that is supported, and NoProgress more.
package watchdog

import (
	"fmt"
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

// Watch calls fail, on another goroutine, if the operation has not ended within the limit. End it by calling
// the function that Watch returns.
func Watch(what string, limit time.Duration, fail func(error)) (end func()) {
	timer := time.AfterFunc(limit, func() {
		fail(fmt.Errorf("%s: the disk has made no progress for %s", what, limit.Round(time.Second)))
	})
	return func() { timer.Stop() }
}
