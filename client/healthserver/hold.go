package healthserver

import "time"

// hold remembers the override that switches SERVICE/INSTANCE off.
//
// A registry that lost its disk, or was restored, is another cluster, which does not know the override. A view holds
// what was off until the new cluster knows the name, but this process soon reports itself there under a lease. That
// report is no word of an operator: the process stays off until the override would have ended, or until somebody
// speaks of the instance, by an override or by a report without a lease.
type hold struct {
	off   bool
	by    offName // while off
	timer *time.Timer
}

// see takes the newest opinion of SERVICE/INSTANCE. again is called when it must be seen again.
func (h *hold) see(name string, o *opinion, again func()) {
	if h.timer != nil {
		h.timer.Stop()
		h.timer = nil
	}
	override := o.Record.GetOverride()
	switch {
	case o.Off && override != nil:
		h.off, h.by = true, newOffName(name, o)
	case !h.off || !o.Heard:
	case o.Cluster == h.by.Cluster: // it said everything
		h.off = false
	case override != nil, o.Record != nil && o.Record.GetReport().GetLeaseId() == "":
		h.off = false
	case !h.by.Expires.IsZero():
		left := time.Until(h.by.Expires)
		h.off = left > 0
		if h.off {
			h.timer = time.AfterFunc(left, again)
		}
	}
}
