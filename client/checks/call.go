package checks

import (
	"context"
	"fmt"
	"path"
	"runtime"
	"runtime/debug"
	"strings"
)

const maxStackBytes = 8 << 10

// outcome is what one run of a check gave.
type outcome struct {
	text     string // "" if the check passed
	degraded bool   // text is a warning
	late     bool   // it had not returned at its timeout
	missed   bool   // it is a run that could not start, because the one before it has not returned
	stack    string // of a panic
}

func (o *outcome) ok() bool { return o.text == "" || o.degraded }

// call runs a check. What it does instead of returning an error is contained: a panic, also one of the error's own
// methods, and runtime.Goexit, which ends this goroutine after o is set.
func call(ctx context.Context, c Check, o *outcome) {
	returned := false
	defer func() {
		if returned {
			return
		}
		v := recover()
		if v == nil {
			*o = outcome{text: "it ended its goroutine instead of returning"}
			return
		}
		*o = outcome{text: errorText(fmt.Sprintf("panic: %v (%s)", v, panicPlace())), stack: cutOff(string(debug.Stack()), maxStackBytes)}
	}()
	if err := c.Check(ctx); err != nil {
		*o = outcome{text: errorText(err.Error()), degraded: isDegraded(err)}
	}
	returned = true
}

// panicPlace is the function and line that panicked. A deferred function calls it.
func panicPlace() string {
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	place, panicking := "at an unknown place", false
	for {
		f, more := frames.Next()
		runtimes := strings.HasPrefix(f.Function, "runtime.")
		switch {
		case strings.HasPrefix(f.Function, "runtime.gopanic"):
			panicking = true
		case panicking && !runtimes:
			return fmt.Sprintf("%s, %s:%d", path.Base(f.Function), path.Base(f.File), f.Line)
		}
		if !more {
			return place
		}
	}
}
