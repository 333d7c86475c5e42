package store

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

func hundredChanges(i int) *logv1.Delta { return hundredChangesOf(i, 100_000) }

// hundredChangesOf is the i-th delta of 100 changes, which go round and round so many services.
func hundredChangesOf(i, services int) *logv1.Delta {
	d := &logv1.Delta{Index: uint64(i) + 1, Term: 1, Revision: int64(i+1) * 100, LogTime: int64(i+1) * 100, ClusterID: "3f9a"}
	for k := range 100 {
		name := fmt.Sprintf("shop/svc-%d", (i*100+k)*7919%services)
		revision := int64(i*100 + k + 1)
		d.Services = append(d.Services, &logv1.ServiceRecord{Service: name, Report: &logv1.Report{Reason: "release 4711", Revision: revision}})
		d.Events = append(d.Events, &logv1.Event{Revision: revision, CommitRevision: int64(i+1) * 100, Time: d.LogTime, Service: name, Reason: "release 4711"})
	}
	return d
}

// BenchmarkAppendFlush writes deltas of 100 changes, each with an fsync of its own.
func BenchmarkAppendFlush(b *testing.B) {
	d := openDisk(b, b.TempDir(), lazy)
	defer d.close()
	d.fill(1, 1)
	i := 0
	for b.Loop() {
		d.journal.Append(hundredChanges(i))
		d.flush()
		i++
	}
	b.ReportMetric(float64(b.N)*100/b.Elapsed().Seconds(), "changes/s")
}

// BenchmarkAppendBehind writes the same with the default write-behind: what the journal can take.
func BenchmarkAppendBehind(b *testing.B) {
	d := openDisk(b, b.TempDir(), JournalOptions{StallTimeout: 1 << 40})
	defer d.close()
	d.fill(1, 1)
	i := 0
	for b.Loop() {
		d.journal.Append(hundredChanges(i))
		i++
	}
	d.flush()
	b.ReportMetric(float64(b.N)*100/b.Elapsed().Seconds(), "changes/s")
}

// BenchmarkStoreLogs appends entries of 200 bytes of data, durably: TMPDIR must be on a real disk.
func BenchmarkStoreLogs(b *testing.B) {
	for _, kind := range LogKinds() {
		for _, size := range []int{1, 16, 256} {
			b.Run(fmt.Sprintf("%s/%d", kind, size), func(b *testing.B) {
				d, err := OpenDirectory(b.TempDir(), "n1")
				if err != nil {
					b.Fatal(err)
				}
				defer d.Close()
				l, err := OpenLog(d, LogOptions{Kind: kind})
				if err != nil {
					b.Fatal(err)
				}
				defer l.Close()
				data, err := logv1.Seal(&logv1.Entry{Commands: []*logv1.Command{{Reason: strings.Repeat("x", 180)}}})
				if err != nil {
					b.Fatal(err)
				}
				batch := make([]*raft.Log, size)
				for i := range batch {
					batch[i] = &raft.Log{Term: 1, Type: raft.LogCommand, Data: data}
				}
				index := uint64(0)
				b.ReportAllocs()
				for b.Loop() {
					for _, entry := range batch {
						index++
						entry.Index = index
					}
					if err := l.StoreLogs(batch); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.N)*float64(size)/b.Elapsed().Seconds(), "entries/s")
			})
		}
	}
}
