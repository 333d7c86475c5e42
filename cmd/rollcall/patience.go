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
// so may its reader, but not the next page. what it is goes into the error, as "list events".
func patiently[T any](parent context.Context, what string, patience time.Duration, list func(context.Context) iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		ctx, cancel := context.WithCancelCause(parent)
		defer cancel(nil)
		waiting := time.AfterFunc(patience, func() { cancel(errImpatient) })
		defer waiting.Stop()
		for v, err := range list(ctx) {
			waiting.Stop()
			if err != nil {
				if errors.Is(context.Cause(ctx), errImpatient) {
					err = impatient(what, patience, err)
				}
				yield(v, err)
				return
			}
			if !yield(v, nil) {
				return
			}
			waiting.Reset(patience)
		}
	}
}

var errImpatient = errors.New("nothing came in time")

func impatient(what string, patience time.Duration, err error) *failure {
	line := fmt.Errorf("cannot %s: nothing came within %s", what, patience)
	if _, last, ok := strings.Cut(err.Error(), "; last: "); ok {
		line = fmt.Errorf("%w; last: %s", line, last)
	}
	return &failure{exit: exitNotDone, code: codes.DeadlineExceeded, err: line, next: "--timeout allows more time"}
}
