package main

import (
	"cmp"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dop251/goja"
	"github.com/evanw/esbuild/pkg/api"
)

// TestSource runs the tests of web/test. They are of modules that need no browser, so they run wherever Go does;
// web/browsertest has those of the page.
func TestSource(t *testing.T) {
	files, err := filepath.Glob("../../web/test/*.test.ts")
	if err != nil || len(files) == 0 {
		t.Fatalf("no tests: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".test.ts"), func(t *testing.T) { runSource(t, file) })
	}
}

func runSource(t *testing.T, file string) {
	result := api.Build(api.BuildOptions{
		EntryPoints: []string{file}, Bundle: true, Format: api.FormatIIFE, Target: api.ES2017, Sourcemap: api.SourceMapInline, Outdir: t.TempDir(),
	})
	if err := failures(result.Errors, result.Warnings); err != nil {
		t.Fatal(err)
	}
	vm := goja.New()
	var current *testing.T
	failed := 0
	call := func(f goja.Callable) {
		if _, err := f(goja.Undefined()); err != nil {
			current.Error(err)
		}
	}
	host := map[string]any{
		"test": func(name string, f goja.Callable) {
			t.Run(name, func(t *testing.T) {
				current, failed = t, 0
				call(f)
			})
		},
		"fail": func(message string) {
			if failed++; failed <= 5 {
				current.Error(message)
			}
		},
	}
	clock := &fakeClock{call: call}
	for name, value := range map[string]any{
		"host": host, "clock": map[string]any{"set": clock.set}, "setTimeout": clock.start, "clearTimeout": clock.stop,
	} {
		if err := vm.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := vm.RunString(string(result.OutputFiles[0].Contents)); err != nil {
		t.Fatal(err)
	}
}

// fakeClock has timers that end when a test says what time it is.
type fakeClock struct {
	call   func(goja.Callable)
	now    float64 // ms
	next   int
	timers []timer
}

type timer struct {
	id int
	at float64
	f  goja.Callable
}

func (c *fakeClock) start(f goja.Callable, after float64) int {
	c.next++
	c.timers = append(c.timers, timer{c.next, c.now + after, f})
	return c.next
}

func (c *fakeClock) stop(id goja.Value) {
	c.timers = slices.DeleteFunc(c.timers, func(t timer) bool { return int64(t.id) == id.ToInteger() })
}

// set ends all timers up to a time, in order. An earlier time begins anew.
func (c *fakeClock) set(ms float64) {
	if ms < c.now {
		c.timers = nil
	}
	c.now = ms
	for {
		due := slices.DeleteFunc(slices.Clone(c.timers), func(t timer) bool { return t.at > ms })
		if len(due) == 0 {
			return
		}
		first := slices.MinFunc(due, func(a, b timer) int { return cmp.Compare(a.at, b.at) })
		c.timers = slices.DeleteFunc(c.timers, func(t timer) bool { return t.id == first.id })
		c.call(first.f)
	}
}
