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

// logActor is nil for the actor about whom nothing is known.
func (c *cause) logActor() *logv1.Actor {
	a := c.actor.Value()
	if a == (actor{}) {
		return nil
	}
	return &logv1.Actor{Name: a.name, Verified: a.verified, Peer: a.peer}
}

// log returns r as it stands on disk. by is r.cause.logActor(), passed in so that the records of
// one command can share it.
func (r *record) log(by *logv1.Actor) *logv1.ServiceRecord {
	return &logv1.ServiceRecord{
		Service:    r.name,
		StatusTime: r.statusTime,
		Report: &logv1.Report{
			Status:    logv1.Status(r.status),
			Reason:    r.cause.reason,
			Actor:     by,
			Time:      r.cause.time,
			Revision:  r.revision,
			RequestId: r.cause.requestID,
			LeaseId:   r.cause.leaseID,
		},
	}
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
