package fsm

import (
	"time"
	"unique"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/types/known/timestamppb"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

type servingStatus = healthpb.HealthCheckResponse_ServingStatus

const serviceUnknown = healthpb.HealthCheckResponse_SERVICE_UNKNOWN

// record is a service, immutable once made. There may be millions: it is 48 bytes, and what all
// records of one command have in common is in their cause.
type record struct {
	name       string
	cause      *cause
	revision   int64 // of the event that made the report
	statusTime int64 // since when the status is what it is
	status     servingStatus
}

// cause says why a record is as it is. Shared by the records of one command.
type cause struct {
	reason    string
	requestID string
	leaseID   string
	actor     unique.Handle[actor] // few actors make many reports
	time      int64
}

type actor struct {
	name     string
	peer     string
	verified bool
}

func newCause(cmd *logv1.Command, leaseID string, now int64) *cause {
	return &cause{
		reason:    cmd.GetReason(),
		requestID: cmd.GetRequestId(),
		leaseID:   leaseID,
		actor:     internActor(cmd.GetActor()),
		time:      now,
	}
}

func internActor(a *logv1.Actor) unique.Handle[actor] {
	return unique.Make(actor{name: a.GetName(), peer: a.GetPeer(), verified: a.GetVerified()})
}

// actorLog makes actors as they stand on disk. Neighbours that have one actor share it.
type actorLog struct {
	last unique.Handle[actor]
	log  *logv1.Actor
}

// of is nil for the actor about whom nothing is known.
func (l *actorLog) of(c *cause) *logv1.Actor {
	if c.actor != l.last {
		l.last, l.log = c.actor, nil
		if a := c.actor.Value(); a != (actor{}) {
			l.log = &logv1.Actor{Name: a.name, Verified: a.verified, Peer: a.peer}
		}
	}
	return l.log
}

// log returns r as it stands on disk.
func (r *record) log(by *actorLog) *logv1.ServiceRecord {
	p := &struct {
		record logv1.ServiceRecord
		report logv1.Report
	}{}
	p.record.Service = r.name
	p.record.StatusTime = r.statusTime
	p.record.Report = &p.report
	p.report.Status = logv1.Status(r.status)
	p.report.Reason = r.cause.reason
	p.report.Actor = by.of(r.cause)
	p.report.Time = r.cause.time
	p.report.Revision = r.revision
	p.report.RequestId = r.cause.requestID
	p.report.LeaseId = r.cause.leaseID
	return &p.record
}

// public returns r as the API shows it.
func (r *record) public() *rollcallv1.ServiceRecord {
	p := &rollcallv1.ServiceRecord{
		Service:    r.name,
		Status:     r.status,
		StatusTime: timestamp(r.statusTime),
		Report: &rollcallv1.Report{
			Status:   r.status,
			Reason:   r.cause.reason,
			Time:     timestamp(r.cause.time),
			Revision: r.revision,
		},
	}
	if a := r.cause.actor.Value(); a != (actor{}) {
		p.Report.Actor = &rollcallv1.Actor{Name: a.name, Verified: a.verified, Peer: a.peer}
	}
	return p
}

func timestamp(nanos int64) *timestamppb.Timestamp { return timestamppb.New(time.Unix(0, nanos)) }
