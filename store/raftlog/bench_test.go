package raftlog

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// BenchmarkStoreLogs appends entries of 200 bytes of data, durably: TMPDIR must be on a real disk.
func BenchmarkStoreLogs(b *testing.B) {
	for _, kind := range Kinds() {
		for _, size := range []int{1, 16, 256} {
			b.Run(fmt.Sprintf("%s/%d", kind, size), func(b *testing.B) {
				d := openDirectory(b, b.TempDir())
				l, err := d.open(Options{Kind: kind})
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

// BenchmarkOpen opens a log of one segment that is nearly empty, as that of a node that was idle.
func BenchmarkOpen(b *testing.B) {
	path := b.TempDir()
	use := func(do func(*Log) error) {
		l, err := openDirectory(b, path).open(Options{Kind: WAL})
		if err != nil {
			b.Fatal(err)
		}
		if err := errors.Join(do(l), l.Close()); err != nil {
			b.Fatal(err)
		}
	}
	use(func(l *Log) error { return l.StoreLogs(batches(b, 2)[0]) })
	for b.Loop() {
		use(func(*Log) error { return nil })
	}
}
