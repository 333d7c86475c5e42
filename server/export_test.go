package server

import (
	"bytes"
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

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
			exporter: exporter, reads: freshness.Reads{Ending: t.Context()}, exporting: make(chan struct{}, 1), log: slog.New(slog.DiscardHandler),
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
