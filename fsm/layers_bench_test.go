package fsm

import (
	"fmt"
	"testing"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// BenchmarkCheckUnderOverrides is Status of one service beside overrides; "published" is what it would be without
// them at all. Compare within one run.
func BenchmarkCheckUnderOverrides(b *testing.B) {
	many := func(n int, pattern string) (cmds []*logv1.Command) {
		for i := range n {
			cmds = append(cmds, over(fmt.Sprintf(pattern, i), notServing))
		}
		return cmds
	}
	name := serviceName(50_000)
	for _, test := range []struct {
		name string
		cmds []*logv1.Command
	}{
		{"published", nil},
		{"none", nil},
		{"all", []*logv1.Command{over("*", notServing)}},
		{"one prefix", []*logv1.Command{over("team-0/*", notServing)}},
		{"another prefix", []*logv1.Command{over("team-1/*", notServing)}},
		{"100 prefixes", many(100, "team-%d/*")},
		{"10,000 exact", many(10_000, "team-0/service-%d00")},
		{"10,000 others", many(10_000, "other-0/service-%d00")},
	} {
		b.Run(test.name, func(b *testing.B) {
			f, index := benchFSM(b, 100_000)
			for _, cmd := range test.cmds {
				index++
				f.Apply(logOf(b, index, 1, &logv1.Entry{Commands: []*logv1.Command{cmd}}))
			}
			b.ReportAllocs()
			if test.name == "published" {
				for b.Loop() {
					f.published.Get(name)
				}
				return
			}
			for b.Loop() {
				f.Status(name)
			}
		})
	}
}

// BenchmarkOverride is an entry that sets an override over 100,000 services, and one that clears it.
func BenchmarkOverride(b *testing.B) {
	for _, test := range []struct {
		name, pattern string
		before        []*logv1.Command
	}{
		{"no rules", "*", nil},
		{"shutdown", "**", nil},
		{"beside 10,000 exact", "*", func() (cmds []*logv1.Command) {
			for i := range 9_000 {
				cmds = append(cmds, over(serviceName(i), notServing))
			}
			return cmds
		}()},
		{"the pattern of a rule", "*", []*logv1.Command{atLeast("r", "*", 1)}},
		{"wider than 100 rules", "**", func() (cmds []*logv1.Command) {
			for i := range 100 {
				cmds = append(cmds, atLeast(fmt.Sprint("r", i), fmt.Sprintf("big/team-%d/*", i), 1))
			}
			return cmds
		}()},
		{"inside a rule", "big/*", []*logv1.Command{atLeast("r", "*", 1)}},
	} {
		b.Run(test.name, func(b *testing.B) {
			f, index := benchFSM(b, 0)
			apply := func(cmd *logv1.Command) {
				index++
				for _, answer := range f.Apply(logOf(b, index, 1, &logv1.Entry{Commands: []*logv1.Command{cmd}})).([]any) {
					if r := answer.(*Result).refusal; r != nil {
						b.Fatal(r)
					}
				}
			}
			for at := 0; at < 100_000; at += 10_000 {
				var changes []*logv1.Change
				for i := range 10_000 {
					changes = append(changes, change("big/"+serviceName(at+i), serving))
				}
				apply(write(changes...))
			}
			apply(write(change("beside", serving)))
			for _, cmd := range test.before {
				apply(cmd)
			}
			b.ReportAllocs()
			for b.Loop() {
				apply(because(over(test.pattern, notServing), "bench", breaks(test.before)...))
				apply(clearOver(test.pattern))
			}
		})
	}
}

func breaks(before []*logv1.Command) []string {
	for _, c := range before {
		if c.GetRecord().GetKind() == logv1.Kind_KIND_RULE {
			return []string{"*"}
		}
	}
	return nil
}

// BenchmarkWriteUnderRules is an entry with one change of a status.
func BenchmarkWriteUnderRules(b *testing.B) {
	for _, n := range []int{0, 1, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			f, index := benchFSM(b, 100_000)
			for i := range n {
				index++
				pattern := fmt.Sprintf("team-%d/*", i%100)
				if i >= 100 {
					pattern = serviceName(i * 100)
				}
				f.Apply(logOf(b, index, 1, &logv1.Entry{Commands: []*logv1.Command{atLeast(fmt.Sprint("r", i), pattern, 1)}}))
			}
			benchApply(b, f, index, flips(b, 100_000, 1))
		})
	}
}
