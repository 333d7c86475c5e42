// Package deadline divides the time that a caller gives to a call: how much of it the work may take, so
// that the answer still reaches the caller. Waiting, retrying and what is said in the answer do not
// belong here.
package deadline

import (
	"context"
	"time"
)

// Answerable returns ctx with an earlier deadline, so that an answer given at its end still reaches the
// caller. Without that margin a caller would only learn that its time ran out. If ctx has no deadline,
// the returned one ends after without.
func Answerable(ctx context.Context, without time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); !ok {
		return context.WithTimeout(ctx, without)
	}
	return context.WithTimeout(ctx, AnswerTime(ctx))
}

// AnswerTime is how long a call may work and still answer in time. ctx has a deadline.
func AnswerTime(ctx context.Context) time.Duration {
	at, _ := ctx.Deadline()
	left := time.Until(at)
	return left - min(Margin(left), left/2)
}

// Margin is the time that an answer needs to reach the caller: 50 ms or 5 % of what is left, whichever
// is more.
func Margin(left time.Duration) time.Duration {
	return max(50*time.Millisecond, left/20)
}
