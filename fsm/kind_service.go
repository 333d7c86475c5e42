package fsm

import (
	"math/bits"

	"google.golang.org/protobuf/encoding/protowire"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// serviceKind are the services, by name. The state holds them in a tree of their own. Records of one command
// share their origin to save memory, and they are loaded on all cores. Their events hold the record field by
// field.
var serviceKind = &Kind{
	Number:  logv1.Kind_KIND_SERVICE,
	Name:    "service",
	History: true,
	tuned: &tuned{
		loader: func(l *loading) recordLoader { return newServiceLoader(l) },
		count:  func(s *state) int { return s.services.Len() },
		hashAll: func(v *view, m *multiset, step func() error) (err error) {
			v.services.Scan(func(r *record) bool {
				m.service(nil, r)
				err = step()
				return err == nil
			})
			return err
		},
		after: serviceAfter,
	},
}

// serviceAfter returns the bytes of the record that an event of a service left.
func serviceAfter(e *logv1.Event) []byte {
	r := record{
		name: e.GetKey(),
		origin: &origin{
			reason:    e.GetReason(),
			requestID: e.GetRequestId(),
			leaseID:   e.AttachedTo(),
			actor:     internActor(e.GetActor()),
			time:      e.GetTime(),
		},
		revision:   e.GetRevision(),
		statusTime: e.GetStatusTime(),
		status:     servingStatus(e.GetStatus()),
	}
	return r.appendTo(nil)
}

// Fields of logv1.ServiceRecord, logv1.Report and logv1.Actor. Their tags are one byte each.
const (
	serviceReport     = 2
	serviceStatusTime = 3

	reportStatus    = 1
	reportReason    = 2
	reportActor     = 3
	reportTime      = 4
	reportRevision  = 5
	reportRequestID = 6
	reportLeaseID   = 7

	actorName        = 1
	actorVerified    = 2
	actorPeer        = 3
	actorOnBehalfOf  = 4
	actorCredential  = 5
	actorStaticAdmin = 6
)

// appendTo appends r as it stands on disk and in the state hash: a logv1.ServiceRecord without its name,
// which is the key. A test compares it with protobuf's own encoding.
func (r *record) appendTo(b []byte) []byte {
	why := r.origin
	by := why.actor.Value()
	b = append(b, serviceReport<<3|2)
	b = protowire.AppendVarint(b, uint64(r.reportSize(&by)))
	b = appendNumber(b, reportStatus, int64(r.status))
	b = appendText(b, reportReason, why.reason)
	if by != (actor{}) {
		b = append(b, reportActor<<3|2)
		b = protowire.AppendVarint(b, uint64(by.size()))
		b = appendText(b, actorName, by.name)
		if by.verified {
			b = append(b, actorVerified<<3, 1)
		}
		b = appendText(b, actorPeer, by.peer)
		b = appendText(b, actorOnBehalfOf, by.onBehalfOf)
		b = appendText(b, actorCredential, by.credential)
		if by.staticAdmin {
			b = append(b, actorStaticAdmin<<3, 1)
		}
	}
	b = appendNumber(b, reportTime, why.time)
	b = appendNumber(b, reportRevision, r.revision)
	b = appendText(b, reportRequestID, why.requestID)
	b = appendText(b, reportLeaseID, why.leaseID)
	return appendNumber(b, serviceStatusTime, r.statusTime)
}

// SizeVT implements logv1.Value.
func (r *record) SizeVT() int {
	by := r.origin.actor.Value()
	report := r.reportSize(&by)
	return 1 + varintSize(uint64(report)) + report + numberSize(r.statusTime)
}

// MarshalToSizedBufferVT implements logv1.Value.
func (r *record) MarshalToSizedBufferVT(b []byte) (int, error) {
	size := r.SizeVT()
	r.appendTo(b[len(b)-size : len(b)-size])
	return size, nil
}

func (r *record) reportSize(by *actor) int {
	why := r.origin
	size := numberSize(int64(r.status)) + textSize(why.reason) + numberSize(why.time) +
		numberSize(r.revision) + textSize(why.requestID) + textSize(why.leaseID)
	if *by != (actor{}) {
		n := by.size()
		size += 1 + varintSize(uint64(n)) + n
	}
	return size
}

func (a *actor) size() int {
	size := textSize(a.name) + textSize(a.peer) + textSize(a.onBehalfOf) + textSize(a.credential)
	if a.verified {
		size += 2
	}
	if a.staticAdmin {
		size += 2
	}
	return size
}

func appendNumber(b []byte, field byte, n int64) []byte {
	if n == 0 {
		return b
	}
	return protowire.AppendVarint(append(b, field<<3), uint64(n))
}

func appendText(b []byte, field byte, s string) []byte {
	if s == "" {
		return b
	}
	return append(protowire.AppendVarint(append(b, field<<3|2), uint64(len(s))), s...)
}

func numberSize(n int64) int {
	if n == 0 {
		return 0
	}
	return 1 + varintSize(uint64(n))
}

func textSize(s string) int {
	if s == "" {
		return 0
	}
	return 1 + varintSize(uint64(len(s))) + len(s)
}

func varintSize(n uint64) int { return (bits.Len64(n|1) + 6) / 7 }
