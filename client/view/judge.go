package view

import (
	"time"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

// judge returns the opinion that follows o when a cluster says, as of a revision of it, that the record of the name is
// r, nil if there is none.
func (o Opinion) judge(r *rollcallv1.ServiceRecord, cluster string, revision int64, now time.Time) Opinion {
	switch {
	case o.Cluster != cluster && o.Off && !speaks(r, o, now):
		o.Held = true
		return o
	case o.Cluster == cluster && revision < o.Revision:
		o.Heard, o.Held = true, false // of a node that is behind
		return o
	}
	said := Opinion{Heard: true, Status: client.ServiceUnknown, Record: r, Revision: revision, Cluster: cluster, HeardAt: now}
	if r != nil {
		said.Status = r.GetStatus()
	}
	said.Off = said.Status == client.NotServing
	if o.Cluster == cluster && sameRecord(o.Record, r) {
		said.Record = o.Record // one of both is kept in memory
	}
	return said
}

// speaks reports whether what another cluster says of the name of o, which is Off, ends that. What an operator's
// override said is ended by an operator, or when the override would have ended, and not by what comes by itself: a
// report under a lease, and the NOT_SERVING that is left when a lease expires.
func speaks(r *rollcallv1.ServiceRecord, o Opinion, now time.Time) bool {
	if r == nil {
		return false
	}
	decided := o.Record.GetOverride()
	if decided == nil || r.GetOverride() != nil {
		return true
	}
	if report := r.GetReport(); report.GetLeaseId() == "" && report.GetStatus() != client.NotServing {
		return true
	}
	end := decided.GetExpireTime()
	return end != nil && !now.Before(end.AsTime())
}

// same reports whether o and p differ at most in their Revision and HeardAt.
func (o Opinion) same(p Opinion) bool {
	return o.Off == p.Off && o.Heard == p.Heard && o.Held == p.Held && o.Status == p.Status && o.Cluster == p.Cluster &&
		sameRecord(o.Record, p.Record)
}

// sameRecord reports whether two records of one name in one cluster are equal.
func sameRecord(a, b *rollcallv1.ServiceRecord) bool {
	if a == b {
		return true
	}
	if a == nil || b == nil {
		return false
	}
	same := a.GetStatus() == b.GetStatus() &&
		a.GetStatusTime().GetSeconds() == b.GetStatusTime().GetSeconds() && a.GetStatusTime().GetNanos() == b.GetStatusTime().GetNanos() &&
		a.GetReport().GetRevision() == b.GetReport().GetRevision() &&
		a.GetReport().GetLeaseId() == b.GetReport().GetLeaseId() &&
		a.GetOverride().GetRevision() == b.GetOverride().GetRevision() &&
		len(a.GetShadowed()) == len(b.GetShadowed())
	for i := 0; same && i < len(a.GetShadowed()); i++ {
		same = a.GetShadowed()[i].GetRevision() == b.GetShadowed()[i].GetRevision()
	}
	return same
}
