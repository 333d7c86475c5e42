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

const (
	// smallBytes is the size up to which a change needs no more time than any other.
	smallBytes = 64 << 10
	// slowestLink is the rate, in bytes a second, down to which a link between members can carry a change in
	// time.
	slowestLink = 64 << 10
	// hops is over how many links a change goes, one after the other: to the leader, and on to a quorum.
	hops = 2
)

// Transfer is how much longer a change of so many bytes may take than a small one.
func Transfer(bytes int) time.Duration {
	if bytes <= smallBytes {
		return 0
	}
	return time.Duration(bytes) * hops * 1000 / slowestLink * time.Millisecond
}
