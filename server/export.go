package server

import (
	"bufio"
	"context"
	"errors"
	"time"

	"google.golang.org/grpc"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/fsm/access"
	"github.com/rollcallhq/rollcall/server/flowcontrol"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

const (
	// exportChunk is the size of a message. It is well below the default limit of gRPC clients.
	exportChunk = 256 << 10
	// exportStall is how long a client may read nothing before its connection is closed. Only one export runs
	// at a time, so others wait for it.
	exportStall = 30 * time.Second
)

// ExportSnapshot implements rollcall.v1.Cluster. The snapshot is copied to this node's disk first. So a slow
// client holds up only the next export. It ends with UNAVAILABLE when the node stops.
func (s *clusterService) ExportSnapshot(req *rollcallv1.ExportSnapshotRequest, stream grpc.ServerStreamingServer[rollcallv1.ExportSnapshotResponse]) (err error) {
	defer rpcerror.Recovered(s.log, s.node, "Cluster.ExportSnapshot", false, &err)
	if s.exporter == nil {
		return s.UnimplementedClusterServer.ExportSnapshot(req, stream)
	}
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	defer s.reads.Fence.OnRaise(cancel)()
	call, err := s.reads.admitToRegistry(ctx)
	if call.may != nil {
		if f := call.may.Denied(access.Backup); f != nil {
			call, err = admitted{}, s.reads.deny(f)
		}
	}
	s.reads.SetHeader(ctx, call.Heading)
	if err == nil {
		open := &openStream{ctx: ctx, cancel: cancel, scope: backupScope{}, began: call.may}
		defer s.reads.streams.Leave(&open.recheck)
		err = failed(s.reads.streams.Join(&open.recheck, open, call.caller, call.may))
	}
	if err == nil {
		err = s.export(ctx, cancel, stream)
	}
	if ended := (*rpcerror.Failure)(nil); errors.As(context.Cause(ctx), &ended) {
		err = ended
	}
	return rpcerror.ToStatus(s.node, err)
}

func (s *clusterService) export(ctx context.Context, cancel context.CancelCauseFunc, stream grpc.ServerStreamingServer[rollcallv1.ExportSnapshotResponse]) error {
	select {
	case s.exporting <- struct{}{}:
		defer func() { <-s.exporting }()
	default:
		return rpcerror.LimitReached("exports", "node %s is exporting a snapshot already; try again later or ask another node", s.node)
	}
	defer context.AfterFunc(s.reads.Ending, func() { cancel(rpcerror.ErrStopping) })()
	snapshot, err := s.exporter.ExportSnapshot(ctx)
	if err != nil {
		return err
	}
	defer snapshot.Close()
	// A Send that waits for the client returns only when the connection ends.
	stalled := time.AfterFunc(exportStall, func() { s.cutOff(stream.Context()) })
	defer stalled.Stop()
	defer context.AfterFunc(s.reads.Ending, func() { stalled.Reset(flowcontrol.StuckGrace) })()
	begun := time.Now()
	out := &exportWriter{ctx: ctx, stream: stream, total: snapshot.Size(), sent: func() {
		if s.reads.Ending.Err() == nil {
			stalled.Reset(exportStall)
		}
	}}
	buffered := bufio.NewWriterSize(out, exportChunk)
	if _, err := snapshot.WriteTo(buffered); err != nil {
		return err
	}
	if err := buffered.Flush(); err != nil {
		return err
	}
	s.log.Info("snapshot exported", "bytes", snapshot.Size(), "took", time.Since(begun).Round(time.Millisecond).String())
	return nil
}

// exportWriter sends what is written to it.
type exportWriter struct {
	ctx    context.Context
	stream grpc.ServerStreamingServer[rollcallv1.ExportSnapshotResponse]
	total  int64 // to be told with the first chunk; 0: told
	sent   func()
}

func (w *exportWriter) Write(p []byte) (n int, err error) {
	for n < len(p) {
		if err := w.ctx.Err(); err != nil {
			return n, err
		}
		chunk := p[n:min(n+exportChunk, len(p))]
		if err := w.stream.Send(&rollcallv1.ExportSnapshotResponse{Chunk: chunk, TotalBytes: w.total}); err != nil {
			return n, err
		}
		w.total = 0
		w.sent()
		n += len(chunk)
	}
	return n, nil
}
