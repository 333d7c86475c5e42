package client

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// ExportOptions are of ExportSnapshot. The zero value is useful.
type ExportOptions struct {
	// Progress, if not nil, is called after each piece with how many bytes were written, and how many there
	// are. It must not block.
	Progress func(written, total int64)
}

// Export is what ExportSnapshot wrote.
type Export struct {
	Bytes    int64
	Endpoint string // of the node whose registry and history it is
}

// ExportSnapshot writes a backup of one node's registry and history to w. It tries the endpoints in order, but
// no further one after one has begun to answer: half of one node's backup does not fit half of another's. The
// bytes are a snapshot stream with a SHA-256 at its end, which "rollcall snapshot inspect" checks and this
// does not. The error is w's, or an *Error; then what was written is no backup.
func (c *Client) ExportSnapshot(ctx context.Context, w io.Writer, o ExportOptions) (Export, error) {
	ctx, done := c.begin(ctx)
	defer done()
	op := operation{name: "export a snapshot"}
	var (
		latest      *Error
		unreachable []*Error
	)
	endpoints, chosen, bad := c.order(ctx)
	if bad != nil {
		return Export{}, op.error(codes.InvalidArgument, bad.Error(), nil)
	}
	for _, e := range endpoints {
		if cause := c.over(ctx); cause != nil {
			return Export{}, op.ended(cause, latest)
		}
		n, unsent, err := c.exportFrom(ctx, e, w, o)
		var own *writeError
		switch {
		case err == nil:
			if !chosen {
				c.prefer(e)
			}
			return Export{Bytes: n, Endpoint: e.address}, nil
		case errors.As(err, &own):
			return Export{Bytes: n, Endpoint: e.address}, own.error
		}
		f := op.failed(e, err, WrittenNo)
		if cause := c.over(ctx); cause != nil {
			return Export{Bytes: n, Endpoint: e.address}, op.ended(cause, f)
		}
		if n > 0 || final(f.Code) {
			return Export{Bytes: n, Endpoint: e.address}, f
		}
		if unsent {
			unreachable = append(unreachable, f)
		} else {
			latest = f
		}
	}
	if latest == nil {
		return Export{}, op.unanswered(unreachable)
	}
	return Export{}, latest
}

// writeError is an error of the caller's writer.
type writeError struct{ error }

func (c *Client) exportFrom(ctx context.Context, e *endpoint, w io.Writer, o ExportOptions) (n int64, unsent bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	connecting, connected := context.WithTimeout(ctx, c.attemptTimeout(0))
	conn, err := e.connect(connecting)
	connected()
	if err != nil {
		return 0, true, err
	}
	tracked, t := track(ctx)
	stream, err := rollcallv1.NewClusterClient(conn).ExportSnapshot(tracked, &rollcallv1.ExportSnapshotRequest{}, grpc.WaitForReady(false))
	if err != nil {
		return 0, t.unsent(), err
	}
	var total int64
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			if n == 0 || n != total {
				return n, false, status.Errorf(codes.Unavailable, "the snapshot ended after %d of %d bytes", n, total)
			}
			return n, false, nil
		}
		if err != nil {
			return n, t.unsent(), err
		}
		total = max(total, m.GetTotalBytes())
		wrote, err := w.Write(m.GetChunk())
		n += int64(wrote)
		if err != nil {
			return n, false, &writeError{err}
		}
		if o.Progress != nil {
			o.Progress(n, total)
		}
	}
}
