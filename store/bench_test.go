package store

import (
	"fmt"
	"testing"

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
