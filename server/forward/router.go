package forward

import (
	"context"
	"time"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/server/deadline"
	"github.com/rollcallhq/rollcall/server/fence"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// Agreement is how a command gets into the log, on a leader. It is a part of the server's Agreement.
type Agreement interface {
	Propose(ctx context.Context, cmd *logv1.Command) (*logv1.Result, error)
	Start(proposals []*logv1.Proposal)
	Preview(cmd *logv1.Command) *logv1.Result
	CheckLevel(leader string, cmd *logv1.Command) error
	Leader() (name string, leading bool)
	Changed() <-chan struct{}
	Unreachable(member string) (time.Duration, string)
}

// Router brings a command to the leader, which is this node or one hop away. Only the router tries again, and
// only if the command was surely not written.
type Router struct {
	Node      string
	Agreement Agreement
	Forwarder *Forwarder
	Timeout   time.Duration   // how long a change waits for a leader
	Draining  <-chan struct{} // closed when changes are not admitted any more
	Fence     *fence.Fence
	// Removed says that this node's data directory is no member of the cluster any more; nil: it is one. While it still
	// leads it takes changes.
	Removed func() bool
}

// removed refuses changes that would be forwarded by who is no member any more: nobody takes them from it.
func (r *Router) removed() error {
	if r.Removed == nil || !r.Removed() {
		return nil
	}
	return rpcerror.NotWritten("node %s was removed from the cluster", r.Node)
}

// retryPause is the pause before a known leader is asked again that did not take the command: its term may
// not have begun yet, or it is handing leadership over. For everything else the router waits for a change and
// does not poll.
const retryPause = 100 * time.Millisecond

// Drains says whether changes are not admitted any more.
func (r *Router) Drains() bool {
	select {
	case <-r.Draining:
		return true
	default:
		return false
	}
}

// Propose returns the result of cmd, which may be a refusal, or a failure that says what is known of
// the outcome. With validateOnly the leader says what would happen.
func (r *Router) Propose(ctx context.Context, cmd *logv1.Command, validateOnly bool) (*logv1.Result, error) {
	// The usual case: this node leads. It needs nothing of what seek prepares.
	if _, leading := r.Agreement.Leader(); leading && !r.Drains() && r.Fence.Refusal() == nil {
		result, err := r.here(ctx, cmd, validateOnly)
		if err == nil {
			return result, nil
		}
		if f := rpcerror.OfChange(err); f.Reason != rpcerror.ReasonNotWritten {
			return nil, f
		}
	}
	return r.seek(ctx, cmd, validateOnly)
}

// Start has each of calls, which belong to one Calls, answered as Propose would. The usual case needs no goroutine:
// this node leads, or is connected to the leader.
func (r *Router) Start(calls []*Call) {
	if len(calls) == 0 {
		return
	}
	var refusal error
	if r.Drains() {
		refusal = rpcerror.NotWritten("node %s is stopping", r.Node)
	} else if f := r.Fence.Refusal(); f != nil {
		refusal = f.AsNotWritten()
	}
	if refusal != nil {
		for _, c := range calls {
			c.Fail(refusal)
		}
		calls[0].Flush()
		return
	}
	for _, c := range calls {
		c.router = r
	}
	left := calls
	switch leader, leading := r.Agreement.Leader(); {
	case leading:
		left = startHere(r.Agreement, calls)
	case r.removed() != nil: // each is refused alone
	case leader != "" && leader != r.Node:
		left = r.Forwarder.start(leader, calls, func(cmd *logv1.Command) error { return r.Agreement.CheckLevel(leader, cmd) })
	}
	for _, c := range left {
		c.alone(r.Propose)
	}
}

// startHere proposes the commands of calls on this node, which must lead. It returns those that are to be previewed.
func startHere(agreement Agreement, calls []*Call) (previews []*Call) {
	proposals := make([]*logv1.Proposal, 0, len(calls))
	for _, c := range calls {
		if c.ValidateOnly {
			previews = append(previews, c)
		} else {
			proposals = append(proposals, &c.proposal)
		}
	}
	agreement.Start(proposals)
	return previews
}

// seek tries until the command has an answer, or patience ends.
func (r *Router) seek(ctx context.Context, cmd *logv1.Command, validateOnly bool) (*logv1.Result, error) {
	// Waiting ends early enough for the answer "not written" to reach the caller. Otherwise the caller would
	// have to assume that the change may be written. A caller with more time than r.Timeout is also told
	// after r.Timeout: no election takes that long, and the caller can try again.
	wait := r.Timeout
	if _, ok := ctx.Deadline(); ok {
		wait = min(wait, deadline.AnswerTime(ctx))
	}
	patience, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		changed := r.Agreement.Changed() // before Leader, so that no change is missed
		if r.Drains() {
			return nil, rpcerror.NotWritten("node %s is stopping", r.Node)
		}
		if f := r.Fence.Refusal(); f != nil {
			return nil, f.AsNotWritten()
		}
		leader, leading := r.Agreement.Leader()
		if !leading {
			if err := r.removed(); err != nil {
				return nil, err
			}
		}
		var result *logv1.Result
		var err error
		var pause <-chan time.Time
		switch {
		case leading:
			result, err = r.here(ctx, cmd, validateOnly)
		case leader == "":
			err = rpcerror.NotWritten("no leader is known")
		case leader == r.Node:
			err = rpcerror.NotWritten("leader %s has not begun its term", leader)
		default:
			if f := r.cutOff(leader); f != nil {
				return nil, f
			}
			// A leader that cannot decode the command would end the stream, and with it the commands of other
			// callers.
			if err = r.Agreement.CheckLevel(leader, cmd); err == nil {
				result, err = r.Forwarder.propose(ctx, patience, changed, leader, cmd, validateOnly)
			}
		}
		if err == nil {
			return result, nil
		}
		f := rpcerror.OfChange(err)
		if validateOnly && f.Reason == rpcerror.ReasonOutcomeUnknown {
			f = rpcerror.NotWritten("%w", err) // whatever became of it
		}
		if f.Reason != rpcerror.ReasonNotWritten {
			return nil, f
		}
		if leader != "" {
			pause = time.After(retryPause)
		}
		select {
		case <-changed:
		case <-pause:
		case <-r.Draining:
		case <-patience.Done():
		}
		if at, _ := patience.Deadline(); patience.Err() != nil || !time.Now().Before(at) {
			return nil, f
		}
	}
}

// termPatience bounds how long an elected node lets others wait until its term has begun. That takes one
// commit.
const termPatience = 500 * time.Millisecond

// TermBegun returns what Agreement.Leader returns. If this node was elected, it first waits for its term to
// begin. The asking node learned of the leader by its first heartbeat, so it often asks a moment too early,
// and a refusal would make it wait longer than necessary.
func (r *Router) TermBegun(ctx context.Context) (leader string, leading bool) {
	if leader, leading = r.Agreement.Leader(); leading || leader != r.Node {
		return leader, leading
	}
	ctx, cancel := deadline.Answerable(ctx, termPatience)
	defer cancel()
	ctx, cancel = context.WithTimeout(ctx, termPatience)
	defer cancel()
	for {
		changed := r.Agreement.Changed() // before Leader, so that no change is missed
		leader, leading = r.Agreement.Leader()
		if leading || leader != r.Node || ctx.Err() != nil {
			return leader, leading
		}
		select {
		case <-changed:
		case <-r.Draining:
			return leader, leading
		case <-ctx.Done():
		}
	}
}

// here proposes or previews the command on this node, which must lead. A caller without a deadline gets one.
func (r *Router) here(ctx context.Context, cmd *logv1.Command, validateOnly bool) (*logv1.Result, error) {
	if validateOnly {
		if err := r.Agreement.CheckLevel(r.Node, cmd); err != nil {
			return nil, err
		}
		return r.Agreement.Preview(cmd), nil
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.Timeout+deadline.Transfer(cmd.SizeVT()))
		defer cancel()
	}
	return r.Agreement.Propose(ctx, cmd)
}
