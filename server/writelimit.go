package server

import (
	"time"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/server/ratelimit"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// limit refuses a change of a caller who makes too many; nil: it may be made. A batch counts as many changes as it
// has, a dry run as the change. Who is an administrator by this node's own configuration is never refused: somebody
// must be able to mend what is wrong.
func (a *admin) limit(cmd *logv1.Command) *rpcerror.Failure {
	actor := cmd.GetActor()
	if a.limits == nil || cmd == nil || actor.GetStaticAdmin() {
		return nil
	}
	key := identityOf(actor)
	who := key
	if !actor.GetVerified() {
		who = ratelimit.AddressKey(actor.GetPeer())
		key = "address " + who
	}
	wait, ok := a.limits.Take(key, max(len(cmd.GetWrite().GetChanges()), 1), time.Now())
	if ok {
		return nil
	}
	return rpcerror.RateLimited(who, a.limits.PerSecond(), wait)
}

// RateLimited is how many changes were refused because their caller made too many.
func (s *Server) RateLimited() uint64 {
	if s.limits == nil {
		return 0
	}
	return s.limits.Refused()
}
