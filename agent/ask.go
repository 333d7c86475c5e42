package agent

import (
	"fmt"
	"time"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/view"
)

// This file is what the agent's other faces, as its HTTP port, ask of it.

// snapshot is what is known of one service.
type snapshot struct {
	name, instance  string
	status          client.Status // as local clients are told
	since           time.Time
	own             said                      // what the service says of itself
	pushed          *said                     // nil: nothing is pushed
	waiting         bool                      // shown as NOT_SERVING until the registry was heard of it
	whole, reported view.Opinion              // what the registry says of NAME, and of NAME/INSTANCE
	instanceOff     *view.Opinion             // of NAME/INSTANCE, by which this instance is switched off; nil: it is not
	off             []string                  // why the registry has switched it off; nil: it has not
	rival           *rollcallv1.ServiceRecord // of another reporter that has NAME/INSTANCE; nil: none has
	refused         refusal                   // of the newest report of NAME/INSTANCE
}

// reasons say why the service is not SERVING; nil if it is.
func (s *snapshot) reasons() []string {
	if s.status == client.Serving {
		return nil
	}
	var all []string
	if s.own.status != client.Serving {
		all = append(all, s.own.status.String()+": "+s.own.reason)
	}
	all = append(all, s.off...)
	if s.waiting {
		all = append(all, "the registry has not been heard yet; until it is, or the initial wait is over, the service may be switched off")
	}
	if len(all) == 0 {
		all = append(all, "the agent is stopping")
	}
	return all
}

// look returns what is known of a service, and whether the agent watches it.
func (a *Agent) look(name string) (snapshot, bool) {
	a.services.mu.Lock()
	defer a.services.mu.Unlock()
	one := a.services.all[name]
	if one == nil {
		return snapshot{}, false
	}
	return a.snapshot(one, a.opinions.reader()), true
}

// lookAll returns what is known of all services.
func (a *Agent) lookAll() []snapshot {
	a.services.mu.Lock()
	defer a.services.mu.Unlock()
	opinion := a.opinions.reader()
	all := make([]snapshot, 0, len(a.services.all))
	for _, one := range a.services.all {
		all = append(all, a.snapshot(one, opinion))
	}
	return all
}

// snapshot returns what is known of a service. services.mu is held.
func (a *Agent) snapshot(one *service, opinion func(string) view.Opinion) snapshot {
	s := snapshot{
		name: one.config.Name, instance: one.config.Instance, own: one.own, pushed: one.pushed,
		whole: opinion(one.config.Name), reported: opinion(one.config.Reported()), rival: one.rival,
		refused: a.refusals.of(one.config.Reported(), a.reports.acknowledged),
	}
	if c, ok := a.board.cell(s.name); ok {
		s.status, s.since, s.waiting = c.shown, c.since, c.waits == waits
	}
	if s.whole.Off {
		s.off = append(s.off, offReason(s.name, &s.whole))
	}
	if by := one.off; by != nil {
		s.instanceOff = by
		s.off = append(s.off, offReason(one.config.Reported(), by))
	}
	return s
}

// offReason says in one line who switched a name off.
func offReason(name string, o *view.Opinion) string {
	what, reason, actor := "the registry has "+name+" NOT_SERVING", o.Record.GetReport().GetReason(), o.Record.GetReport().GetActor()
	if by := o.Record.GetOverride(); by != nil {
		what, reason, actor = fmt.Sprintf("the registry has %s switched off by an override of %s", name, by.GetPattern()), by.GetReason(), by.GetActor()
	}
	if who := actorName(actor); who != "" {
		what += " by " + who
	}
	if reason != "" {
		what += ": " + reason
	}
	return what
}

func actorName(a *rollcallv1.Actor) string { return a.GetName() }

// status returns what the agent tells local clients of a service, and why if that is not SERVING. known is false if
// the agent does not watch it. "" is the agent itself.
func (a *Agent) status(name string) (s client.Status, reasons []string, known bool) {
	if name == "" {
		return a.board.look(""), nil, true
	}
	one, known := a.look(name)
	if !known {
		return client.ServiceUnknown, nil, false
	}
	return one.status, one.reasons(), true
}

// push takes what somebody says of a service: SERVING, NOT_SERVING or UNKNOWN, with a reason that limits.Reason
// allows, or "". It returns errNotWatched, errNotPushable or errEnded.
func (a *Agent) push(name string, s client.Status, reason string) error {
	return a.services.push(name, s, reason)
}

// release takes back what was pushed: the checks alone decide. Its errors are those of push.
func (a *Agent) release(name string) error { return a.services.release(name) }

// changed returns a channel that is closed when the status that local clients are told of a name changes next. Take it
// before status is asked: then no change is missed. It costs nothing while nobody has asked.
func (a *Agent) changed(name string) <-chan struct{} {
	_, changed := a.board.follow(name)
	return changed
}
