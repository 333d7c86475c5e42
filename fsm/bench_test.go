package fsm

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// discard is a registry file that costs nothing.
type discard struct{ *memRegistryFile }

func (discard) Append(*logv1.Delta)    {}
func (discard) DurableRevision() int64 { return 1 << 62 }

func benchFSM(b testing.TB, services int) (*FSM, uint64) {
	b.Helper()
	f, err := New(Config{RegistryFile: discard{newMemRegistryFile()}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	index := uint64(0)
	for at := 0; at < services; at += limits.MaxChanges {
		var changes []*logv1.Change
		for i := at; i < min(at+limits.MaxChanges, services); i++ {
			changes = append(changes, change(serviceName(i), serving))
		}
		index++
		f.Apply(logOf(b, index, 1, &logv1.Entry{Commands: []*logv1.Command{write(changes...)}}))
	}
	return f, index
}

func serviceName(i int) string { return fmt.Sprintf("team-%d/service-%d", i%100, i) }

func TestStatusDoesNotAllocate(t *testing.T) {
	f, _ := benchFSM(t, 1000)
	name := serviceName(500)
	for _, name := range []string{name, "missing"} {
		if n := testing.AllocsPerRun(100, func() { f.Status(name) }); n != 0 {
			t.Errorf("Status(%q) allocates %v times", name, n)
		}
	}
}

func BenchmarkStatus(b *testing.B) {
	f, _ := benchFSM(b, 100_000)
	name := serviceName(50_000)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, ok := f.Status(name); !ok {
				b.Error("missing")
			}
		}
	})
}

// flips are entries with commands writes each, prepared beforehand.
func flips(b *testing.B, services, commands int) [2][]byte {
	var sealed [2][]byte
	for k, st := range []logv1.Status{notServing, serving} {
		var cmds []*logv1.Command
		for i := range commands {
			cmds = append(cmds, writeFor("bench", change(serviceName(i*services/commands), st)))
		}
		data, err := logv1.Seal(&logv1.Entry{Commands: cmds})
		if err != nil {
			b.Fatal(err)
		}
		sealed[k] = data
	}
	return sealed
}

func benchApply(b *testing.B, f *FSM, index uint64, sealed [2][]byte) {
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		index++
		f.ApplyBatch([]*raft.Log{{Index: index, Term: 1, Type: raft.LogCommand, Data: sealed[i%2]}})
	}
}

func BenchmarkApplyBatch(b *testing.B) {
	for _, commands := range []int{1, 100} {
		b.Run(fmt.Sprintf("writes=%d", commands), func(b *testing.B) {
			f, index := benchFSM(b, 100_000)
			benchApply(b, f, index, flips(b, 100_000, commands))
			b.ReportMetric(float64(commands)*float64(b.N)/b.Elapsed().Seconds(), "writes/s")
		})
	}
}

// BenchmarkApplyBesideWatchers: what 10,000 watchers of one name cost a write to another.
func BenchmarkApplyBesideWatchers(b *testing.B) {
	f, index := benchFSM(b, 1000)
	ctx, cancel := context.WithCancel(context.Background())
	var started, ended sync.WaitGroup
	for range 10_000 {
		started.Add(1)
		ended.Go(func() {
			first := sync.OnceFunc(started.Done)
			_ = watchStatus(ctx, f, "watched", func(servingStatus) error { first(); return nil })
		})
	}
	started.Wait()
	benchApply(b, f, index, flips(b, 1000, 1))
	cancel()
	ended.Wait()
}

// BenchmarkMemory reports what a service costs.
func BenchmarkMemory(b *testing.B) {
	const services = 200_000
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		f, index := benchFSM(b, 0)
		for i := range services {
			index++
			cmd := writeFor(fmt.Sprint("reason ", i), change(serviceName(i), serving))
			f.Apply(logOf(b, index, 1, &logv1.Entry{Commands: []*logv1.Command{cmd}}))
		}
		f.history.Reset(f.Revision())
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/services, "B/service")
		runtime.KeepAlive(f)
	}
}
