package fsm

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// entryTime is the log time of all entries here: an override that ended at no time has not ended.
const entryTime = 1

// applyEach applies commands, each as an entry of its own, to a registry of services. It returns the next index.
func applyEach(b testing.TB, f *FSM, index uint64, cmds ...*logv1.Command) uint64 {
	b.Helper()
	for _, cmd := range cmds {
		index++
		for _, r := range results(b, f.Apply(logOf(b, index, 1, &logv1.Entry{Time: entryTime, Commands: []*logv1.Command{cmd}}))) {
			if r.GetRefusal() != nil {
				b.Fatal(r)
			}
		}
	}
	return index
}

// BenchmarkCheckUnderOverrides is Check of services picked out of order, with overrides of several kinds and
// without.
func BenchmarkCheckUnderOverrides(b *testing.B) {
	const services = 10_000
	overrides := func(n int, pattern func(i int) string) (cmds []*logv1.Command) {
		for i := range n {
			cmds = append(cmds, over(pattern(i), notServing))
		}
		return cmds
	}
	for _, c := range []struct {
		name string
		cmds []*logv1.Command
	}{
		{"none", nil},
		{"all", overrides(1, func(int) string { return "*" })},
		{"prefix=1", overrides(1, func(int) string { return "team-7/*" })},
		{"prefix=100", overrides(100, func(i int) string { return fmt.Sprintf("team-%d/*", i) })},
		{"exact=10000", overrides(10_000, serviceName)},
	} {
		b.Run("overrides/"+c.name, func(b *testing.B) {
			f, index := benchFSM(b, services)
			applyEach(b, f, index, c.cmds...)
			names := make([]string, services)
			for i := range names {
				names[i] = serviceName(i * 7919 % services)
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if _, ok := f.Status(names[i]); !ok {
					b.Fatal("missing")
				}
				if i++; i == services {
					i = 0
				}
			}
		})
	}
}

// BenchmarkOverrideOfManyServices is what it takes to apply an override that covers 100,000 services, or its end:
// while it is applied nothing else is. All of the services are watched, and half of them are NOT_SERVING already:
// 50,000 watches are sent to, and no other.
func BenchmarkOverrideOfManyServices(b *testing.B) {
	const services, changed = 100_000, 50_000
	for _, c := range []struct {
		name  string
		rules []*logv1.Command
	}{
		{"rules=none", nil},
		// What an override changes strictly inside the pattern of a rule must be counted.
		{"rules=around", []*logv1.Command{atLeast("some", "*", 1)}},
	} {
		b.Run(c.name, func(b *testing.B) {
			f, index := benchFSM(b, 0)
			name := func(i int) string { return fmt.Sprintf("shop/service-%06d", i) }
			for from := 0; from < services; from += limits.MaxChanges {
				var changes []*logv1.Change
				for i := from; i < from+limits.MaxChanges; i++ {
					changes = append(changes, change(name(i), []logv1.Status{serving, notServing}[i%2]))
				}
				index = applyEach(b, f, index, write(changes...))
			}
			index = applyEach(b, f, index, append(c.rules, write(change("other", serving)))...)
			sent := watchMany(b, f, services, name)
			sent.await(services)

			sealed := [2][]byte{seal(b, over("shop/*", notServing)), seal(b, clearOver("shop/*"))}
			var applied, woken []time.Duration
			for n := 0; b.Loop(); n++ {
				index++
				begun := time.Now()
				f.ApplyBatch([]*raft.Log{{Index: index, Term: 1, Type: raft.LogCommand, Data: sealed[n%2]}})
				applied = append(applied, time.Since(begun))
				sent.await(services + (n+1)*changed)
				woken = append(woken, time.Since(begun))
			}
			f.Close()
			if got, want := int(sent.n.Load()), services+len(applied)*changed; got != want {
				b.Fatalf("%d updates were sent, want %d", got, want)
			}
			slices.Sort(applied)
			slices.Sort(woken)
			b.ReportMetric(float64(applied[len(applied)/2].Nanoseconds())/1e6, "ms/apply")
			b.ReportMetric(float64(woken[len(woken)/2].Nanoseconds())/1e6, "ms/last-wake")
			b.ReportMetric(changed, "woken")
		})
	}
}

// sends counts what watches were sent.
type sends struct {
	n     atomic.Int64
	until atomic.Int64  // wake when n gets here
	there chan struct{} // capacity 1: one wait at a time
}

func (s *sends) add() {
	if n := s.n.Add(1); n == s.until.Load() {
		s.there <- struct{}{}
	}
}

// await returns when n updates were sent in all.
func (s *sends) await(n int) {
	s.until.Store(int64(n))
	for s.n.Load() < int64(n) {
		<-s.there
	}
	select {
	case <-s.there: // it came between
	default:
	}
}

// watchMany watches services and is always ready for more.
func watchMany(b *testing.B, f *FSM, services int, name func(i int) string) *sends {
	s := &sends{there: make(chan struct{}, 1)}
	s.until.Store(-1)
	for i := range services {
		var ready func()
		var known sync.WaitGroup
		known.Add(1)
		ready, stop := f.WatchStatus(name(i), i%64, func(servingStatus) {
			s.add()
			known.Wait()
			ready()
		})
		known.Done()
		b.Cleanup(stop)
		ready()
	}
	return s
}

func seal(b *testing.B, cmd *logv1.Command) []byte {
	b.Helper()
	data, err := logv1.Seal(&logv1.Entry{Time: entryTime, Commands: []*logv1.Command{cmd}})
	if err != nil {
		b.Fatal(err)
	}
	return data
}

// BenchmarkStatusChangeUnderRules is one change of a status, of a service that one of so many rules covers, and
// of none.
func BenchmarkStatusChangeUnderRules(b *testing.B) {
	for _, n := range []int{0, 1000} {
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			f, index := benchFSM(b, 100_000)
			for i := range n {
				index = applyEach(b, f, index, atLeast(fmt.Sprintf("rule-%d", i), fmt.Sprintf("team-%d/*", i), 1))
			}
			benchApply(b, f, index, flips(b, 100_000, 100))
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/change")
		})
	}
}

// BenchmarkPreviewOverride is a dry run of an override that covers all services, under 100 overrides of a part of
// them each. It runs outside the fold.
func BenchmarkPreviewOverride(b *testing.B) {
	for _, services := range []int{100_000, 1_000_000} {
		b.Run(fmt.Sprint("services=", services), func(b *testing.B) {
			f, index := benchFSM(b, services)
			for i := range 100 {
				index = applyEach(b, f, index, over(fmt.Sprintf("team-%d/*", i), serving))
			}
			for b.Loop() {
				if r := f.Preview(over("**", notServing), entryTime).Proto(); r.GetAffectedTotal() != int64(services) {
					b.Fatal(r.GetAffectedTotal())
				}
			}
		})
	}
}
