package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/freshness"
)

// exportStream is the stream of a client that takes a chunk each time take is sent to.
type exportStream struct {
	grpc.ServerStream
	ctx  context.Context
	take chan struct{}
	got  int
}

func (s *exportStream) Context() context.Context { return s.ctx }

func (s *exportStream) Send(m *rollcallv1.ExportSnapshotResponse) error {
	select {
	case <-s.take:
		s.got += len(m.GetChunk())
		return nil
	case <-s.ctx.Done(): // as when the connection is closed
		return s.ctx.Err()
	}
}

// TestExportCutsOffWhoStalls: a client that takes nothing for exportStall loses its connection, and the next
// export can begin; one that takes something now and then does not, however long it takes.
func TestExportCutsOffWhoStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		content := bytes.Repeat([]byte("rollcall"), 1<<18)
		exporter := &fakeExporter{content: content, closed: make(chan struct{}, 10)}
		var connection context.CancelFunc
		s := &clusterService{
			exporter: exporter, reads: reads{Reads: freshness.Reads{Ending: t.Context()}}, exporting: make(chan struct{}, 1), log: slog.New(slog.DiscardHandler),
			cutOff: func(context.Context) { connection() },
		}
		export := func() (*exportStream, <-chan error) {
			stream, ended := &exportStream{take: make(chan struct{})}, make(chan error, 1)
			stream.ctx, connection = context.WithCancel(t.Context())
			go func() { ended <- s.export(stream.ctx, func(error) {}, stream) }()
			return stream, ended
		}
		_, ended := export()
		time.Sleep(exportStall - time.Second)
		select {
		case err := <-ended:
			t.Fatalf("cut off before its time: %v", err)
		default:
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		select {
		case err := <-ended:
			if err == nil {
				t.Error("it was sent all of it")
			}
		default:
			t.Fatal("a client that takes nothing is not cut off")
		}
		<-exporter.closed

		slow, ended := export()
		for chunks := len(content) / exportChunk; chunks > 0; chunks-- {
			time.Sleep(exportStall - time.Second)
			slow.take <- struct{}{}
		}
		if err := <-ended; err != nil || slow.got != len(content) {
			t.Errorf("a slow client got %d bytes of %d, %v", slow.got, len(content), err)
		}
	})
}

// TestExportSnapshotCompressed: a client that compresses gets the same bytes, whether they can be compressed or
// not. One that stops reading ends its own export alone.
func TestExportSnapshotCompressed(t *testing.T) {
	random := make([]byte, 3<<20)
	rand.NewChaCha8([32]byte{1}).Read(random)
	for name, content := range map[string][]byte{
		"text": bytes.Repeat([]byte("rollcall"), 1<<19), "random": random, "nothing": nil, "a byte": {7},
	} {
		t.Run(name, func(t *testing.T) {
			n := single(t)
			n.registry.set("svc", serving)
			n.exporter.content, n.exporter.closed = content, make(chan struct{}, 10)
			for range 2 {
				ctx, cancel := context.WithCancel(patient(t))
				// open waits until the export before has ended on the node too.
				open := func() (grpc.ServerStreamingClient[rollcallv1.ExportSnapshotResponse], *rollcallv1.ExportSnapshotResponse, error) {
					for {
						stream, err := n.cluster().ExportSnapshot(ctx, &rollcallv1.ExportSnapshotRequest{}, grpc.UseCompressor("gzip"))
						if err != nil {
							t.Fatal(err)
						}
						if m, err := stream.Recv(); status.Code(err) != codes.ResourceExhausted {
							return stream, m, err
						}
					}
				}
				var got []byte
				var total int64
				stream, m, err := open()
				for ; err == nil; m, err = stream.Recv() {
					got, total = append(got, m.GetChunk()...), total+m.GetTotalBytes()
				}
				if !errors.Is(err, io.EOF) {
					t.Fatal(err)
				}
				if !bytes.Equal(got, content) || total != int64(len(content)) {
					t.Errorf("got %d bytes of %d, told are %d", len(got), len(content), total)
				}
				<-n.exporter.closed
				// The next one reads a message and no more.
				if _, _, err := open(); err != nil && !errors.Is(err, io.EOF) {
					t.Fatal(err)
				}
				if _, err := n.health().Check(ctx, &healthpb.HealthCheckRequest{Service: "svc"}, grpc.UseCompressor("gzip")); err != nil {
					t.Errorf("Check beside it: %v", err)
				}
				cancel()
				<-n.exporter.closed
			}
		})
	}
}
