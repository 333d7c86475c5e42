package freshness

import (
	"context"
	"errors"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/rollcallhq/rollcall/server/deadline"
	"github.com/rollcallhq/rollcall/server/fence"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// Reads is what every read that may carry metadata has in common.
type Reads struct {
	Node     string
	Registry Registry
	Tracker  *Tracker
	Leaders  *LeaderWatch
	Fence    *fence.Fence // before all but the node's own names: see AwaitRegistry
	Incoming Incoming
	Timeout  time.Duration   // how long a caller without a deadline waits for what it asks
	Ending   context.Context // ends with cause rpcerror.ErrStopping when nothing is to be waited for any more
	// OnLinearizable is told how long each linearizable read waited; nil: nobody is.
	OnLinearizable func(waited time.Duration)
}

// Heading is what the headers tell a call that asks by metadata.
type Heading struct {
	asked bool
	// freshAt is how fresh the node was before the read. What the read shows is at least as fresh.
	freshAt time.Time
	Leader  context.Context // ends when there is no leader; nil: not asked
}

// Await waits for what the metadata of a call asks for. A call without such metadata pays only for the look.
func (r *Reads) Await(ctx context.Context) (Heading, error) {
	if !r.Incoming.Asks(ctx) {
		return Heading{}, nil
	}
	a, err := r.Incoming.parse(ctx)
	if err != nil {
		return Heading{}, err
	}
	h := Heading{asked: true}
	if a.cluster != "" {
		if f := rpcerror.CheckCluster(a.cluster, r.Registry.ClusterID()); f != nil {
			return h, f
		}
	}
	if a.requireLeader {
		h.Leader, err = r.Leaders.require()
	}
	if err == nil {
		began := time.Now()
		err = r.fulfil(ctx, a)
		if a.linearizable && r.OnLinearizable != nil {
			r.OnLinearizable(time.Since(began))
		}
	}
	h.freshAt = r.Tracker.At()
	return h, err
}

// AwaitRegistry is Await for what reads the registry and nothing else. It is refused behind the fence, which
// is asked again after the wait, and on a node that has no registry yet.
func (r *Reads) AwaitRegistry(ctx context.Context) (Heading, error) { return r.AwaitRegistryAt(ctx, 0) }

// AwaitRegistryAt is AwaitRegistry of a call that goes on from a revision: it also waits until this node is there.
func (r *Reads) AwaitRegistryAt(ctx context.Context, from int64) (Heading, error) {
	if f := r.Refusal(); f != nil {
		return Heading{}, f
	}
	h, err := r.Await(ctx)
	if err == nil {
		err = r.fulfil(ctx, demand{from: from, maxStaleness: -1})
	}
	if f := r.Fence.Refusal(); f != nil && err == nil {
		err = f
	}
	return h, err
}

// Complete returns a channel that is closed once this node holds every write that was acknowledged before the
// call, or patience has passed and no leader could confirm which those are. The caller calls done in the end.
func (r *Reads) Complete(ctx context.Context, patience time.Duration) (complete <-chan struct{}, done func()) {
	ctx, cancel := context.WithCancel(ctx)
	known, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		if err := r.Tracker.AwaitComplete(ctx, patience); err == nil || ctx.Err() == nil {
			close(known)
		}
	}()
	return known, func() {
		cancel()
		<-ended
	}
}

// Refusal returns why this node must not answer for the registry; nil if it may.
func (r *Reads) Refusal() *rpcerror.Failure {
	if f := r.Fence.Refusal(); f != nil {
		return f
	}
	if r.Registry.ClusterID() == "" {
		return rpcerror.NoCluster()
	}
	return nil
}

// fulfil waits until this node is as far as the call demands.
func (r *Reads) fulfil(ctx context.Context, a demand) error {
	behind := r.Registry.Revision() < max(a.minRevision, a.from)
	// A round that begins now is fresh enough, however long it takes: it covers every write before the call.
	stale := a.linearizable || a.maxStaleness >= 0 && !r.fresherThan(a.maxStaleness)
	if !behind && !stale {
		return nil
	}
	wait, cancel := deadline.Answerable(ctx, r.Timeout)
	defer cancel()
	defer context.AfterFunc(r.Ending, cancel)()
	var f *rpcerror.Failure
	if behind {
		f = r.WaitRevision(wait, a.minRevision)
	}
	if behind && f == nil {
		f = r.waitRevision(wait, "from_revision", a.from)
	}
	if stale && f == nil {
		f = r.waitFresh(wait, a)
	}
	switch {
	case f == nil:
		return nil
	case r.Ending.Err() != nil:
		return rpcerror.ErrStopping
	case errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	}
	return f
}

func (r *Reads) fresherThan(d time.Duration) bool {
	at := r.Tracker.At()
	return !at.IsZero() && time.Since(at) < d
}

// WaitRevision waits until this node is at revision. It fails if ctx ends before.
func (r *Reads) WaitRevision(ctx context.Context, revision int64) *rpcerror.Failure {
	return r.waitRevision(ctx, MetadataMinRevision, revision)
}

func (r *Reads) waitRevision(ctx context.Context, asked string, revision int64) *rpcerror.Failure {
	if r.Registry.WaitRevision(ctx, revision) == nil {
		return nil
	}
	current := strconv.FormatInt(r.Registry.Revision(), 10)
	return &rpcerror.Failure{
		Reason: rpcerror.ReasonRevisionNotReached,
		Message: "this node is at revision " + current + " and did not reach " + asked + " " +
			strconv.FormatInt(revision, 10) + " in time",
		Meta: map[string]string{rpcerror.MetaCurrentRevision: current},
	}
}

func (r *Reads) waitFresh(ctx context.Context, a demand) *rpcerror.Failure {
	err := r.Tracker.Confirm(ctx)
	if err == nil {
		return nil
	}
	what := MetadataConsistency + " " + consistencyLinearizable
	if !a.linearizable {
		what = MetadataMaxStaleness + " " + a.maxStaleness.String()
	}
	return &rpcerror.Failure{
		Reason:  rpcerror.ReasonNotFresh,
		Message: "this node could not make sure of " + what + " in time: " + err.Error(),
		Err:     err,
	}
}

// SetHeader sets the headers of a call that asked by metadata. It is called after the read. So a caller that
// sends this revision as its next rollcall-min-revision never sees less than this read showed, on any node.
func (r *Reads) SetHeader(ctx context.Context, h Heading) {
	if !h.asked {
		return
	}
	// One array for all values: a linearizable read pays for this each time.
	values := &[4]string{strconv.FormatInt(r.Registry.ShownRevision(), 10), r.Node, r.Registry.ClusterID()}
	md := metadata.MD{MetadataRevision: values[0:1:1], MetadataNode: values[1:2:2]}
	if values[2] != "" {
		md[MetadataCluster] = values[2:3:3]
	}
	if !h.freshAt.IsZero() {
		// Rounded up to the next millisecond: every write older than that is surely shown.
		age := (time.Since(h.freshAt) + time.Millisecond - 1) / time.Millisecond
		values[3] = strconv.FormatInt(int64(age), 10)
		md[MetadataAge] = values[3:4:4]
	}
	// The only errors are that there is no call or that its headers are sent: nobody to tell.
	_ = grpc.SetHeader(ctx, md)
}
