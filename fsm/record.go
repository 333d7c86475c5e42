package fsm

import (
	"unique"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcallhq/rollcall/api/rollcall/convert"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

type servingStatus = healthpb.HealthCheckResponse_ServingStatus

const serviceUnknown = healthpb.HealthCheckResponse_SERVICE_UNKNOWN

func serves(s servingStatus) bool { return s == healthpb.HealthCheckResponse_SERVING }

// record is a service. It never changes once it is made. There may be millions, so it takes only 48 bytes,
// and what all records of one command have in common is in their origin.
type record struct {
	name       string
	origin     *origin
	revision   int64 // of the event that made the report
	statusTime int64 // since when the service has this status
	status     servingStatus
}

// origin says who made a report, when and why. It is shared by the records of one command.
type origin struct {
	reason    string
	requestID string
	leaseID   string
	actor     unique.Handle[actor] // few actors make many reports, so equal ones share memory
	time      int64
}

type actor struct {
	name        string
	peer        string
	onBehalfOf  string
	credential  string
	verified    bool
	staticAdmin bool
}

// fill has p say who the actor is.
func (a *actor) fill(p *logv1.Actor) {
	p.Name, p.Verified, p.Peer = a.name, a.verified, a.peer
	p.OnBehalfOf, p.Credential, p.StaticAdmin = a.onBehalfOf, a.credential, a.staticAdmin
}

func newOrigin(cmd *logv1.Command, leaseID string, now int64) *origin {
	return &origin{
		reason:    cmd.GetReason(),
		requestID: cmd.GetRequestId(),
		leaseID:   leaseID,
		actor:     internActor(cmd.GetActor()),
		time:      now,
	}
}

func internActor(a *logv1.Actor) unique.Handle[actor] {
	return unique.Make(actor{
		name: a.GetName(), peer: a.GetPeer(), verified: a.GetVerified(),
		onBehalfOf: a.GetOnBehalfOf(), credential: a.GetCredential(), staticAdmin: a.GetStaticAdmin(),
	})
}

// actorLog converts actors to the form on disk. Neighbours with the same actor share the message.
type actorLog struct {
	last unique.Handle[actor]
	log  *logv1.Actor
}

// of returns nil if nothing is known of the actor.
func (l *actorLog) of(c *origin) *logv1.Actor {
	if c.actor != l.last {
		l.last, l.log = c.actor, nil
		if a := c.actor.Value(); a != (actor{}) {
			l.log = new(logv1.Actor)
			a.fill(l.log)
		}
	}
	return l.log
}

// log returns r in the form on disk.
func (r *record) log(by *actorLog) *logv1.ServiceRecord {
	p := &struct {
		record logv1.ServiceRecord
		report logv1.Report
	}{}
	p.record.Service = r.name
	p.record.StatusTime = r.statusTime
	p.record.Report = &p.report
	p.report.Status = logv1.Status(r.status)
	p.report.Reason = r.origin.reason
	p.report.Actor = by.of(r.origin)
	p.report.Time = r.origin.time
	p.report.Revision = r.revision
	p.report.RequestId = r.origin.requestID
	p.report.LeaseId = r.origin.leaseID
	return &p.record
}

// public returns r in the form of the API.
func (v *view) public(r *record) *rollcallv1.ServiceRecord { return v.publicWith(r, new(shownLease)) }

// shownLease is the lease of the service that was shown last. Neighbours on a list often have the same one.
type shownLease struct {
	id    string
	lease *rollcallv1.Lease
}

// shownAs is publicWith, or only the status of r.
func (v *view) shownAs(statusOnly bool, r *record, last *shownLease) *rollcallv1.ServiceRecord {
	if statusOnly {
		status, since := v.layers.Effective(r.name, r.status, r.statusTime)
		return convert.StatusOnly(r.name, status, since)
	}
	return v.publicWith(r, last)
}

// publicWith is public for one of several services that share the messages of their leases.
func (v *view) publicWith(r *record, last *shownLease) *rollcallv1.ServiceRecord {
	by := r.origin.actor.Value()
	s := convert.Service{
		Name:       r.name,
		Effective:  r.status,
		StatusTime: r.statusTime,
		Reported:   r.status,
		Reason:     r.origin.reason,
		Actor:      convert.Actor(by.name, by.peer, by.onBehalfOf, by.verified),
		Time:       r.origin.time,
		Revision:   r.revision,
	}
	if id := r.origin.leaseID; id != "" {
		if last.id != id {
			last.id, last.lease = id, convert.Lease(id, v.lease(id))
		}
		s.LeaseID, s.Lease = id, last.lease
	}
	v.layers.Show(&s)
	return s.Public()
}
