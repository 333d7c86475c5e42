package agent

import (
	"github.com/rollcallhq/rollcall/client"
)

// This file is what the agent's other faces, as its HTTP port, ask of it.

// status returns what the agent tells local clients of a service, and why if that is not SERVING: what the service
// says of itself, and who switched it off. known is false if the agent does not watch it. "" is the agent itself.
func (a *Agent) status(name string) (s client.Status, reasons []string, known bool) {
	s = a.board.look(name)
	return s, nil, s != client.ServiceUnknown
}

// push takes what somebody says of a service: SERVING, NOT_SERVING or UNKNOWN, with a reason that limits.Reason
// allows, or "". It returns errNotWatched or errNotPushable.
func (a *Agent) push(name string, s client.Status, reason string) error {
	return a.services.push(name, s, reason)
}

// release takes back what was pushed: the checks alone decide. It returns errNotWatched.
func (a *Agent) release(name string) error { return a.services.release(name) }

// changed returns a channel that is closed when what status returns of a name changes next, or when the agent stops.
// Take it before status is asked: then no change is missed. It costs nothing while nobody has asked.
func (a *Agent) changed(name string) <-chan struct{} { return a.board.changes(name) }
