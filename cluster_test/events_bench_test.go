package cluster_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/node"
)

// BenchmarkEventFollowers counts what followers of all events receive over real sockets, ten
// connections. The clients are in this process too, and look at no more than how far a message goes.
//
//   - behind: everybody begins at the first of 10,000 events, which lie in memory.
//   - live: everybody waits for a batch of 1,000 changes, which is written, and then for the next.
//
// docs/benchmarks.md has the figures.
func BenchmarkEventFollowers(b *testing.B) {
	for _, followers := range []int{1, 1000} {
		b.Run(fmt.Sprintf("behind/followers=%d", followers), func(b *testing.B) { benchmarkEventsBehind(b, followers) })
		b.Run(fmt.Sprintf("live/followers=%d", followers), func(b *testing.B) { benchmarkEventsLive(b, followers) })
	}
}

type eventBench struct {
	b     *testing.B
	ctx   context.Context
	conns []*grpc.ClientConn
	admin rollcallv1.AdminClient
	round int
}

func newEventBench(b *testing.B) *eventBench {
	api, _ := startSolo(b, func(c *node.Config) { c.MaxWatches = 10_000 })
	ctx, cancel := context.WithCancel(context.Background())
	e := &eventBench{b: b, ctx: ctx}
	b.Cleanup(cancel)
	for range 10 {
		conn, err := grpc.NewClient(api, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { conn.Close() })
		e.conns = append(e.conns, conn)
	}
	e.admin = rollcallv1.NewAdminClient(e.conns[0])
	return e
}

// write makes a thousand events, and returns the revision of the last.
func (e *eventBench) write() int64 {
	e.b.Helper()
	e.round++
	req := &rollcallv1.BatchSetServingStatusRequest{Reason: fmt.Sprint("round ", e.round), Actor: "benchmark"}
	for i := range 1000 {
		req.Changes = append(req.Changes, &rollcallv1.StatusChange{Service: fmt.Sprintf("team-%d/service-%d", i%10, i), Status: serving.Enum()})
	}
	resp, err := e.admin.BatchSetServingStatus(e.ctx, req, grpc.WaitForReady(true))
	if err != nil {
		e.b.Fatal(err)
	}
	return resp.GetRevision()
}

// follow calls reached with how far each message goes, until it answers false.
func (e *eventBench) follow(i int, from int64, reached func(int64) bool) {
	ctx, cancel := context.WithCancel(e.ctx)
	defer cancel()
	desc := &rollcallv1.Registry_ServiceDesc.Streams[1]
	if desc.StreamName != "WatchEvents" {
		panic(desc.StreamName)
	}
	stream, err := e.conns[i%len(e.conns)].NewStream(ctx, desc, rollcallv1.Registry_WatchEvents_FullMethodName, grpc.ForceCodecV2(revisionCodec{}), grpc.MaxCallRecvMsgSize(16<<20))
	if err == nil {
		err = stream.SendMsg(&rollcallv1.WatchEventsRequest{FromRevision: from})
	}
	if err == nil {
		err = stream.CloseSend()
	}
	for err == nil {
		var revision int64
		if err = stream.RecvMsg(&revision); err == nil && !reached(revision) {
			return
		}
	}
	if e.ctx.Err() == nil {
		e.b.Error(err)
	}
}

func benchmarkEventsBehind(b *testing.B, followers int) {
	e := newEventBench(b)
	var revision int64
	for range 10 {
		revision = e.write()
	}
	for b.Loop() {
		var wg sync.WaitGroup
		for i := range followers {
			wg.Go(func() { e.follow(i, 1, func(at int64) bool { return at < revision }) })
		}
		wg.Wait()
	}
	b.ReportMetric(float64(revision)*float64(followers)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

func benchmarkEventsLive(b *testing.B, followers int) {
	e := newEventBench(b)
	from := e.write()
	reached := make(chan int64, followers) // how far each message goes
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(e.ctx)
	e.ctx = ctx
	for i := range followers {
		wg.Go(func() {
			e.follow(i, from+1, func(at int64) bool {
				select {
				case reached <- at:
				case <-ctx.Done():
				}
				return true
			})
		})
	}
	for range followers {
		<-reached // the bookmark at the beginning
	}
	events := 0
	for b.Loop() {
		revision := e.write()
		events += 1000 * followers
		for done := 0; done < followers; {
			if <-reached >= revision {
				done++
			}
		}
	}
	b.ReportMetric(float64(events)/b.Elapsed().Seconds(), "events/s")
	cancel()
	wg.Wait()
}

// revisionCodec sends protobuf, and of a WatchEventsResponse receives the revision alone.
type revisionCodec struct{}

func (revisionCodec) Name() string { return "proto" }

func (revisionCodec) Marshal(v any) (mem.BufferSlice, error) {
	b, err := proto.Marshal(v.(proto.Message))
	return mem.BufferSlice{mem.SliceBuffer(b)}, err
}

func (revisionCodec) Unmarshal(data mem.BufferSlice, v any) error {
	const revisionField = 2
	for b := data.Materialize(); len(b) > 0; {
		field, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if field == revisionField {
			value, _ := protowire.ConsumeVarint(b)
			*v.(*int64) = int64(value)
		}
		if n = protowire.ConsumeFieldValue(field, kind, b); n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
	}
	return nil
}
