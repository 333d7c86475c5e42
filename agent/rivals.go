package agent

import (
	"time"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/view"
)

// A rival is another reporter that reports a SERVICE/INSTANCE of this agent under a lease of its own: mostly a second
// agent that was given the same instance by mistake. The registry keeps one report, that of whoever wrote last.
//
// While a rival's lease lives, its word stands and this agent tells that there is one: two that wrote in turns would
// fill the history. When it is gone, its end has made the report NOT_SERVING, or deleted it, though this agent lives;
// so this agent reports anew.

// maxRivals bounds the leases of rivals that are remembered as told.
const maxRivals = 1000

// heard takes what the registry says of a SERVICE/INSTANCE. It returns the record of a rival; nil if there is none. gone
// is true if there was one, and the report is written again.
func (r *reports) heard(service string, o *view.Opinion) (rival *rollcallv1.ServiceRecord, gone bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.rows[service]
	if w == nil || !w.held || w.leaving || w.gone || r.closed {
		return nil, false
	}
	l := r.leases[w.holder]
	mine, ok := l.Acknowledged(service)
	if !ok {
		return nil, false
	}
	if rival, gone = o.Rival(mine); rival != nil {
		r.meet(rival.GetReport().GetLeaseId(), service, rival)
	}
	if gone {
		l.Rewrite(service)
	}
	return rival, gone
}

// meet tells of a rival, once for each of its leases. r.mu is held.
func (r *reports) meet(id, service string, record *rollcallv1.ServiceRecord) {
	if r.rivals[id] {
		return
	}
	if len(r.rivals) >= maxRivals {
		clear(r.rivals)
	}
	r.rivals[id] = true
	actor := record.GetReport().GetActor()
	r.logger.Warn("another reporter reports this instance, too, and its word stands; give each agent an instance of its own",
		"service", service, "by", actor.GetName(), "from", actor.GetPeer(), "its_lease", id)
}

// judgeSoon has judge called within a second: what was acknowledged now may be what the registry showed before.
func (a *Agent) judgeSoon() {
	if a.judging.Swap(true) {
		return
	}
	a.agenda.at(time.Now().Add(time.Second), func() {
		a.judging.Store(false)
		a.judge()
	})
}

var _ lease = (*client.Lease)(nil)
