package timeline

import (
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// layers are what there is to know of a service at one revision: its report and the overrides that cover it.
type layers struct {
	service   string
	report    *rollcallv1.Report              // nil: it does not exist
	deletion  *rollcallv1.Event               // by which it does not; nil: it never did, as far as is known
	overrides map[string]*rollcallv1.Override // by pattern
}

// layersOf takes a record apart; nil is a service that does not exist.
func layersOf(service string, rec *rollcallv1.ServiceRecord) *layers {
	l := &layers{service: service, report: rec.GetReport(), overrides: map[string]*rollcallv1.Override{}}
	if o := rec.GetOverride(); o != nil {
		l.overrides[o.GetPattern()] = o
	}
	for _, o := range rec.GetShadowed() {
		l.overrides[o.GetPattern()] = o
	}
	return l
}

// apply does what an event did.
func (l *layers) apply(e *rollcallv1.Event) {
	switch e.GetType() {
	case rollcallv1.EventType_EVENT_TYPE_REPORTED, rollcallv1.EventType_EVENT_TYPE_EXPIRED:
		l.report = &rollcallv1.Report{Status: e.GetStatus(), Reason: e.GetReason(), Actor: e.GetActor(), Time: e.GetTime(), Revision: e.GetRevision()}
		if !e.GetDetached() {
			l.report.LeaseId = e.GetLeaseId()
		}
	case rollcallv1.EventType_EVENT_TYPE_DELETED:
		l.report, l.deletion = nil, e
	case rollcallv1.EventType_EVENT_TYPE_OVERRIDE_SET:
		l.overrides[e.GetPattern()] = &rollcallv1.Override{
			Pattern: e.GetPattern(), Status: e.GetStatus(), Reason: e.GetReason(), Actor: e.GetActor(),
			Time: e.GetTime(), Revision: e.GetRevision(), ExpireTime: e.GetExpireTime(),
		}
	case rollcallv1.EventType_EVENT_TYPE_OVERRIDE_CLEARED, rollcallv1.EventType_EVENT_TYPE_OVERRIDE_EXPIRED:
		delete(l.overrides, e.GetPattern())
	}
}

// decides returns the override that decides; nil if none does.
func (l *layers) decides() (o *rollcallv1.Override) {
	if l.report == nil {
		return nil
	}
	pattern.Each(l.service, func(p string) bool {
		o = l.overrides[p]
		return o == nil
	})
	return o
}

// decision tells one line of a timeline from the next. A report beneath an override makes a new line if its
// status is another one.
type decision struct {
	exists   bool
	override int64 // revision of the override that decides; 0: none does
	report   int64 // revision of the report, where that decides
	beneath  healthpb.HealthCheckResponse_ServingStatus
}

func (l *layers) decision() decision {
	d := decision{exists: l.report != nil}
	if o := l.decides(); o != nil {
		d.override, d.beneath = o.GetRevision(), l.report.GetStatus()
	} else {
		d.report = l.report.GetRevision()
	}
	return d
}

// period returns the line of a timeline that shows l, without its times.
func (l *layers) period() Period {
	switch o := l.decides(); {
	case l.report == nil:
		return Period{Status: healthpb.HealthCheckResponse_SERVICE_UNKNOWN, Actor: l.deletion.GetActor(), Reason: l.deletion.GetReason()}
	case o != nil:
		return Period{Status: o.GetStatus(), Actor: o.GetActor(), Reason: o.GetReason(), Override: o, Report: l.report}
	}
	return Period{Status: l.report.GetStatus(), Actor: l.report.GetActor(), Reason: l.report.GetReason()}
}
