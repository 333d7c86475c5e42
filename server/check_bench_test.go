//go:build unix

package server

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// window is how long each of the two is under load before it is the other's turn: short, so that what
// else the machine does meets both alike.
var window = flag.Duration("peers-window", 250*time.Millisecond, "turns of BenchmarkPeersCheck")

// BenchmarkPeersCheck: 64 callers on one connection. An iteration is a window of each; ratios are of
// the medians, ours to theirs.
func BenchmarkPeersCheck(b *testing.B) {
	for _, bc := range []struct {
		name              string
		services, changes int
	}{
		{"services=1", 1, 0},
		{"services=100000", 100_000, 0},
		{"services=100000/changes=1000", 100_000, 1000},
	} {
		b.Run(bc.name, func(b *testing.B) {
			var calls, cpu [2][]float64
			var peers [2]*checkPeer
			for i, kind := range []string{ours, theirs} {
				p := &checkPeer{peerProcess: startPeer(b, kind), service: benchName(bc.services / 2)}
				p.dial()
				p.order("fill %d", bc.services)
				p.order("change %d", bc.changes)
				p.load(4 * *window) // warm
				peers[i] = p
			}
			for round := 0; b.Loop(); round++ {
				for k := range peers {
					i := (round + k) % 2
					perSecond, perCall := peers[i].load(*window)
					calls[i], cpu[i] = append(calls[i], perSecond), append(cpu[i], perCall)
				}
			}
			report(b, "calls/s", calls)
			report(b, "cpu-ns/call", cpu)
		})
	}
}

// report reports the medians of ours and theirs, and ours to theirs.
func report(b *testing.B, unit string, of [2][]float64) {
	b.Helper()
	o, t := median(of[0]), median(of[1])
	b.ReportMetric(o, "our-"+unit)
	b.ReportMetric(t, "their-"+unit)
	b.ReportMetric(o/t, unit+"-ratio")
}

func median(all []float64) float64 {
	all = slices.Sorted(slices.Values(all))
	return all[len(all)/2]
}

type checkPeer struct {
	*peerProcess
	conn    *grpc.ClientConn
	service string
	ctx     context.Context // of the calls; nil: any
}

func (p *checkPeer) dial() {
	conn, err := grpc.NewClient(p.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		p.b.Fatal(err)
	}
	p.b.Cleanup(func() { conn.Close() })
	p.conn = conn
}

// load returns calls a second and the server's processor time of each in nanoseconds.
func (p *checkPeer) load(d time.Duration) (perSecond, perCall float64) {
	p.b.Helper()
	const callers = 64
	client := healthpb.NewHealthClient(p.conn)
	p.order("profile check")
	before, start := p.cpu(), time.Now()
	until := start.Add(d)
	var counts [callers]int
	ctx := p.ctx
	if ctx == nil {
		ctx = context.Background()
	}
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			req := &healthpb.HealthCheckRequest{Service: p.service}
			for time.Now().Before(until) {
				if _, err := client.Check(ctx, req); err != nil {
					p.b.Error(err)
					return
				}
				counts[i]++
			}
		})
	}
	wg.Wait()
	took, used := time.Since(start), p.cpu()-before
	p.order("profiled")
	n := 0
	for _, c := range counts {
		n += c
	}
	return float64(n) / took.Seconds(), float64(used) / float64(n)
}

// BenchmarkPeersWatch: 10,000 watches of one name on 100 connections, and flips of it, each awaited by
// all. Beside them one caller Checks another name, one call after the other. Then the memory of the
// server's process for each of so many idle watches, and for each of 1,000 idle connections with one.
func BenchmarkPeersWatch(b *testing.B) {
	const connections, each = 100, 100
	var fanOut, quiet, beside, heap, rss [2][]float64
	caller := startPeer(b, checker)
	longest := func(p *peerProcess, d time.Duration) float64 { // milliseconds
		return float64(caller.order("%s %d", p.addr, d.Milliseconds())[0]) / 1e6
	}
	var watchers [2]*rawWatches
	var peers [2]*peerProcess
	for i, kind := range []string{ours, theirs} {
		p := startPeer(b, kind)
		p.order("fill 1000")
		longest(p, 100*time.Millisecond) // warm
		before := p.order("memory")
		w := openWatches(b, p.addr, watched, connections, each)
		after := p.order("memory")
		heap[i] = append(heap[i], float64(after[0]+after[1]-before[0]-before[1])/(connections*each))
		rss[i] = append(rss[i], float64(after[2]-before[2])/(connections*each))
		peers[i], watchers[i] = p, w
	}
	flip := func(i, n int) time.Duration {
		start := time.Now()
		p, w := peers[i], watchers[i]
		return w.await(w.received.Load()+connections*each, func() { p.order("flip %d", n) }).Sub(start)
	}
	for i := range peers {
		for n := range 5 { // warm; an even one makes it NOT_SERVING
			flip(i, n)
		}
	}
	for round := 0; b.Loop(); round++ {
		for k := range peers {
			i := (round + k) % 2
			peers[i].order("profile watch")
			fanOut[i] = append(fanOut[i], float64(flip(i, 1))/1e6)
			quiet[i] = append(quiet[i], longest(peers[i], 200*time.Millisecond))
			done := make(chan float64)
			go func() { done <- longest(peers[i], 200*time.Millisecond) }()
			time.Sleep(50 * time.Millisecond)
			flip(i, 0)
			beside[i] = append(beside[i], <-done)
			peers[i].order("profiled")
		}
	}
	report(b, "fan-out-ms", fanOut)
	report(b, "longest-check-quiet-ms", quiet)
	report(b, "longest-check-beside-ms", beside)
	b.ReportMetric(slices.Max(beside[0]), "our-max-check-beside-ms")
	b.ReportMetric(slices.Max(beside[1]), "their-max-check-beside-ms")
	b.ReportMetric(slices.Max(quiet[0]), "our-max-check-quiet-ms")
	report(b, "heap-and-stack-B/watch", heap)
	report(b, "resident-B/watch", rss)
}

// BenchmarkPeersIdle: the memory of the server's process for each connection with one idle watch.
func BenchmarkPeersIdle(b *testing.B) {
	const connections = 1000
	for _, each := range []int{0, 1} {
		b.Run(fmt.Sprintf("watches=%d", each), func(b *testing.B) {
			var heap, rss [2][]float64
			for b.Loop() {
				for i, kind := range []string{ours, theirs} {
					p := startPeer(b, kind)
					openWatches(b, p.addr, watched, 1, 1).close()
					before := p.order("memory")
					w := openWatches(b, p.addr, watched, connections, each)
					after := p.order("memory")
					w.close()
					heap[i] = append(heap[i], float64(after[0]+after[1]-before[0]-before[1])/connections)
					rss[i] = append(rss[i], float64(after[2]-before[2])/connections)
				}
			}
			report(b, "heap-and-stack-B/conn", heap)
			report(b, "resident-B/conn", rss)
		})
	}
}
