//go:build unix

package checks

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/health"

	"github.com/rollcallhq/rollcall/client"
)

// BenchmarkTenThousandChecks runs 10,000 checks of as many services at the default interval of 10 s, with a health
// server, a reporter that takes reasons, an observer and a log. Each tenth check turns at each run. An operation is a
// second; percent-core is the processor time of the whole process in it.
func BenchmarkTenThousandChecks(b *testing.B) {
	const checks = 10_000
	r := NewRunner(To(health.NewServer(), newRegistryReporter(forgets{}, nil)), WithObserver(ignores{}),
		WithLogger(slog.New(slog.NewTextHandler(io.Discard, nil))))
	var runs atomic.Int64
	for i := range checks {
		var n atomic.Int64
		c := Func("check", func(context.Context) error {
			runs.Add(1)
			if i%10 == 0 && n.Add(1)%2 == 0 {
				return errBad
			}
			return nil
		})
		if err := r.Add(fmt.Sprintf("shop/service-%d", i), c, Fall(1)); err != nil {
			b.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	for runs.Load() < checks { // the first round is at once; what is measured is the rest
		runtime.Gosched()
	}
	<-time.After(10 * time.Second)
	from, before := runs.Load(), processorTime(b)
	b.ResetTimer()
	<-time.After(time.Duration(b.N) * time.Second)
	b.StopTimer()
	used := processorTime(b) - before
	b.ReportMetric(100*used.Seconds()/float64(b.N), "percent-core")
	b.ReportMetric(float64(runs.Load()-from)/float64(b.N), "runs/s")
	b.ReportMetric(float64(runtime.NumGoroutine()), "goroutines")
	b.ReportMetric(0, "ns/op")
	cancel()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
}

// BenchmarkResults is what a page of 10,000 checks costs.
func BenchmarkResults(b *testing.B) {
	r := NewRunner()
	for i := range 10_000 {
		if err := r.Add(fmt.Sprintf("shop/service-%d", i), newProbe("check", nil)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if n := len(r.Results()); n != 10_000 {
			b.Fatal(n)
		}
	}
}

// BenchmarkProbe is what a load balancer's look at one service costs beside 10,000.
func BenchmarkProbe(b *testing.B) {
	r := NewRunner()
	for i := range 10_000 {
		if err := r.Add(fmt.Sprintf("shop/service-%d", i), newProbe("check", nil)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if p := r.page("shop/service-77", true); len(p.Services) != 1 {
			b.Fatal(len(p.Services))
		}
	}
}

type forgets struct{}

func (forgets) Submit(...client.Report) error { return nil }

type ignores struct{}

func (ignores) CheckDone(Result)                              {}
func (ignores) CheckRemoved(string, string)                   {}
func (ignores) StatusChanged(string, client.Status, []string) {}

func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
