package server

import (
	"context"
	"time"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// router brings a command to the leader: this node, or one hop away. It is the only one that tries
// again, and only what was surely not written.
type router struct {
	node      string
	agreement Agreement
	forward   *forwarder
	timeout   time.Duration // see Config.WriteTimeout
	draining  <-chan struct{}
	gate      *gate
}

// retryPause is how long a leader that is known but does not take the command (its term has not
// quite begun, it is handing over) is left alone. Everything else is waited for, not polled.
const retryPause = 100 * time.Millisecond

func (r *router) drains() bool {
	select {
	case <-r.draining:
		return true
	default:
		return false
	}
}

// route returns the result of cmd, which may be a refusal, or a failure that says what is known of
// the outcome. With validateOnly the leader says what would happen.
func (r *router) route(ctx context.Context, cmd *logv1.Command, validateOnly bool) (*logv1.Result, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.timeout)
		defer cancel()
	}
	// Nearly always this node or the next one leads, and neither needs what seek prepares.
	if _, leading := r.agreement.Leader(); leading && !r.drains() && r.gate.closed() == nil {
		result, err := r.here(ctx, cmd, validateOnly)
		if err == nil {
			return result, nil
		}
		if f := changeFailure(err); f.reason != ReasonNotWritten {
			return nil, f
		}
	}
	return r.seek(ctx, cmd, validateOnly)
}

// seek tries until the command has an answer, or patience ends. ctx has a deadline.
func (r *router) seek(ctx context.Context, cmd *logv1.Command, validateOnly bool) (*logv1.Result, error) {
	// Waiting ends while "not written" can still be heard: a caller whose time runs out has to
	// assume the worst. A caller with much time is told after r.timeout too: no election takes that
	// long, and it can try again.
	patience, cancel := context.WithTimeout(ctx, min(r.timeout, answerTime(ctx)))
	defer cancel()
	for {
		changed := r.agreement.Changed() // before Leader, so that no change is missed
		if r.drains() {
			return nil, notWritten("node %s is stopping", r.node)
		}
		if f := r.gate.closed(); f != nil {
			return nil, f.notWritten()
		}
		leader, leading := r.agreement.Leader()
		var result *logv1.Result
		var err error
		var pause <-chan time.Time
		switch {
		case leading:
			result, err = r.here(ctx, cmd, validateOnly)
		case leader == "":
			err = notWritten("no leader is known")
		case leader == r.node:
			err = notWritten("leader %s has not begun its term", leader)
		default:
			result, err = r.forward.propose(ctx, patience, changed, leader, cmd, validateOnly)
		}
		if err == nil {
			return result, nil
		}
		f := changeFailure(err)
		if validateOnly && f.reason == ReasonOutcomeUnknown {
			f = notWritten("%w", err) // whatever became of it
		}
		if f.reason != ReasonNotWritten {
			return nil, f
		}
		if leader != "" {
			pause = time.After(retryPause)
		}
		select {
		case <-changed:
		case <-pause:
		case <-r.draining:
		case <-patience.Done():
			return nil, f
		}
	}
}

// termPatience bounds how long a node that was elected leaves others without an answer until its term
// has begun, which takes it one commit.
const termPatience = 500 * time.Millisecond

// termBegun returns what Agreement.Leader does, on a node that leads after a wait for its term to
// begin: who asks learned of the leader with its first heartbeat, and would else try again later than
// it need be.
func (r *router) termBegun(ctx context.Context) (leader string, leading bool) {
	if leader, leading = r.agreement.Leader(); leading || leader != r.node {
		return leader, leading
	}
	ctx, cancel := answerable(ctx, termPatience)
	defer cancel()
	ctx, cancel = context.WithTimeout(ctx, termPatience)
	defer cancel()
	for {
		changed := r.agreement.Changed() // before Leader, so that no change is missed
		leader, leading = r.agreement.Leader()
		if leading || leader != r.node || ctx.Err() != nil {
			return leader, leading
		}
		select {
		case <-changed:
		case <-r.draining:
			return leader, leading
		case <-ctx.Done():
		}
	}
}

// here is for a leader.
func (r *router) here(ctx context.Context, cmd *logv1.Command, validateOnly bool) (*logv1.Result, error) {
	if validateOnly {
		return r.agreement.Preview(cmd), nil
	}
	return r.agreement.Propose(ctx, cmd)
}
