package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// stableAfter is how long a stream must have lived for its end not to count as one more failure.
const stableAfter = 5 * time.Second

var (
	errStopped = errors.New("the consumer left the loop")
	errSilent  = errors.New("no answer in time")
	errReopen  = errors.New("the record differs from what the stream said")
)

// roam is one run of a watch: it stays at an endpoint as long as that lasts, and moves to the next.
type roam struct {
	c  *Client
	op operation

	told    bool   // something was given to the consumer
	seen    int64  // revision that nothing further may be older than
	reached bool   // some endpoint could be connected to
	reopens int    // in a row
	latest  *Error // since a node last said something
}

// run goes from endpoint to endpoint. Nil: the consumer left.
func (r *roam) run(ctx context.Context, follow func(ctx context.Context, e *endpoint, patience time.Duration) error) error {
	if !utf8.ValidString(r.op.service) {
		return r.op.error(codes.InvalidArgument, "the service's name is not valid UTF-8", nil)
	}
	var (
		endpoints = r.c.order()
		moves     int      // since the last stable stream
		first     []*Error // of the first round
	)
	for at := 0; ; {
		e := endpoints[at]
		began := time.Now()
		err := follow(ctx, e, r.c.patience(moves/len(endpoints)))
		if errors.Is(err, errStopped) {
			return nil
		}
		if cause := r.c.over(ctx); cause != nil {
			return r.op.ended(cause, r.latest)
		}
		if errors.Is(err, errReopen) {
			if r.reopens++; r.reopens > 1 {
				pause(ctx, wait(r.reopens-2))
			}
			continue
		}
		f := r.op.failed(e, err, WrittenNo)
		if final(f.Code) {
			return f
		}
		r.c.cfg.Logger.LogAttrs(ctx, slog.LevelDebug, "a watch moves on", slog.String("endpoint", e.address),
			slog.String("service", r.op.service), slog.Int64("revision", r.seen), slog.Any("error", f))
		r.latest = f
		if r.told && time.Since(began) >= stableAfter {
			moves = 0
		}
		moves++
		if !r.reached {
			if first = append(first, f); len(first) == len(endpoints) {
				return r.op.unanswered(first)
			}
		}
		at = (at + 1) % len(endpoints)
		// Also before the first move: when a node stops, all its watchers move at once.
		pause(ctx, wait(moves/len(endpoints)))
	}
}

// final codes are answers that no other node and no later time would change.
func final(code codes.Code) bool {
	switch code {
	case codes.InvalidArgument, codes.Unimplemented, codes.PermissionDenied, codes.Unauthenticated, codes.OutOfRange:
		return true
	}
	return false
}

// receive opens a stream at one endpoint and has take look at its messages, until either fails;
// patience bounds all that comes before its first message: connecting, and the node's wait for what
// the request asks by metadata.
func receive[M any](ctx context.Context, r *roam, e *endpoint, patience time.Duration,
	open func(ctx context.Context, conn grpc.ClientConnInterface) (grpc.ServerStreamingClient[M], error),
	take func(ctx context.Context, conn grpc.ClientConnInterface, m *M) error,
) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silent := time.AfterFunc(patience, func() { cancel(errSilent) })
	defer silent.Stop()
	conn, err := e.connect(ctx)
	if err != nil {
		return silence(ctx, err, patience)
	}
	tracked, t := track(atLeast(ctx, r.seen))
	stream, err := open(tracked, conn)
	for first := true; err == nil; first = false {
		var m *M
		if m, err = stream.Recv(); err != nil {
			break
		}
		if first && !silent.Stop() {
			err = errSilent // too late by a hair
			break
		}
		r.reached, r.latest = true, nil
		err = take(ctx, conn, m)
	}
	if !t.unsent() {
		r.reached = true
	}
	return silence(ctx, err, patience)
}

// silence names patience as the cause where it was.
func silence(ctx context.Context, err error, patience time.Duration) error {
	if errors.Is(err, errSilent) || errors.Is(context.Cause(ctx), errSilent) {
		return status.Error(codes.Unavailable, fmt.Sprintf("no answer within %v", patience))
	}
	return err
}
