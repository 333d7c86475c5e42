//go:build unix

package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rollcallhq/rollcall/agent/config"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/checks"
	"github.com/rollcallhq/rollcall/client/view"
)

// BenchmarkTenThousandServices runs an agent with 10,000 services that have a check each, every 10 s. Each tenth check
// turns at each run, so 100 reports a second go out and come back as what the registry says. An operation is a second;
// percent-core is the processor time of the whole process in it.
//
// The registry is one that takes and tells everything at once. ROLLCALL_BENCH_ENDPOINTS=host:port,… takes a real one,
// which should run elsewhere: as `rollcall dev` does.
func BenchmarkTenThousandServices(b *testing.B) {
	const services = 10_000
	var runs atomic.Int64
	cfg := file()
	for i := range services {
		var n atomic.Int64
		check := func(context.Context) error {
			runs.Add(1)
			if i%10 == 0 && n.Add(1)%2 == 0 {
				return errors.New("no")
			}
			return nil
		}
		cfg.Services = append(cfg.Services, watched(fmt.Sprintf("shop/service-%d", i), config.Check{
			Name: "check", Spec: "1", New: func() checks.Check { return checks.Func("check", check) }, Options: []checks.CheckOption{checks.Fall(1)},
		}))
	}
	a := benchAgent(b, cfg)
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	for runs.Load() < services { // the first round is at once; what is measured is the rest
		runtime.Gosched()
	}
	<-time.After(20 * time.Second)
	from, before := runs.Load(), processorTime(b)
	b.ResetTimer()
	<-time.After(time.Duration(b.N) * time.Second)
	b.StopTimer()
	used := processorTime(b) - before
	b.ReportMetric(100*used.Seconds()/float64(b.N), "percent-core")
	b.ReportMetric(float64(runs.Load()-from)/float64(b.N), "runs/s")
	b.ReportMetric(float64(runtime.NumGoroutine()), "goroutines")
	b.ReportMetric(0, "ns/op")
	counts, _ := a.board.statuses()
	if counts[serving] < services*8/10 {
		b.Errorf("what is shown is %v", counts)
	}
	cancel()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
}

func benchAgent(b *testing.B, cfg *config.Config) *Agent {
	b.Helper()
	if real := os.Getenv("ROLLCALL_BENCH_ENDPOINTS"); real != "" {
		cfg.Endpoints = strings.Split(real, ",")
		a, err := New(cfg, Options{})
		if err != nil {
			b.Fatal(err)
		}
		return a
	}
	logger := slog.New(slog.DiscardHandler)
	a := newAgent(cfg, (&echo{}).registry(), logger)
	var err error
	if a.ports, err = listen(cfg, a.board, newHTTP(a, cfg), nil); err != nil {
		b.Fatal(err)
	}
	return a
}

// echo is a registry that knows all names, switches none off, and tells all views of each report.
type echo struct {
	mu    sync.Mutex
	views []*echoView
}

func (e *echo) registry() registry {
	return registry{
		newView: func([]string, map[string]view.Opinion) (source, error) {
			v := &echoView{changed: make(chan struct{})}
			e.mu.Lock()
			defer e.mu.Unlock()
			e.views = append(e.views, v)
			return v, nil
		},
		newLease: func(client.OnStop, func(client.LeaseEvent)) (lease, error) { return e, nil },
		close:    func() error { return nil },
	}
}

func (e *echo) Submit(...client.Report) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, v := range e.views {
		v.mu.Lock()
		close(v.changed)
		v.changed = make(chan struct{})
		v.mu.Unlock()
	}
	return nil
}

func (e *echo) ReportBatch(context.Context, []client.Report) error { return nil }
func (e *echo) Release(context.Context, ...string) error           { return nil }
func (e *echo) Acknowledged(string) (client.Acknowledged, bool)    { return client.Acknowledged{}, true }
func (e *echo) Rewrite(...string)                                  {}
func (e *echo) Close(context.Context) error                        { return nil }

type echoView struct {
	mu      sync.Mutex
	changed chan struct{}
}

var echoed = view.Opinion{Heard: true, Status: serving, Record: &rollcallv1.ServiceRecord{}}

func (v *echoView) Run(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
func (v *echoView) Get(string) view.Opinion       { return echoed }
func (v *echoView) Silent() time.Duration         { return 0 }
func (v *echoView) Err() error                    { return nil }
func (v *echoView) Changed() <-chan struct{} {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.changed
}

func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
