package cluster_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollcallhq/rollcall/client"
)

// way is a way to switch a cell off and on.
type way struct {
	name    string
	off, on func(ctx context.Context, cell int) error
}

func (f *cells) ways() []way {
	write := func(to client.Status) func(context.Context, int) error {
		return func(ctx context.Context, cell int) error {
			_, err := f.cl.Set(ctx, cellNames[cell], to, client.WriteOptions{})
			return err
		}
	}
	override := func(suffix string) way {
		return way{"override" + suffix,
			func(ctx context.Context, cell int) error {
				_, err := f.cl.SetOverride(ctx, cellNames[cell]+suffix, notServing, client.WriteOptions{Reason: "a drill"})
				return err
			},
			func(ctx context.Context, cell int) error {
				_, err := f.cl.ClearOverride(ctx, cellNames[cell]+suffix, client.WriteOptions{AllowMissing: true})
				return err
			}}
	}
	process := func(command string) func(context.Context, int) error {
		return func(_ context.Context, cell int) error {
			for _, i := range f.instances[cell] {
				i.do(command)
			}
			return nil
		}
	}
	return []way{{"set", write(notServing), write(serving)}, override(""), override("/*"), {"shutdown of processes", process("shutdown"), process("resume")}}
}

func (f *cells) set() way { return f.ways()[0] }

// acked does something until it is acknowledged, and returns when it was.
func acked(t *testing.T, what string, do func(context.Context) error) time.Time {
	t.Helper()
	eventually(t, what, func(ctx context.Context) bool {
		err := do(ctx)
		if err != nil {
			t.Logf("%s: %v", what, err)
		}
		return err == nil
	})
	return time.Now()
}

// moved is how long after its acknowledgement a switch had moved the calls.
type moved struct {
	way        string
	last, back time.Duration // the last call on an instance that is off; the first one on the last instance that is on again
}

// off switches a cell off, waits until the calls have moved, and returns how late the last one came.
func (f *cells) off(t *testing.T, w way, cell int) (last time.Duration) {
	t.Helper()
	from := f.load.count()
	at := acked(t, w.name+" off", func(ctx context.Context) error { return w.off(ctx, cell) })
	f.load.settles(t, w.name+" off", 100, f.instances[1-cell]...)
	for _, c := range f.load.since(from) {
		if f.serves(cell, c) {
			last = max(last, c.served.Sub(at))
		}
	}
	return last
}

// on switches a cell on, and waits until all instances of both are called.
func (f *cells) on(t *testing.T, w way, cell int) (back time.Duration) {
	t.Helper()
	from := f.load.count()
	at := acked(t, w.name+" on", func(ctx context.Context) error { return w.on(ctx, cell) })
	f.load.settles(t, w.name+" on", 12, f.all()...)
	first := map[string]time.Duration{}
	for _, c := range f.load.since(from) {
		if _, seen := first[c.address]; !seen && f.serves(cell, c) {
			first[c.address] = max(0, c.served.Sub(at))
			back = max(back, first[c.address])
		}
	}
	return back
}

func (f *cells) serves(cell int, c workCall) bool {
	return slices.ContainsFunc(f.instances[cell], func(i *instance) bool { return i.address == c.address })
}

// flip switches a cell off and on. The last call on it must come within a second after the acknowledgement, but for
// the time in which this machine ran nothing.
func (f *cells) flip(t *testing.T, w way, cell int) moved {
	t.Helper()
	begun := time.Now()
	m := moved{way: w.name}
	m.last = f.off(t, w, cell)
	if late := m.last - time.Second - f.stalls.since(begun); late > 0 {
		t.Errorf("%s: a call came to %s %s after it was switched off", w.name, cellNames[cell], m.last)
	}
	m.back = f.on(t, w, cell)
	return m
}

func (f *cells) flips(t *testing.T) {
	n := *flips
	if n == 0 {
		n = 10
	}
	var all []moved
	ways := f.ways()
	from := f.load.count()
	for k := range n {
		all = append(all, f.flip(t, ways[k%len(ways)], k/len(ways)%2))
	}
	calls := f.load.count() - from
	var table strings.Builder
	fmt.Fprintf(&table, "%d flips under %d calls; after the acknowledgement, in ms:\n", n, calls)
	fmt.Fprintf(&table, "%-22s %5s %9s %9s %9s %9s %9s %9s\n", "", "flips", "last p50", "p99", "max", "back p50", "p99", "max")
	row := func(name string, of []moved) {
		fmt.Fprintf(&table, "%-22s %5d", name, len(of))
		for _, get := range []func(moved) time.Duration{func(m moved) time.Duration { return m.last }, func(m moved) time.Duration { return m.back }} {
			var d []time.Duration
			for _, m := range of {
				d = append(d, get(m))
			}
			slices.Sort(d)
			for _, at := range []int{len(d) / 2, len(d) * 99 / 100, len(d) - 1} {
				fmt.Fprintf(&table, " %9.1f", float64(d[at].Microseconds())/1000)
			}
		}
		table.WriteString("\n")
	}
	row("all", all)
	if *flips > 0 {
		for _, w := range ways {
			if of := slices.DeleteFunc(slices.Clone(all), func(m moved) bool { return m.way != w.name }); len(of) > 0 {
				row(w.name, of)
			}
		}
	}
	t.Log(table.String())
}
