package registry

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store/storetest"
)

// BenchmarkFlush is what the registry file's writer does with changes, where an fsync costs nothing: time,
// memory and bytes of the file for each.
func BenchmarkFlush(b *testing.B) {
	for _, bb := range []struct {
		name    string
		changes int // in a flush
		deltas  func(w *workload) []*logv1.Delta
	}{
		// A registry is filled, in order of names.
		{"load/5000 in batches of 1000", 5000, func(w *workload) []*logv1.Delta { return w.batches(5, 1000, false) }},
		// 3,200 services change again and again.
		{"updates/5000 in batches of 64", 5000, func(w *workload) []*logv1.Delta { return w.batches(78, 64, true) }},
		{"updates/2000 with request ids", 2000, func(w *workload) []*logv1.Delta { return w.singles(2000) }},
	} {
		b.Run(bb.name, func(b *testing.B) {
			path, err := os.MkdirTemp(fastDir(), "registry-flush-")
			if err != nil {
				b.Fatal(err)
			}
			defer os.RemoveAll(path)
			d := openDisk(b, path, Options{FlushBytes: 1 << 30, FlushInterval: 1 << 40, MaxBacklogBytes: 1 << 30})
			defer d.close()
			w := &workload{rng: rand.New(rand.NewPCG(1, 2)), services: 3200}
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				deltas := bb.deltas(w)
				b.StartTimer()
				for _, delta := range deltas {
					d.registryFile.Append(delta)
				}
				d.flush()
			}
			changes := float64(w.revision)
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/changes, "ns/change")
			b.ReportMetric(float64(used(b, d.registryFile))/changes, "file-B/change")
		})
	}
}

// workload makes what a fold would append.
type workload struct {
	rng      *rand.Rand
	services int
	index    uint64
	revision int64
	time     int64
}

func (w *workload) batches(n, size int, again bool) (deltas []*logv1.Delta) {
	for range n {
		deltas = append(deltas, w.delta(size, again))
	}
	return deltas
}

func (w *workload) singles(n int) (deltas []*logv1.Delta) {
	for range n {
		d := w.delta(1, true)
		id := fmt.Sprintf("%08x-%04x-4%03x-8%03x-%012x", w.rng.Uint32(), w.rng.IntN(1<<16), w.rng.IntN(1<<12), w.rng.IntN(1<<12), w.rng.Uint64()>>16)
		e := d.Events[0]
		e.RequestId, d.Records[0].Value.(*logv1.ServiceRecord).Report.RequestId = id, id
		hash := make([]byte, 16)
		for i := range hash {
			hash[i] = byte(w.rng.Uint32())
		}
		d.Records = append(d.Records, storetest.Request(w.index, 0, &logv1.RequestRecord{RequestId: id, Hash: hash, Time: e.Time, Cost: 1,
			Result: storetest.Bytes(&logv1.StoredResult{Revision: e.Revision, Time: e.Time, Services: []string{e.Key}, Changed: []bool{true}, Exists: []bool{true},
				Revisions: []int64{0}, Statuses: []logv1.Status{e.Status}, StatusTimes: []int64{0}, Origins: []uint32{0},
				Origin: []*logv1.Origin{{Reason: e.Reason, Actor: e.Actor, RequestId: id}}})}))
		deltas = append(deltas, d)
	}
	return deltas
}

// delta is one atomic write, of new services or of those that there are.
func (w *workload) delta(size int, again bool) *logv1.Delta {
	w.index++
	w.time += 1_000_000
	d := &logv1.Delta{Index: w.index, Term: 1, Revision: w.revision + int64(size), LogTime: 1_700_000_000_000_000_000 + w.time, ClusterID: "3f9a"}
	actor := &logv1.Actor{Name: "deploy", Peer: "10.0.0.9:50312"}
	for range size {
		w.revision++
		number := w.revision
		if again {
			number = w.rng.Int64N(int64(w.services))
		}
		e := &logv1.Event{Revision: w.revision, CommitRevision: d.Revision, Type: logv1.EventType_EVENT_TYPE_REPORTED, Time: d.LogTime,
			Actor: actor, Reason: "release 4711", Kind: logv1.Kind_KIND_SERVICE, Key: fmt.Sprintf("shop/checkout/svc-%07d", number),
			PreviousStatus: logv1.Status_STATUS_NOT_SERVING, Status: logv1.Status_STATUS_SERVING,
			EffectiveStatus: logv1.Status_STATUS_SERVING, StatusTime: d.LogTime}
		d.Events = append(d.Events, e)
		d.Records = append(d.Records, logv1.Record{Kind: e.Kind, Key: e.Key, Value: storetest.ServiceAfter(e)})
	}
	return d
}
