package server

import (
	"context"
	"errors"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// reads is what every read that may carry metadata has in common.
type reads struct {
	node      string
	registry  Registry
	freshness *freshness
	leaders   *leaderWatch
	gate      *gate // before all but the node's own names: see awaitRegistry
	incoming  incoming
	timeout   time.Duration   // for what a caller without a deadline asks
	ending    context.Context // ends with cause errStopping when nothing is to be waited for any more
}

// heading is what a call that asks by metadata is told in headers.
type heading struct {
	asked bool
	// freshAt is of before the read: so fresh is at least what it shows.
	freshAt time.Time
	leader  context.Context // ends when there is no leader; nil: not asked
}

// await does what the metadata of a call asks for before it is answered. It costs nothing but asks
// when there is none.
func (r *reads) await(ctx context.Context) (heading, error) {
	if !r.incoming.asks(ctx) {
		return heading{}, nil
	}
	a, err := r.incoming.parse(ctx)
	if err != nil {
		return heading{}, err
	}
	h := heading{asked: true}
	if a.requireLeader {
		h.leader, err = r.leaders.require()
	}
	if err == nil {
		err = r.fulfil(ctx, a)
	}
	h.freshAt = r.freshness.at()
	return h, err
}

// awaitRegistry is await for what reads the registry and nothing else: the gate is asked before, and
// again after, as waiting takes time.
func (r *reads) awaitRegistry(ctx context.Context) (heading, error) {
	if f := r.gate.closed(); f != nil {
		return heading{}, f
	}
	h, err := r.await(ctx)
	if f := r.gate.closed(); f != nil && err == nil {
		err = f
	}
	return h, err
}

// fulfil waits until this node is as far as a demands.
func (r *reads) fulfil(ctx context.Context, a asked) error {
	behind := r.registry.Revision() < a.minRevision
	// Any round that begins now is fresh enough, however long it takes: it is as fresh as the call.
	stale := a.linearizable || a.maxStaleness >= 0 && !r.fresherThan(a.maxStaleness)
	if !behind && !stale {
		return nil
	}
	wait, cancel := answerable(ctx, r.timeout)
	defer cancel()
	defer context.AfterFunc(r.ending, cancel)()
	var f *failure
	if behind {
		f = r.waitRevision(wait, a.minRevision)
	}
	if stale && f == nil {
		f = r.waitFresh(wait, a)
	}
	switch {
	case f == nil:
		return nil
	case r.ending.Err() != nil:
		return errStopping
	case errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	}
	return f
}

func (r *reads) fresherThan(d time.Duration) bool {
	at := r.freshness.at()
	return !at.IsZero() && time.Since(at) < d
}

func (r *reads) waitRevision(ctx context.Context, revision int64) *failure {
	if r.registry.WaitRevision(ctx, revision) == nil {
		return nil
	}
	current := strconv.FormatInt(r.registry.Revision(), 10)
	return &failure{
		reason: ReasonRevisionNotReached,
		msg: "this node is at revision " + current + " and did not reach " + MetadataMinRevision + " " +
			strconv.FormatInt(revision, 10) + " in time",
		meta: map[string]string{MetaCurrentRevision: current},
	}
}

func (r *reads) waitFresh(ctx context.Context, a asked) *failure {
	err := r.freshness.confirm(ctx)
	if err == nil {
		return nil
	}
	what := MetadataConsistency + " " + consistencyLinearizable
	if !a.linearizable {
		what = MetadataMaxStaleness + " " + a.maxStaleness.String()
	}
	return &failure{
		reason: ReasonNotFresh,
		msg:    "this node could not make sure of " + what + " in time: " + err.Error(),
		err:    err,
	}
}

// setHeader answers a call that asked by metadata. It is called after the read: who sends the
// revision as the next rollcall-min-revision never sees less than here, on any node.
func (r *reads) setHeader(ctx context.Context, h heading) {
	if !h.asked {
		return
	}
	md := metadata.Pairs(
		MetadataRevision, strconv.FormatInt(r.registry.ShownRevision(), 10),
		MetadataNode, r.node,
	)
	if !h.freshAt.IsZero() {
		// Up to the next millisecond: what is older than told is surely there.
		age := (time.Since(h.freshAt) + time.Millisecond - 1) / time.Millisecond
		md.Set(MetadataAge, strconv.FormatInt(int64(age), 10))
	}
	// The only errors are that there is no call or that its headers are sent: nobody to tell.
	_ = grpc.SetHeader(ctx, md)
}

// answerable returns ctx with its deadline moved ahead by a margin in which an answer still reaches
// the caller, who would otherwise learn no more than that its time ran out. Without a deadline it is
// without from now.
func answerable(ctx context.Context, without time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); !ok {
		return context.WithTimeout(ctx, without)
	}
	return context.WithTimeout(ctx, answerTime(ctx))
}

// answerTime is how long an answer can wait that must still reach a caller with a deadline.
func answerTime(ctx context.Context) time.Duration {
	deadline, _ := ctx.Deadline()
	left := time.Until(deadline)
	return left - min(answerMargin(left), left/2)
}

// answerMargin is the greater of 50 ms and 5 % of what is left.
func answerMargin(left time.Duration) time.Duration {
	return max(50*time.Millisecond, left/20)
}
