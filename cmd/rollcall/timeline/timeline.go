package timeline

import (
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// Period is a span of time in which one report or override decided, or in which the service was deleted.
type Period struct {
	Start    time.Time
	End      time.Time                                  // zero: it holds now
	Status   healthpb.HealthCheckResponse_ServingStatus // effective; SERVICE_UNKNOWN: deleted
	Actor    *rollcallv1.Actor                          // who made the report or override that decides, or the deletion
	Reason   string                                     // why
	Revision int64                                      // of the event that began it
	Override *rollcallv1.Override                       // that decides; nil: none does
	Report   *rollcallv1.Report                         // beneath Override, the last one in this time
}

// Types are those of events that a timeline is made of.
var Types = []rollcallv1.EventType{
	rollcallv1.EventType_EVENT_TYPE_REPORTED, rollcallv1.EventType_EVENT_TYPE_DELETED, rollcallv1.EventType_EVENT_TYPE_EXPIRED,
	rollcallv1.EventType_EVENT_TYPE_OVERRIDE_SET, rollcallv1.EventType_EVENT_TYPE_OVERRIDE_CLEARED, rollcallv1.EventType_EVENT_TYPE_OVERRIDE_EXPIRED,
}

// Build returns the timeline of a service, oldest first, from its events, oldest first. before is its record as
// of the revision before the first of them. It is nil if there was none; absent tells that the service is known
// not to have existed. Where nothing is known of the overrides that cover the service, Build asks recordAt for
// the record as of a revision, which may be nil too.
func Build(service string, before *rollcallv1.ServiceRecord, absent bool, events []*rollcallv1.Event, recordAt func(revision int64) (*rollcallv1.ServiceRecord, error)) ([]Period, error) {
	b := builder{now: layersOf(service, before), known: before != nil, absent: absent}
	if before != nil {
		b.begin(began(before))
	}
	for _, e := range events {
		if err := b.add(e, recordAt); err != nil {
			return nil, err
		}
	}
	return b.periods, nil
}

type builder struct {
	now     *layers
	known   bool // the overrides that cover the service are; no record tells them before there is a service
	absent  bool // the service does not exist; without known
	last    decision
	periods []Period
}

func (b *builder) add(e *rollcallv1.Event, recordAt func(int64) (*rollcallv1.ServiceRecord, error)) error {
	b.now.apply(e)
	ofService := e.GetService() != ""
	if !b.known && b.now.deletion != e && (ofService || !b.absent) {
		rec, err := recordAt(e.GetCommitRevision())
		if err != nil {
			return err
		}
		if b.absent = rec == nil && !ofService; rec != nil {
			b.now, b.known = layersOf(b.now.service, rec), true
		}
	}
	if len(b.periods) == 0 && b.now.report == nil && b.now.deletion == nil {
		return nil // an override of what does not exist
	}
	if len(b.periods) == 0 || b.now.decision() != b.last {
		b.begin(e.GetTime().AsTime(), e.GetRevision())
	} else if last := &b.periods[len(b.periods)-1]; last.Report != nil {
		last.Report = b.now.report
	}
	return nil
}

func (b *builder) begin(start time.Time, revision int64) {
	p := b.now.period()
	p.Start, p.Revision = start, revision
	if n := len(b.periods); n > 0 {
		b.periods[n-1].End = start
	}
	b.periods = append(b.periods, p)
	b.last = b.now.decision()
}

// began returns when what decides over a record began to, and the revision of the event that made it.
func began(rec *rollcallv1.ServiceRecord) (time.Time, int64) {
	start, revision := rec.GetReport().GetTime().AsTime(), rec.GetReport().GetRevision()
	if o := rec.GetOverride(); o != nil {
		start, revision = o.GetTime().AsTime(), o.GetRevision()
	}
	// What decided before may have ended later.
	if t := rec.GetStatusTime(); t != nil && t.AsTime().After(start) {
		start = t.AsTime()
	}
	return start, revision
}
