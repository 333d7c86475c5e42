//go:build unix

package server

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	grpchealth "google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcallhq/rollcall/fsm"
)

// inProcess is the two Check handlers with the same services, and a request for each. (The name in a
// request is never the map's own string.)
type inProcess struct {
	servers [2]interface {
		Check(context.Context, *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error)
	}
	requests []*healthpb.HealthCheckRequest
}

func newInProcess(b *testing.B, services int) *inProcess {
	f, err := fsm.New(fsm.Config{Journal: noJournal{}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	g := grpchealth.NewServer()
	p := &inProcess{}
	names := make([]string, services)
	for i := range names {
		names[i] = benchName(i)
		p.requests = append(p.requests, &healthpb.HealthCheckRequest{Service: benchName(i)})
	}
	(&ourTarget{fsm: f}).set(names, serving)
	theirTarget{g}.set(names, serving)
	p.servers[0] = newHealth(reads{node: "n1", incoming: newIncoming(), gate: newGate()}, f, 100)
	p.servers[1] = g
	return p
}

// check makes n calls of services far from each other.
func (p *inProcess) check(b *testing.B, i, from, n int) {
	ctx, s := context.Background(), p.servers[i]
	const step = 7919
	for k := range n {
		if _, err := s.Check(ctx, p.requests[(from+k)*step%len(p.requests)]); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPeersInProcess calls the handlers without a network, in turn, and compares the processor time,
// collection of garbage included.
func BenchmarkPeersInProcess(b *testing.B) {
	for _, services := range []int{1, 100, 100_000} {
		b.Run(fmt.Sprintf("services=%d", services), func(b *testing.B) {
			const calls = 100_000
			p := newInProcess(b, services)
			var cpu [2][]float64
			for round := 0; b.Loop(); round++ {
				for k := range p.servers {
					i := (round + k) % 2
					before := processorTime()
					p.check(b, i, round*calls, calls)
					cpu[i] = append(cpu[i], float64(processorTime()-before)/calls)
				}
			}
			report(b, "cpu-ns/call", cpu)
		})
	}
}

// BenchmarkCheckParallel is for -cpu 1,2,4: all cores ask for one service, or for many.
func BenchmarkCheckParallel(b *testing.B) {
	for _, services := range []int{1, 100_000} {
		p := newInProcess(b, services)
		for i, kind := range []string{ours, theirs} {
			b.Run(fmt.Sprintf("services=%d/%s", services, kind), func(b *testing.B) {
				b.ReportAllocs()
				var begun atomic.Int64
				b.RunParallel(func(pb *testing.PB) {
					for from := int(begun.Add(1000)); pb.Next(); from++ {
						p.check(b, i, from, 1)
					}
				})
			})
		}
	}
}
