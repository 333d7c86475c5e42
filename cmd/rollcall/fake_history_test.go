package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

const none = healthpb.HealthCheckResponse_SERVICE_UNKNOWN

// fakeHistory is what happened to a fake; its mutex guards it. The event of revision r is of r minutes
// after reported.
type fakeHistory struct {
	events  []*rollcallv1.Event
	oldest  int64         // revision that is kept; below 2: all
	changed chan struct{} // closed at the next event
}

func timeOf(revision int64) time.Time { return reported.Add(time.Duration(revision) * time.Minute) }

// happened appends the event of f.revision.
func (f *fake) happened(service string, s healthpb.HealthCheckResponse_ServingStatus, reason, actor string) {
	e := &rollcallv1.Event{
		Revision: f.revision, CommitRevision: f.revision, Type: rollcallv1.EventType_EVENT_TYPE_REPORTED, Service: service,
		Time: timestamppb.New(timeOf(f.revision)), Actor: &rollcallv1.Actor{Name: actor, Peer: "127.0.0.1:4711"}, Reason: reason,
		PreviousStatus: none, Status: s, EffectiveStatus: s,
	}
	if s == none {
		e.Type = rollcallv1.EventType_EVENT_TYPE_DELETED
	}
	if old := f.services[service]; old != nil {
		e.PreviousStatus = old.GetStatus()
	}
	f.append(e)
}

func (f *fake) append(e *rollcallv1.Event) {
	f.history.events = append(f.history.events, e)
	if f.history.changed != nil {
		close(f.history.changed)
		f.history.changed = nil
	}
}

// committed makes the last n events one atomic write.
func (f *fake) committed(n int) {
	for _, e := range f.history.events[len(f.history.events)-n:] {
		e.CommitRevision = f.revision
	}
}

// member is what happens when a node announces itself.
func (f *fake) member(name, api string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.revision++
	f.append(&rollcallv1.Event{
		Revision: f.revision, CommitRevision: f.revision, Type: rollcallv1.EventType_EVENT_TYPE_MEMBER_CHANGED,
		Time: timestamppb.New(timeOf(f.revision)), PreviousStatus: unknown, Status: unknown,
		Member: &rollcallv1.Member{Name: name, ApiAddress: api},
	})
}

func (f *fake) compact(oldest int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.history.oldest = oldest
}

func (f *fake) kept(revision int64) error {
	if oldest := max(f.history.oldest, 1); revision < oldest {
		return refusal(codes.OutOfRange, "COMPACTED", fmt.Sprintf("what happened before revision %d is not kept any more, and revision %d is asked for", oldest, revision),
			map[string]string{"oldest_revision": fmt.Sprint(oldest)})
	}
	return nil
}

// revisionAt is the newest whose time is not after t.
func (f *fake) revisionAt(t *timestamppb.Timestamp) int64 {
	n := int64(t.AsTime().Sub(reported) / time.Minute)
	return max(min(n, f.revision), 0)
}

func (f *fake) servicesAt(at *rollcallv1.At) (map[string]*rollcallv1.ServiceRecord, int64, error) {
	revision := f.revision
	switch at := at.GetAt().(type) {
	case nil:
		return f.services, revision, nil
	case *rollcallv1.At_Revision:
		if at.Revision > f.revision {
			return nil, 0, refusal(codes.OutOfRange, "REVISION_AHEAD", fmt.Sprintf("at.revision is %d, and this node is at revision %d", at.Revision, f.revision), nil)
		}
		for revision = at.Revision; revision > 0 && f.history.events[revision-1].GetCommitRevision() > revision; {
			revision--
		}
	case *rollcallv1.At_Time:
		if at.Time.AsTime().Year() >= 2200 {
			return nil, 0, refusal(codes.OutOfRange, "TIME_AHEAD", "at.time is 2200, which is in the future: the cluster's clock says 2026", nil)
		}
		revision = f.revisionAt(at.Time)
	}
	if err := f.kept(revision + 1); err != nil {
		return nil, 0, err
	}
	services := map[string]*rollcallv1.ServiceRecord{}
	overrides := map[string]*rollcallv1.Override{}
	for _, e := range f.history.events[:revision] {
		if e.GetType() == rollcallv1.EventType_EVENT_TYPE_OVERRIDE_SET {
			overrides[e.GetPattern()] = &rollcallv1.Override{
				Pattern: e.GetPattern(), Status: e.GetStatus(), Reason: e.GetReason(), Actor: e.GetActor(), Time: e.GetTime(), StatusTime: e.GetTime(),
				Revision: e.GetRevision(), ExpireTime: e.GetExpireTime(),
			}
		} else if e.GetPattern() != "" {
			delete(overrides, e.GetPattern())
		}
		if e.GetStatus() == none {
			delete(services, e.GetService())
		} else if e.GetService() != "" {
			services[e.GetService()] = &rollcallv1.ServiceRecord{
				Service: e.GetService(), Status: e.GetStatus(), StatusTime: e.GetTime(),
				Report: &rollcallv1.Report{Status: e.GetStatus(), Reason: e.GetReason(), Actor: e.GetActor(), Time: e.GetTime(), Revision: e.GetRevision()},
			}
		}
	}
	for name, rec := range services {
		services[name] = shownBeneath(overrides, rec)
	}
	return services, revision, nil
}

func (f *fake) getAt(req *rollcallv1.GetServiceRequest) (*rollcallv1.GetServiceResponse, error) {
	services, revision, err := f.servicesAt(req.GetAt())
	if err != nil {
		return nil, err
	}
	rec := services[req.GetService()]
	if rec == nil {
		return nil, refusal(codes.NotFound, "NOT_FOUND", req.GetService()+" did not exist", nil)
	}
	return &rollcallv1.GetServiceResponse{Service: rec, Revision: revision}, nil
}

// meets reports whether an event is of a service, or a pattern, that one of the prefixes wants.
func meets(e *rollcallv1.Event, prefixes []string) bool {
	return begins(e.GetService(), prefixes) || e.GetPattern() != "" && slices.ContainsFunc(prefixes, func(p string) bool { return pattern.Meets(e.GetPattern(), p) })
}

func begins(service string, prefixes []string) bool {
	return len(prefixes) == 0 || service != "" && slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(service, p) })
}

// ListEvents answers in one page, of whatever size.
func (f *fake) ListEvents(ctx context.Context, req *rollcallv1.ListEventsRequest) (*rollcallv1.ListEventsResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := grpc.SetHeader(ctx, metadata.Pairs("rollcall-revision", fmt.Sprint(f.revision))); err != nil {
		return nil, err
	}
	from, to := req.GetFromRevision(), f.revision
	if since := req.GetFromTime(); since != nil {
		if at := f.revisionAt(timestamppb.New(since.AsTime().Add(-1))); f.kept(at+1) == nil {
			from = max(from, at+1)
		}
	}
	if until := req.GetToTime(); until != nil {
		to = f.revisionAt(until)
	}
	if req.GetToRevision() > 0 {
		to = min(to, req.GetToRevision())
	}
	if from == 0 {
		from = max(f.history.oldest, 1)
	}
	if err := f.kept(from); err != nil {
		return nil, err
	}
	resp := &rollcallv1.ListEventsResponse{OldestRevision: max(f.history.oldest, 1), Revision: f.revision}
	for ; from <= to; from++ {
		e := f.history.events[from-1]
		if meets(e, req.GetPrefixes()) && (req.GetService() == "" || req.GetService() == e.GetService() || e.GetPattern() != "" && pattern.Covers(e.GetPattern(), req.GetService())) &&
			(req.GetActor() == "" || req.GetActor() == e.GetActor().GetName()) &&
			(len(req.GetTypes()) == 0 || slices.Contains(req.GetTypes(), e.GetType())) {
			resp.Events = append(resp.Events, e)
		}
	}
	if req.GetNewestFirst() {
		slices.Reverse(resp.Events)
	}
	return resp, nil
}

// follow calls step, under the lock, at once and after every event, and sends what it returns.
func follow[M any](f *fake, stream grpc.ServerStreamingServer[M], step func() (*M, error)) error {
	for {
		f.mu.Lock()
		m, err := step()
		if f.history.changed == nil {
			f.history.changed = make(chan struct{})
		}
		changed := f.history.changed
		f.mu.Unlock()
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

// WatchEvents sends up to four events a message.
func (f *fake) WatchEvents(req *rollcallv1.WatchEventsRequest, stream grpc.ServerStreamingServer[rollcallv1.WatchEventsResponse]) error {
	at, begun := req.GetFromRevision()-1, false
	return follow(f, stream, func() (*rollcallv1.WatchEventsResponse, error) {
		if !begun {
			begun = true
			if at < 0 {
				at = f.revision
			}
			return &rollcallv1.WatchEventsResponse{Revision: at}, f.kept(at + 1)
		}
		m := &rollcallv1.WatchEventsResponse{}
		for at < f.revision && len(m.Events) < 4 {
			at++
			if e := f.history.events[at-1]; meets(e, req.GetPrefixes()) {
				m.Events = append(m.Events, e)
			}
		}
		if m.Revision = at; len(m.Events) == 0 {
			return nil, nil
		}
		return m, nil
	})
}

// WatchServices sends the state in one message, and then an event a message.
func (f *fake) WatchServices(req *rollcallv1.WatchServicesRequest, stream grpc.ServerStreamingServer[rollcallv1.WatchServicesResponse]) error {
	at := int64(-1)
	return follow(f, stream, func() (*rollcallv1.WatchServicesResponse, error) {
		if at < 0 {
			at = f.revision
			m := &rollcallv1.WatchServicesResponse{Revision: at, Synced: true}
			for name, r := range f.services {
				if begins(name, req.GetPrefixes()) {
					m.Services = append(m.Services, r)
				}
			}
			slices.SortFunc(m.Services, func(a, b *rollcallv1.ServiceRecord) int { return strings.Compare(a.GetService(), b.GetService()) })
			return m, nil
		}
		for at < f.revision {
			at++
			e := f.history.events[at-1]
			switch r := f.services[e.GetService()]; {
			case !begins(e.GetService(), req.GetPrefixes()):
			case r == nil:
				return &rollcallv1.WatchServicesResponse{Deleted: []string{e.GetService()}, Revision: at, Synced: true}, nil
			default:
				return &rollcallv1.WatchServicesResponse{Services: []*rollcallv1.ServiceRecord{r}, Revision: at, Synced: true}, nil
			}
		}
		return nil, nil
	})
}
