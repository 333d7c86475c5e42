package view

import (
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

// Rival decides whether another reporter has taken over a name that the process reports under a lease: mostly a second
// process that was given the same instance by mistake, or the next process of an instance that is restarted. The
// registry keeps one report, that of whoever wrote last.
//
// mine is what the cluster acknowledged of the process's own report (client.Lease.Acknowledged). Rival returns the
// record with the rival's report while the lease of the rival lives; nil if there is none. gone is true if the lease
// of a rival has ended, or the rival has withdrawn the name: its end has made the report NOT_SERVING, or deleted it,
// though this process lives. Then the process writes again (client.Lease.Rewrite).
func (o *Opinion) Rival(mine client.Acknowledged) (rival *rollcallv1.ServiceRecord, gone bool) {
	if !o.Heard || o.Held || o.Cluster != mine.Cluster || o.Revision < mine.Revision {
		return nil, false
	}
	id, theirs := o.Record.GetReport().GetLeaseId(), o.Record.GetLease()
	switch {
	case id == mine.LeaseID:
		return nil, false
	case id != "" && theirs.GetLeaseId() == id && theirs.GetEndTime() == nil:
		return o.Record, false
	}
	return nil, true
}
