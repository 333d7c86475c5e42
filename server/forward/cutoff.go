package forward

import (
	"time"

	"google.golang.org/grpc/connectivity"

	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// cutAfter is from when on a leader that cannot be connected to counts as cut off from this node: a restart takes less.
const cutAfter = 5 * time.Second

// cutOff says that this node has not been able to connect to the leader for a while: to wait would only hold the caller
// up, who can ask another node. The connection is tried all the same, for later changes. nil: it may be worth waiting.
func (r *Router) cutOff(leader string) *rpcerror.Failure {
	d, why := r.Agreement.Unreachable(leader)
	if d < cutAfter {
		return nil
	}
	conn, err := r.Forwarder.pool.Get(leader)
	switch {
	case err != nil || conn.GetState() == connectivity.Ready:
		return nil
	case conn.GetState() == connectivity.Idle:
		conn.Connect()
	}
	return rpcerror.NotWritten("%s cannot connect to leader %s (%s, for %s): send the change to another node", r.Node, leader, why, d.Truncate(time.Second))
}
