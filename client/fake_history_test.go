package client_test

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// The event of revision r is of second r, and is an atomic write of its own.

func (n *fakeNode) compacted(from int64) error {
	if oldest := max(n.cluster.oldest, 1); from < oldest {
		return refusal(codes.OutOfRange, "COMPACTED", map[string]string{"oldest_revision": strconv.FormatInt(oldest, 10)})
	}
	return nil
}

// asOf is the revision that at stands for. cluster.mu is held.
func (n *fakeNode) asOf(at *rollcallv1.At) (int64, error) {
	revision := n.applied
	switch at := at.GetAt().(type) {
	case *rollcallv1.At_Revision:
		if revision = at.Revision; revision > n.applied {
			return 0, refusal(codes.OutOfRange, "REVISION_AHEAD", nil)
		}
	case *rollcallv1.At_Time:
		revision = min(revision, at.Time.GetSeconds())
	}
	return revision, n.compacted(revision + 1)
}

// event is the one of a revision. cluster.mu is held.
func (n *fakeNode) event(revision int64) *rollcallv1.Event {
	e := n.cluster.events[revision-1]
	typ := rollcallv1.EventType_EVENT_TYPE_REPORTED
	if e.status == missing {
		typ = rollcallv1.EventType_EVENT_TYPE_DELETED
	}
	return &rollcallv1.Event{
		Revision: revision, CommitRevision: revision, Type: typ, Service: e.service, Status: e.status, Reason: e.reason,
		Time: timestamppb.New(time.Unix(revision, 0)), Actor: &rollcallv1.Actor{Name: "ann"},
	}
}

func chosen(service string, prefixes []string) bool {
	return len(prefixes) == 0 || slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(service, p) })
}

func wanted(service string, req *rollcallv1.WatchServicesRequest) bool {
	if len(req.GetServices()) > 0 {
		return slices.Contains(req.GetServices(), service)
	}
	return chosen(service, req.GetPrefixes())
}

func (n *fakeNode) ListEvents(ctx context.Context, req *rollcallv1.ListEventsRequest) (*rollcallv1.ListEventsResponse, error) {
	if err := n.enter(ctx, "ListEvents", req); err != nil {
		return nil, err
	}
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	from, to := max(req.GetFromRevision(), req.GetFromTime().GetSeconds()), n.applied
	for _, bound := range []int64{req.GetToRevision(), req.GetToTime().GetSeconds()} {
		if bound > 0 {
			to = min(to, bound)
		}
	}
	if from == 0 {
		from = max(n.cluster.oldest, 1)
	}
	if err := n.compacted(from); err != nil {
		return nil, err
	}
	if next, err := strconv.ParseInt(req.GetPageToken(), 10, 64); err == nil {
		if req.GetNewestFirst() {
			to = next
		} else {
			from = next
		}
	}
	resp := &rollcallv1.ListEventsResponse{OldestRevision: max(n.cluster.oldest, 1), Revision: n.applied, ClusterId: n.cluster.id}
	for ; from <= to; from++ {
		r := from
		if req.GetNewestFirst() {
			r = to
			from, to = from-1, to-1
		}
		if size := int(req.GetPageSize()); size > 0 && len(resp.Events) == size {
			resp.NextPageToken = strconv.FormatInt(r, 10)
			break
		}
		e := n.event(r)
		if chosen(e.GetService(), req.GetPrefixes()) && (req.GetService() == "" || req.GetService() == e.GetService()) &&
			(req.GetActor() == "" || req.GetActor() == e.GetActor().GetName()) &&
			(len(req.GetTypes()) == 0 || slices.Contains(req.GetTypes(), e.GetType())) {
			resp.Events = append(resp.Events, e)
		}
	}
	return resp, nil
}

// follow calls step under the lock, at once and after every change, until the stream has to end; step
// returns what to send, if anything.
func follow[M any](n *fakeNode, stream grpc.ServerStreamingServer[M], step func() (*M, error)) error {
	for {
		n.cluster.mu.Lock()
		m, err := step()
		changed, draining := n.cluster.changed, n.draining
		n.cluster.mu.Unlock()
		if draining {
			return refusal(codes.Unavailable, "STOPPING", nil)
		}
		if err != nil {
			return err
		}
		if m != nil {
			if err := stream.Send(m); err != nil {
				return err
			}
			continue
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

func (n *fakeNode) WatchEvents(req *rollcallv1.WatchEventsRequest, stream grpc.ServerStreamingServer[rollcallv1.WatchEventsResponse]) error {
	if err := n.enter(stream.Context(), "WatchEvents", req); err != nil {
		return err
	}
	at, begun := req.GetFromRevision()-1, false
	return follow(n, stream, func() (*rollcallv1.WatchEventsResponse, error) {
		if !begun {
			begun = true
			if at < 0 {
				at = n.applied
			}
			return &rollcallv1.WatchEventsResponse{Revision: at, ClusterId: n.cluster.id}, n.compacted(at + 1)
		}
		m := &rollcallv1.WatchEventsResponse{}
		first, last := n.cluster.whole[0], n.cluster.whole[1]
		if n.stuck && at > first {
			return nil, nil
		}
		for at < n.applied && len(m.Events) < 3 && (at != first-1 || len(m.Events) == 0) {
			at++
			if e := n.event(at); chosen(e.GetService(), req.GetPrefixes()) {
				m.Events = append(m.Events, e)
			}
		}
		m.Revision = at
		if m.More = at >= first && at < last; m.More {
			m.Revision = first - 1
		}
		if len(m.Events) == 0 && (m.More || at != last) {
			return nil, nil
		}
		return m, nil
	})
}
