package convert

import (
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/types/known/timestamppb"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// Status is the standard's status. The log's has the same numbers.
type Status = healthpb.HealthCheckResponse_ServingStatus

// Timestamp is a time in Unix nanoseconds; nil for 0, which is none.
func Timestamp(nanos int64) *timestamppb.Timestamp {
	if nanos == 0 {
		return nil
	}
	return timestamppb.New(time.Unix(0, nanos))
}

// Actor is nil if nothing is known of the actor.
func Actor(name, peer, onBehalfOf string, verified bool) *rollcallv1.Actor {
	if name == "" && peer == "" && onBehalfOf == "" && !verified {
		return nil
	}
	return &rollcallv1.Actor{Name: name, Peer: peer, OnBehalfOf: onBehalfOf, Verified: verified}
}

func actorOf(a *logv1.Actor) *rollcallv1.Actor {
	return Actor(a.GetName(), a.GetPeer(), a.GetOnBehalfOf(), a.GetVerified())
}

// Service is a service with a report. Times are Unix nanoseconds.
type Service struct {
	Name       string
	Effective  Status // what Check answers
	StatusTime int64  // since when; 0: not known
	Reported   Status
	Reason     string
	Actor      *rollcallv1.Actor
	Time       int64
	Revision   int64
	LeaseID    string                 // that the report is attached to; "": to none
	Overrides  []*rollcallv1.Override // that cover it, the one that decides first
	Lease      *rollcallv1.Lease      // of LeaseID; nil if it is not asked for
}

// Public returns s as the API shows it.
func (s *Service) Public() *rollcallv1.ServiceRecord {
	p := &rollcallv1.ServiceRecord{
		Service:    s.Name,
		Status:     s.Effective,
		StatusTime: Timestamp(s.StatusTime),
		Report: &rollcallv1.Report{
			Status:   s.Reported,
			Reason:   s.Reason,
			Actor:    s.Actor,
			Time:     Timestamp(s.Time),
			Revision: s.Revision,
			LeaseId:  s.LeaseID,
		},
		Lease: s.Lease,
	}
	if len(s.Overrides) > 0 {
		p.Override, p.Shadowed = s.Overrides[0], s.Overrides[1:]
	}
	return p
}

// StatusOnly returns what VIEW_STATUS shows of a service. The time is in Unix nanoseconds; 0: not known. It takes one
// piece of memory: there may be very many.
func StatusOnly(name string, status Status, since int64) *rollcallv1.ServiceRecord {
	p := &struct {
		record rollcallv1.ServiceRecord
		since  timestamppb.Timestamp
	}{}
	p.record.Service, p.record.Status = name, status
	if since != 0 {
		t := time.Unix(0, since)
		p.since.Seconds, p.since.Nanos = t.Unix(), int32(t.Nanosecond())
		p.record.StatusTime = &p.since
	}
	return &p.record
}

// ServiceResults returns the services of a result, in the order of its changes. One that does not exist any more
// has no report, and the status SERVICE_UNKNOWN.
func ServiceResults(r *logv1.Result) []*rollcallv1.ServiceRecord {
	overrides := make(map[string]*rollcallv1.Override, len(r.GetOverrides()))
	for _, o := range r.GetOverrides() {
		overrides[o.GetPattern()] = Override(o.GetPattern(), o.GetOverride())
	}
	records := make([]*rollcallv1.ServiceRecord, len(r.GetServices()))
	for i, s := range r.GetServices() {
		records[i] = serviceResult(s, overrides)
	}
	return records
}

func serviceResult(r *logv1.ServiceResult, overrides map[string]*rollcallv1.Override) *rollcallv1.ServiceRecord {
	record := r.GetRecord()
	p := record.GetReport()
	if p == nil {
		return &rollcallv1.ServiceRecord{
			Service:    record.GetService(),
			Status:     healthpb.HealthCheckResponse_SERVICE_UNKNOWN,
			StatusTime: Timestamp(record.GetStatusTime()),
		}
	}
	s := Service{
		Name:       record.GetService(),
		Effective:  Status(p.GetStatus()),
		StatusTime: record.GetStatusTime(),
		Reported:   Status(p.GetStatus()),
		Reason:     p.GetReason(),
		Actor:      actorOf(p.GetActor()),
		Time:       p.GetTime(),
		Revision:   p.GetRevision(),
		LeaseID:    p.GetLeaseId(),
	}
	if since := r.GetEffectiveTime(); since != 0 {
		s.StatusTime = since
	}
	if len(overrides) > 0 {
		pattern.Each(s.Name, func(p string) bool {
			if o := overrides[p]; o != nil {
				s.Overrides = append(s.Overrides, o)
			}
			return true
		})
	}
	if len(s.Overrides) > 0 {
		s.Effective = s.Overrides[0].GetStatus()
	}
	return s.Public()
}

// ServiceAfter returns what was reported of a service after its event; nil if nothing.
func ServiceAfter(e *logv1.Event) *Service {
	if e.GetDeletes() {
		return nil
	}
	return &Service{
		Name:       e.GetKey(),
		Effective:  Status(e.GetStatus()),
		StatusTime: e.GetStatusTime(),
		Reported:   Status(e.GetStatus()),
		Reason:     e.GetReason(),
		Actor:      actorOf(e.GetActor()),
		Time:       e.GetTime(),
		Revision:   e.GetRevision(),
		LeaseID:    e.AttachedTo(),
	}
}

// Event returns an event of any kind. The numbers of types and statuses agree.
func Event(e *logv1.Event) *rollcallv1.Event {
	p := &rollcallv1.Event{
		Revision:        e.GetRevision(),
		CommitRevision:  e.GetCommitRevision(),
		Type:            rollcallv1.EventType(e.GetType()),
		Time:            Timestamp(e.GetTime()),
		Actor:           actorOf(e.GetActor()),
		Reason:          e.GetReason(),
		RequestId:       e.GetRequestId(),
		Service:         e.ServiceName(),
		PreviousStatus:  Status(e.GetPreviousStatus()),
		Status:          Status(e.GetStatus()),
		EffectiveStatus: Status(e.GetEffectiveStatus()),
		MatchedCount:    e.GetMatchedCount(),
		BrokenRules:     BrokenRules(e.GetRuleBreak().GetBroken()),
		BreakGlass:      e.GetRuleBreak().GetBreakGlass(),
		LeaseId:         e.GetLeaseId(),
		Detached:        e.GetDetached(),
	}
	switch e.GetKind() {
	case logv1.Kind_KIND_MEMBER:
		p.Member = memberAfter(e)
	case logv1.Kind_KIND_REMOVED_MEMBER:
		p.Member = removedAfter(e)
	case logv1.Kind_KIND_OVERRIDE:
		overrideEvent(p, e)
	case logv1.Kind_KIND_RULE:
		ruleEvent(p, e)
	case logv1.Kind_KIND_LEASE:
		leaseEvent(p, e)
	case logv1.Kind_KIND_LEASE_GUARD:
		leaseGuardEvent(p, e)
	case logv1.Kind_KIND_TOKEN, logv1.Kind_KIND_ROLE, logv1.Kind_KIND_GRANTS, logv1.Kind_KIND_AUTH:
		p.Access = accessChange(e)
	}
	return p
}
