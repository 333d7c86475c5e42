package checks

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
)

func TestPanicsAreContained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		var none *probe
		missing := map[string]int(nil)
		f.add("x", Func("nil map", func(context.Context) error { missing["a"] = 1; return nil }))
		f.add("x", Func("nil pointer", func(context.Context) error { _ = none.name; return nil }))
		f.add("x", Func("panic(nil)", func(context.Context) error { panic(nil) }))
		f.add("x", Func("bad error", func(context.Context) error { return badError{} }))
		f.add("x", Func("goexit", func(context.Context) error { runtime.Goexit(); return nil }))
		f.add("x", Func("works", func(context.Context) error { return nil }))
		f.start()
		pass(20 * s)
		for _, r := range f.Results() {
			want := map[string]string{
				"nil map":     "panic: assignment to entry in nil map (checks.TestPanicsAreContained.func",
				"nil pointer": "panic: runtime error: invalid memory address or nil pointer dereference (checks.TestPanicsAreContained.func",
				"panic(nil)":  "panic: panic called with nil argument",
				"bad error":   "panic: my own fault (checks.badError.Error, call_test.go:",
				"goexit":      "it ended its goroutine instead of returning",
			}[r.Check]
			if !strings.HasPrefix(r.Error, want) || (want == "") != (r.Error == "") || want != "" && r.Failures != 3 {
				t.Errorf("%s: %d failures, %q", r.Check, r.Failures, r.Error)
			}
			if want != "" && r.Check != "goexit" && !strings.Contains(r.Error, ", call_test.go:") {
				t.Errorf("%s: %q does not say where", r.Check, r.Error)
			}
		}
	})
}

type badError struct{}

func (badError) Error() string { panic("my own fault") }
