package node

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"testing"

	"github.com/hashicorp/raft"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/fsm"
	"github.com/rollcallhq/rollcall/store"
	"github.com/rollcallhq/rollcall/store/raftlog"
	"github.com/rollcallhq/rollcall/store/registry"
)

// BenchmarkStart is what a node does before it answers its first Check: the log is checked, the registry file
// is checked and loaded, the registry hashed and published. The services were written by batches of
// 1,000 that carried request ids, neighbours by name in different ones. B/service is the heap behind
// them, the request ids remembered included.
func BenchmarkStart(b *testing.B) {
	for _, services := range []int{1000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("services=%d", services), func(b *testing.B) {
			path := b.TempDir()
			n := openLoaded(b, path)
			fillLoaded(b, n, services)
			n.close(b)
			for b.Loop() {
				n = openLoaded(b, path)
				b.StopTimer()
				if have := n.fsm.ServiceCount(); have != services {
					b.Fatalf("%d services", have)
				}
				n.close(b)
				b.StartTimer()
			}
			n = nil
			before := liveHeap()
			n = openLoaded(b, path)
			b.ReportMetric(float64(liveHeap()-before)/float64(services), "B/service")
			n.close(b)
		})
	}
}

func liveHeap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// openLoaded opens the rooms that a start waits for.
func openLoaded(tb testing.TB, path string) *Node {
	tb.Helper()
	cfg := DefaultConfig()
	cfg.Name, cfg.DataDir = "n1", path
	n := &Node{cfg: cfg, log: slog.New(slog.DiscardHandler), failed: make(chan error, 1)}
	fail := func(err error) {
		if err != nil {
			tb.Fatal(err)
		}
	}
	var err error
	n.directory, err = store.OpenDirectory(path, "n1")
	fail(err)
	n.raftLog, err = store.OpenLog(n.directory, raftlog.Options{OnFailure: n.fail})
	fail(err)
	n.snapshots, err = store.OpenSnapshots(n.directory, n.log)
	fail(err)
	n.registryFile, err = store.OpenRegistry(n.directory, n.raftLog, n.snapshots, registry.Options{Logger: n.log, OnFailure: n.fail})
	fail(err)
	n.fsm, err = fsm.New(fsm.Config{RegistryFile: n.registryFile, Logger: n.log, OnFailure: n.fail})
	fail(err)
	return n
}

func (n *Node) close(tb testing.TB) {
	tb.Helper()
	for _, c := range []interface{ Close() error }{n.fsm, n.registryFile, n.raftLog, n.directory} {
		if err := c.Close(); err != nil {
			tb.Fatal(err)
		}
	}
	select {
	case err := <-n.failed:
		tb.Fatal(err)
	default:
	}
}

// fillLoaded writes services as a cluster would.
func fillLoaded(tb testing.TB, n *Node, services int) {
	tb.Helper()
	index := uint64(0)
	apply := func(cmd *logv1.Command) {
		index++
		data, err := logv1.Seal(&logv1.Entry{Time: 1_800_000_000_000_000_000 + int64(index), Commands: []*logv1.Command{cmd}})
		if err != nil {
			tb.Fatal(err)
		}
		entry := &raft.Log{Index: index, Term: 1, Type: raft.LogCommand, Data: data}
		if err := n.raftLog.StoreLog(entry); err != nil {
			tb.Fatal(err)
		}
		if err, failed := n.fsm.Apply(entry).(error); failed {
			tb.Fatal(err)
		}
	}
	const batch = 1000
	apply(&logv1.Command{Kind: &logv1.Command_TermStart{TermStart: &logv1.TermStart{
		Term: 1, Leader: "n1", ClusterId: "3f9a", RequestIds: uint32(n.cfg.RequestIDs), RequestWindow: 600_000_000_000,
	}}})
	for at := 0; at < services; at += batch {
		w := &logv1.Write{}
		for i := at; i < min(at+batch, services); i++ {
			w.Changes = append(w.Changes, &logv1.Change{Service: fmt.Sprintf("team-%02d/service-%07d", i%100, i), Status: logv1.Status_STATUS_SERVING})
		}
		apply(&logv1.Command{
			Actor: &logv1.Actor{Name: "bench"}, Reason: "probe answered", RequestId: fmt.Sprintf("%032x", at),
			Kind: &logv1.Command_Write{Write: w},
		})
		if at%50_000 == 0 {
			if err := n.registryFile.Flush(context.Background()); err != nil { // lest the registry file falls behind
				tb.Fatal(err)
			}
		}
	}
}
