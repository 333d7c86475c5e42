package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const (
	// stableAfter is how long a stream must have lived so that its end does not count as one more failure.
	stableAfter = 5 * time.Second
	// clusterChangedAfter is how long endpoints that cannot be reached are waited for when others belong to
	// another cluster: they may be nodes of the old one that restart.
	clusterChangedAfter = 5 * time.Second
	// reconnectMax is the longest pause before a watch opens its next stream, reconnectLateMax after it has failed for
	// reconnectPatience.
	reconnectMax      = time.Second
	reconnectLateMax  = 5 * time.Second
	reconnectPatience = time.Minute
)

var (
	errStopped = errors.New("the consumer left the loop")
	errSilent  = errors.New("no answer in time")
	errReopen  = errors.New("what the stream said does not go with what was said before")
)

// failover keeps one watch going: it stays at an endpoint while the stream there lasts, then moves to the
// next one.
type failover struct {
	c  *Client
	op operation
	// onClusterChanged prepares the watch for another cluster. Its error ends the watch.
	onClusterChanged func(*Error) error

	delivered   bool             // something was given to the consumer
	minRevision int64            // nothing that is given from now on may be older
	cluster     string           // that minRevision belongs to; "": not known yet
	connected   bool             // some endpoint could be connected to
	answered    bool             // the current stream sent a message
	filtered    bool             // there may be more than what the current stream, which sent a message, shows
	tell        func(WatchState) // nil: nobody wants to know
	reopens     int              // in a row
	lastError   *Error           // since a node last sent a message
	credential  uint64           // generation of the token of the current stream; 0: none
	renewed     bool             // since a node last sent a message, another stream was opened because the token is another one
}

// run opens a stream at one endpoint after the other. It returns nil if the consumer left.
//
// A node of another cluster does not end the watch at once: another endpoint may still serve the old one. The
// cluster has changed when all endpoints belong to another, or when some do and no endpoint has served the old
// one for clusterChangedAfter.
func (w *failover) run(ctx context.Context, follow func(ctx context.Context, e *endpoint, timeout time.Duration) error) error {
	if !utf8.ValidString(w.op.service) {
		return w.op.error(codes.InvalidArgument, "the service's name is not valid UTF-8", nil)
	}
	endpoints, _, bad := w.c.order(ctx)
	if bad != nil {
		return w.op.error(codes.InvalidArgument, bad.Error(), nil)
	}
	w.tell, _ = ctx.Value(watchStateKey{}).(func(WatchState))
	var (
		moves   int       // since the last stable stream
		failing time.Time // when the first of them was
		first   []*Error  // of the first round
		changed clusterChange
	)
	for at := 0; ; {
		e := endpoints[at]
		began := time.Now()
		w.answered = false
		err := follow(ctx, e, w.c.attemptTimeout(moves/len(endpoints)))
		if errors.Is(err, errStopped) {
			if w.answered {
				w.tellEnded(e, nil)
			}
			return nil
		}
		if w.answered {
			w.tellEnded(e, w.op.failed(e, err, WrittenNo))
		}
		if cause := w.c.over(ctx); cause != nil {
			return w.op.ended(cause, w.lastError)
		}
		if errors.Is(err, errReopen) {
			if w.reopens++; w.reopens > 1 {
				pause(ctx, roundPause(w.reopens-2))
			}
			continue
		}
		f := w.op.failed(e, err, WrittenNo)
		if final(f.Code) {
			if w.renewed || !w.c.renewedToken(ctx, f, w.credential) {
				return f
			}
			w.renewed = true
		}
		w.c.cfg.Logger.LogAttrs(ctx, slog.LevelDebug, "a watch moves on", slog.String("endpoint", e.address),
			slog.String("service", w.op.service), slog.Int64("revision", w.minRevision), slog.Any("error", f))
		w.lastError = f
		if changed.note(f, w.answered, len(endpoints)) {
			w.c.adoptCluster(changed.last.ClusterID)
			if err := w.onClusterChanged(changed.last); err != nil {
				return err
			}
			at = slices.IndexFunc(endpoints, func(e *endpoint) bool { return e.address == changed.last.Endpoint })
			w.minRevision, w.cluster, w.lastError = 0, "", nil
			moves, changed = 0, clusterChange{}
			continue
		}
		if w.delivered && time.Since(began) >= stableAfter {
			moves = 0
		}
		if moves == 0 {
			failing = time.Now()
		}
		moves++
		if !w.connected {
			if first = append(first, f); len(first) == len(endpoints) {
				return w.op.unanswered(first)
			}
		}
		at = (at + 1) % len(endpoints)
		// Also before the first move: when a node stops, all its watchers move at once.
		pause(ctx, reconnectPause((moves-1)/len(endpoints), time.Since(failing)))
	}
}

// reconnectPause returns the pause before a watch opens its next stream. It grows with each round, and further when no
// stream has been stable for a minute; it is anything up to that, so that the watches of many processes which lost a
// node, or all nodes, at the same moment spread over the whole of it.
func reconnectPause(round int, failing time.Duration) time.Duration {
	longest := reconnectMax
	if failing >= reconnectPatience {
		longest = reconnectLateMax
	}
	return rand.N(min(backoffBase<<min(round, 10), longest))
}

// clusterChange collects what endpoints say of their cluster, since one last served the watch.
type clusterChange struct {
	failures int             // endpoints in a row that sent nothing
	said     map[string]bool // endpoints that said that they belong to another cluster
	since    time.Time       // when the first of them did
	last     *Error          // what the last of them said
}

// note adds the end of one stream, and whether the stream had sent anything. It reports that the cluster has
// changed.
func (c *clusterChange) note(f *Error, answered bool, endpoints int) bool {
	if answered {
		*c = clusterChange{}
	}
	if !answered {
		c.failures++
	}
	if f.Reason == ReasonClusterChanged {
		if c.last = f; c.said == nil {
			c.said, c.since = map[string]bool{}, time.Now()
		}
		c.said[f.Endpoint] = true
	}
	return c.last != nil && c.failures >= endpoints && (len(c.said) == endpoints || time.Since(c.since) >= clusterChangedAfter)
}

// final reports codes of answers that no other node and no later time would change.
func final(code codes.Code) bool {
	switch code {
	case codes.InvalidArgument, codes.Unimplemented, codes.PermissionDenied, codes.Unauthenticated, codes.OutOfRange:
		return true
	}
	return false
}

// receive opens a stream at one endpoint and calls handle with each of its messages, until either fails.
// timeout bounds all that comes before the first message: connecting, and the node's wait for what the
// request asks by metadata.
func receive[M any](ctx context.Context, w *failover, e *endpoint, timeout time.Duration,
	open func(ctx context.Context, conn grpc.ClientConnInterface) (grpc.ServerStreamingClient[M], error),
	handle func(ctx context.Context, conn grpc.ClientConnInterface, m *M) error,
) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silent := time.AfterFunc(timeout, func() { cancel(errSilent) })
	defer silent.Stop()
	conn, err := e.connect(ctx)
	if err != nil {
		return silence(ctx, err, timeout)
	}
	tracked, t := track(withCluster(atLeast(ctx, w.minRevision), w.cluster))
	stream, err := open(tracked, conn)
	w.credential = t.credential.Load()
	for first := true; err == nil; first = false {
		var m *M
		if m, err = stream.Recv(); err != nil {
			break
		}
		if first && !silent.Stop() {
			err = errSilent // too late by a hair
			break
		}
		w.connected = true
		if first {
			if err = w.checkCluster(clusterOf(stream, m)); err != nil {
				break
			}
		}
		w.answered, w.lastError, w.renewed = true, nil, false
		if first {
			w.credential = t.credential.Load() // gRPC may have sent the request twice
			w.filtered = isFiltered(stream)
			w.tellConnected(e, w.filtered)
		}
		err = handle(ctx, conn, m)
	}
	if !t.unsent() {
		w.connected = true
	}
	return silence(ctx, err, timeout)
}

// clusterOf returns the cluster that the first message of a stream belongs to; "" if the node does not say.
func clusterOf[M any](stream grpc.ServerStreamingClient[M], m *M) string {
	if named, ok := any(m).(interface{ GetClusterId() string }); ok {
		return named.GetClusterId()
	}
	md, err := stream.Header() // there is one: a message has come
	if err != nil {
		return ""
	}
	return firstValue(md, clusterKey)
}

// isFiltered reports whether a stream, of which a message has come, shows less than there may be.
func isFiltered(stream grpc.ClientStream) bool {
	md, err := stream.Header()
	return err == nil && firstValue(md, filteredKey) == "true"
}

// checkCluster takes the cluster that a stream belongs to. It was asked for the right one, so that only a
// node that does not understand the question can answer for another.
func (w *failover) checkCluster(cluster string) error {
	switch {
	case w.cluster == "":
		w.cluster = cluster
		w.c.learnCluster(cluster)
	case cluster != "" && cluster != w.cluster:
		return clusterChangedError(cluster)
	}
	return nil
}

// silence names the timeout as the cause if it was.
func silence(ctx context.Context, err error, timeout time.Duration) error {
	if errors.Is(err, errSilent) || errors.Is(context.Cause(ctx), errSilent) {
		return status.Error(codes.Unavailable, fmt.Sprintf("no answer within %v", timeout))
	}
	return err
}

// firstValue returns the first value of a key; "" if there is none.
func firstValue(md metadata.MD, key string) string {
	if v := md.Get(key); len(v) > 0 {
		return v[0]
	}
	return ""
}
