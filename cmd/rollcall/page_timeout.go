package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"

	"github.com/rollcallhq/rollcall/client"
)

// callPaged is call for what can last long. --timeout does not bound f as a whole: f bounds each wait itself,
// by withPageTimeout or withTimeout.
func (a *app) callPaged(cmd *cobra.Command, f func(context.Context, *client.Client) error) error {
	_, cancel, err := a.withTimeout(cmd.Context()) // refuses a --timeout of nothing
	if err != nil {
		return err
	}
	cancel()
	c, err := a.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	return f(cmd.Context(), c)
}

// withPageTimeout yields what list yields, and waits at most timeout for each value. A long list may take
// long, and so may its reader, but not the next page. op is for the error: "list events".
func withPageTimeout[T any](parent context.Context, op string, timeout time.Duration, list func(context.Context) iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		ctx, cancel := context.WithCancelCause(parent)
		defer cancel(nil)
		waiting := time.AfterFunc(timeout, func() { cancel(errPageTimeout) })
		defer waiting.Stop()
		for v, err := range list(ctx) {
			waiting.Stop()
			if err != nil {
				if errors.Is(context.Cause(ctx), errPageTimeout) {
					err = pageTimeoutFailure(op, timeout, err)
				}
				yield(v, err)
				return
			}
			if !yield(v, nil) {
				return
			}
			waiting.Reset(timeout)
		}
	}
}

var errPageTimeout = errors.New("no page came in time")

func pageTimeoutFailure(op string, timeout time.Duration, err error) *failure {
	line := fmt.Errorf("cannot %s: nothing came within %s", op, timeout)
	if _, last, ok := strings.Cut(err.Error(), "; last: "); ok {
		line = fmt.Errorf("%w; last: %s", line, last)
	}
	return &failure{exit: exitNotDone, code: codes.DeadlineExceeded, err: line, next: "--timeout allows more time"}
}
