package main

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/spf13/cobra"

	"github.com/rollcallhq/rollcall/client"
)

// callAtLength is call for what can go on for long: f bounds each wait by --timeout itself, with
// patiently or withTimeout.
func (a *app) callAtLength(cmd *cobra.Command, f func(context.Context, *client.Client) error) error {
	_, cancel, err := a.withTimeout(cmd.Context()) // refuses one that is none
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

// patiently gives what list gives, and waits at most patience for each: a long list may take long, and
// so may its reader, but not the next page. Its error is then context.DeadlineExceeded.
func patiently[T any](parent context.Context, patience time.Duration, list func(context.Context) iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		ctx, cancel := context.WithCancelCause(parent)
		defer cancel(nil)
		waiting := time.AfterFunc(patience, func() { cancel(context.DeadlineExceeded) })
		defer waiting.Stop()
		for v, err := range list(outOfPatience{ctx}) {
			waiting.Stop()
			if !yield(v, err) {
				return
			}
			waiting.Reset(patience)
		}
	}
}

// outOfPatience is a context that says deadline exceeded where that is the cause of its end.
type outOfPatience struct{ context.Context }

func (c outOfPatience) Err() error {
	if err := c.Context.Err(); err == nil || !errors.Is(context.Cause(c.Context), context.DeadlineExceeded) {
		return err
	}
	return context.DeadlineExceeded
}
