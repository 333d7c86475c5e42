package convert

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// duration is nil for 0, which is none.
func duration(nanos int64) *durationpb.Duration {
	if nanos == 0 {
		return nil
	}
	return durationpb.New(time.Duration(nanos))
}

// Lease returns the lease of an id, without what only a leader knows of it; nil for nil.
func Lease(id string, l *logv1.Lease) *rollcallv1.Lease {
	if l == nil {
		return nil
	}
	return &rollcallv1.Lease{
		LeaseId:     id,
		Ttl:         duration(l.GetTtl()),
		OnExpiry:    Status(l.GetOnExpiry()),
		ForgetAfter: duration(l.GetForgetAfter()),
		Reason:      l.GetReason(),
		Actor:       actorOf(l.GetActor()),
		Time:        Timestamp(l.GetTime()),
		Revision:    l.GetRevision(),
		EndTime:     Timestamp(l.GetEnd().GetTime()),
		Revoked:     l.GetEnd().GetRevoked(),
		ForgetTime:  Timestamp(l.GetEnd().GetForgetTime()),
	}
}

// LeaseGuard returns the lease guard; nil for nil.
func LeaseGuard(g *logv1.LeaseGuard) *rollcallv1.LeaseGuard {
	if g == nil {
		return nil
	}
	return &rollcallv1.LeaseGuard{
		Engaged:     g.GetEngaged(),
		Time:        Timestamp(g.GetTime()),
		Late:        g.GetLate(),
		Live:        g.GetLive(),
		ReleaseTime: Timestamp(g.GetReleaseTime()),
	}
}

// leaseEvent adds what an event of a lease says.
func leaseEvent(p *rollcallv1.Event, e *logv1.Event) {
	p.LeaseId = e.GetKey()
	var l logv1.Lease
	if err := l.UnmarshalVT(e.GetAfter()); err != nil {
		l.Reset() // a newer binary's; its id is known all the same
	}
	p.Lease = Lease(e.GetKey(), &l)
}

// leaseGuardEvent adds what an event of the lease guard says.
func leaseGuardEvent(p *rollcallv1.Event, e *logv1.Event) {
	var g logv1.LeaseGuard
	if err := g.UnmarshalVT(e.GetAfter()); err != nil || e.GetDeletes() {
		return
	}
	p.LeaseGuard = LeaseGuard(&g)
}
