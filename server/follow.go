package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"

	"github.com/rollcallhq/rollcall/api/rollcall/convert"
	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/authz"
	"github.com/rollcallhq/rollcall/server/flowcontrol"
	"github.com/rollcallhq/rollcall/server/freshness"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// A watch of events gets a message without events, a bookmark, when it has passed so many revisions or so
// much time without an event for it.
const (
	bookmarkRevisions = 1_000
	bookmarkInterval  = 10 * time.Second
)

// WatchEvents implements rollcall.v1.Registry. It ends with UNAVAILABLE when the node stops, so that
// clients move to another.
func (s *registryService) WatchEvents(req *rollcallv1.WatchEventsRequest, stream grpc.ServerStreamingServer[rollcallv1.WatchEventsResponse]) (err error) {
	defer rpcerror.Recovered(s.log, s.Node, "Registry.WatchEvents", false, &err)
	var vs violations
	vs.prefixes(req.GetPrefixes())
	vs.revision("from_revision", req.GetFromRevision())
	scope := &eventScope{prefixes: req.GetPrefixes()}
	return s.follow(stream, vs, 0, 0, scope, func(ctx context.Context, may *authz.Reader, out *flowcontrol.PageSender) error {
		var told int64
		var at time.Time // zero: nothing is told yet
		var begun bool   // the last message ended within an atomic write
		err := s.followers.FollowEvents(ctx, req.GetFromRevision(), following(out), func(events []*logv1.Event, revision int64) error {
			m := &rollcallv1.WatchEventsResponse{Revision: revision}
			if at.IsZero() {
				m.ClusterId = s.registry.ClusterID()
			}
			if n := len(events); n > 0 {
				last := events[n-1]
				m.More = last.GetRevision() < last.GetCommitRevision()
			}
			for _, e := range events {
				if may.Sees(e) && matches(e, req.GetPrefixes()) {
					p := convert.Event(e)
					may.Redact(p)
					m.Events = append(m.Events, p)
				}
			}
			bookmark := at.IsZero() || revision-told >= bookmarkRevisions ||
				revision > told && time.Since(at) >= bookmarkInterval
			// If a part of an atomic write was sent, the end of the write is sent too, even without events.
			if len(m.Events) == 0 && (m.More || !bookmark && !begun) {
				return nil
			}
			told, at, begun = revision, time.Now(), m.More
			return out.Send(ctx, stream, m)
		})
		return compacted(err)
	})
}

// WatchServices implements rollcall.v1.Registry. It ends as WatchEvents does.
func (s *registryService) WatchServices(req *rollcallv1.WatchServicesRequest, stream grpc.ServerStreamingServer[rollcallv1.WatchServicesResponse]) (err error) {
	defer rpcerror.Recovered(s.log, s.Node, "Registry.WatchServices", false, &err)
	var vs violations
	vs.prefixes(req.GetPrefixes())
	vs.names(req)
	vs.view(req.GetView())
	vs.revision("from_revision", req.GetFromRevision())
	prefixes, names := req.GetPrefixes(), req.GetServices()
	only, from := statusOnly(req), req.GetFromRevision()
	if len(names) > 0 {
		from = 0
	}
	req = nil // the names that others watch too are not kept twice
	var in scope = &prefixScope{prefixes: prefixes}
	if len(names) > 0 {
		in = &nameScope{names: names}
	}
	return s.follow(stream, vs, namesBytes(names), from, in, func(ctx context.Context, may *authz.Reader, out *flowcontrol.PageSender) error {
		complete, done := s.Complete(ctx, s.completePatience)
		defer done()
		first := true
		send := func(m *rollcallv1.WatchServicesResponse) error {
			if first {
				first, m.ClusterId = false, s.registry.ClusterID()
			}
			return out.Send(ctx, stream, m)
		}
		how := following(out)
		how.StatusOnly, how.Resume = only, from
		if len(names) > 0 {
			these := names
			names = nil
			return s.followers.FollowNames(ctx, these, how, complete, send)
		}
		if !may.Whole() {
			how.Keep = may.Allows
		}
		err := s.followers.FollowServices(ctx, prefixes, how, complete, send)
		if behind := (*logv1.CompactedError)(nil); errors.As(err, &behind) {
			return &rpcerror.Failure{
				Reason:  rpcerror.ReasonFellBehind,
				Message: "this watch fell so far behind that what it missed is not kept any more; begin it anew",
				Err:     err,
			}
		}
		return err
	})
}

// follow runs a watch of the registry until its stream ends, the node stops, the fence is raised, or what its caller may
// read within its scope is another. The watch holds kept bytes beside what it sends. It begins when the node has reached
// the revision from.
func (s *registryService) follow(stream grpc.ServerStream, bad violations, kept, from int64, in scope, run func(ctx context.Context, may *authz.Reader, out *flowcontrol.PageSender) error) error {
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	defer context.AfterFunc(s.Ending, func() { cancel(rpcerror.ErrStopping) })()
	defer s.Fence.OnRaise(cancel)()
	if len(bad) > 0 {
		return rpcerror.ToStatus(s.Node, rpcerror.Invalid(bad...))
	}
	connection, _ := peer.FromContext(ctx)
	out, f := flowcontrol.NewPageSender(s.pages, connection, kept)
	if f != nil {
		return rpcerror.ToStatus(s.Node, f)
	}
	defer out.Close()
	call, err := s.admit(ctx, true, func(ctx context.Context) (freshness.Heading, error) {
		return s.AwaitRegistryAt(ctx, from)
	})
	if err == nil {
		err = s.deny(in.denied(call.may))
	}
	s.answered(ctx, call, err == nil && in.filters(call.may))
	if call.Leader != nil {
		defer context.AfterFunc(call.Leader, func() { cancel(freshness.ErrNoLeader) })()
	}
	if err == nil {
		open := &openStream{ctx: ctx, cancel: cancel, scope: in, began: call.may}
		defer s.streams.Leave(&open.recheck)
		err = failed(s.streams.Join(&open.recheck, open, call.caller, call.may))
	}
	if err == nil {
		err = run(ctx, call.may, out)
	}
	if s.Ending.Err() != nil && !out.Gone(stream) {
		// The client does not read. The status that ends the stream would wait behind the unread pages, and
		// Stop would wait for it.
		s.cutOff(stream.Context())
	}
	// A watch that this node ended says why.
	if ended := (*rpcerror.Failure)(nil); errors.As(context.Cause(ctx), &ended) {
		err = ended
	}
	return rpcerror.ToStatus(s.Node, err)
}

// following returns the options of reading for one watch of the registry.
func following(out *flowcontrol.PageSender) logv1.Following {
	return logv1.Following{Quiet: bookmarkInterval, Room: out.Room, Idle: out.Idle}
}

// compacted turns a CompactedError into what the caller is told. It returns other errors as they are.
func compacted(err error) error {
	c := (*logv1.CompactedError)(nil)
	if !errors.As(err, &c) {
		return err
	}
	return notKept(c, "revision "+strconv.FormatInt(c.Asked, 10)+" is asked for")
}

func notKept(c *logv1.CompactedError, asked string) *rpcerror.Failure {
	oldest := strconv.FormatInt(c.Oldest, 10)
	return &rpcerror.Failure{
		Reason:  rpcerror.ReasonCompacted,
		Message: "what happened before revision " + oldest + " is not kept any more, and " + asked,
		Meta:    map[string]string{rpcerror.MetaOldestRevision: oldest},
		Err:     c,
	}
}

// matches says whether an event is among those asked for: of a service whose name begins with one of prefixes, or
// of an override whose pattern meets one.
func matches(e *logv1.Event, prefixes []string) bool {
	if len(prefixes) == 0 {
		return true
	}
	switch e.GetKind() {
	case logv1.Kind_KIND_SERVICE:
		return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(e.GetKey(), p) })
	case logv1.Kind_KIND_OVERRIDE:
		return slices.ContainsFunc(prefixes, func(p string) bool { return pattern.Meets(e.GetKey(), p) })
	}
	return false
}

func (vs *violations) prefixes(prefixes []string) {
	if n := len(prefixes); n > limits.MaxPrefixes {
		vs.add("prefixes", "has %d entries; at most %d are allowed", n, limits.MaxPrefixes)
		return
	}
	for i, p := range prefixes {
		vs.text(fmt.Sprintf("prefixes[%d]", i), limits.Lookup(p))
	}
}

// names checks the names of a watch of services.
func (vs *violations) names(req *rollcallv1.WatchServicesRequest) {
	names := req.GetServices()
	switch {
	case len(names) == 0:
		return
	case len(names) > limits.MaxWatchedNames:
		vs.add("services", "has %d entries; at most %d are allowed, open another watch for the others", len(names), limits.MaxWatchedNames)
		return
	case len(req.GetPrefixes()) > 0:
		vs.add("services", "cannot be given together with prefixes; open a watch for each")
	}
	for i, name := range names {
		field := "services[" + strconv.Itoa(i) + "]"
		if bad := limits.Lookup(name); bad != nil {
			vs.text(field, bad)
		} else if rollcallv1.IsOwn(name) {
			vs.add(field, "is %s, one of the node's own names, which have no record; grpc.health.v1.Health/Watch follows them", rpcerror.QuoteShort(name))
		}
	}
}

// nameBytes is the most memory that a watch takes for each of its names, beside the name itself, once and while the
// first state is sent.
const nameBytes = 192

// namesBytes is the most memory that a watch of names takes for them.
func namesBytes(names []string) (bytes int64) {
	for _, name := range names {
		bytes += nameBytes + int64(len(name))
	}
	return bytes
}

func (vs *violations) revision(field string, revision int64) {
	if revision < 0 {
		vs.add(field, "is %d; it must be a revision, or 0", revision)
	}
}
